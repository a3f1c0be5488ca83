//! Sections → [`Config`]: each section is read by its type, then the references
//! and the addresses are checked against each other.
//!
//! A faulty section still counts for the references of others, so that one
//! mistake makes one fault.

use std::time::Duration;

use super::fault::Faults;
use super::ini::Section;
use super::reader::{LISTENER, Names, Reader, SERVER, SERVICE, is_maxscale, section_type};
use super::{
    Admin, AdminSocket, Config, Endpoint, Listener, Protocol, Rank, Router, Server, Service,
    addresses, owner, value,
};

/// Reads every section. The result counts only where no fault was added.
pub(super) fn build(sections: &[Section], faults: &mut Faults) -> Config {
    let names = Names::new(sections);
    let mut config = Config {
        admin: Admin::default(),
        servers: Vec::new(),
        services: Vec::new(),
        listeners: Vec::new(),
    };
    let mut listener_lines = Vec::new();

    for (index, section) in sections.iter().enumerate() {
        if let Some(first) = sections[..index].iter().find(|other| {
            other.name == section.name || (is_maxscale(other) && is_maxscale(section))
        }) {
            faults.add(
                section.line,
                format!(
                    "{}: the name is used twice (first on line {})",
                    section.name, first.line
                ),
            );
            continue;
        }
        if is_maxscale(section) {
            config.admin = admin(&mut Reader::new(section, None, faults));
            continue;
        }
        match section_type(section) {
            Ok(SERVER) => config
                .servers
                .extend(server(Reader::new(section, Some(SERVER), faults))),
            Ok(SERVICE) => config
                .services
                .extend(service(Reader::new(section, Some(SERVICE), faults), &names)),
            Ok(_) => {
                if let Some(listener) =
                    listener(Reader::new(section, Some(LISTENER), faults), &names)
                {
                    config.listeners.push(listener);
                    listener_lines.push(section.line);
                }
            }
            Err((line, message)) => faults.add(line, message),
        }
    }
    addresses::check(&config, &listener_lines, faults);
    config
}

fn admin(reader: &mut Reader<'_>) -> Admin {
    let default = Admin::default();
    let accounts = reader.optional("admin_accounts", None, |text| value::path(text).map(Some));
    let has_accounts = accounts.is_some();
    let admin = Admin {
        enabled: reader.optional("admin_enabled", default.enabled, value::boolean),
        host: reader.optional("admin_host", default.host, |text| {
            match value::address(text)? {
                address if address.is_loopback() || has_accounts => Ok(address),
                _ => Err(
                    "must be a loopback address, or admin_accounts must say who may come"
                        .to_owned(),
                ),
            }
        }),
        port: reader.optional("admin_port", default.port, value::listening_port),
        socket: admin_socket(reader),
        accounts,
        hostnames: reader.optional("admin_hostnames", default.hostnames, value::names),
        max_connections: reader.optional(
            "admin_max_connections",
            default.max_connections,
            value::connections,
        ),
        history: reader.optional("admin_history", default.history, value::history),
        log_sessions: reader.optional("log_sessions", default.log_sessions, value::boolean),
        shutdown_timeout: reader.optional(
            "shutdown_timeout",
            default.shutdown_timeout,
            value::duration,
        ),
        monitor_interval: reader.optional(
            "monitor_interval",
            default.monitor_interval,
            value::duration,
        ),
    };
    reader.finish();
    admin
}

fn admin_socket(reader: &mut Reader<'_>) -> Option<AdminSocket> {
    let path = reader.optional("admin_socket", None, |text| {
        value::socket_path(text).map(Some)
    });
    let mode = reader.optional("admin_socket_mode", DEFAULT_SOCKET_MODE, value::mode);
    let owner = reader.optional("admin_socket_owner", None, |text| {
        owner::user(text).map(Some)
    });
    let group = reader.optional("admin_socket_group", None, |text| {
        owner::group(text).map(Some)
    });
    let with_a_path = reader.wrote("admin_socket");
    for key in [
        "admin_socket_mode",
        "admin_socket_owner",
        "admin_socket_group",
    ] {
        if !with_a_path && let Some(entry) = reader.entry(key) {
            reader.fault(entry.line, &format!("{key} needs admin_socket"));
        }
    }
    Some(AdminSocket {
        path: path?,
        mode,
        owner,
        group,
    })
}

