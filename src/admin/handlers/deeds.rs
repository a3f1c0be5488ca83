//! What can be done with resources: kill, stop, start, set, clear.
//!
//! Each deed is a command to the data plane, and one line of the log that says
//! who has done it, from where, and to which sessions.

use std::fmt::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::collection::is_long;
use super::{Configured, Context, Found};
use crate::admin::access::Who;
use crate::admin::refusal::Refusal;
use crate::admin::reply::Reply;
use crate::admin::route::Deed;
use crate::jsonapi::{
    Accepts, Emit, Links, Meter, ParameterFault, Query, Selecting, Setting, Stopped, View, Writer,
    key,
};
use crate::registry::{
    ClientsOf, Command, Condition, Listener, Registry, Server, Service, Session, SessionId,
    Unfollowed,
};

/// How many groups of sessions a line of the log names.
const GROUPS: usize = 100;

impl Deed {
    /// Which parameters it takes.
    pub(in crate::admin) fn accepts(self) -> Accepts {
        match self {
            Self::Kill => Accepts::KILL,
            Self::KillAll => Accepts::KILL_ALL,
            Self::Stop => Accepts::STOP,
            Self::Start => Accepts::LAYOUT,
            Self::Set | Self::Clear => Accepts::SETTING,
        }
    }
}

impl Context {
    /// Does something with what was found.
    pub(in crate::admin) fn act(
        &self,
        deed: Deed,
        found: Found,
        query: Query,
        links: Links,
        who: &Who,
    ) -> Result<Reply, Refusal> {
        match (deed, found) {
            (Deed::Kill, Found::Session(session)) => self.kill(&session, query.ttl, who),
            (Deed::KillAll, _) => self.kill_all(query, links, who),
            (Deed::Stop, Found::Configured(Configured::Service(row))) => {
                self.stop_service(row.service, query.force, who)
            }
            (Deed::Start, Found::Configured(Configured::Service(row))) => {
                self.start_service(&row.service, who)
            }
            (Deed::Stop, Found::Configured(Configured::Listener(listener))) => {
                self.stop_listener(listener, query.force, who)
            }
            (Deed::Start, Found::Configured(Configured::Listener(listener))) => {
                self.start_listener(listener, who)
            }
            (Deed::Set, Found::Configured(Configured::Server(row))) => {
                self.set(row.server, true, &query, who)
            }
            (Deed::Clear, Found::Configured(Configured::Server(row))) => {
                self.set(row.server, false, &query, who)
            }
            // Routes lead nowhere else.
            _ => Err(Refusal::Internal),
        }
    }

    fn kill(&self, session: &Arc<Session>, ttl: Duration, who: &Who) -> Result<Reply, Refusal> {
        let id = session.id();
        if session.client().is_none() {
            let listener = session.listener().name();
            return Err(Refusal::Forbidden(format!(
                "session {id} is that of listener {listener}, which can be stopped: \
                 PUT /v1/listeners/{listener}/stop"
            )));
        }
        let has_ended = || {
            let reason = session.ending().map(|ending| ending.reason.as_str());
            let reason = reason.unwrap_or("it is just closing");
            Refusal::NotFound(format!("session {id} has ended already: {reason}"))
        };
        if session.ending().is_some() {
            return Err(has_ended());
        }
        let killed = follow(
            &self.registry,
            Command::Kill {
                sessions: vec![Arc::clone(session)],
                at: Instant::now() + ttl,
            },
        )?;
        if killed.is_empty() {
            return Err(has_ended());
        }
        log::info!("{who}: killed session {id}{}", within(ttl));
        Ok(Reply::done())
    }

