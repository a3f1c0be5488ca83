//! `readconnroute`: which server takes the next session.

use std::sync::Arc;

use crate::registry::Server;

/// The server with the fewest connections, among those that are up, take
/// sessions, have room and were not tried yet: primaries before secondaries, the
/// first in the order of the configuration where they are equal.
pub(super) fn choose<'a>(
    servers: &'a [Arc<Server>],
    tried: &[Arc<Server>],
) -> Option<&'a Arc<Server>> {
    servers
        .iter()
        .filter(|server| server.is_up() && server.takes_sessions() && server.has_room())
        .filter(|server| !tried.iter().any(|other| Arc::ptr_eq(other, server)))
        .min_by_key(|server| (server.parameters.rank, server.connections()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

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
        choose(servers, tried).map(|server| server.name().to_owned())
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
        servers[1].set_up(false, SystemTime::now());
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
    fn a_server_that_is_drained_is_not_chosen() {
        let servers = servers();
        servers[1].set_condition(Condition::Drain, true, SystemTime::now());
        assert_eq!(chosen(&servers, &[]).as_deref(), Some("b"));
    }
}
