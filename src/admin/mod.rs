//! The HTTP side: shows the registry as JSON:API documents.
//!
//! A request's journey: the [`door`] reads it from the client's socket, checks
//! it and forwards it to tiny_http over an inner socket; the loop here receives
//! it, one after the other, on one thread, which is the door's as well;
//! [`access`] says whether it may come in and [`route`] what its path means; a
//! handler reads the registry and writes a document; the [`reply`] goes straight
//! to the [`client`]'s socket. What the socket does not take at once the door
//! delivers, and what is long a [`stream`] sends on a thread of its own.
//!
//! tiny_http never faces a client: a single request could end it.

mod access;
mod answer;
mod client;
pub mod door;
mod handlers;
mod hosts;
mod negotiation;
mod precondition;
pub mod refusal;
mod reply;
mod route;
mod statistics;
mod stream;
mod transport;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tiny_http::Request;

use crate::config::{self, LoadError};
use crate::inherited::Inherited;
use crate::jsonapi::{Layout, Stopped};
use crate::pulse::Pulse;
use crate::registry::Registry;
use crate::thread::start_thread;
use crate::time::HttpDates;
use access::Access;
pub use access::Rules;
use answer::answer;
use client::{Client, Clients};
use door::Door;
use handlers::{Context, Followers};
use hosts::Hosts;
use refusal::Refusal;
use reply::{Body, Reply, Work};
use statistics::Method;
use stream::{Ending, Place, Stream, Threads, stand_back};

/// An admin server that listens, and does not answer yet.
pub struct Admin {
    access: Access,
    registry: Arc<Registry>,
    door: Door,
    address: SocketAddr,
    socket: Option<std::path::PathBuf>,
}

/// An admin server that answers, until it is stopped.
#[must_use = "dropping it leaves the server running for good"]
pub struct Running {
    access: Arc<Access>,
    hosts: Hosts,
    followers: Arc<Followers>,
    answering_threads: Threads,
    door: door::Handle,
    pulse: Pulse,
    thread: JoinHandle<()>,
}

/// Why the admin server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The accounts cannot be used.
    Accounts(LoadError),
    /// An address or a path cannot be listened on.
    Listen(String, io::Error),
    /// tiny_http, or the socket between the door and it, cannot be made.
    Inner(io::Error),
    /// The door cannot wait for events.
    Poll(io::Error),
    /// A thread cannot be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts(cause) => cause.fmt(f),
            Self::Listen(place, cause) => {
                write!(f, "cannot listen for admin clients on {place}: {cause}")
            }
            Self::Inner(cause) => {
                write!(f, "cannot start the admin server's inner server: {cause}")
            }
            Self::Poll(cause) => write!(f, "cannot wait for admin clients: {cause}"),
            Self::Thread(cause) => write!(f, "cannot start a thread of the admin server: {cause}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Accounts(cause) => Some(cause),
            Self::Listen(_, cause)
            | Self::Inner(cause)
            | Self::Poll(cause)
            | Self::Thread(cause) => Some(cause),
        }
    }
}

impl Admin {
    /// Listens for admin clients. They wait until [`Self::start`].
    pub fn bind(parameters: &config::Admin, registry: Arc<Registry>) -> Result<Self, StartError> {
        Self::bind_with(parameters, registry, &Inherited::none())
    }

    /// The same, where some sockets listen already.
    pub fn bind_with(
        parameters: &config::Admin,
        registry: Arc<Registry>,
        inherited: &Inherited,
    ) -> Result<Self, StartError> {
        let access = Access::new(parameters).map_err(StartError::Accounts)?;
        let door = Door::bind(parameters, inherited)?;
        let address = door
            .address()
            .unwrap_or(SocketAddr::new(parameters.host, parameters.port));
        let socket = parameters.socket.as_ref().map(|socket| socket.path.clone());
        Ok(Self {
            access,
            registry,
            door,
            address,
            socket,
        })
    }

    /// Where it listens for TCP clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the log where it listens.
    pub fn announce(&self) {
        if let Some(path) = &self.socket {
            log::info!("admin server: listening on {}", path.display());
        }
        log::info!("admin server: listening on {}", self.address);
    }

    /// Answers from now on, on one thread.
    pub fn start(self) -> Result<Running, StartError> {
        let statistics = self.door.clients().statistics();
        let context = Arc::new(Context::new(Arc::clone(&self.registry), statistics));
        let (hosts, followers) = (context.hosts.clone(), Arc::clone(&context.followers));
        self.start_with(
            move |access, asked| answer(access, asked, &context),
            hosts,
            followers,
        )
    }

