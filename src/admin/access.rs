//! Who may: where a request comes from, which host it asks for, and whose
//! token it shows.
//!
//! A unix socket has permissions of its own, so whoever is connected may do
//! everything, and may name any host: no page in a browser leads there. Over TCP, accounts decide where there are any; where there are
//! none the server is on loopback, and whoever is there may read. The host
//! must be one of ours, or a page in somebody's browser could reach us under a
//! name of its own (DNS rebinding).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};

use super::refusal::Refusal;
use super::transport::Transport;
use crate::config::{self, Account, Accounts, LoadError, Role};
use crate::lock::lock;

/// The other end of an admin connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It came over the unix socket, from a process of that user.
    Unix(Credentials),
    /// It came over TCP, from the first of these addresses to the second.
    Tcp(SocketAddr, IpAddr),
}

impl Peer {
    /// How it has come.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Unix(_) => Transport::UnixSocket,
            Self::Tcp(..) => Transport::Tcp,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Credentials { user, process }) => {
                write!(f, "user {user}, process {process}, over the unix socket")
            }
            Self::Tcp(remote, _) => remote.fmt(f),
        }
    }
}

/// Who is at the other end of a unix socket, by numbers (unix(7), `SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: u32,
    pub(super) process: i32,
}

/// Who asks: by which account, if that matters, and from where.
#[derive(Clone, Debug)]
pub(super) struct Who {
    account: Option<String>,
    role: Role,
    peer: Peer,
}