/// Its owner and its group may connect.
const DEFAULT_SOCKET_MODE: u32 = 0o660;

fn server(mut reader: Reader<'_>) -> Option<Server> {
    let address = reader.required("address", value::host);
    let port = reader.required("port", value::port);
    let rank = reader.optional("rank", Rank::Primary, value::rank);
    let proxy_protocol = reader.optional("proxy_protocol", false, value::boolean);
    let max_connections = reader.optional("max_connections", 0, value::limit);
    reader.finish().then_some(())?;
    Some(Server {
        name: reader.section.name.clone(),
        address: address?,
        port: port?,
        rank,
        proxy_protocol,
        max_connections,
    })
}

fn service(mut reader: Reader<'_>, names: &Names<'_>) -> Option<Service> {
    let router = reader.optional("router", Router::ReadConnRoute, value::router);
    let servers = reader.required("servers", value::list);
    if let Some(servers) = &servers {
        check_servers(&mut reader, servers, names);
    }
    let max_connections = reader.optional("max_connections", 0, value::limit);
    let connection_timeout = reader.optional("connection_timeout", Duration::ZERO, value::duration);
    let connect_timeout = reader.optional(
        "connect_timeout",
        DEFAULT_CONNECT_TIMEOUT,
        value::positive_duration,
    );
    let half_close_timeout = reader.optional("half_close_timeout", Duration::ZERO, value::duration);
    reader.optional("filters", (), |text| match text {
        "" => Ok(()),
        _ => Err("must be empty: there are no filters".to_owned()),
    });
    reader.finish().then_some(())?;
    Some(Service {
        name: reader.section.name.clone(),
        router,
        servers: servers?,
        max_connections,
        connection_timeout,
        connect_timeout,
        half_close_timeout,
    })
}

/// As long as MaxScale waits.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

fn check_servers(reader: &mut Reader<'_>, servers: &[String], names: &Names<'_>) {
    for (index, name) in servers.iter().enumerate() {
        if reader.reference("servers", SERVER, name, names) && servers[..index].contains(name) {
            let line = reader.entry("servers").map_or(0, |entry| entry.line);
            reader.fault(line, &format!("servers names {name} twice"));
        }
    }
}

fn listener(mut reader: Reader<'_>, names: &Names<'_>) -> Option<Listener> {
    let service = reader.required("service", value::name);
    if let Some(name) = &service {
        reader.reference("service", SERVICE, name, names);
    }
    let protocol = reader.optional("protocol", Protocol::MariaDb, value::protocol);
    let address = reader.optional("address", None, |text| value::address(text).map(Some));
    let port = reader.optional("port", None, |text| value::listening_port(text).map(Some));
    let socket = reader.optional("socket", None, |text| value::socket_path(text).map(Some));
    let proxy_protocol_networks =
        reader.optional("proxy_protocol_networks", Vec::new(), value::networks);
    let line = reader.section.line;
    if reader.wrote("socket")
        && let Some(entry) = reader.entry("proxy_protocol_networks")
    {
        reader.fault(
            entry.line,
            "proxy_protocol_networks needs a port: clients of a socket have no address",
        );
    }
    match (
        reader.wrote("socket"),
        reader.wrote("port"),
        reader.wrote("address"),
    ) {
        (false, false, _) => reader.fault(line, "port or socket is missing"),
        (true, true, _) | (true, _, true) => reader.fault(
            line,
            "socket excludes address and port: remove one or the other",
        ),
        _ => {}
    }
    reader.finish().then_some(())?;
    let endpoint = match (socket, port) {
        (Some(path), _) => Endpoint::Unix(path),
        (None, port) => Endpoint::Tcp {
            address,
            port: port?,
        },
    };
    Some(Listener {
        name: reader.section.name.clone(),
        service: service?,
        protocol,
        endpoint,
        proxy_protocol_networks,
    })
}
