//! Checks where things listen: no two at one place, and none that opens the
//! admin server to others.
//!
//! A client that the relay sends on to the admin server arrives there from
//! loopback, wherever it came from. So without accounts a listener whose
//! service leads there, be it through another listener, must be on loopback.

use std::net::IpAddr;

use super::fault::Faults;
use super::{Config, Endpoint, Host, Listener, Server};

/// Checks all listeners, whose sections begin on these lines.
pub(super) fn check(config: &Config, listener_lines: &[usize], faults: &mut Faults) {
    let admin = Endpoint::Tcp {
        address: Some(config.admin.host),
        port: config.admin.port,
    };
    let admin_socket = config
        .admin
        .socket
        .as_ref()
        .map(|socket| Endpoint::Unix(socket.path.clone()));
    for (index, listener) in config.listeners.iter().enumerate() {
        let mut fault = |message: &str| {
            faults.add(
                listener_lines[index],
                format!("listener {}: {message}", listener.name),
            );
        };
        let mut earlier = config.listeners[..index].iter();
        if let Some(other) = earlier.find(|other| overlap(&other.endpoint, &listener.endpoint)) {
            fault(&format!("it listens where listener {} does", other.name));
        }
        if leads_to(config, &listener.service, Names::Known, |server| {
            is_at(server, &listener.endpoint, Names::Known)
        }) {
            fault("its service leads back to it, so that one client would make others without end");
        }
        if !config.admin.enabled {
            continue;
        }
        if overlap(&admin, &listener.endpoint) {
            fault("it listens where the admin server does (admin_host, admin_port)");
        }
        if admin_socket
            .as_ref()
            .is_some_and(|socket| overlap(socket, &listener.endpoint))
        {
            fault("it listens where the admin server does (admin_socket)");
        }
        if config.admin.accounts.is_none()
            && is_open_to_others(listener)
            && leads_to(config, &listener.service, Names::Any, |server| {
                may_be_admin(config, server)
            })
        {
            fault(
                "address must be a loopback address, since its service leads to the admin server \
                 (or admin_accounts must say who may come)",
            );
        }
    }
}

fn overlap(one: &Endpoint, other: &Endpoint) -> bool {
    match (one, other) {
        (Endpoint::Unix(one), Endpoint::Unix(other)) => one == other,
        (
            Endpoint::Tcp { address: one, port },
            Endpoint::Tcp {
                address: other,
                port: other_port,
            },
        ) => port == other_port && *port != 0 && (covers(*one, *other) || covers(*other, *one)),
        _ => false,
    }
}

/// Whether who listens on `one` gets the connections of `other`, too.
fn covers(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (None, _) => true,
        (Some(IpAddr::V6(one)), _) if one.is_unspecified() => true,
        (Some(IpAddr::V4(one)), Some(IpAddr::V4(_))) if one.is_unspecified() => true,
        _ => one == other,
    }
}

fn is_open_to_others(listener: &Listener) -> bool {
    match listener.endpoint {
        Endpoint::Tcp { address, .. } => !address.is_some_and(|address| address.is_loopback()),
        Endpoint::Unix(_) => false,
    }
}

/// Which names may stand for this machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// `localhost` alone.
    Known,
    /// Any, since what a name stands for can change at any time.
    Any,
}

/// Whether clients of a service can end up at a certain server, directly or
/// through other listeners of this program.
fn leads_to(
    config: &Config,
    service: &str,
    names: Names,
    is_wanted: impl Fn(&Server) -> bool,
) -> bool {
    let mut reached = vec![service];
    let mut next = 0;
    while let Some(service) = reached.get(next).copied() {
        next += 1;
        let Some(service) = config.services.iter().find(|other| other.name == service) else {
            continue;
        };
        for server in config
            .servers
            .iter()
            .filter(|server| service.servers.contains(&server.name))
        {
            if is_wanted(server) {
                return true;
            }
            for listener in config
                .listeners
                .iter()
                .filter(|listener| is_at(server, &listener.endpoint, names))
            {
                if !reached.contains(&listener.service.as_str()) {
                    reached.push(&listener.service);
                }
            }
        }
    }
    false
}