    fn kill_all(&self, query: Query, links: Links, who: &Who) -> Result<Reply, Refusal> {
        if query.filters.is_empty() {
            return Err(Refusal::BadParameter(ParameterFault {
                parameter: "filter".to_owned(),
                detail: "a filter must say which sessions are to be killed, \
                         such as filter[attributes.idle]=gt(600)"
                    .to_owned(),
            }));
        }
        let registry = Arc::clone(&self.registry);
        let is_long = is_long(registry.sessions.len(), &query);
        let mut search = Search {
            sessions: None,
            view: View::new(links, Instant::now()),
            registry,
            query,
            who: who.clone(),
        };
        if !is_long && let Ok(reply) = search.go_on(&mut Meter::one_slice()) {
            return Ok(reply);
        }
        let place = self.kills.place(who.transport()).ok_or(Refusal::Busy(
            "as many sessions are looked through as can be; ask again in a second",
        ))?;
        let work = move |is_gone: &dyn Fn() -> bool| {
            let goes_on = || {
                // It must not keep its processor from others.
                thread::yield_now();
                !is_gone()
            };
            // Where the client has gone nothing is killed.
            search.go_on(&mut Meter::slices(&goes_on))
        };
        Ok(Reply::deferred(Box::new(work), place))
    }

    fn stop_service(
        &self,
        service: Arc<Service>,
        force: bool,
        who: &Who,
    ) -> Result<Reply, Refusal> {
        let topology = self.registry.topology();
        let name = service.name().to_owned();
        let killed = follow(
            &self.registry,
            Command::Stop {
                listeners: topology.listeners_of(&service).cloned().collect(),
                kill: force.then_some(ClientsOf::Service(service)),
            },
        )?;
        log::info!("{who}: stopped service {name}{}", and_ended(&killed));
        Ok(Reply::done())
    }

    fn start_service(&self, service: &Service, who: &Who) -> Result<Reply, Refusal> {
        let topology = self.registry.topology();
        let listeners = topology.listeners_of(service).cloned().collect();
        follow(&self.registry, Command::Start { listeners })?;
        log::info!("{who}: started service {}", service.name());
        Ok(Reply::done())
    }

    fn stop_listener(
        &self,
        listener: Arc<Listener>,
        force: bool,
        who: &Who,
    ) -> Result<Reply, Refusal> {
        let name = listener.name().to_owned();
        let killed = follow(
            &self.registry,
            Command::Stop {
                listeners: vec![Arc::clone(&listener)],
                kill: force.then_some(ClientsOf::Listener(listener)),
            },
        )?;
        log::info!("{who}: stopped listener {name}{}", and_ended(&killed));
        Ok(Reply::done())
    }

    fn start_listener(&self, listener: Arc<Listener>, who: &Who) -> Result<Reply, Refusal> {
        let name = listener.name().to_owned();
        let listeners = vec![listener];
        follow(&self.registry, Command::Start { listeners })?;
        log::info!("{who}: started listener {name}");
        Ok(Reply::done())
    }

    fn set(
        &self,
        server: Arc<Server>,
        set: bool,
        query: &Query,
        who: &Who,
    ) -> Result<Reply, Refusal> {
        let fault = |parameter: &str, detail: &str| {
            Refusal::BadParameter(ParameterFault {
                parameter: parameter.to_owned(),
                detail: detail.to_owned(),
            })
        };
        let (condition, word) = match query.setting {
            Some(Setting::Drain) => (Condition::Drain, "drain"),
            Some(Setting::Maintenance) => (Condition::Maintenance, "maintenance"),
            None => return Err(fault("state", "state must say what: drain or maintenance")),
        };
        if query.force && !(set && condition == Condition::Maintenance) {
            return Err(fault(
                "force",
                "force goes with set and state=maintenance, which ends sessions anyway",
            ));
        }
        let name = server.name().to_owned();
        let ended = follow(
            &self.registry,
            Command::Condition {
                server,
                condition,
                set,
            },
        )?;
        let verb = if set { "set" } else { "cleared" };
        log::info!("{who}: {verb} {word} on server {name}{}", and_ended(&ended));
        Ok(Reply::done())
    }
}

/// Has a command followed.
fn follow(registry: &Registry, command: Command) -> Result<Vec<SessionId>, Refusal> {
    registry.commands.ask(command).map_err(|cause| match cause {
        Unfollowed::Impossible(why) => Refusal::Conflict(why),
        Unfollowed::NoAnswer => Refusal::Busy("the relay does not answer; ask again in a second"),
    })
}

