//! The HTTP side: shows the registry as JSON:API documents.
//!
//! A request's journey: the [`door`] reads it from the client's socket, checks
//! it and forwards it to tiny_http over an inner socket; the loop here receives
//! it, one after the other, on one thread; [`route`] says what its path means;
//! a handler reads the registry and writes a document; the [`reply`] goes
//! straight to the [`client`]'s socket. What the socket does not take at once
//! the door delivers.
//!
//! tiny_http never faces a client: a single request could end it.

mod client;
mod door;
mod handlers;
mod refusal;
mod reply;
mod route;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use tiny_http::{Request, Server};

use crate::config;
use crate::jsonapi::{Layout, Links, Query};
use crate::registry::Registry;
use client::Clients;
use door::{Door, InnerDirectory};
use handlers::Context;
use refusal::Refusal;
use reply::Reply;
use route::Route;

/// An admin server that listens, and does not answer yet.
pub struct Admin {
    registry: Arc<Registry>,
    server: Arc<Server>,
    door: Door,
    inner: InnerDirectory,
    address: SocketAddr,
}

/// An admin server that answers, until it is stopped.
#[must_use = "dropping it leaves the server running for good"]
pub struct Running {
    server: Arc<Server>,
    stop: Arc<AtomicBool>,
    door: door::Handle,
    threads: Vec<JoinHandle<()>>,
    _inner: InnerDirectory,
}

/// Why the admin server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// Its address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// There is no place for the socket between the door and tiny_http.
    Inner(io::Error),
    /// The door cannot wait for events.
    Poll(io::Error),
    /// A thread cannot be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, cause) => {
                write!(f, "cannot listen for admin clients on {address}: {cause}")
            }
            Self::Inner(cause) => write!(f, "cannot make the admin server's inner socket: {cause}"),
            Self::Poll(cause) => write!(f, "cannot wait for admin clients: {cause}"),
            Self::Thread(cause) => write!(f, "cannot start a thread of the admin server: {cause}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
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
        let inner = InnerDirectory::new().map_err(StartError::Inner)?;
        let server = Server::http_unix(&inner.socket())
            .map_err(|cause| StartError::Inner(io::Error::other(cause.to_string())))?;
        let wanted = SocketAddr::new(parameters.host, parameters.port);
        let door = Door::bind(wanted, inner.socket())?;
        let address = door.address().unwrap_or(wanted);
        Ok(Self {
            registry,
            server: Arc::new(server),
            door,
            inner,
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, on two threads: the door's and the loop's.
    pub fn start(self) -> Result<Running, StartError> {
        let Self {
            registry,
            server,
            door,
            inner,
            address,
        } = self;
        log::info!("admin server: listening on {address}");
        let stop = Arc::new(AtomicBool::new(false));
        let door_handle = door.handle();
        let clients = door.clients();
        let started = SystemTime::now();
        let answering = {
            let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
            let context = Context {
                registry,
                started,
                began: Instant::now(),
            };
            move || run(&server, &stop, &clients, &context)
        };
        let thread = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.into())
                .spawn(body)
                .map_err(StartError::Thread)
        };
        let threads = vec![
            thread("admin", Box::new(answering))?,
            thread("door", Box::new(move || door.run()))?,
        ];
        Ok(Running {
            server,
            stop,
            door: door_handle,
            threads,
            _inner: inner,
        })
    }
}

impl Running {
    /// Closes all admin connections, and returns when the threads have ended.
    pub fn stop(self) {
        self.stop.store(true, Release);
        self.server.unblock();
        self.door.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread of the admin server has panicked");
            }
        }
    }
}

/// The blocking loop: receives a request, answers it, takes the next one.
fn run(server: &Server, stop: &AtomicBool, clients: &Clients, context: &Context) {
    while !stop.load(Acquire) {
        match server.recv() {
            Ok(request) => respond(request, clients, context),
            Err(_) if stop.load(Acquire) => {}
            Err(cause) => log::error!("the admin server's inner socket: {cause}"),
        }
    }
}

/// Answers one request on the socket of the client that sent it. tiny_http's
/// own way back to the door stays unused.
fn respond(request: Request, clients: &Clients, context: &Context) {
    let client = door::client_number(&request).and_then(|number| clients.get(number));
    // A panic must not take the loop with it; what it was about is in the log already.
    let reply = catch_unwind(AssertUnwindSafe(|| answer(&request, context)));
    let reply = reply.unwrap_or_else(|_| Reply::refuse(&Refusal::Internal, Layout::Compact));
    let head_alone = request.method().as_str() == "HEAD";
    drop(request.into_writer());
    // The client may have left meanwhile.
    if let Some(client) = client {
        let keep_alive = client.keeps_alive();
        client.answer(
            reply.into_bytes(SystemTime::now(), keep_alive, head_alone),
            Instant::now(),
        );
    }
}

/// Answers one request: what its path means, what its parameters ask, what the
/// handler finds.
fn answer(request: &Request, context: &Context) -> Reply {
    let target = request.url();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let route = match Route::parse(path) {
        Ok(route) => route,
        Err(refusal) => return Reply::refuse(&refusal, Layout::Compact),
    };
    match request.method().as_str() {
        "GET" | "HEAD" => {}
        "OPTIONS" => return Reply::options(route.allow()),
        method => {
            let refusal = Refusal::MethodNotAllowed {
                method: method.to_owned(),
                allow: route.allow(),
            };
            return Reply::refuse(&refusal, Layout::Compact);
        }
    }
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(fault) => return Reply::refuse(&Refusal::BadParameter(fault), Layout::Compact),
    };
    let links = Links::on(door::host(request));
    match context.look_up(&route, &query, &links) {
        Ok(document) => Reply::document(document),
        Err(refusal) => Reply::refuse(&refusal, query.layout),
    }
}
