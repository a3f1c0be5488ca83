//! Services, servers and listeners, as a configuration connects them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::change::Changes;
use super::departures::Departures;
use super::listener::Listener;
use super::server::Server;
use super::service::Service;
use crate::config::{self, Config};

/// All services, servers and listeners, in the order of the configuration.
///
/// It never changes: when the configuration is read again, another one takes
/// its place, in which what did not change is the same object.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The backends.
    pub servers: Vec<Arc<Server>>,
    /// What clients connect to.
    pub services: Vec<Arc<Service>>,
    /// Where clients arrive.
    pub listeners: Vec<Arc<Listener>>,
    /// `monitor_interval`: the time between two rounds of probes; zero for none.
    pub monitor_interval: Duration,
    /// When a server last came, went or changed in anything but counters.
    pub server_changes: Arc<Changes>,
    /// When a service last came, went or changed in anything but counters.
    pub service_changes: Arc<Changes>,
    /// When a listener last came, went or changed in anything but counters.
    pub listener_changes: Arc<Changes>,
    /// What is removed while it has connections: where it comes back meanwhile,
    /// they count.
    leaving: (Vec<Arc<Server>>, Vec<Arc<Service>>),
    departures: Arc<Departures>,
}

impl Topology {
    /// What a configuration describes.
    ///
    /// # Panics
    ///
    /// Where a name leads nowhere, which [`Config::parse`] rules out.
    #[must_use]
    pub fn new(config: &Config, now: SystemTime) -> Self {
        Self::with(config, Arc::default(), now)
    }

    pub(super) fn with(config: &Config, departures: Arc<Departures>, now: SystemTime) -> Self {
        let changes = || Arc::new(Changes::begin(now));
        let nothing = Self {
            servers: Vec::new(),
            services: Vec::new(),
            listeners: Vec::new(),
            monitor_interval: config.admin.monitor_interval,
            server_changes: changes(),
            service_changes: changes(),
            listener_changes: changes(),
            leaving: (Vec::new(), Vec::new()),
            departures,
        };
        nothing.renewed(config, now)
    }

    /// What another configuration describes, with what is the same in both. An
    /// object of the same name fares as it did before; of a server that is
    /// somewhere else now it is not known whether it is up.
    ///
    /// # Panics
    ///
    /// Where a name leads nowhere, which [`Config::parse`] rules out.
    #[must_use]
    pub fn renewed(&self, config: &Config, now: SystemTime) -> Self {
        let servers = config.servers.iter();
        let servers: Vec<_> = servers.map(|server| self.server(server, now)).collect();
        let services = config.services.iter();
        let services: Vec<_> = services
            .map(|service| self.service(service, &servers, now))
            .collect();
        let listeners = config.listeners.iter();
        let listeners = listeners
            .map(|listener| self.listener(listener, &services, now))
            .collect();
        let mut leaving = self.leaving.clone();
        leaving.0.extend(self.servers.iter().cloned());
        leaving
            .0
            .retain(|gone| gone.connections() > 0 && !servers.iter().any(|other| other.is(gone)));
        leaving.1.extend(self.services.iter().cloned());
        leaving
            .1
            .retain(|gone| gone.connections() > 0 && !services.iter().any(|other| other.is(gone)));
        Self {
            servers,
            services,
            listeners,
            monitor_interval: config.admin.monitor_interval,
            leaving,
            ..self.clone()
        }
    }

    fn server(&self, parameters: &config::Server, now: SystemTime) -> Arc<Server> {
        let known = find(&self.servers, Server::name, &parameters.name);
        match known.or_else(|| find(&self.leaving.0, Server::name, &parameters.name)) {
            Some(known) if known.parameters == *parameters => Arc::clone(known),
            Some(known) => Arc::new(known.renewed(parameters.clone(), now)),
            None => Arc::new(Server::new(
                parameters.clone(),
                &self.server_changes,
                &self.departures,
                now,
            )),
        }
    }

    fn service(
        &self,
        parameters: &config::Service,
        servers: &[Arc<Server>],
        now: SystemTime,
    ) -> Arc<Service> {
        let server = |name: &String| {
            let found = find(servers, Server::name, name);
            Arc::clone(found.expect("a configuration refers to servers that it has"))
        };
        let servers: Vec<_> = parameters.servers.iter().map(server).collect();
        let known = find(&self.services, Service::name, &parameters.name);
        match known.or_else(|| find(&self.leaving.1, Service::name, &parameters.name)) {
            Some(known)
                if known.parameters == *parameters && are_same(known.servers(), &servers) =>
            {
                Arc::clone(known)
            }
            Some(known) => Arc::new(known.renewed(parameters.clone(), servers)),
            None => {
                let service = Service::new(parameters.clone(), servers, &self.service_changes, now);
                Arc::new(service)
            }
        }
    }

    fn listener(
        &self,
        parameters: &config::Listener,
        services: &[Arc<Service>],
        now: SystemTime,
    ) -> Arc<Listener> {
        let service = find(services, Service::name, &parameters.service);
        let service = Arc::clone(service.expect("a configuration refers to services that it has"));
        match find(&self.listeners, Listener::name, &parameters.name) {
            Some(known)
                if known.parameters == *parameters && Arc::ptr_eq(known.service(), &service) =>
            {
                Arc::clone(known)
            }
            Some(known) => Arc::new(known.renewed(parameters.clone(), service)),
            None => {
                let listener =
                    Listener::new(parameters.clone(), service, &self.listener_changes, now);
                Arc::new(listener)
            }
        }
    }

