//! Which rows of a collection are shown, and in which order: filter, sort, page.
//!
//! It can take long, and everybody else would wait meanwhile. So it can be stopped
//! after any row, in the middle of a filter and in the middle of sorting, and goes on
//! from there when it is asked again, be it on another thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::meter::{Meter, ROW, Stopped};
use super::query::{Page, Query, SortKey};
use super::resource::{Resource, View};
use super::tree::{Beginning, Tree};
use super::value::{Rank, Value};

/// The rows that a query keeps, in its order, and how many there are on all pages.
#[derive(Debug)]
pub struct Selection<R> {
    /// The rows of the page.
    pub rows: Vec<R>,
    /// The rows of all pages.
    pub total: usize,
}

/// A selection on its way.
#[derive(Debug)]
pub struct Selecting<R> {
    /// The rows that were not looked into yet.
    rows: std::vec::IntoIter<R>,
    /// Those that the filters keep, until they are taken for the page.
    kept: Vec<Option<R>>,
    /// The places of those that are to be sorted, the first one on top.
    heap: BinaryHeap<Reverse<(Keys, usize)>>,
    /// How many were taken out of the heap.
    sorted: usize,
    page: Vec<R>,
}

/// What a row is sorted by.
type Keys = Vec<Place>;

/// Where a row stands by one of the sort keys. Of one key all are upwards or all
/// downwards; rows without the attribute come last, whichever way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Up(Rank),
    Down(Reverse<Rank>),
    Missing,
}

impl<R: Resource> Selecting<R> {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(rows: Vec<R>) -> Self {
        Self {
            rows: rows.into_iter(),
            kept: Vec::new(),
            heap: BinaryHeap::new(),
            sorted: 0,
            page: Vec::new(),
        }
    }

    /// Goes on, to the end unless it is stopped. After that there is nothing left.
    pub fn finish(
        &mut self,
        query: &Query,
        view: &View,
        meter: &mut Meter<'_>,
    ) -> Result<Selection<R>, Stopped> {
        if !query.looks_into_rows() {
            let total = self.rows.len();
            let (begin, end) = bounds(query.page, total);
            let mut rows: Vec<R> = std::mem::take(&mut self.rows).collect();
            rows.truncate(end);
            rows.drain(..begin);
            return Ok(Selection { rows, total });
        }
        self.filter(query, view, meter)?;
        let total = self.kept.len();
        let (begin, end) = bounds(query.page, total);
        if query.sort.is_empty() {
            let page = &mut self.kept[begin..end];
            self.page = page.iter_mut().filter_map(Option::take).collect();
        } else {
            self.take_sorted(begin, end, query, meter)?;
        }
        Ok(Selection {
            rows: std::mem::take(&mut self.page),
            total,
        })
    }

    fn filter(&mut self, query: &Query, view: &View, meter: &mut Meter<'_>) -> Result<(), Stopped> {
        let filtered = query.filters.iter().map(|filter| filter.path.beginning());
        let sorted = query.sort.iter().map(|key| key.path.beginning());
        let wanted: Vec<Beginning> = filtered.chain(sorted).collect();
        // A row stays where it is until all is known of it.
        while let Some(row) = self.rows.as_slice().first() {
            let (tree, cost) = Tree::with(&wanted, |tree| row.emit(tree, view));
            meter.spend(ROW + cost)?;
            let mut keeps = true;
            for filter in &query.filters {
                keeps = keeps && filter.keeps(&tree, meter)?;
            }
            let keys = keep(keeps, || keys_of(&tree, &query.sort, meter))?;
            let row = self.rows.next();
            if let Some(keys) = keys {
                if !keys.is_empty() {
                    self.heap.push(Reverse((keys, self.kept.len())));
                }
                self.kept.push(row);
            }
        }
        Ok(())
    }

    /// Takes the rows up to the end of the page, in their order. Rows that are equal
    /// stay in the order in which they came.
    fn take_sorted(
        &mut self,
        begin: usize,
        end: usize,
        query: &Query,
        meter: &mut Meter<'_>,
    ) -> Result<(), Stopped> {
        let levels = u64::from(usize::BITS - self.heap.len().leading_zeros());
        // Each level of the heap has two comparisons.
        let cost = 2 * levels * query.sort.len() as u64;
        while self.sorted < end {
            meter.spend(cost)?;
            let Some(Reverse((_, place))) = self.heap.pop() else {
                break;
            };
            let row = self.kept[place].take();
            if self.sorted >= begin {
                self.page.extend(row);
            }
            self.sorted += 1;
        }
        Ok(())
    }
}