    fn start_with(
        self,
        answer: impl Fn(&Access, &Asked<'_>) -> Reply + Send + 'static,
        hosts: Hosts,
        followers: Arc<Followers>,
    ) -> Result<Running, StartError> {
        let Self { access, door, .. } = self;
        let access = Arc::new(access);
        let handle = door.handle();
        let answering_threads = Threads::new(LONG_ANSWERS);
        let bell = door.bell();
        let pulse = Pulse::new("admin server's", move || bell.wake());
        let answering = {
            let (access, pulse, threads) = (
                Arc::clone(&access),
                pulse.clone(),
                answering_threads.clone(),
            );
            move || {
                let answer = |asked: &Asked<'_>| answer(&access, asked);
                run(door, &pulse, &threads, &answer);
            }
        };
        let thread = start_thread("admin", answering).map_err(StartError::Thread)?;
        Ok(Running {
            access,
            hosts,
            followers,
            answering_threads,
            door: handle,
            pulse,
            thread,
        })
    }
}

impl Running {
    /// The pulse of its loop.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// What puts other rules in force, without blocking, on any thread.
    pub fn change_of(&self, rules: Rules) -> impl FnOnce() + Send + use<> {
        let (access, followers) = (Arc::clone(&self.access), Arc::clone(&self.followers));
        move || {
            // Whoever follows by an account that has gone must not go on.
            if access.change(rules) {
                followers.end(Duration::ZERO);
            }
        }
    }

    /// Closes all admin connections, and returns when the thread has ended.
    pub fn stop(self) {
        self.followers.end(LAST_WAIT);
        self.answering_threads.wait_for_deferred(LAST_WAIT);
        self.hosts.stop();
        self.door.stop();
        if self.thread.join().is_err() {
            log::error!("the thread of the admin server has panicked");
        }
    }
}

/// How long the end waits for those who follow, and for answers that waited, where
/// somebody does not read. Their threads give way to others, whatever those do.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How many long answers to clients of TCP may be on their way at a time. Each costs a
/// thread and two pieces; a reader that is slow can keep one for a minute.
const LONG_ANSWERS: usize = 4;

/// A request and who sent it.
struct Asked<'a> {
    request: &'a Request,
    client: &'a Client,
}

