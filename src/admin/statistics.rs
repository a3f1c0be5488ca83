//! What the admin server counts of its own work: its clients, its answers, and
//! how long they took.
//!
//! The loop and the threads of long answers count at the same time, so
//! everything here is an atomic on its own. An answer is counted before its
//! first byte is sent: who has read one finds it counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

/// How a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Options,
    Delete,
    Put,
    /// One that is not known here, or was not understood at all.
    Other,
}

impl Method {
    /// All of them, in the order of the variants.
    pub(super) const ALL: [Self; 6] = [
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Delete,
        Self::Put,
        Self::Other,
    ];

    /// The method of that name.
    pub(super) fn parse(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|method| *method != Self::Other && method.as_str() == name);
        found.unwrap_or(Self::Other)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Delete => "DELETE",
            Self::Put => "PUT",
            Self::Other => "other",
        }
    }
}

/// All statuses that there are, ascending.
const STATUSES: [u16; 21] = [
    200, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 414, 417, 421, 431, 500, 501,
    503, 505,
];

/// Those that a GET may get.
const OF_GET: [u16; 11] = [200, 304, 400, 401, 404, 405, 406, 412, 421, 500, 503];

/// Those that the door gives, before it is known what is asked for.
const OF_THE_DOOR: [u16; 8] = [400, 408, 413, 414, 417, 431, 501, 505];

/// Up to how many microseconds an answer takes, bucket by bucket: one that is
/// not long takes some 100 µs, and 5 s is as long as most clients wait.
pub(super) const BOUNDS: [u64; 10] = [
    100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
];

/// The counters of one admin server.
#[derive(Debug)]
pub(super) struct Statistics {
    connections_at_most: usize,
    connections: AtomicUsize,
    connections_opened: AtomicU64,
    answers: [[AtomicU64; STATUSES.len()]; Method::ALL.len()],
    /// How many answers took no longer than each of the bounds, and longer than the one before.
    durations: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Statistics {
    /// Nothing is counted yet, of a server that may have so many connections.
    pub(super) fn new(connections_at_most: usize) -> Self {
        Self {
            connections_at_most,
            connections: AtomicUsize::new(0),
            connections_opened: AtomicU64::new(0),
            answers: Default::default(),
            durations: Default::default(),
            microseconds: AtomicU64::new(0),
        }
    }

    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.connections_opened.fetch_add(1, Relaxed);
    }

    pub(super) fn count_end_of_connection(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Counts an answer, and how long it took unless that says nothing.
    pub(super) fn count_answer(&self, method: Method, status: u16, took: Option<Duration>) {
        if let Ok(index) = STATUSES.binary_search(&status) {
            self.answers[method as usize][index].fetch_add(1, Relaxed);
        }
        if let Some(took) = took {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let bucket = BOUNDS.partition_point(|bound| *bound < took);
            self.durations[bucket].fetch_add(1, Relaxed);
            self.microseconds.fetch_add(took, Relaxed);
        }
    }

    /// How many connections there may be.
    pub(super) fn connections_at_most(&self) -> usize {
        self.connections_at_most
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// How many connections there were, ever.
    pub(super) fn connections_opened(&self) -> u64 {
        self.connections_opened.load(Relaxed)
    }

    /// How many answers there were, by method and status. What is likely is there
    /// from the start, so that the first one is seen as an increase; what is not
    /// comes when it occurs.
    pub(super) fn answers(&self) -> impl Iterator<Item = (Method, u16, u64)> {
        Method::ALL.into_iter().flat_map(move |method| {
            let counts = STATUSES.into_iter().zip(&self.answers[method as usize]);
            counts.filter_map(move |(status, count)| {
                let count = count.load(Relaxed);
                let is_likely = match method {
                    Method::Get => OF_GET.contains(&status),
                    Method::Other => OF_THE_DOOR.contains(&status),
                    _ => false,
                };
                (count > 0 || is_likely).then_some((method, status, count))
            })
        })
    }

    /// How many answers took how long, by bucket: one for each of [`BOUNDS`], and
    /// one for what took longer.
    pub(super) fn durations(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.durations[bucket].load(Relaxed))
    }

    /// How long all of them took together.
    pub(super) fn total_duration(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::refusal::Refusal;
    use crate::jsonapi::ParameterFault;

    #[test]
    fn all_methods_stand_in_their_order_and_the_rest_is_other() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index);
            assert_eq!(Method::parse(method.as_str()), method);
        }
        for name in ["get", "PATCH", ""] {
            assert_eq!(Method::parse(name), Method::Other, "{name}");
        }
    }

    #[test]
    fn every_refusal_is_counted() {
        assert!(STATUSES.is_sorted());
        let text = String::new;
        let fault = ParameterFault {
            parameter: text(),
            detail: text(),
        };
        for refusal in [
            Refusal::BadRequest(text()),
            Refusal::BadParameter(fault),
            Refusal::Unauthorized,
            Refusal::Forbidden(text()),
            Refusal::NotFound(text()),
            Refusal::MethodNotAllowed {
                method: text(),
                allow: "",
            },
            Refusal::NotAcceptable,
            Refusal::RequestTimeout(""),
            Refusal::Conflict(text()),
            Refusal::PreconditionFailed,
            Refusal::ContentTooLarge(text()),
            Refusal::UriTooLong(text()),
            Refusal::ExpectationFailed(text()),
            Refusal::Misdirected(text()),
            Refusal::HeadTooLarge(text()),
            Refusal::Internal,
            Refusal::NotImplemented(text()),
            Refusal::Busy(""),
            Refusal::VersionNotSupported(text()),
        ] {
            let statistics = Statistics::new(1);
            let (status, _) = refusal.status();
            statistics.count_answer(Method::Put, status, None);
            let counted = statistics.answers().find(|(_, _, count)| *count > 0);
            assert_eq!(counted, Some((Method::Put, status, 1)));
        }
    }

    #[test]
    fn what_takes_as_long_as_a_bound_is_below_it_and_what_takes_longer_is_not() {
        let statistics = Statistics::new(1);
        for microseconds in [0, 100, 101, 5_000_000, 5_000_001] {
            let took = Some(Duration::from_micros(microseconds));
            statistics.count_answer(Method::Get, 200, took);
        }
        let durations = statistics.durations();
        assert_eq!((durations[0], durations[1]), (2, 1));
        assert_eq!(
            (durations[BOUNDS.len() - 1], durations[BOUNDS.len()]),
            (1, 1)
        );
        assert_eq!(
            statistics.total_duration(),
            Duration::from_micros(10_000_202)
        );
    }
}
