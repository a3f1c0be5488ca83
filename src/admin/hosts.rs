//! The names of hosts, for `rdns=true`: a bounded cache, filled by threads of its own:
//! one for clients of TCP and one for those of the unix socket, who need not wait
//! behind what others have asked for.
//!
//! A resolver may take half a minute for an address that nobody knows. So
//! whoever asks gets what is known, waits [`WAIT`] at most, and never on the
//! thread that answers everybody; the look-up goes on, and the next one who
//! asks finds the name.
//!
//! A name is what the resolver says. Whoever owns an address can have it say
//! anything, so it is no proof of who somebody is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::transport::{Transport, kept_for_unix_socket};
use crate::lock::lock;
use crate::registry::{Change, Changes};
use crate::thread::start_thread;

/// How long a request waits for names that are not known yet.
pub(super) const WAIT: Duration = Duration::from_millis(50);

/// How many addresses are remembered, with or without a name, and how many may
/// wait to be looked up for clients of TCP.
const CAPACITY: usize = 1024;

/// How many may wait for those of the unix socket.
const KEPT: usize = kept_for_unix_socket(CAPACITY);

/// How long what was found holds.
const HOLDS: Duration = Duration::from_secs(300);

/// The longest name there is (RFC 1035, section 2.3.4), without the dot at its end.
const LONGEST_NAME: usize = 253;

/// Looks an address up, for as long as that takes.
type Resolve = fn(IpAddr) -> Option<String>;

/// Names by address.
pub(super) type Names = HashMap<IpAddr, Arc<str>>;

/// Whether something is still to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completeness {
    Whole,
    Partial,
}

/// The names that are known, and the threads that find more.
#[derive(Clone)]
pub(super) struct Hosts {
    shared: Arc<Shared>,
}

struct Shared {
    resolve: Resolve,
    inner: Mutex<Inner>,
    /// Something was asked for, or found.
    changed: Condvar,
    changes: Changes,
}

#[derive(Default)]
struct Inner {
    found: HashMap<IpAddr, Found>,
    /// The addresses in the order in which they were found.
    order: VecDeque<IpAddr>,
    /// What clients of TCP ask for.
    of_tcp: Asked,
    /// What those of the unix socket ask for.
    of_unix_socket: Asked,
    stopped: bool,
}

/// What is asked for in one way.
#[derive(Default)]
struct Asked {
    queue: VecDeque<IpAddr>,
    /// What is in the queue, or being looked up.
    addresses: HashSet<IpAddr>,
    has_thread: bool,
}

struct Found {
    name: Option<Arc<str>>,
    at: Instant,
}

impl Hosts {
    /// An empty cache. Its threads start when somebody asks.
    pub(super) fn new(now: SystemTime) -> Self {
        Self::with(resolve, now)
    }

    fn with(resolve: Resolve, now: SystemTime) -> Self {
        Self {
            shared: Arc::new(Shared {
                resolve,
                inner: Mutex::default(),
                changed: Condvar::new(),
                changes: Changes::begin(now),
            }),
        }
    }

    /// When something was last found.
    pub(super) fn last_change(&self) -> Change {
        self.shared.changes.last()
    }

    /// What is known of these addresses. What is not is looked up from now on.
    pub(super) fn known(
        &self,
        addresses: &HashSet<IpAddr>,
        transport: Transport,
    ) -> (Names, Completeness) {
        let mut inner = lock(&self.shared.inner);
        self.ask(&mut inner, addresses, transport);
        inner.known(addresses, Instant::now())
    }