/// The blocking loop: waits at the door, then receives the requests that came
/// in, and answers one after the other.
///
/// One thread does both: a request is handed over once less, and all that come
/// in while others are answered come at once.
fn run(mut door: Door, pulse: &Pulse, threads: &Threads, answer: &dyn Fn(&Asked<'_>) -> Reply) {
    let clients = door.clients();
    let (mut events, mut dates) = (door.events(), HttpDates::default());
    while door.turn(&mut events) {
        pulse.beat();
        while let Some(request) = door.receive() {
            respond(request, &clients, threads, &mut dates, answer);
            pulse.beat();
        }
    }
    door.close();
}

/// Answers one request on the socket of the client that sent it. tiny_http's
/// own way back to the door stays unused.
fn respond(
    request: Request,
    clients: &Clients,
    threads: &Threads,
    dates: &mut HttpDates,
    answer: &dyn Fn(&Asked<'_>) -> Reply,
) {
    // The client may have left meanwhile; then nobody waits for an answer.
    if let Some(client) = door::client_number(&request).and_then(|number| clients.get(number)) {
        let asked = Asked {
            request: &request,
            client: &client,
        };
        // A panic must not take the loop with it; the log has it already.
        let reply = catch_unwind(AssertUnwindSafe(|| answer(&asked)));
        let reply = reply.unwrap_or_else(|_| Reply::refuse(&Refusal::Internal, Layout::Compact));
        let method = Method::parse(request.method().as_str());
        send_or_defer(reply, client, method, threads, dates);
    }
    drop(request.into_writer());
}

/// Sends an answer, or finds out on a thread of its own what it is.
fn send_or_defer(
    mut reply: Reply,
    client: Arc<Client>,
    method: Method,
    threads: &Threads,
    dates: &mut HttpDates,
) {
    let Some(work) = reply.take_work() else {
        return send(reply, client, method, threads, dates, None);
    };
    client.defer(reply.waits());
    let (waiting, place, others) = (Arc::clone(&client), reply.take_place(), threads.clone());
    let deferral = threads.deferral();
    let thread = start_thread("wait", move || {
        stand_back(waiting.peer.transport());
        match find_out(work, &waiting) {
            Err(Stopped) => waiting.cut_off(),
            Ok(reply) if waiting.end_deferral(Instant::now()) => {
                let dates = &mut HttpDates::default();
                send(reply, waiting, method, &others, dates, place);
            }
            Ok(_) => {}
        }
        drop(deferral);
    });
    if let Err(cause) = thread {
        log::error!("cannot start a thread for an answer that has to wait: {cause}");
        if client.end_deferral(Instant::now()) {
            let refused = Reply::refuse(&Refusal::Internal, Layout::Compact);
            send(refused, client, method, threads, dates, None);
        }
    }
}

/// Does what an answer needs to have done first, perhaps one thing after the other.
fn find_out(mut work: Work, client: &Client) -> Result<Reply, Stopped> {
    loop {
        let done = catch_unwind(AssertUnwindSafe(|| work(&|| client.is_gone())));
        let internal = |_| Ok(Reply::refuse(&Refusal::Internal, Layout::Compact));
        let mut reply = done.unwrap_or_else(internal)?;
        match reply.take_work() {
            Some(more) => work = more,
            None => return Ok(reply),
        }
    }
}

/// Sends an answer: a short one as far as the socket takes it, a long one from
/// a thread of its own, which this one is where it has a place already.
fn send(
    mut reply: Reply,
    client: Arc<Client>,
    method: Method,
    threads: &Threads,
    dates: &mut HttpDates,
    own_place: Option<Place>,
) {
    let framing = client.framing();
    // Whoever guesses at tokens must connect again for each guess.
    if reply.needs_close(framing) || reply.is_unauthorized() {
        client.close_after_answer();
    }
    let (place, status, endless) = (reply.take_place(), reply.status(), reply.is_endless());
    let (head, body) = reply.into_parts(SystemTime::now(), dates, client.keeps_alive(), framing);
    let now = Instant::now();
    if endless {
        client.stop_clock();
    }
    match body {
        Body::Begun(begin, rest) if method != Method::Head => {
            let stream = Stream {
                head,
                begin,
                rest,
                framing,
            };
            if let Some(own) = own_place {
                client.count_answer(method, status, now);
                client.begin_stream(endless, now);
                stream.send(Ending::new(client, own));
            } else if let Some(place) =
                place.or_else(|| threads.streams.place(client.peer.transport()))
            {
                client.count_answer(method, status, now);
                client.begin_stream(endless, now);
                stream.start(client, place);
            } else {
                let busy = Reply::refuse(&Refusal::Busy(TOO_MANY), Layout::Compact);
                client.count_answer(method, busy.status(), now);
                let bytes = busy.into_bytes(SystemTime::now(), client.keeps_alive());
                client.answer(bytes, now);
            }
        }
        body => {
            let mut bytes = head.into_bytes();
            if let Body::Whole(document) = body
                && method != Method::Head
            {
                bytes.extend(document);
            }
            // The place is free before the client knows, who may ask again at once.
            drop(own_place);
            client.count_answer(method, status, now);
            client.answer(bytes, now);
        }
    }
}

/// What a client is told who asks for one long answer too many.
const TOO_MANY: &str =
    "as many long answers are on their way as there may be; ask again in a second";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Mutex;

    use super::*;
    use crate::config::Config;
    use crate::lock::lock;

    /// Keeps the log of this test program.
    struct Kept(Mutex<Vec<String>>);

    impl log::Log for Kept {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            lock(&self.0).push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    static LOG: Kept = Kept(Mutex::new(Vec::new()));

    #[test]
    fn a_panic_in_a_handler_is_a_500_and_the_next_request_is_answered() {
        log::set_logger(&LOG).unwrap();
        log::set_max_level(log::LevelFilter::Error);
        crate::journal::log_panics();
        let config = Config::parse("test", b"[maxscale]\nadmin_port=0\n").unwrap();
        let admin = Admin::bind(
            &config.admin,
            Arc::new(Registry::new(&config, SystemTime::now())),
        )
        .unwrap();
        let address = admin.address();
        let answer = |_: &Access, asked: &Asked<'_>| match asked.request.url() {
            "/panic" => panic!("as the test wants it"),
            _ => Reply::document(b"{}\n".to_vec()),
        };
        let running = admin.start_with(
            answer,
            Hosts::new(SystemTime::now()),
            Arc::new(Followers::new(1)),
        );
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        for _ in 0..3 {
            assert!(ask("/panic").starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
            assert!(ask("/").starts_with("HTTP/1.1 200 OK\r\n"));
        }
        running.unwrap().stop();
        let lines = lock(&LOG.0)
            .iter()
            .filter(|line| line.ends_with("as the test wants it"))
            .count();
        assert_eq!(lines, 3);
    }
}
