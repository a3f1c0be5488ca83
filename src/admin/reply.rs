//! An answer, from its parts to its bytes.
//!
//! The head is written here and not by tiny_http, whose writer cannot send
//! `Connection: close` and gives a 204 a length (RFC 9110, section 8.6,
//! forbids it); and the door answers what never reaches tiny_http.

use std::time::{Duration, SystemTime};

use super::negotiation::MediaType;
use super::precondition::Validators;
use super::refusal::Refusal;
use super::stream::Place;
use crate::jsonapi::{ErrorObject, Layout, Meter, Stopped, push_decimal};
use crate::time::HttpDates;

/// How long a part of a document gets before it is sent. A document of one
/// part goes out whole; of a longer one there is never more in memory.
pub(super) const PIECE: usize = 64 * 1024;

/// What a request gets.
pub(super) struct Reply {
    status: (u16, &'static str),
    fields: Vec<(&'static str, &'static str)>,
    media_type: MediaType,
    /// What the client may come back with.
    validators: Option<Validators>,
    body: Body,
    /// The thread's place that it has already, where it needs one.
    place: Option<Place>,
    /// Whether it has no end.
    endless: bool,
    /// Whether it waits for something that may never come.
    waits: bool,
}

/// What follows the head.
pub(super) enum Body {
    /// Nothing: a 204 has none.
    Empty,
    /// The whole document.
    Whole(Vec<u8>),
    /// The beginning of a document, and what makes the rest.
    Begun(Vec<u8>, Pieces),
    /// All that there is to tell is not known yet.
    Deferred(Work),
}

/// Finds out, on a thread of its own, what is to be answered. It may ask whether the
/// client has gone, and stop.
pub(super) type Work = Box<dyn FnOnce(&dyn Fn() -> bool) -> Result<Reply, Stopped> + Send>;

/// Makes a long document, piece by piece. Where one is stopped, the next call goes on.
pub(super) type Pieces = Box<dyn FnMut(&mut Meter<'_>) -> Result<Piece, Stopped> + Send>;

/// A part of a document.
pub(super) enum Piece {
    /// At least [`PIECE`] long.
    More(Vec<u8>),
    /// The end of the document.
    Last(Vec<u8>),
}

/// How the end of a body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By the length in the head, or in chunks where it is not known before
    /// (RFC 9112, section 7.1).
    Chunks,
    /// By the end of the connection, where a client knows no chunks.
    Close,
}

impl Reply {
    fn new(status: (u16, &'static str), body: Body) -> Self {
        Self {
            status,
            fields: Vec::new(),
            media_type: MediaType::JsonApi,
            validators: None,
            body,
            place: None,
            endless: false,
            waits: false,
        }
    }

    /// 200 with a document.
    pub(super) fn document(document: Vec<u8>) -> Self {
        Self::new((200, "OK"), Body::Whole(document))
    }

    /// 200 with what is always the same, and header fields of its own.
    pub(super) fn fixed(text: String, fields: Vec<(&'static str, &'static str)>) -> Self {
        Self {
            fields,
            ..Self::document(text.into_bytes())
        }
    }

    /// 200 with a document that may be long, or take long.
    pub(super) fn pieces(mut pieces: Pieces) -> Self {
        let body = match pieces(&mut Meter::one_slice()) {
            Ok(Piece::Last(document)) => Body::Whole(document),
            Ok(Piece::More(begin)) => Body::Begun(begin, pieces),
            Err(Stopped) => Body::Begun(Vec::new(), pieces),
        };
        Self::new((200, "OK"), body)
    }

    /// 200 with a document whose beginning takes long already.
    pub(super) fn later(pieces: Pieces) -> Self {
        Self::new((200, "OK"), Body::Begun(Vec::new(), pieces))
    }

    /// An answer that has to wait for something, on a thread for that.
    pub(super) fn deferred(work: Work, place: Place) -> Self {
        Self {
            place: Some(place),
            ..Self::new((200, "OK"), Body::Deferred(work))
        }
    }

    /// The same, for something that may never come.
    pub(super) fn waiting(work: Work, place: Place) -> Self {
        Self {
            waits: true,
            ..Self::deferred(work, place)
        }
    }

    /// Whether it waits for something that may never come.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// 200 with lines that come for as long as somebody reads them.
    pub(super) fn endless(pieces: Pieces, place: Place) -> Self {
        Self {
            place: Some(place),
            endless: true,
            ..Self::later(pieces)
        }
    }

    /// 204: what was asked for is done.
    pub(super) fn done() -> Self {
        Self::new((204, "No Content"), Body::Empty)
    }

    /// Whether it has no end.
    pub(super) fn is_endless(&self) -> bool {
        self.endless
    }

    /// What is to be done before there is an answer.
    pub(super) fn take_work(&mut self) -> Option<Work> {
        match std::mem::replace(&mut self.body, Body::Empty) {
            Body::Deferred(work) => Some(work),
            body => {
                self.body = body;
                None
            }
        }
    }

    /// The thread's place that it has already.
    pub(super) fn take_place(&mut self) -> Option<Place> {
        self.place.take()
    }

    /// 304: the client has the document already.
    pub(super) fn not_modified() -> Self {
        Self::new((304, "Not Modified"), Body::Empty)
    }

    /// The same answer under the name that the client knows its media type by,
    /// and with what the client may come back with.
    pub(super) fn of(self, media_type: MediaType, validators: Validators) -> Self {
        self.then(move |reply| Self {
            media_type,
            // What never ends, or is all clocks and counters, is never the same again.
            validators: (!reply.endless && !media_type.is_of_metrics()).then_some(validators),
            ..reply
        })
    }

    /// The same answer under the name that the client knows its media type by.
    pub(super) fn under(self, media_type: MediaType) -> Self {
        self.then(move |reply| Self {
            media_type,
            ..reply
        })
    }

    /// The same answer with something changed, as soon as there is one. An error
    /// document stays as it is.
    fn then(mut self, change: impl FnOnce(Self) -> Self + Send + 'static) -> Self {
        if let Some(work) = self.take_work() {
            let work: Work = Box::new(move |is_gone| work(is_gone).map(|reply| reply.then(change)));
            let body = Body::Deferred(work);
            return Self { body, ..self };
        }
        if self.status.0 >= 400 {
            return self;
        }
        change(self)
    }

    /// 204, for OPTIONS.
    pub(super) fn options(allow: &'static str) -> Self {
        Self {
            fields: vec![("Allow", allow)],
            ..Self::new((204, "No Content"), Body::Empty)
        }
    }

    /// An error document.
    pub(super) fn refuse(refusal: &Refusal, layout: Layout) -> Self {
        let (status, title) = refusal.status();
        let error = ErrorObject {
            status,
            title,
            detail: &refusal.detail(),
            parameter: refusal.parameter(),
        };
        Self {
            fields: refusal.fields(),
            ..Self::new((status, title), Body::Whole(error.document(layout)))
        }
    }

    /// The head, and what is to follow it.
    pub(super) fn into_parts(
        self,
        now: SystemTime,
        dates: &mut HttpDates,
        keep_alive: bool,
        framing: Framing,
    ) -> (String, Body) {
        let length = if let Body::Whole(document) = &self.body {
            document.len()
        } else {
            0
        };
        let mut head = String::with_capacity(HEAD_ESTIMATE + length);
        let (status, reason) = self.status;
        head.push_str("HTTP/1.1 ");
        push_decimal(&mut head, status.into());
        head.extend([" ", reason, "\r\nServer: sessiond\r\n"]);
        head.extend(["Date: ", dates.of(now), "\r\n"]);
        head.push_str("Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n");
        if !matches!(self.body, Body::Empty) {
            head.extend(["Content-Type: ", self.media_type.as_str(), "\r\n"]);
        }
        if let Some(validators) = &self.validators {
            head.extend(["Vary: Accept\r\nETag: ", &validators.tag]);
            head.extend(["\r\nLast-Modified: ", dates.of(validators.modified), "\r\n"]);
        } else if self.media_type.is_of_metrics() {
            head.push_str("Vary: Accept\r\n");
        }
        match self.body {
            Body::Whole(_) => {
                head.push_str("Content-Length: ");
                push_decimal(&mut head, length as u64);
                head.push_str("\r\n");
            }
            Body::Begun(..) if framing == Framing::Chunks => {
                head.push_str("Transfer-Encoding: chunked\r\n");
            }
            Body::Empty | Body::Begun(..) | Body::Deferred(_) => {}
        }
        for (name, value) in self.fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if keep_alive {
            // An HTTP/1.0 client waits for the word (RFC 9112, section 9.3), and the
            // field for how long must be named by this one (RFC 9110, section 7.6.1).
            head.extend(["Connection: keep-alive\r\n", KEEP_ALIVE]);
        } else {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        (head, self.body)
    }

    /// An answer that is not long, as it goes to the client.
    pub(super) fn into_bytes(self, now: SystemTime, keep_alive: bool) -> Vec<u8> {
        let (head, body) =
            self.into_parts(now, &mut HttpDates::default(), keep_alive, Framing::Close);
        let mut bytes = head.into_bytes();
        if let Body::Whole(document) = body {
            bytes.extend(document);
        }
        bytes
    }

    /// Its status code.
    pub(super) fn status(&self) -> u16 {
        self.status.0
    }

    /// Whether it refuses a login.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status.0 == 401
    }

    /// Whether it ends with the connection, for a client that reads bodies so.
    pub(super) fn needs_close(&self, framing: Framing) -> bool {
        framing == Framing::Close && matches!(self.body, Body::Begun(..))
    }
}

/// How long a connection may rest between requests: longer than the pauses of those who
/// ask again and again, such as scrapers of metrics.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// That, for a client that would otherwise find out by a connection that has gone.
const KEEP_ALIVE: &str = "Keep-Alive: timeout=60\r\n";

/// Room for the longest head there is, that of the status page.
const HEAD_ESTIMATE: usize = 768;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::handlers;