/// A search for the sessions that are to be killed.
struct Search {
    registry: Arc<Registry>,
    query: Query,
    view: View,
    who: Who,
    /// Those that are looked through, from when it has begun.
    sessions: Option<Selecting<Arc<Session>>>,
}

impl Search {
    /// Goes on, and kills what is found when all is. Stopped before that, it has
    /// killed nothing.
    fn go_on(&mut self, meter: &mut Meter<'_>) -> Result<Reply, Stopped> {
        let sessions = self.sessions.get_or_insert_with(|| {
            let mut sessions = self.registry.sessions.snapshot();
            sessions.retain(|session| session.client().is_some());
            Selecting::new(sessions)
        });
        let found = sessions.finish(&self.query, &self.view, meter)?.rows;
        let reply = kill_selected(&self.registry, found, &self.query, &self.view, &self.who);
        Ok(reply.unwrap_or_else(|refusal| Reply::refuse(&refusal, self.query.layout)))
    }
}

fn kill_selected(
    registry: &Registry,
    sessions: Vec<Arc<Session>>,
    query: &Query,
    view: &View,
    who: &Who,
) -> Result<Reply, Refusal> {
    let killed = if query.dry_run {
        sessions.iter().map(|session| session.id()).collect()
    } else {
        let at = Instant::now() + query.ttl;
        let mut killed = follow(registry, Command::Kill { sessions, at })?;
        killed.sort_unstable();
        log::info!("{who}: killed {}{}", in_words(&killed), within(query.ttl));
        killed
    };
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key(key!("links"));
    writer.begin_object();
    writer.key(key!("self"));
    view.links.write_path(&mut writer, "/v1/sessions/");
    writer.end_object();
    writer.key(key!("meta"));
    writer.begin_object();
    writer.member_number(key!("killed"), killed.len() as u64);
    writer.key(key!("dry_run"));
    writer.boolean(query.dry_run);
    writer.key(key!("ids"));
    writer.begin_array();
    for id in &killed {
        writer.string(&id.to_string());
    }
    writer.end_array();
    writer.end_object();
    writer.end_object();
    Ok(Reply::document(writer.finish()))
}

fn within(ttl: Duration) -> String {
    if ttl.is_zero() {
        String::new()
    } else {
        format!(", within {ttl:?}")
    }
}

fn and_ended(sessions: &[SessionId]) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    format!(", and ended {}", in_words(sessions))
}

/// `3 sessions (4-5, 9)`; of very many groups the last ones are left out.
fn in_words(sessions: &[SessionId]) -> String {
    let mut ids = sessions.to_vec();
    ids.sort_unstable();
    let follows = |one: &SessionId, next: &SessionId| one.get() + 1 == next.get();
    let groups: Vec<&[SessionId]> = ids.chunk_by(follows).collect();
    let mut words = match ids.len() {
        0 => return "no session".to_owned(),
        1 => "1 session (".to_owned(),
        count => format!("{count} sessions ("),
    };
    for (index, group) in groups.iter().take(GROUPS).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = match group {
            [first, .., last] => write!(words, "{separator}{first}-{last}"),
            _ => write!(words, "{separator}{}", group[0]),
        };
    }
    if groups.len() > GROUPS {
        words.push_str(", …");
    }
    words.push(')');
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_named_in_groups() {
        let ids = |numbers: &[u64]| -> Vec<SessionId> {
            let id = |number: &u64| SessionId::parse(&number.to_string()).unwrap();
            numbers.iter().map(id).collect()
        };
        assert_eq!(in_words(&[]), "no session");
        assert_eq!(in_words(&ids(&[4])), "1 session (4)");
        assert_eq!(in_words(&ids(&[9, 4, 5, 6, 11])), "5 sessions (4-6, 9, 11)");
        let odd: Vec<u64> = (0..150).map(|number| 2 * number + 1).collect();
        let words = in_words(&ids(&odd));
        assert!(words.starts_with("150 sessions (1, 3, "));
        assert!(words.ends_with(", 199, …)"), "{words}");
    }
}
