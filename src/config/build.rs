//! Sections → [`Config`]: each section is read by its type, then the references
//! and the addresses are checked against each other.
//!
//! A faulty section still counts for the references of others, so that one
//! mistake makes one fault.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::Faults;
use super::ini::{Entry, Section};
use super::{
    Admin, Config, Endpoint, Host, Listener, Protocol, Rank, Router, Server, Service, value,
};

const MAXSCALE: &str = "maxscale";
const SERVER: &str = "server";
const SERVICE: &str = "service";
const LISTENER: &str = "listener";

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
        if let Some(first) = sections[..index]
            .iter()
            .find(|other| other.name == section.name)
        {
            faults.add(
                section.line,
                format!(
                    "{}: the name is used twice (first on line {})",
                    section.name, first.line
                ),
            );
            continue;
        }
        if section.name == MAXSCALE {
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
    check_addresses(&config, &listener_lines, faults);
    config
}

/// What kind of object a section makes, or where and why none.
fn section_type(section: &Section) -> Result<&'static str, (usize, String)> {
    let name = &section.name;
    let Some(entry) = section.entries.iter().find(|entry| entry.key == "type") else {
        return Err((
            section.line,
            format!("{name}: type is missing; it must be server, service or listener"),
        ));
    };
    [SERVER, SERVICE, LISTENER]
        .into_iter()
        .find(|known| *known == entry.value)
        .ok_or_else(|| {
            let message = format!(
                "{name}: type={} must be server, service or listener",
                entry.value
            );
            (entry.line, message)
        })
}

/// Which names a reference may use.
struct Names<'a> {
    servers: Vec<&'a str>,
    services: Vec<&'a str>,
    /// Sections without a proper type: whoever refers to them may be right.
    unclear: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn new(sections: &'a [Section]) -> Self {
        let of = |wanted: Option<&str>| {
            let is = |section: &&Section| {
                section_type(section).ok() == wanted && section.name != MAXSCALE
            };
            sections
                .iter()
                .filter(is)
                .map(|section| section.name.as_str())
                .collect()
        };
        Self {
            servers: of(Some(SERVER)),
            services: of(Some(SERVICE)),
            unclear: of(None),
        }
    }

    /// What is wrong with a reference to a server or a service of that name, if anything is.
    fn refuse(&self, kind: &str, name: &str) -> Option<String> {
        let there_are = if kind == SERVER {
            &self.servers
        } else {
            &self.services
        };
        if there_are.contains(&name) || self.unclear.contains(&name) {
            return None;
        }
        let others = match &there_are[..] {
            [] => "there is none".to_owned(),
            [one] => format!("there is {one}"),
            many => format!("there are {}", many.join(", ")),
        };
        Some(format!("no {kind} is called {name} ({others})"))
    }
}

/// Takes the parameters out of one section, and knows in the end which it was
/// not asked for.
struct Reader<'a> {
    section: &'a Section,
    label: String,
    accepted: Vec<&'static str>,
    faults: &'a mut Faults,
    /// Whether everything read so far was there and right.
    whole: bool,
}

impl<'a> Reader<'a> {
    fn new(section: &'a Section, kind: Option<&str>, faults: &'a mut Faults) -> Self {
        let label = kind.map_or_else(
            || section.name.clone(),
            |kind| format!("{kind} {}", section.name),
        );
        Self {
            section,
            label,
            accepted: Vec::new(),
            faults,
            whole: true,
        }
    }

    fn fault(&mut self, line: usize, message: &str) {
        self.faults.add(line, format!("{}: {message}", self.label));
        self.whole = false;
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.accepted.push(key);
        self.section.entries.iter().find(|entry| entry.key == key)
    }

    fn parse<T>(
        &mut self,
        entry: &Entry,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&entry.value) {
            Ok(value) => Some(value),
            Err(what_is_right) => {
                self.fault(
                    entry.line,
                    &format!("{}={} {what_is_right}", entry.key, entry.value),
                );
                None
            }
        }
    }

    /// A parameter that may be left out.
    fn optional<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        match self.entry(key) {
            Some(entry) => self.parse(entry, parse).unwrap_or(default),
            None => default,
        }
    }

    /// A parameter that must be there.
    fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if let Some(entry) = self.entry(key) {
            return self.parse(entry, parse);
        }
        self.fault(self.section.line, &format!("{key} is missing"));
        None
    }

    /// Checks a name of another object that stands in a parameter.
    fn reference(&mut self, key: &'static str, kind: &str, name: &str, names: &Names<'_>) -> bool {
        let Some(message) = names.refuse(kind, name) else {
            return true;
        };
        let line = self
            .entry(key)
            .map_or(self.section.line, |entry| entry.line);
        self.fault(line, &message);
        false
    }

    /// Complains about what nobody asked for. True where the section has no fault.
    fn finish(&mut self) -> bool {
        let mut accepted = std::mem::take(&mut self.accepted);
        accepted.dedup();
        for entry in &self.section.entries {
            if !accepted.contains(&entry.key.as_str()) && entry.key != "type" {
                let message = format!(
                    "unknown parameter {} (there are {})",
                    entry.key,
                    accepted.join(", ")
                );
                self.fault(entry.line, &message);
            } else if entry.key == "type" && self.section.name == MAXSCALE {
                self.fault(entry.line, "[maxscale] has no type");
            }
        }
        self.whole
    }
}

