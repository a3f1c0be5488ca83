//! The document of a collection, piece by piece.
//!
//! What is quick is made where it was asked for. What may take longer than a slice
//! of work is left to the thread that sends it: where that is known beforehand, from
//! the number of rows and what is asked of each, and where it turns out.

use super::Meter;
use crate::admin::reply::{PIECE, Piece, Reply};
use crate::jsonapi::{
    Collection, Query, Resource, Selecting, Selection, Stopped, View, Writer, begin_collection,
    end_collection, write_metered_row,
};

/// More rows than that are not even gathered on the thread that answers everybody: it
/// takes longer than a millisecond.
pub(super) const GATHERED_AT_ONCE: usize = 10_000;

/// Gathers the rows of a collection.
pub(super) type Gather<R> = Box<dyn FnOnce() -> Vec<R> + Send>;

/// The document of a collection of so many rows.
pub(super) fn collection<R: Resource + Send + 'static>(
    collection: Collection,
    count: usize,
    gather: Gather<R>,
    query: Query,
    view: View,
) -> Reply {
    let is_long = is_long(count, &query);
    let mut document = Document {
        collection,
        writer: Writer::new(query.layout),
        stage: Stage::Gathering(Some(gather)),
        query,
        view,
    };
    let pieces = Box::new(move |meter: &mut Meter<'_>| document.next(meter));
    if is_long {
        Reply::later(pieces)
    } else {
        Reply::pieces(pieces)
    }
}

/// Whether to look at so many rows takes long.
pub(super) fn is_long(count: usize, query: &Query) -> bool {
    let looked_into = (count as u64).saturating_mul(query.cost_of_row());
    count > GATHERED_AT_ONCE || !Meter::fits_slice(looked_into)
}

/// A document on its way.
struct Document<R> {
    collection: Collection,
    query: Query,
    view: View,
    writer: Writer,
    stage: Stage<R>,
}

/// How far it has come.
enum Stage<R> {
    Gathering(Option<Gather<R>>),
    Selecting(Selecting<R>),
    /// The rows that are still to be written, and how many there are on all pages.
    Writing(std::vec::IntoIter<R>, usize),
    Written,
}

impl<R: Resource> Document<R> {
    /// The next piece. Where it is stopped it goes on from there the next time.
    fn next(&mut self, meter: &mut Meter<'_>) -> Result<Piece, Stopped> {
        if let Stage::Gathering(gather) = &mut self.stage {
            let rows = gather.take().map_or_else(Vec::new, |gather| gather());
            self.stage = Stage::Selecting(Selecting::new(rows));
        }
        if let Stage::Selecting(selecting) = &mut self.stage {
            let Selection { rows, total } = selecting.finish(&self.query, &self.view, meter)?;
            let writer = &mut self.writer;
            begin_collection(writer, self.collection, &self.query, total, &self.view);
            self.stage = Stage::Writing(rows.into_iter(), total);
        }
        let Stage::Writing(rows, total) = &mut self.stage else {
            return Ok(Piece::Last(Vec::new()));
        };
        for row in rows {
            write_metered_row(&mut self.writer, &row, &self.query, &self.view, meter)?;
            if self.writer.len() >= PIECE {
                return Ok(Piece::More(self.writer.take()));
            }
        }
        end_collection(&mut self.writer, &self.query, *total);
        self.stage = Stage::Written;
        Ok(Piece::Last(self.writer.finish()))
    }
}