    #[test]
    fn a_short_document_has_a_length_and_a_long_one_has_chunks_or_the_end_of_the_connection() {
        let head = |reply: Reply, framing| {
            reply
                .into_parts(
                    SystemTime::UNIX_EPOCH,
                    &mut HttpDates::default(),
                    true,
                    framing,
                )
                .0
        };
        let short = || Reply::pieces(Box::new(|_| Ok(Piece::Last(b"{}\n".to_vec()))));
        let long = || Reply::pieces(Box::new(|_| Ok(Piece::More(b"{".to_vec()))));
        for framing in [Framing::Chunks, Framing::Close] {
            assert!(head(short(), framing).contains("\r\nContent-Length: 3\r\n"));
            assert!(!short().needs_close(framing));
        }
        assert!(head(long(), Framing::Chunks).contains("\r\nTransfer-Encoding: chunked\r\n"));
        assert!(!head(long(), Framing::Close).contains("Transfer-Encoding"));
        assert!(long().needs_close(Framing::Close) && !long().needs_close(Framing::Chunks));
        assert!(
            head(long(), Framing::Close).contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
        );
    }

    #[test]
    fn a_connection_that_is_kept_says_for_how_long() {
        let said = format!("Keep-Alive: timeout={}\r\n", IDLE_LIMIT.as_secs());
        assert_eq!(KEEP_ALIVE, said);
        let head = |keep_alive, framing| {
            let dates = &mut HttpDates::default();
            let (head, _) =
                Reply::done().into_parts(SystemTime::UNIX_EPOCH, dates, keep_alive, framing);
            head
        };
        for framing in [Framing::Chunks, Framing::Close] {
            assert!(head(true, framing).contains(&said));
            assert!(!head(false, framing).contains("Keep-Alive"));
        }
    }

    #[test]
    fn no_head_is_longer_than_the_room_for_it() {
        let refuse = |refusal| Reply::refuse(&refusal, Layout::Compact);
        let validators = Validators {
            tag: format!("W/\"{:x}-script-{}\"", u64::MAX, u64::MAX),
            modified: SystemTime::now(),
        };
        let page = Reply::fixed(String::new(), handlers::page::FIELDS.to_vec());
        for reply in [
            refuse(Refusal::Unauthorized),
            refuse(Refusal::Busy("")),
            page.of(MediaType::Script, validators),
        ] {
            let (head, _) = reply.into_parts(
                SystemTime::now(),
                &mut HttpDates::default(),
                false,
                Framing::Close,
            );
            assert!(head.len() <= HEAD_ESTIMATE, "{}", head.len());
        }
    }
}
