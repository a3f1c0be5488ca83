//! sessiond routes client connections to servers and shows its live sessions
//! over a JSON:API.
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | what was typed |
//! | [`config`] | the configuration file, as a value in which every reference holds |
//! | [`registry`] | what exists right now: sessions, services, servers, listeners |
//! | [`protocol`] | what passing bytes tell: logins, refusals, PROXY headers |
//! | [`relay`] | the event loop that owns every client and backend socket |
//! | [`admin`] | the HTTP side: the door, the loop, the handlers |
//! | [`jsonapi`] | documents, links, errors and parameters; knows no session |
//! | [`daemon`] | puts them together, and waits for signals |
//! | [`inherited`] | sockets that systemd passes |
//! | [`systemd`] | what systemd is told |
//! | [`pulse`] | how it knows that the loops turn |
//! | [`journal`] | log lines on standard error |
//! | [`terminal`] | the client on the command line: a client like any other |
//!
//! Imports run one way: `main → daemon → {admin, relay} → registry`,
//! `relay → protocol`, `admin → jsonapi`. The relay and the admin server never see each other; the
//! registry is what they share. The client on the command line is a program of its own in the same
//! file: `main → terminal → jsonapi`, and it sees neither of them.
//!
//! # Two journeys
//!
//! A client connects to a listener. The relay accepts it, the registry opens
//! its session, routing chooses a server, and two pipes move bytes until both
//! directions have ended; then the registry closes the session with the reason.
//!
//! A request comes to the admin port. The admin loop waits at the door, which
//! reads the request whole, checks it and leads it through tiny_http; the loop
//! receives it, finds its route, and a handler takes what it needs out of the registry and writes a document, which
//! goes to the client's socket.
//!
//! What an operator asks for comes to a handler the same way; the handler
//! leaves a [`registry::Command`] for the relay, which follows it in its next
//! turn and says how that went.
//!
//! # With a data plane of your own
//!
//! The relay is one way to fill the registry. A program that has connections of
//! its own can show them with the same admin server:
//!
//! ```
//! use sessiond::{admin::Admin, config::Config, registry::{CloseReason, Registry}};
//! use std::io::{Read, Write};
//! use std::{net::TcpStream, sync::Arc, time::{Instant, SystemTime}};
//!
//! let text = b"[maxscale]\nadmin_port=0\n\
//!     [room]\ntype=server\naddress=192.0.2.1\nport=7\n\
//!     [Chat]\ntype=service\nservers=room\n\
//!     [Door]\ntype=listener\nservice=Chat\nprotocol=TCP\nport=7000\n";
//! let config = Config::parse("chat.cnf", text)?;
//! let registry = Arc::new(Registry::new(&config, SystemTime::now()));
//! let admin = Admin::bind(&config.admin, Arc::clone(&registry))?;
//! let address = admin.address();
//! let running = admin.start()?;
//!
//! let topology = registry.topology();
//! let door = &topology.listeners[0];
//! let remote = "192.0.2.7:4711".parse()?;
//! let session = registry.sessions.open_client(door, Some(remote), SystemTime::now(), Instant::now());
//! let mut request = TcpStream::connect(address)?;
//! request.write_all(b"GET /v1/sessions/1 HTTP/1.0\r\n\r\n")?;
//! let mut answer = String::new();
//! request.read_to_string(&mut answer)?;
//! assert!(answer.contains(r#""remote":"192.0.2.7","port":4711"#));
//!
//! registry.sessions.close(
//!     session.id(), CloseReason::ClientClosed, SystemTime::now(), Instant::now(),
//! );
//! running.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Such a program is asked to end sessions, or to keep them away from a server,
//! by [`registry::Commands`]: it attaches a bell, takes what it is asked and answers.

pub mod admin;
mod boolean;
pub mod cli;
pub mod config;
pub mod daemon;
mod duration;
mod events;
pub mod inherited;
pub mod journal;
pub mod jsonapi;
mod lock;
pub mod protocol;
pub mod pulse;
mod queue;
pub mod registry;
pub mod relay;
mod socket;
pub mod systemd;
pub mod terminal;
mod thread;
mod time;