fn admin(reader: &mut Reader<'_>) -> Admin {
    let default = Admin::default();
    let admin = Admin {
        enabled: reader.optional("admin_enabled", default.enabled, value::boolean),
        host: reader.optional("admin_host", default.host, |text| {
            match value::address(text)? {
                address if address.is_loopback() => Ok(address),
                _ => Err(
                    "must be a loopback address: whoever reaches the admin server can read it"
                        .to_owned(),
                ),
            }
        }),
        port: reader.optional("admin_port", default.port, value::listening_port),
    };
    reader.finish();
    admin
}

fn server(mut reader: Reader<'_>) -> Option<Server> {
    let address = reader.required("address", value::host);
    let port = reader.required("port", value::port);
    let rank = reader.optional("rank", Rank::Primary, value::rank);
    reader.finish().then_some(())?;
    Some(Server {
        name: reader.section.name.clone(),
        address: address?,
        port: port?,
        rank,
    })
}

fn service(mut reader: Reader<'_>, names: &Names<'_>) -> Option<Service> {
    let router = reader.optional("router", Router::ReadConnRoute, value::router);
    let list = reader.required("servers", |text| match text {
        "" => Err("must name a server, or several with commas between them".to_owned()),
        text => Ok(text.to_owned()),
    });
    let servers = list.map(|list| servers(&mut reader, &list, names));
    let connect_timeout = reader.optional(
        "connect_timeout",
        DEFAULT_CONNECT_TIMEOUT,
        value::positive_duration,
    );
    reader.optional("filters", (), |text| match text {
        "" => Ok(()),
        _ => Err("must be empty: there are no filters".to_owned()),
    });
    reader.finish().then_some(())?;
    Some(Service {
        name: reader.section.name.clone(),
        router,
        servers: servers?,
        connect_timeout,
    })
}

/// As long as MaxScale waits.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

fn servers(reader: &mut Reader<'_>, list: &str, names: &Names<'_>) -> Vec<String> {
    let mut servers: Vec<String> = Vec::new();
    for name in list.split(',').map(str::trim) {
        if !reader.reference("servers", SERVER, name, names) {
            continue;
        }
        if servers.iter().any(|server| server == name) {
            let line = reader.entry("servers").map_or(0, |entry| entry.line);
            reader.fault(line, &format!("servers names {name} twice"));
        } else {
            servers.push(name.to_owned());
        }
    }
    servers
}

fn listener(mut reader: Reader<'_>, names: &Names<'_>) -> Option<Listener> {
    let service = reader.required("service", |text| Ok(text.to_owned()));
    if let Some(name) = &service {
        reader.reference("service", SERVICE, name, names);
    }
    let protocol = reader.optional("protocol", Protocol::MariaDb, value::protocol);
    let address = reader.optional("address", None, |text| value::address(text).map(Some));
    let port = reader.optional("port", None, |text| value::listening_port(text).map(Some));
    let socket = reader.optional("socket", None, |text| socket_path(text).map(Some));
    let line = reader.section.line;
    let wrote = |key: &str| reader.section.entries.iter().any(|entry| entry.key == key);
    match (wrote("socket"), wrote("port"), wrote("address")) {
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
    })
}

/// The system's own limit for the path of a socket, without the closing zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

fn socket_path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err("must be an absolute path".to_owned());
    }
    if text.len() > MAX_SOCKET_PATH {
        return Err(format!("must have at most {MAX_SOCKET_PATH} bytes"));
    }
    Ok(PathBuf::from(text))
}

/// No two may listen at one place, and none may open the admin server to others.
fn check_addresses(config: &Config, listener_lines: &[usize], faults: &mut Faults) {
    let admin = Endpoint::Tcp {
        address: Some(config.admin.host),
        port: config.admin.port,
    };
    for (index, listener) in config.listeners.iter().enumerate() {
        let (name, line) = (&listener.name, listener_lines[index]);
        let earlier = config.listeners[..index]
            .iter()
            .find(|other| overlap(&other.endpoint, &listener.endpoint));
        if let Some(other) = earlier {
            faults.add(
                line,
                format!(
                    "listener {name}: it listens where listener {} does",
                    other.name
                ),
            );
        }
        if !config.admin.enabled {
            continue;
        }
        if overlap(&admin, &listener.endpoint) {
            faults.add(line, format!("listener {name}: it listens where the admin server does (admin_host, admin_port)"));
        }
        if opens_admin_to_others(config, listener) {
            faults.add(
                line,
                format!("listener {name}: address must be a loopback address, since its service leads to the admin server"),
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

/// Whether a remote client of this listener would reach the admin server as a local one.
fn opens_admin_to_others(config: &Config, listener: &Listener) -> bool {
    let Endpoint::Tcp { address, .. } = listener.endpoint else {
        return false;
    };
    if address.is_some_and(|address| address.is_loopback()) {
        return false;
    }
    let service = config
        .services
        .iter()
        .find(|service| service.name == listener.service);
    let leads_to_admin = |server: &&Server| match &server.address {
        _ if server.port != config.admin.port => false,
        Host::Address(address) => {
            address.is_loopback() || address.is_unspecified() || *address == config.admin.host
        }
        Host::Name(name) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    };
    service.is_some_and(|service| {
        config
            .servers
            .iter()
            .filter(|server| service.servers.contains(&server.name))
            .any(|server| leads_to_admin(&server))
    })
}
