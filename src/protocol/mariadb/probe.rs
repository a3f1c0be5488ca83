//! How a probe takes its leave of a server that has greeted.
//!
//! A connection that ends without a login counts as an error of our host, and
//! after `max_connect_errors` of them (100 by default) the server blocks the
//! host, clients and all (MariaDB Knowledge Base, "max_connect_errors"). A
//! login that is denied does not count. So a probe logs in, as a user who need
//! not exist.

use super::capability::{PLUGIN_AUTH, PROTOCOL_41, SECURE_CONNECTION};
use super::greeting::Greeting;
use crate::protocol::PROBE_USER;

/// The command that ends a session, COM_QUIT.
pub const QUIT: &[u8] = b"\x01\0\0\0\x01";

/// UTF-8, by the number that all servers know.
const COLLATION: u8 = 33;

/// The answer to a greeting: a login without a password (MariaDB Knowledge
/// Base, "Connection", handshake response packet). `None` for a server of
/// before 2004, which takes another.
#[must_use]
pub fn probe_login(greeting: &Greeting) -> Option<Vec<u8>> {
    let wanted = PROTOCOL_41 | SECURE_CONNECTION;
    if greeting.capabilities & wanted != wanted {
        return None;
    }
    let offered = greeting.capabilities & PLUGIN_AUTH;
    let capabilities = u32::try_from(wanted | offered).ok()?;
    let mut body = capabilities.to_le_bytes().to_vec();
    // The longest packet that we would take.
    body.extend(0x00ff_ffff_u32.to_le_bytes());
    body.push(COLLATION);
    body.extend([0; 23]);
    body.extend(PROBE_USER.as_bytes());
    // The name ends, and an answer to the scramble has no length.
    body.extend([0, 0]);
    if offered != 0 {
        body.extend(b"mysql_native_password\0");
    }
    let length = u8::try_from(body.len()).ok()?;
    Some([&[length, 0, 0, 1], body.as_slice()].concat())
}

/// What to say to the server's answer, before the probe goes: to a wish for
/// another kind of answer, an empty one; `None` where there is no more to come.
#[must_use]
pub fn probe_answer(said: &[u8]) -> Option<Vec<u8>> {
    match said {
        [_, _, _, sequence, AUTH_SWITCH, ..] => Some(vec![0, 0, 0, sequence.wrapping_add(1)]),
        _ => None,
    }
}

/// The first byte of a server's wish for another authentication plugin.
const AUTH_SWITCH: u8 = 0xfe;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Fact, Login, Side, Stage, mariadb::Observer};

    fn greeting(capabilities: u64) -> Greeting {
        Greeting {
            version: "10.11.6-MariaDB".to_owned(),
            connection_id: 7,
            capabilities,
        }
    }

    #[test]
    fn a_probe_logs_in_as_an_observer_reads_it() {
        let server: &[u8] =
            b"\x53\0\0\0\x0a10.11.6-MariaDB\0\x07\0\0\0abcdefgh\0\xfe\xf7\x08\x02\0\
            \xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";
        let greeting = super::super::greeting(server).unwrap().unwrap();
        let login = probe_login(&greeting).unwrap();
        let (mut observer, mut facts) = (Observer::default(), Vec::new());
        observer.observe(Side::Server, server, &mut facts);
        observer.observe(Side::Client, &login, &mut facts);
        let stage = observer.observe(Side::Server, b"\x07\0\0\x02\0\0\0\x02\0\0\0", &mut facts);
        assert_eq!(stage, Stage::Open);
        let login = Login {
            user: PROBE_USER.to_owned(),
            ..Login::default()
        };
        assert_eq!(facts.first(), Some(&Fact::ConnectionId(7)));
        assert_eq!(facts.last(), Some(&Fact::LoggedIn(login)));
    }

    #[test]
    fn another_plugin_gets_an_empty_answer_and_a_verdict_none() {
        let switch = b"\x2c\0\0\x02\xfemysql_native_password\0";
        assert_eq!(probe_answer(switch), Some(vec![0, 0, 0, 3]));
        assert_eq!(probe_answer(b"\x48\0\0\x02\xff\x15\x04"), None);
        assert_eq!(probe_answer(b"\x48"), None);
    }

    #[test]
    fn a_server_of_old_gets_no_login() {
        assert!(probe_login(&greeting(0)).is_none());
        assert!(probe_login(&greeting(PROTOCOL_41)).is_none());
        assert!(probe_login(&greeting(PROTOCOL_41 | SECURE_CONNECTION)).is_some());
    }
}
