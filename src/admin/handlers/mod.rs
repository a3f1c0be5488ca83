//! What each resource looks like: one file a resource, the registry in, a
//! document out.
//!
//! A handler takes the table's lock to find what it needs, and writes after
//! letting go. What is found is a [`Found`] first, so that a request's
//! conditions can be checked before anything is written.

mod collection;
mod configured;
mod deeds;
mod events;
mod listeners;
mod metrics;
mod openapi;
mod packed;
pub(super) mod page;
mod relationship;
mod root;
mod servers;
mod services;
mod sessions;

pub(super) use configured::Configured;
pub(super) use events::Followers;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use collection::{Gather, collection};
use listeners::LISTENERS;
use servers::SERVERS;
use services::SERVICES;
use sessions::SESSIONS;

use super::access::Who;
use super::hosts::{Completeness, Hosts, Names};
use super::negotiation::MediaType;
use super::precondition::Validators;
use super::refusal::Refusal;
use super::reply::Reply;
use super::route::{Kind, Part, Route};
use super::statistics::Statistics;
use super::stream::Places;
use super::transport::Transport;
use crate::config::Role;
use crate::jsonapi::{
    Accepts, Collection, Lifetime, Meter, Query, Resource, View, document, push_decimal,
};
use crate::registry::{Change, Registry, Session, SessionId};

/// The addresses of more rows than that are not looked at on the thread that answers
/// everybody: it takes longer than a millisecond.
const ROWS_AT_ONCE: usize = 500;

/// Room for a tag: two numbers and a word.
const TAG_ESTIMATE: usize = 48;

/// What every handler may look at.
pub(super) struct Context {
    pub(super) registry: Arc<Registry>,
    /// When the server began to answer, by the clock that never jumps.
    pub(super) began: Instant,
    /// When the program began, as tags have it: versions begin anew with it.
    incarnation: String,
    /// What the server counts of its own work.
    statistics: Arc<Statistics>,
    /// The names of clients' hosts.
    pub(super) hosts: Hosts,
    /// The threads on which requests wait for names.
    naming: Places,
    /// The threads on which requests wait for something to end.
    waiting: Places,
    /// Who is told what happens.
    pub(super) followers: Arc<Followers>,
    /// The threads that look for sessions to be killed among many.
    kills: Places,
}

/// How many requests may wait for names of hosts at a time.
const NAMING: usize = 4;

/// How many requests may wait for something to end at a time.
const WAITING: usize = 8;

/// How many may follow what happens at a time.
const FOLLOWING: usize = 4;

/// How many requests may look for sessions to be killed among many at a time.
const KILLS: usize = 2;

/// Something that there is.
pub(super) enum Found {
    /// The program itself, and what whoever asks may do.
    Root(Role),
    /// A part of the status page.
    Page(Part),
    OpenApi,
    Metrics,
    Events,
    Sessions,
    Services,
    Servers,
    Listeners,
    Session(Arc<Session>),
    Configured(Configured),
    /// A relationship of one of those, by its name.
    Relationship(Box<Found>, &'static str),
}

impl Context {
    /// What the handlers of a registry may look at.
    pub(super) fn new(registry: Arc<Registry>, statistics: Arc<Statistics>) -> Self {
        let started = registry.started.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            incarnation: format!("{:x}", started.unwrap_or_default().as_millis()),
            statistics,
            began: Instant::now(),
            hosts: Hosts::new(registry.started),
            naming: Places::new(NAMING),
            waiting: Places::new(WAITING),
            followers: Arc::new(Followers::new(FOLLOWING)),
            kills: Places::new(KILLS),
            registry,
        }
    }

    /// What a route leads to, for somebody.
    pub(super) fn find(&self, route: &Route, who: &Who) -> Result<Found, Refusal> {
        match route {
            Route::Home | Route::Root => Ok(Found::Root(who.role())),
            Route::Page(part) => Ok(Found::Page(*part)),
            Route::OpenApi => Ok(Found::OpenApi),
            Route::Metrics => Ok(Found::Metrics),
            Route::Events => Ok(Found::Events),
            Route::Collection(Kind::Sessions) => Ok(Found::Sessions),
            Route::Collection(Kind::Services) => Ok(Found::Services),
            Route::Collection(Kind::Servers) => Ok(Found::Servers),
            Route::Collection(Kind::Listeners) => Ok(Found::Listeners),
            Route::One(kind, id) | Route::Deed(kind, id, _) => self.find_one(*kind, id),
            Route::Relationship(kind, id, name) => {
                let of = self.find_one(*kind, id)?;
                let mut own = of.relationships().iter();
                if let Some(own) = own.find(|own| *own == name) {
                    return Ok(Found::Relationship(Box::new(of), own));
                }
                let there_are = of.relationships().join(", ");
                Err(Refusal::NotFound(format!(
                    "{name} is not a relationship of {id}; there are {there_are}"
                )))
            }
        }
    }