    /// What is known of these addresses within [`WAIT`].
    pub(super) fn awaited(&self, addresses: &HashSet<IpAddr>, transport: Transport) -> Names {
        let until = Instant::now() + WAIT;
        let mut inner = lock(&self.shared.inner);
        self.ask(&mut inner, addresses, transport);
        loop {
            let now = Instant::now();
            let (names, completeness) = inner.known(addresses, now);
            let left = until.saturating_duration_since(now);
            if completeness == Completeness::Whole || left.is_zero() {
                return names;
            }
            let waited = self.shared.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the threads, after what they are looking up.
    pub(super) fn stop(&self) {
        lock(&self.shared.inner).stopped = true;
        self.shared.changed.notify_all();
    }

    fn ask(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        addresses: &HashSet<IpAddr>,
        transport: Transport,
    ) {
        let now = Instant::now();
        let limit = match transport {
            Transport::Tcp => CAPACITY,
            Transport::UnixSocket => KEPT,
        };
        for address in addresses {
            let is_known = inner.is_known(address, now);
            let asked = inner.asked(transport);
            if !is_known && asked.addresses.len() < limit && asked.addresses.insert(*address) {
                asked.queue.push_back(*address);
            }
        }
        let stopped = inner.stopped;
        let asked = inner.asked(transport);
        if asked.queue.is_empty() || stopped {
            return;
        }
        if !asked.has_thread {
            let shared = Arc::clone(&self.shared);
            match start_thread("hosts", move || shared.run(transport)) {
                Ok(_) => asked.has_thread = true,
                Err(cause) => log::error!("cannot start the thread that looks up hosts: {cause}"),
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Inner {
    fn asked(&mut self, transport: Transport) -> &mut Asked {
        match transport {
            Transport::Tcp => &mut self.of_tcp,
            Transport::UnixSocket => &mut self.of_unix_socket,
        }
    }

    fn is_known(&self, address: &IpAddr, now: Instant) -> bool {
        let found = self.found.get(address);
        found.is_some_and(|found| now.saturating_duration_since(found.at) < HOLDS)
    }

    fn known(&self, addresses: &HashSet<IpAddr>, now: Instant) -> (Names, Completeness) {
        let mut names = Names::new();
        let mut completeness = Completeness::Whole;
        for address in addresses {
            if !self.is_known(address, now) {
                completeness = Completeness::Partial;
            } else if let Some(found) = self.found.get(address)
                && let Some(name) = &found.name
            {
                names.insert(*address, Arc::clone(name));
            }
        }
        (names, completeness)
    }

    fn add(&mut self, address: IpAddr, name: Option<Arc<str>>) {
        // Both may have asked for it; who looks it up again finds it here.
        self.of_tcp.addresses.remove(&address);
        self.of_unix_socket.addresses.remove(&address);
        let found = Found {
            name,
            at: Instant::now(),
        };
        if self.found.insert(address, found).is_some() {
            self.order.retain(|other| *other != address);
        }
        self.order.push_back(address);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
    }
}

impl Shared {
    /// Looks up what is asked for in one way, one after the other.
    fn run(&self, transport: Transport) {
        let mut inner = lock(&self.inner);
        while !inner.stopped {
            let Some(address) = inner.asked(transport).queue.pop_front() else {
                let waited = self.changed.wait(inner);
                inner = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if inner.is_known(&address, Instant::now()) {
                // The other thread has found it meanwhile.
                inner.asked(transport).addresses.remove(&address);
                continue;
            }
            drop(inner);
            let name = (self.resolve)(address).filter(|name| is_host_name(name));
            inner = lock(&self.inner);
            inner.add(address, name.map(Arc::from));
            self.changes.note(SystemTime::now());
            self.changed.notify_all();
        }
    }
}

/// Asks the system's resolver: its hosts file, then the domain name system.
fn resolve(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    // Where it finds none it says the address.
    name.parse::<IpAddr>().is_err().then_some(name)
}

/// What comes from a network is shown as a name only if it looks like one (RFC
/// 1123, section 2.1; `_` is common on inner networks).
fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn set(last: &[u8]) -> HashSet<IpAddr> {
        last.iter().copied().map(address).collect()
    }

    fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_name_is_found_once_and_no_name_is_remembered_too() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let hosts = Hosts::with(
            |asked| {
                ASKED.fetch_add(1, Relaxed);
                (asked == address(1)).then(|| "one.example".to_owned())
            },
            SystemTime::now(),
        );
        let both = set(&[1, 2]);
        let names = patiently(|| {
            let (names, completeness) = hosts.known(&both, Transport::Tcp);
            (completeness == Completeness::Whole).then_some(names)
        });
        assert_eq!(names.len(), 1);
        assert_eq!(names[&address(1)].as_ref(), "one.example");
        assert_eq!(hosts.awaited(&both, Transport::UnixSocket), names);
        assert_eq!(ASKED.load(Relaxed), 2);
        assert_eq!(hosts.last_change().version, 2);
        hosts.stop();
    }

    #[test]
    fn nobody_waits_longer_for_a_resolver_that_hangs() {
        static RELEASED: AtomicUsize = AtomicUsize::new(0);
        let hosts = Hosts::with(
            |_| {
                patiently(|| (RELEASED.load(Relaxed) > 0).then_some(()));
                Some("late.example".to_owned())
            },
            SystemTime::now(),
        );
        let begin = Instant::now();
        assert!(hosts.awaited(&set(&[1]), Transport::Tcp).is_empty());
        assert!(begin.elapsed() >= WAIT);
        let is_whole = || hosts.known(&set(&[1]), Transport::Tcp).1 == Completeness::Whole;
        assert!(!is_whole());
        RELEASED.store(1, Relaxed);
        patiently(|| is_whole().then_some(()));
        hosts.stop();
    }

    #[test]
    fn who_asks_over_the_unix_socket_does_not_wait_behind_others() {
        static RELEASED: AtomicUsize = AtomicUsize::new(0);
        let hosts = Hosts::with(
            |asked| {
                // All but one hang.
                patiently(|| (asked == address(0) || RELEASED.load(Relaxed) > 0).then_some(()));
                Some("found.example".to_owned())
            },
            SystemTime::now(),
        );
        let all: HashSet<IpAddr> = (0..2 * 1024)
            .map(|number| IpAddr::V4(Ipv4Addr::from_bits(number)))
            .collect();
        hosts.known(&all, Transport::Tcp);
        assert_eq!(lock(&hosts.shared.inner).of_tcp.addresses.len(), CAPACITY);
        let wanted = set(&[0]);
        patiently(|| (!hosts.awaited(&wanted, Transport::UnixSocket).is_empty()).then_some(()));
        RELEASED.store(1, Relaxed);
        hosts.stop();
    }

    #[test]
    fn the_cache_and_the_queue_are_bounded() {
        let mut inner = Inner::default();
        let many = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
        for number in 0..2 * 1024 {
            inner.add(many(number), None);
            inner.add(many(number), None);
        }
        assert_eq!((inner.found.len(), inner.order.len()), (CAPACITY, CAPACITY));
        assert!(inner.is_known(&many(2047), Instant::now()));
        assert!(!inner.is_known(&many(1023), Instant::now()));
        assert!(!inner.is_known(&many(2047), Instant::now() + HOLDS));
    }

    #[test]
    fn what_does_not_look_like_a_name_is_none() {
        for name in ["localhost", "a_b-1.example"] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["", "<b>", "a b", "é.example", &"a".repeat(254)] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