impl Who {
    /// What the account may do, or everybody who comes this way.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// How the request has come.
    pub(super) fn transport(&self) -> Transport {
        self.peer.transport()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "{account} at {}", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

/// What of the configuration can change while the server runs.
#[derive(Debug)]
pub struct Rules {
    /// The accounts, and where they were read.
    accounts: Option<(PathBuf, Accounts)>,
    hostnames: Vec<String>,
}

impl Rules {
    /// Those of a configuration, with the accounts that it names.
    pub fn load(parameters: &config::Admin) -> Result<Self, LoadError> {
        let load = |path: &PathBuf| Ok((path.clone(), Accounts::load(path)?));
        Ok(Self {
            accounts: parameters.accounts.as_ref().map(load).transpose()?,
            hostnames: parameters.hostnames.clone(),
        })
    }
}

/// The rules of one admin server.
#[derive(Debug)]
pub(super) struct Access {
    /// Those that count now.
    rules: Mutex<Arc<Rules>>,
    host: IpAddr,
    refused: Mutex<Refused>,
}

impl Access {
    /// The rules of a configuration, with the accounts that it names.
    pub(super) fn new(parameters: &config::Admin) -> Result<Self, LoadError> {
        Ok(Self {
            rules: Mutex::new(Arc::new(Rules::load(parameters)?)),
            host: parameters.host,
            refused: Mutex::new(Refused {
                since: Instant::now(),
                count: 0,
            }),
        })
    }

    /// Other rules count from now on. True where the accounts are others, too.
    pub(super) fn change(&self, rules: Rules) -> bool {
        if let Some((path, _)) = &rules.accounts {
            log::info!("the accounts in {} are read again", path.display());
        }
        let mut current = lock(&self.rules);
        let others = rules.accounts != current.accounts;
        *current = Arc::new(rules);
        others
    }

    /// Whether a request may go on to its path, and whose it is.
    pub(super) fn check(
        &self,
        peer: &Peer,
        host: &str,
        authorization: Option<&str>,
        writes: bool,
        now: Instant,
    ) -> Result<Who, Refusal> {
        let rules = Arc::clone(&lock(&self.rules));
        let by = |account: Option<&Account>, role| Who {
            account: account.map(|account| account.name.clone()),
            role,
            peer: *peer,
        };
        let Peer::Tcp(_, local) = peer else {
            return Ok(by(None, Role::Admin));
        };
        if !self.is_our_host(*local, host, &rules.hostnames) {
            return Err(Refusal::Misdirected(host.to_owned()));
        }
        let Some((_, accounts)) = &rules.accounts else {
            if writes {
                return Err(Refusal::Forbidden(
                    "over TCP this needs an account with the role admin (admin_accounts), or use the unix socket \
                     (admin_socket)"
                        .to_owned(),
                ));
            }
            return Ok(by(None, Role::Basic));
        };
        match log_in(accounts, authorization) {
            None => {
                self.tell_of_refusal(peer, authorization, now);
                Err(Refusal::Unauthorized)
            }
            Some(account) if writes && account.role != Role::Admin => Err(Refusal::Forbidden(
                "this needs an account with the role admin".to_owned(),
            )),
            Some(account) => Ok(by(Some(account), account.role)),
        }
    }

    /// Whether a host is one of ours, for a client that has connected to an address.
    fn is_our_host(&self, local: IpAddr, host: &str, hostnames: &[String]) -> bool {
        let name = without_port(host);
        let address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if let Ok(address) = address.parse::<IpAddr>() {
            // All addresses of the machine are its host then, so it is the one that was asked.
            let local = self.host.is_unspecified().then_some(local);
            let address = address.to_canonical();
            return address.is_loopback()
                || address == self.host.to_canonical()
                || Some(address) == local;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_name =
            |other: &str| name.eq_ignore_ascii_case(other.strip_suffix('.').unwrap_or(other));
        is_name("localhost") || hostnames.iter().any(|other| is_name(other))
    }

    fn tell_of_refusal(&self, peer: &Peer, authorization: Option<&str>, now: Instant) {
        // A request without a login is how browsers and curl begin; it is no attempt.
        if authorization.is_none() {
            return;
        }
        let (left_out, tell) = lock(&self.refused).next(now);
        if left_out > 0 {
            log::warn!("{left_out} more admin logins were refused");
        }
        if tell {
            log::warn!("admin login refused: wrong name or token, from {peer}");
        }
    }
}

/// Host and port come apart at the last colon, unless it is in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !is_bare_ipv6(name) =>
        {
            name
        }
        _ => host,
    }
}

fn is_bare_ipv6(name: &str) -> bool {
    name.contains(':') && !name.starts_with('[')
}

/// The account that an `Authorization` header shows the token of: `Bearer
/// TOKEN` (RFC 6750), or `Basic` with the token as the password (RFC 7617).
fn log_in<'a>(accounts: &'a Accounts, authorization: Option<&str>) -> Option<&'a Account> {
    let (scheme, credentials) = authorization?.split_once(' ')?;
    let credentials = credentials.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("Bearer") {
        return accounts.find(None, credentials);
    }
    if scheme.eq_ignore_ascii_case("Basic") {
        let decoded = String::from_utf8(Base64::decode_vec(credentials).ok()?).ok()?;
        let (name, token) = decoded.split_once(':')?;
        return accounts.find(Some(name), token);
    }
    None
}

/// Refused logins of the current second.
#[derive(Debug)]
struct Refused {
    since: Instant,
    count: u32,
}

/// How many refused logins are logged in a second; who guesses must not fill the disk.
const LINES_A_SECOND: u32 = 10;