    fn find_one(&self, kind: Kind, id: &str) -> Result<Found, Refusal> {
        let topology = self.registry.topology();
        let (found, what) = match kind {
            Kind::Sessions => {
                let session = SessionId::parse(id).and_then(|id| self.registry.sessions.get(id));
                (session.map(Found::Session), "a session")
            }
            Kind::Services => {
                let service = topology.service_called(id);
                let row = service.map(|service| Configured::service(service, &topology));
                (row.map(Found::Configured), "a service")
            }
            Kind::Servers => {
                let server = topology.server_called(id);
                let row = server.map(|server| Configured::server(server, &topology));
                (row.map(Found::Configured), "a server")
            }
            Kind::Listeners => {
                let listener = topology.listener_called(id);
                let row = listener.map(Configured::listener);
                (row.map(Found::Configured), "a listener")
            }
        };
        found.ok_or_else(|| Refusal::NotFound(format!("{id} is not {what}")))
    }

    /// The answer to a request for something, in the form that was agreed on.
    pub(super) fn render(
        &self,
        found: Found,
        query: Query,
        view: View,
        media_type: MediaType,
        transport: Transport,
    ) -> Reply {
        let topology = self.registry.topology();
        match found {
            Found::Root(role) => Reply::document(root::document(self, role, &query, &view)),
            Found::Page(part) => page::reply(part),
            Found::OpenApi => Reply::document(openapi::document(&query).into_bytes()),
            Found::Metrics => {
                let mut next = metrics::pieces(self, media_type);
                Reply::pieces(Box::new(move |_| Ok(next())))
            }
            Found::Events => self.events(&query, transport),
            Found::Sessions => self.sessions(query, view, transport),
            Found::Services => {
                let services = topology.services.iter();
                let rows = services.map(|service| Configured::service(service, &topology));
                gathered(SERVICES, rows.collect(), query, view)
            }
            Found::Servers => {
                let servers = topology.servers.iter();
                let rows = servers.map(|server| Configured::server(server, &topology));
                gathered(SERVERS, rows.collect(), query, view)
            }
            Found::Listeners => {
                let rows = topology.listeners.iter().map(Configured::listener);
                gathered(LISTENERS, rows.collect(), query, view)
            }
            Found::Session(session) => self.session(session, query, view, transport),
            Found::Configured(row) => Reply::document(document(&row, row.name(), &query, &view)),
            Found::Relationship(of, name) => Reply::document(of.relationship(name, &query, &view)),
        }
    }

    fn events(&self, query: &Query, transport: Transport) -> Reply {
        match self.followers.follow(&self.registry.events, transport) {
            Some((pieces, place)) => Reply::endless(pieces, place),
            None => Reply::refuse(
                &Refusal::Busy("four clients follow the events already; try again later"),
                query.layout,
            ),
        }
    }

    /// Answers when something has ended, or after some time.
    pub(super) fn wait(
        self: &Arc<Self>,
        found: Found,
        wait: Duration,
        transport: Transport,
        answer: impl FnOnce(&Self) -> Reply + Send + 'static,
    ) -> Result<Reply, Refusal> {
        let place = self.waiting.place(transport).ok_or(Refusal::Busy(
            "eight requests wait already; ask again in a second",
        ))?;
        let context = Arc::clone(self);
        let until = Instant::now() + wait;
        let work = move |is_gone: &dyn Fn() -> bool| {
            let is_over = || found.is_over() || is_gone();
            context.registry.departures.wait_until(until, is_over);
            Ok(answer(&context))
        };
        Ok(Reply::waiting(Box::new(work), place))
    }

    fn sessions(&self, query: Query, view: View, transport: Transport) -> Reply {
        let sessions = &self.registry.sessions;
        let (open, (closed, _)) = (sessions.len(), sessions.history_size());
        let count = match query.lifetime {
            Lifetime::Open => open,
            Lifetime::Closed => closed,
            Lifetime::Any => open + closed,
        };
        let (registry, lifetime) = (Arc::clone(&self.registry), query.lifetime);
        let gather = move || match lifetime {
            Lifetime::Open => registry.sessions.snapshot(),
            Lifetime::Closed => registry.sessions.history(),
            Lifetime::Any => registry.sessions.all(),
        };
        if !query.host_names {
            return collection(SESSIONS, count, Box::new(gather), query, view);
        }
        let mut hosts = Names::new();
        // To look at many rows takes long already.
        if count <= ROWS_AT_ONCE {
            let (known, completeness) = self.hosts.known(&addresses(&gather()), transport);
            if completeness == Completeness::Whole {
                let view = View {
                    hosts: known,
                    ..view
                };
                return collection(SESSIONS, count, Box::new(gather), query, view);
            }
            hosts = known;
        }
        if let Some(place) = self.naming.place(transport) {
            let names = self.hosts.clone();
            let work = move |_: &dyn Fn() -> bool| {
                let rows = gather();
                let hosts = names.awaited(&addresses(&rows), transport);
                Ok(gathered(SESSIONS, rows, query, View { hosts, ..view }))
            };
            return Reply::deferred(Box::new(work), place);
        }
        let view = View { hosts, ..view };
        collection(SESSIONS, count, Box::new(gather), query, view)
    }

