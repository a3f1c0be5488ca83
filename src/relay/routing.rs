//! `readconnroute`: which server takes the next session.

use std::sync::Arc;

use crate::registry::{DownCause, Server};

/// What is left where no server is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Those that have said that they take no clients now: a client is told by
    /// the server itself, if it still is so. Probes find out when others are back.
    Unavailable,
    /// Those that are down. There are no probes, so a client has to find out.
    DownServers,
}

/// The server with the fewest connections, among those that are up, take
/// sessions, have room and were not tried yet: primaries before secondaries, the
/// first in the order of the configuration where they are equal. Where none is left,
/// the fallback are those that are down, the one that has been down for longest first.
pub(super) fn choose<'a>(
    servers: &'a [Arc<Server>],
    tried: &[Arc<Server>],
    fallback: Fallback,
) -> Option<&'a Arc<Server>> {
    let candidates = || {
        servers
            .iter()
            .filter(|server| server.takes_sessions() && server.has_room())
            .filter(|server| !tried.iter().any(|other| Arc::ptr_eq(other, server)))
    };
    let up = candidates()
        .filter(|server| server.is_up())
        .min_by_key(|server| (server.parameters.rank, server.connections()));
    let is_left = |server: &&Arc<Server>| match fallback {
        Fallback::DownServers => true,
        Fallback::Unavailable => {
            let down = server.health().down;
            down.is_some_and(|down| down.cause == DownCause::Unavailable)
        }
    };
    let longest_down = || {
        candidates()
            .filter(is_left)
            .min_by_key(|server| (server.parameters.rank, server.health().since))
    };
    up.or_else(longest_down)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::config::Config;
    use crate::registry::{Condition, Topology};

    const TEXT: &[u8] = b"
        [spare]\ntype=server\naddress=192.0.2.9\nport=1\nrank=secondary
[a]\ntype=server\naddress=192.0.2.1\nport=1
[b]\ntype=server\naddress=192.0.2.2\nport=1
[s]\ntype=service\nservers=spare,a,b\n";

    fn servers() -> Vec<Arc<Server>> {
        let config = Config::parse("test", TEXT.trim_ascii_start()).unwrap();
        Topology::new(&config, SystemTime::now()).services[0]
            .servers()
            .to_vec()
    }

    fn chosen(servers: &[Arc<Server>], tried: &[Arc<Server>]) -> Option<String> {
        choose(servers, tried, Fallback::Unavailable).map(|server| server.name().to_owned())
    }

    /// It has been down since then, in seconds.
    fn set_down(server: &Server, since: u64) {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since);
        server.set_down(DownCause::Unreachable, "gone", since);
    }

    #[test]
    fn the_least_busy_primary_is_chosen_and_the_first_of_equals() {
        let servers = servers();
        assert_eq!(chosen(&servers, &[]).as_deref(), Some("a"));
        let _one = servers[1].lease();
        assert_eq!(chosen(&servers, &[]).as_deref(), Some("b"));
        let _two = servers[2].lease();
        assert_eq!(chosen(&servers, &[]).as_deref(), Some("a"));
    }

    #[test]
    fn a_secondary_is_chosen_only_where_no_primary_is_left() {
        let servers = servers();
        set_down(&servers[1], 1);
        assert_eq!(chosen(&servers, &[]).as_deref(), Some("b"));
        assert_eq!(chosen(&servers, &servers[2..]).as_deref(), Some("spare"));
        assert_eq!(
            chosen(
                &servers,
                &[Arc::clone(&servers[0]), Arc::clone(&servers[2])]
            ),
            None
        );
    }

    #[test]
    fn without_probes_those_that_are_down_are_tried_last_the_longest_down_first() {
        let servers = servers();
        let chosen = |tried: &[&Arc<Server>]| {
            let tried: Vec<_> = tried.iter().map(|server| Arc::clone(server)).collect();
            let chosen = choose(&servers, &tried, Fallback::DownServers);
            chosen.map(|server| server.name().to_owned())
        };
        let [spare, a, b] = [&servers[0], &servers[1], &servers[2]];
        set_down(a, 8);
        set_down(b, 7);
        assert_eq!(chosen(&[]).as_deref(), Some("spare"));
        assert_eq!(chosen(&[spare]).as_deref(), Some("b"));
        set_down(spare, 1);
        assert_eq!(chosen(&[]).as_deref(), Some("b"));
        // To fail again is no news.
        set_down(b, 9);
        assert_eq!(chosen(&[]).as_deref(), Some("b"));
        assert_eq!(chosen(&[b]).as_deref(), Some("a"));
        assert_eq!(chosen(&[b, a]).as_deref(), Some("spare"));
        assert_eq!(chosen(&[b, a, spare]), None);
        b.set_condition(Condition::Drain, true, SystemTime::now());
        assert_eq!(chosen(&[]).as_deref(), Some("a"));
    }

    #[test]
    fn a_server_that_is_drained_is_not_chosen() {
        let servers = servers();
        servers[1].set_condition(Condition::Drain, true, SystemTime::now());
        assert_eq!(chosen(&servers, &[]).as_deref(), Some("b"));
    }
}