impl Refused {
    /// Counts one. How many of the last second were left out, and whether to tell of this one.
    fn next(&mut self, now: Instant) -> (u32, bool) {
        let mut left_out = 0;
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            left_out = self.count.saturating_sub(LINES_A_SECOND);
            *self = Self {
                since: now,
                count: u32::from(left_out > 0),
            };
        }
        self.count += 1;
        (left_out, self.count <= LINES_A_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn access(host: &str, hostnames: &[&str]) -> Access {
        let hostnames = hostnames.iter().map(|name| (*name).to_owned()).collect();
        let parameters = config::Admin {
            host: host.parse().unwrap(),
            hostnames,
            ..config::Admin::default()
        };
        Access::new(&parameters).unwrap()
    }

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn is_ours(access: &Access, host: &str) -> bool {
        let rules = Arc::clone(&lock(&access.rules));
        access.is_our_host(LOCAL, host, &rules.hostnames)
    }

    #[test]
    fn hosts_that_name_this_server_are_ours_with_any_port() {
        let access = access("192.0.2.5", &["gateway.example", "box."]);
        for host in [
            "localhost",
            "LocalHost:1",
            "localhost.:80",
            "127.0.0.1",
            "127.1.2.3:8989",
            "[::1]",
            "[::1]:8989",
            "[::ffff:127.0.0.1]:1",
            "192.0.2.5:8989",
            "Gateway.Example:4009",
            "box",
            "localhost:",
        ] {
            assert!(is_ours(&access, host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.1",
            "192.0.2.6:8989",
            "[::2]",
            "gateway.example.evil",
            "0x7f.1",
            "127.1",
            "",
            ":80",
            "localhost:80:80",
        ] {
            assert!(!is_ours(&access, host), "{host}");
        }
    }

    #[test]
    fn where_all_addresses_are_the_host_it_is_the_one_that_was_asked() {
        for host in ["0.0.0.0", "::"] {
            let access = access(host, &[]);
            assert!(is_ours(&access, "192.0.2.1:8989"));
            assert!(!is_ours(&access, "192.0.2.2:8989"));
        }
    }

    #[test]
    fn over_the_unix_socket_any_host_is_ours_and_over_tcp_it_is_not() {
        let access = access("127.0.0.1", &[]);
        let unix = Peer::Unix(Credentials {
            user: 0,
            process: 1,
        });
        let tcp = Peer::Tcp("127.0.0.1:1".parse().unwrap(), LOCAL);
        for host in ["docker", "evil.example", "%2Frun%2Fx", "192.0.2.9:80"] {
            let check = |peer: &Peer| access.check(peer, host, None, false, Instant::now());
            assert!(check(&unix).is_ok(), "{host}");
            assert!(
                matches!(check(&tcp), Err(Refusal::Misdirected(_))),
                "{host}"
            );
        }
    }

    #[test]
    fn ten_refusals_a_second_are_told_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut refused = Refused {
            since: start,
            count: 0,
        };
        let told = (0..25).filter(|_| refused.next(start).1).count();
        assert_eq!(told, 10);
        assert_eq!(refused.next(start + Duration::from_secs(1)), (15, true));
        // The line about those counts as one of the ten.
        let told = (0..25)
            .filter(|_| refused.next(start + Duration::from_secs(1)).1)
            .count();
        assert_eq!(told, 8);
    }

    #[test]
    fn a_token_is_shown_as_bearer_or_as_a_password() {
        let line = Account::new("ops", Role::Basic, "t0ken")
            .unwrap()
            .to_string();
        let accounts = Accounts::parse("accounts", line.as_bytes()).unwrap();
        let basic = |text: &str| format!("Basic {}", Base64::encode_string(text.as_bytes()));
        for shown in [
            "Bearer t0ken",
            "bearer  t0ken",
            &basic("ops:t0ken"),
            &basic("ops:t0ken").replace("Basic", "BASIC"),
        ] {
            assert!(log_in(&accounts, Some(shown)).is_some(), "{shown}");
        }
        for shown in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer t0ken ",
            "Bearer T0ken",
            "Digest t0ken",
            "Basic",
            "Basic ",
            "Basic t0ken",
            "Basic ====",
            &basic("ops"),
            &basic("ops:"),
            &basic("ops:token"),
            &basic("op:t0ken"),
            &basic(":t0ken"),
        ] {
            assert!(log_in(&accounts, Some(shown)).is_none(), "{shown}");
        }
        assert!(log_in(&accounts, None).is_none());
    }
}