    fn session(
        &self,
        session: Arc<Session>,
        query: Query,
        view: View,
        transport: Transport,
    ) -> Reply {
        let id = session.id().to_string();
        if !query.host_names {
            return Reply::document(document(&session, &id, &query, &view));
        }
        let address = addresses(std::slice::from_ref(&session));
        let (hosts, completeness) = self.hosts.known(&address, transport);
        if completeness == Completeness::Partial
            && let Some(place) = self.naming.place(transport)
        {
            let names = self.hosts.clone();
            let work = move |_: &dyn Fn() -> bool| {
                let hosts = names.awaited(&address, transport);
                let view = View { hosts, ..view };
                Ok(Reply::document(document(&session, &id, &query, &view)))
            };
            return Reply::deferred(Box::new(work), place);
        }
        let view = View { hosts, ..view };
        Reply::document(document(&session, &id, &query, &view))
    }

    /// What a client can know of something, where names of hosts belong to it or not.
    pub(super) fn validators(&self, found: &Found, host_names: bool) -> Validators {
        let (name, mut change) = self.change(found);
        if host_names {
            let found = self.hosts.last_change();
            // Neither version ever decreases, so neither does the sum.
            change.version += found.version;
            change.time = change.time.max(found.time);
        }
        let mut tag = String::with_capacity(TAG_ESTIMATE);
        tag.extend(["W/\"", &self.incarnation, "-", name, "-"]);
        push_decimal(&mut tag, change.version);
        tag.push('"');
        Validators {
            tag,
            modified: change.time,
        }
    }

    fn change(&self, found: &Found) -> (&'static str, Change) {
        let never = Change {
            version: 0,
            time: self.registry.started,
        };
        let topology = self.registry.topology();
        match found {
            Found::Root(role) => (role.as_str(), never),
            Found::Page(part) => (page::name(*part), never),
            Found::OpenApi => ("openapi", never),
            Found::Metrics => {
                let time = SystemTime::now();
                ("metrics", Change { version: 0, time })
            }
            Found::Events => ("events", never),
            Found::Sessions => ("sessions", self.registry.sessions.last_change()),
            Found::Session(session) => ("session", session.last_change()),
            Found::Servers => ("servers", topology.server_changes.last()),
            Found::Services => ("services", topology.service_changes.last()),
            Found::Listeners => ("listeners", topology.listener_changes.last()),
            Found::Configured(row) => row.change(),
            Found::Relationship(of, _) => self.change(of),
        }
    }
}

impl Found {
    /// Which parameters it takes.
    pub(super) fn accepts(&self) -> Accepts {
        match self {
            Self::Root(_)
            | Self::Page(_)
            | Self::OpenApi
            | Self::Metrics
            | Self::Events
            | Self::Relationship(..) => Accepts::LAYOUT,
            Self::Sessions => Accepts::SESSIONS,
            Self::Services | Self::Servers | Self::Listeners => Accepts::COLLECTION,
            Self::Session(_) => Accepts::SESSION,
            Self::Configured(row) => row.accepts(),
        }
    }

    /// The media type for an `Accept` header; `None` where there is none that it accepts.
    pub(super) fn media_type(&self, accept: Option<&str>) -> Option<MediaType> {
        match self {
            // It is no document of JSON:API, whatever is asked for.
            Self::OpenApi => Some(MediaType::Json),
            Self::Events => Some(MediaType::Lines),
            Self::Metrics => Some(MediaType::of_metrics(accept)),
            Self::Page(part) => Some(page::media_type(*part)),
            _ => MediaType::for_accept(accept),
        }
    }

    /// Whether it has ended, or has no connection left.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Session(session) => session.ending().is_some(),
            Self::Configured(row) => row.is_over(),
            _ => true,
        }
    }

    fn relationships(&self) -> &'static [&'static str] {
        match self {
            Self::Configured(Configured::Service(_)) => &["servers", "listeners"],
            _ => &["services"],
        }
    }

    fn relationship(&self, name: &'static str, query: &Query, view: &View) -> Vec<u8> {
        match self {
            Self::Session(session) => {
                relationship::document(session, &session.id().to_string(), name, query, view)
            }
            Self::Configured(row) => relationship::document(row, row.name(), name, query, view),
            _ => Vec::new(),
        }
    }
}

/// The document of a collection whose rows are there.
fn gathered<R: Resource + Send + 'static>(
    of: Collection,
    rows: Vec<R>,
    query: Query,
    view: View,
) -> Reply {
    let (count, gather): (usize, Gather<R>) = (rows.len(), Box::new(|| rows));
    collection(of, count, gather, query, view)
}

/// The addresses of the clients of sessions, each once.
fn addresses(sessions: &[Arc<Session>]) -> HashSet<IpAddr> {
    let remote = |session: &Arc<Session>| Some(session.client()?.remote()?.ip());
    sessions.iter().filter_map(remote).collect()
}
