//! Looks up the names of servers, on a thread of its own.
//!
//! A resolver can take its time, up to minutes, and the event loop must not
//! notice. The thread writes what it finds into the [`Server`]s, where the
//! relay reads it at the next connect. Sessions stay where they are.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Host;
use crate::queue::{Nothing, Receiver, Sender, queue};
use crate::registry::Server;
use crate::thread::start_thread;

/// How often names are looked up: as often as servers that are down are probed.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long the start waits for the first look-ups. A resolver that is slower
/// than that must not keep the rest from working.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How many addresses of a name are used. A connect tries one after the other.
const MAX_ADDRESSES: usize = 8;

/// Keeps the thread going; dropping it ends the thread after its current look-up.
pub(super) struct Names {
    _stop: Option<Sender<()>>,
}

impl Names {
    /// Looks all names up, now and then every [`INTERVAL`]. Where there are
    /// only addresses there is nothing to do.
    pub(super) fn start(servers: &[Arc<Server>]) -> io::Result<Self> {
        let is_named = |server: &&Arc<Server>| matches!(server.parameters.address, Host::Name(_));
        let named: Vec<_> = servers.iter().filter(is_named).cloned().collect();
        if named.is_empty() {
            return Ok(Self { _stop: None });
        }
        let (stop, stopped) = queue(1);
        let (first, first_done) = queue(1);
        start_thread("names", move || look_up_until(&stopped, &first, &named))?;
        // Where the wait is too short, servers without an address count as down until they have one.
        let _ = first_done.receive_until(Instant::now() + FIRST_WAIT);
        Ok(Self { _stop: Some(stop) })
    }
}

fn look_up_until(stopped: &Receiver<()>, first: &Sender<()>, named: &[Arc<Server>]) {
    let mut failing = vec![false; named.len()];
    loop {
        for (server, failing) in named.iter().zip(&mut failing) {
            look_up(server, failing);
        }
        // Nobody listens after the first time.
        let _ = first.send(());
        if stopped.receive_until(Instant::now() + INTERVAL) != Err(Nothing::Yet) {
            return;
        }
    }
}

/// Looks one name up. A failure leaves the addresses of the last success.
fn look_up(server: &Server, failing: &mut bool) {
    let Host::Name(name) = &server.parameters.address else {
        return;
    };
    match (name.as_str(), server.parameters.port).to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            addresses.dedup();
            addresses.truncate(MAX_ADDRESSES);
            if server.set_addresses(&addresses) {
                log::info!("server {}: {name} is {addresses:?}", server.name());
            }
            *failing = false;
        }
        Err(cause) => {
            if !std::mem::replace(failing, true) {
                log::warn!("server {}: cannot look up {name}: {cause}", server.name());
            }
        }
    }
}