/// The first row of a page, and the one behind its last.
fn bounds(page: Option<Page>, total: usize) -> (usize, usize) {
    let Some(Page { size, number }) = page else {
        return (0, total);
    };
    let begin = size.saturating_mul(number).min(total);
    (begin, begin.saturating_add(size).min(total))
}

fn keep<T>(keeps: bool, keys: impl FnOnce() -> Result<T, Stopped>) -> Result<Option<T>, Stopped> {
    if keeps { keys().map(Some) } else { Ok(None) }
}

fn keys_of(tree: &Value, sort: &[SortKey], meter: &mut Meter<'_>) -> Result<Keys, Stopped> {
    let mut keys = Vec::with_capacity(sort.len());
    for key in sort {
        let found = key.path.find(tree, meter)?;
        keys.push(match found.first().map(|value| value.rank()) {
            Some(rank) if key.descending => Place::Down(Reverse(rank)),
            Some(rank) => Place::Up(rank),
            None => Place::Missing,
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::emit::Emit;
    use super::super::key::key;
    use super::super::link::Links;
    use super::super::query::Accepts;
    use super::super::resource::Collection;
    use super::*;

    /// A row with a number, and with its remainders.
    #[derive(Debug)]
    struct Number(u64);

    impl Resource for Number {
        fn collection(&self) -> Collection {
            Collection {
                of: "sessions",
                path: "/v1/sessions/",
            }
        }

        fn emit<E: Emit>(&self, out: &mut E, _: &View) {
            out.begin_object();
            out.key(key!("attributes"));
            out.begin_object();
            out.member_number(key!("tens"), self.0 / 10);
            if self.0 % 10 < 8 {
                out.member_number(key!("ones"), self.0 % 10);
            }
            out.end_object();
            out.end_object();
        }
    }

    fn view() -> View {
        View::new(Links::on("localhost"), Instant::now())
    }

    fn query(text: &str) -> Query {
        Query::parse(text, Accepts::COLLECTION).unwrap()
    }

    fn selected(text: &str, count: u64) -> (Vec<u64>, usize) {
        let query = query(text);
        // In an order that is not theirs.
        let rows = (0..count)
            .map(|number| Number(number * 7 % count))
            .collect();
        let mut selecting = Selecting::new(rows);
        let mut stops = 0;
        let selection = loop {
            match selecting.finish(&query, &view(), &mut Meter::one_slice()) {
                Ok(selection) => break selection,
                Err(Stopped) => stops += 1,
            }
        };
        assert_eq!(stops > 0, count > 1000, "{stops} stops");
        let rows = selection.rows.iter().map(|row| row.0).collect();
        (rows, selection.total)
    }

    #[test]
    fn rows_are_sorted_and_paged_and_those_without_the_attribute_come_last() {
        let all = "sort=-tens,ones";
        let (first, total) = selected(all, 30);
        assert_eq!(total, 30);
        assert_eq!(
            first[..9],
            [20, 21, 22, 23, 24, 25, 26, 27, 28 + first[8] % 2]
        );
        let (page, total) = selected(&format!("{all}&page[size]=5&page[number]=3"), 30);
        assert_eq!((&page[..], total), (&first[15..20], 30));
        let (ones, _) = selected("sort=-ones&filter[attributes.tens]=eq(1)", 30);
        assert_eq!(ones[..8], [17, 16, 15, 14, 13, 12, 11, 10]);
        // Those that are equal stay as they came: 28 before 29 or after, as there.
        let came: Vec<u64> = (0..30).map(|number| number * 7 % 30).collect();
        let (equal, _) = selected("sort=missing", 30);
        assert_eq!(equal, came);
    }

    #[test]
    fn what_is_stopped_again_and_again_comes_to_the_same_end() {
        let count = 20_001;
        let (rows, total) = selected("filter[attributes.tens]=ge(1000)&sort=tens,-ones", count);
        assert_eq!(total, 10_001);
        let keys: Vec<_> = rows
            .iter()
            .map(|row| (row / 10, row % 10 >= 8, Reverse((row % 10).min(8))))
            .collect();
        assert!(keys.is_sorted());
        assert_eq!(rows.len(), total);
    }
}