    /// Whether everything is the same in both, order included.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        are_same(&self.servers, &other.servers)
            && are_same(&self.services, &other.services)
            && are_same(&self.listeners, &other.listeners)
    }

    /// Notes that everything may look different: relationships lead everywhere.
    pub(super) fn note_change(&self, now: SystemTime) {
        // Where nothing is left, that is news as well.
        for changes in [
            &self.server_changes,
            &self.service_changes,
            &self.listener_changes,
        ] {
            changes.note(now);
        }
        for server in &self.servers {
            server.note_change(now);
        }
        for service in &self.services {
            service.note_change(now);
        }
        for listener in &self.listeners {
            listener.note_change(now);
        }
    }

    /// The server of that name.
    #[must_use]
    pub fn server_called(&self, name: &str) -> Option<&Arc<Server>> {
        find(&self.servers, Server::name, name)
    }

    /// The service of that name.
    #[must_use]
    pub fn service_called(&self, name: &str) -> Option<&Arc<Service>> {
        find(&self.services, Service::name, name)
    }

    /// The listener of that name.
    #[must_use]
    pub fn listener_called(&self, name: &str) -> Option<&Arc<Listener>> {
        find(&self.listeners, Listener::name, name)
    }

    /// The listeners of a service.
    pub fn listeners_of<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<Listener>> {
        let listeners = self.listeners.iter();
        listeners.filter(|listener| listener.service().is(service))
    }
}

fn find<'a, T>(all: &'a [Arc<T>], name_of: impl Fn(&T) -> &str, name: &str) -> Option<&'a Arc<T>> {
    all.iter().find(|one| name_of(one) == name)
}

fn are_same<T>(some: &[Arc<T>], others: &[Arc<T>]) -> bool {
    some.len() == others.len()
        && some
            .iter()
            .zip(others)
            .all(|(one, other)| Arc::ptr_eq(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::DownCause;

    const TEXT: &str = "[a]\ntype=server\naddress=192.0.2.1\nport=1\n\
        [b]\ntype=server\naddress=192.0.2.2\nport=2\n\
        [s]\ntype=service\nservers=a\n[t]\ntype=service\nservers=b\n\
        [l]\ntype=listener\nservice=s\nport=7001\n[m]\ntype=listener\nservice=t\nport=7002\n";

    fn config(text: &str) -> Config {
        Config::parse("test", text.as_bytes()).unwrap()
    }

    #[test]
    fn what_did_not_change_is_the_same_object() {
        let now = SystemTime::now();
        let before = Topology::new(&config(TEXT), now);
        assert!(before.renewed(&config(TEXT), now).is_same(&before));
        let after = before.renewed(&config(&TEXT.replace("port=2", "port=3")), now);
        assert!(!after.is_same(&before));
        assert!(Arc::ptr_eq(&after.listeners[0], &before.listeners[0]));
        // What leads to a changed server is another object, and still the same thing.
        for (one, other) in [(&before, &after), (&after, &before)] {
            assert!(one.servers[1].is(&other.servers[1]));
            assert!(one.services[1].is(&other.services[1]));
            assert!(one.listeners[1].is(&other.listeners[1]));
        }
        assert!(!Arc::ptr_eq(&after.listeners[1], &before.listeners[1]));
        assert_eq!(after.servers[1].addresses()[0].port(), 3);
        assert_eq!(before.servers[1].addresses()[0].port(), 2);
    }

    #[test]
    fn an_object_of_the_same_name_fares_as_before_and_one_that_comes_back_begins_anew() {
        let now = SystemTime::now();
        let before = Topology::new(&config(TEXT), now);
        let lease = before.servers[0].lease();
        before.listeners[0].set_stopped(true, now);
        let other_rank = TEXT.replace("port=1\n", "port=1\nrank=secondary\n");
        let after = before.renewed(&config(&other_rank), now);
        assert_eq!(after.servers[0].connections(), 1);
        assert!(after.listeners[0].is_stopped());
        drop(lease);
        assert_eq!(after.servers[0].connections(), 0);

        let (only_b, _) = TEXT.split_once("[l]").unwrap();
        let without = after.renewed(&config(only_b), now);
        let again = without.renewed(&config(TEXT), now);
        assert!(!again.listeners[0].is(&before.listeners[0]));
        assert!(!again.listeners[0].is_stopped());
    }

    #[test]
    fn what_comes_back_while_it_has_connections_has_them_still() {
        let now = SystemTime::now();
        let before = Topology::new(&config(TEXT), now);
        let lease = before.servers[0].lease();
        let nothing = config("");
        let again = before.renewed(&nothing, now).renewed(&config(TEXT), now);
        assert!(again.servers[0].is(&before.servers[0]));
        assert!(!again.servers[1].is(&before.servers[1]));
        assert_eq!(again.servers[0].connections(), 1);
        drop(lease);
        let without = again.renewed(&nothing, now);
        assert!(without.leaving.0.is_empty());
    }

    #[test]
    fn what_fails_at_a_former_address_says_nothing_about_the_new_one() {
        let now = SystemTime::now();
        let before = Topology::new(&config(TEXT), now);
        let after = before.renewed(&config(&TEXT.replace("port=2", "port=3")), now);
        before.servers[1].set_down(DownCause::Refusing, "gone", now);
        before.servers[0].set_down(DownCause::Refusing, "gone", now);
        assert!(after.servers[1].is_up());
        assert!(!after.servers[0].is_up());
    }
}