/// Whether a server is what listens there.
fn is_at(server: &Server, endpoint: &Endpoint, names: Names) -> bool {
    let Endpoint::Tcp {
        address: listens,
        port,
    } = endpoint
    else {
        return false;
    };
    let listens_here =
        listens.is_none_or(|address| address.is_loopback() || address.is_unspecified());
    let address_fits = match &server.address {
        // Who connects to all addresses of the machine gets to its loopback.
        Host::Address(address) if address.is_unspecified() => listens_here,
        Host::Address(address) if address.is_loopback() => covers(*listens, Some(*address)),
        Host::Address(address) => *listens == Some(*address),
        Host::Name(name) => listens_here && (names == Names::Any || is_localhost(name)),
    };
    server.port == *port && address_fits
}

fn is_localhost(name: &str) -> bool {
    name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// Whether a server is the admin server, which is on loopback where there are
/// no accounts.
fn may_be_admin(config: &Config, server: &Server) -> bool {
    let is_here = match &server.address {
        Host::Address(address) => address.is_loopback() || address.is_unspecified(),
        Host::Name(_) => true,
    };
    is_here && server.port == config.admin.port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        Config::parse("f", text.as_bytes())
            .map_or_else(|faults| faults.to_string(), |_| String::new())
    }

    /// A listener on all addresses, whose service has a server there.
    fn open_listener_to(address: &str, port: u16) -> String {
        format!(
            "[a]\ntype=server\naddress={address}\nport={port}\n[s]\ntype=service\nservers=a\n\
             [l]\ntype=listener\nservice=s\nport=4000\n"
        )
    }

    #[test]
    fn the_admin_server_cannot_be_reached_around_the_corner() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "localhost",
            "some.name",
        ] {
            assert!(
                faults(&open_listener_to(address, 8989)).contains("leads to the admin server"),
                "{address}"
            );
            assert_eq!(faults(&open_listener_to(address, 8990)), "", "{address}");
        }
        assert_eq!(faults(&open_listener_to("192.0.2.1", 8989)), "");
    }

    #[test]
    fn nor_through_a_chain_of_listeners() {
        let chain = open_listener_to("127.0.0.1", 5000)
            + "[b]\ntype=server\naddress=127.0.0.1\nport=8989\n[t]\ntype=service\nservers=b\n\
               [m]\ntype=listener\nservice=t\naddress=127.0.0.1\nport=5000\n";
        for address in ["0.0.0.0", "localhost", "some.name"] {
            let other = chain.replacen("address=127.0.0.1", &format!("address={address}"), 1);
            assert!(
                faults(&other).contains("listener l: address must be a loopback address"),
                "{address}"
            );
        }
        let faults_of_chain = faults(&chain);
        assert!(
            faults_of_chain.contains("listener l: address must be a loopback address"),
            "{faults_of_chain}"
        );
        assert_eq!(faults_of_chain.lines().count(), 1, "{faults_of_chain}");
        assert_eq!(faults(&chain.replace("port=8989", "port=1")), "");
    }

    #[test]
    fn a_listener_is_not_its_own_server_be_it_through_others() {
        let own = "[a]\ntype=server\naddress=127.0.0.1\nport=4000\n[s]\ntype=service\nservers=a\n\
                   [l]\ntype=listener\nservice=s\nport=4000\n";
        assert!(
            faults(own).contains("listener l: its service leads back to it"),
            "{}",
            faults(own)
        );
        assert_eq!(faults(&own.replace("port=4000\n[s]", "port=4001\n[s]")), "");
        for address in ["0.0.0.0", "localhost"] {
            let other = own
                .replace("127.0.0.1", address)
                .replace("service=s\n", "service=s\naddress=127.0.0.1\n");
            assert!(faults(&other).contains("leads back to it"), "{address}");
        }
        // A database on another machine has the same port more often than not.
        assert_eq!(faults(&own.replace("127.0.0.1", "db.example")), "");
        let round = "[a]\ntype=server\naddress=::1\nport=2\n[b]\ntype=server\naddress=0.0.0.0\nport=1\n\
                     [s]\ntype=service\nservers=a\n[t]\ntype=service\nservers=b\n\
                     [l]\ntype=listener\nservice=s\nport=1\n[m]\ntype=listener\nservice=t\nport=2\n";
        assert_eq!(
            faults(round).matches("leads back to it").count(),
            2,
            "{}",
            faults(round)
        );
    }

    #[test]
    fn with_accounts_or_without_an_admin_server_everything_is_open() {
        for section in [
            "[maxscale]\nadmin_accounts=/etc/accounts\n",
            "[maxscale]\nadmin_enabled=false\n",
        ] {
            assert_eq!(
                faults(&(section.to_owned() + &open_listener_to("127.0.0.1", 8989))),
                ""
            );
        }
    }
}
