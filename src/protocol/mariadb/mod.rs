//! Reads along with a session of MariaDB or MySQL, from the greeting to the
//! last change of its user (MariaDB Knowledge Base, "Connection", "0-packet"
//! and "COM_CHANGE_USER").
//!
//! [`packet`] takes each side's bytes apart. The server greets ([`greeting`](mod@greeting)),
//! or refuses at once ([`refusal`]). The client asks for a login ([`login`]) or
//! for TLS, behind which nothing can be seen. Then the server decides, after
//! some packets to and fro ([`exchange`]), and only when it has agreed is
//! anybody logged in. From there on the client's commands pass by
//! ([`commands`]), a few instructions each, until one changes the user: that is
//! another request, and another exchange.
//!
//! The hard thing is to know which packets an answer is made of, when only their
//! heads are looked at. Where that is in doubt, it is said that nobody knows the
//! user: a wrong name would be worse.
//!
//! What comes is a matter of bytes, not of reads: the same bytes of both sides
//! in the same order tell the same, however they are cut.

mod capability;
mod commands;
mod exchange;
mod fields;
mod greeting;
mod login;
mod packet;
mod probe;
mod refusal;

pub use super::first_answer::{
    is_mariadb_unavailable as is_unavailable, of_mariadb as first_packet,
};
pub use greeting::{Greeting, NoGreeting, greeting};
pub use probe::{QUIT, probe_answer, probe_login};
pub use refusal::refuse;

use self::capability::{COMPRESS, ZSTD};
use self::commands::{Commands, Kind};
use self::exchange::{Exchange, Occasion, SHORTEST_ERROR, Verdict};
use self::greeting::MAX_GREETING;
use self::login::{Asked, Response};
use self::packet::{FULL, Framing, Head, Piece};
use self::refusal::{ERROR, MAX_ERROR};
use super::{Fact, MAX_HELD, Side, Stage};

/// Reads along with one session.
#[derive(Debug, Default)]
pub struct Observer {
    state: State,
    client: Framing,
    server: Framing,
    /// What the server offers; from the handshake response on, what both sides have.
    capabilities: u64,
}

/// What is awaited, with the packet that is being gathered.
#[derive(Debug)]
enum State {
    /// The server's greeting.
    Greeting(Vec<u8>),
    /// The client's handshake response.
    Response(Vec<u8>),
    /// The server's decision.
    Exchange(Exchange),
    /// The rest of the error with which the server refuses the login.
    Refusal {
        /// The login that it refuses.
        claimed: Option<Asked>,
        /// The error, as far as it is kept.
        error: Vec<u8>,
    },
    /// A change of user.
    Open(Commands),
    /// The rest of one; `None` where it is too long to be read.
    Change(Option<Vec<u8>>),
    /// Nothing.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Greeting(Vec::new())
    }
}

/// The longest handshake response: it is held together with the error that refuses it.
const MAX_LOGIN: usize = MAX_HELD - 2 * MAX_ERROR;

/// What has come is not what the protocol says, or not what is read here.
struct Unexpected;

impl Observer {
    /// One of a session in which nothing has been sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the client's first packet has been seen whole.
    #[must_use]
    pub fn has_first_message(&self) -> bool {
        !matches!(self.state, State::Greeting(_) | State::Response(_))
    }

    /// Takes what one side has sent, in the order in which it came, after all
    /// that it answers to, and adds what it tells to the facts.
    pub fn observe(&mut self, side: Side, bytes: &[u8], facts: &mut Vec<Fact>) -> Stage {
        if self.take(side, bytes, facts).is_err() {
            if self.stage() == Stage::Open {
                facts.push(Fact::Unclear);
            }
            self.state = State::Over;
        }
        self.stage()
    }

    fn take(
        &mut self,
        side: Side,
        mut rest: &[u8],
        facts: &mut Vec<Fact>,
    ) -> Result<(), Unexpected> {
        while self.listens(side, rest)? {
            let framing = match side {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            match framing.next(&mut rest) {
                None => break,
                Some(Piece::Head(head)) => self.begin(side, head)?,
                Some(Piece::Body(bytes)) => {
                    if let State::Refusal { error, .. } = &mut self.state {
                        let room = MAX_ERROR - error.len();
                        error.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    } else if let Some(gathered) = self.gathered() {
                        gathered.extend_from_slice(bytes);
                    }
                }
                Some(Piece::End) => self.end(side, facts)?,
            }
        }
        Ok(())
    }

    /// Whether a side's packets are looked at; an error where it must not speak now.
    fn listens(&mut self, side: Side, rest: &[u8]) -> Result<bool, Unexpected> {
        match (&mut self.state, side) {
            (State::Over, _) | (State::Refusal { .. }, Side::Client) => Ok(false),
            _ if rest.is_empty() => Ok(true),
            (State::Greeting(_), Side::Client) | (State::Change(_), Side::Server) => {
                Err(Unexpected)
            }
            (State::Open(commands), Side::Server) if !commands.is_asked() => Err(Unexpected),
            _ => Ok(true),
        }
    }

    /// The packet that is being gathered.
    fn gathered(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.state {
            State::Greeting(gathered) | State::Response(gathered) => Some(gathered),
            State::Change(gathered) => gathered.as_mut(),
            State::Exchange(_) | State::Refusal { .. } | State::Open(_) | State::Over => None,
        }
    }

    /// A packet begins.
    fn begin(&mut self, side: Side, head: Head) -> Result<(), Unexpected> {
        match &mut self.state {
            State::Greeting(gathered) => gather(gathered, head, 0, MAX_GREETING),
            // A server may lose its patience, or shut down, before the client has answered.
            State::Response(_) if side == Side::Server => {
                if head.first != Some(ERROR) || head.length < SHORTEST_ERROR {
                    return Err(Unexpected);
                }
                self.state = State::refusal(None);
                Ok(())
            }
            State::Response(gathered) => gather(gathered, head, 1, MAX_LOGIN),
            State::Exchange(exchange) => {
                let other = match side {
                    Side::Client => &self.server,
                    Side::Server => &self.client,
                };
                let in_turn = other.is_between() && exchange.take(side, head).is_some();
                in_turn.then_some(()).ok_or(Unexpected)?;
                if exchange.occasion() == Occasion::Login && exchange.verdict() == Verdict::Refused
                {
                    self.state = State::refusal(exchange.take_asked());
                }
                Ok(())
            }
            State::Open(commands) if side == Side::Server => {
                commands.note_answer(head);
                Ok(())
            }
            State::Open(commands) => match commands.note(head) {
                Kind::Other => Ok(()),
                Kind::Change if head.length < FULL && self.server.is_between() => {
                    let mut gathered = Vec::new();
                    let fits = gather(&mut gathered, head, 0, MAX_HELD).is_ok();
                    self.state = State::Change(fits.then_some(gathered));
                    Ok(())
                }
                Kind::Change | Kind::TangledChange => Err(Unexpected),
            },
            State::Change(_) | State::Refusal { .. } | State::Over => Ok(()),
        }
    }

    /// A packet is whole.
    fn end(&mut self, side: Side, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        match &mut self.state {
            State::Greeting(gathered) => match greeting::read(gathered) {
                Ok(greeting) => {
                    let version = greeting.version.strip_prefix("5.5.5-");
                    let version = version.unwrap_or(&greeting.version).to_owned();
                    facts.push(Fact::ConnectionId(greeting.connection_id.into()));
                    facts.push(Fact::ServerVersion(version));
                    self.capabilities = greeting.capabilities;
                    self.state = State::Response(Vec::new());
                }
                Err(NoGreeting::Refused { .. }) => return self.refuse(facts),
                Err(NoGreeting::Unexpected) => return Err(Unexpected),
            },
            State::Refusal { .. } => return self.refuse(facts),
            State::Response(gathered) => {
                match Response::read(std::mem::take(gathered), self.capabilities) {
                    Some(Response::Login(asked, capabilities)) => {
                        self.capabilities = capabilities;
                        let exchange = Exchange::new(Occasion::Login, 1, Some(asked));
                        self.state = State::Exchange(exchange);
                    }
                    Some(Response::Tls) => {
                        facts.push(Fact::Encrypted);
                        self.state = State::Over;
                    }
                    None => return Err(Unexpected),
                }
            }
            State::Change(gathered) => {
                let packet = gathered.take();
                let asked = packet.and_then(|packet| Asked::change(packet, self.capabilities));
                self.state = State::Exchange(Exchange::new(Occasion::Change, 0, asked));
            }
            State::Exchange(_) if side == Side::Server => return self.decide(facts),
            State::Exchange(_) | State::Open(_) | State::Over => {}
        }
        Ok(())
    }

    /// Reports the error with which the server has refused the login.
    fn refuse(&mut self, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        let (claimed, packet) = match std::mem::replace(&mut self.state, State::Over) {
            State::Greeting(packet) => (None, packet),
            State::Refusal { claimed, error } => (claimed, error),
            _ => return Err(Unexpected),
        };
        let error = refusal::error(&packet).ok_or(Unexpected)?;
        let claimed = claimed.map(|asked| asked.login());
        facts.push(Fact::Refused { claimed, error });
        Ok(())
    }

    /// Does as the server has decided, if it has.
    fn decide(&mut self, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        let State::Exchange(exchange) = &self.state else {
            return Ok(());
        };
        if exchange.verdict() == Verdict::Open {
            return Ok(());
        }
        if !self.client.is_between() {
            return Err(Unexpected);
        }
        self.state = match (exchange.occasion(), exchange.verdict()) {
            (_, Verdict::Agreed) => {
                let asked = exchange.asked().ok_or(Unexpected)?;
                facts.push(Fact::LoggedIn(asked.login()));
                match exchange.occasion() {
                    // What is compressed is framed in another way.
                    _ if self.capabilities & (COMPRESS | ZSTD) != 0 => State::Over,
                    Occasion::Login => State::Open(Commands::after_login()),
                    Occasion::Change => State::Open(Commands::after_change()),
                }
            }
            (Occasion::Login, _) => return Err(Unexpected),
            // The user stays.
            (Occasion::Change, _) => State::Open(Commands::after_change()),
        };
        Ok(())
    }

    fn stage(&self) -> Stage {
        match &self.state {
            State::Greeting(_) | State::Response(_) | State::Refusal { .. } => Stage::Login,
            State::Exchange(exchange) => match exchange.occasion() {
                Occasion::Login => Stage::Login,
                Occasion::Change => Stage::Open,
            },
            State::Open(_) | State::Change(_) => Stage::Open,
            State::Over => Stage::Over,
        }
    }

    /// Bytes of memory that it holds beside itself; none while a session is
    /// open and its user is not about to change.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Greeting(gathered) | State::Response(gathered) => gathered.capacity(),
            State::Exchange(exchange) => exchange.asked().map_or(0, Asked::memory),
            State::Refusal { claimed, error } => {
                claimed.as_ref().map_or(0, Asked::memory) + error.capacity()
            }
            State::Change(gathered) => gathered.as_ref().map_or(0, Vec::capacity),
            State::Open(_) | State::Over => 0,
        }
    }
}

impl State {
    /// The server has begun to refuse a login with an error packet.
    fn refusal(claimed: Option<Asked>) -> Self {
        let error = vec![ERROR];
        Self::Refusal { claimed, error }
    }
}

/// Begins to gather a packet that must have this sequence number and fit.
fn gather(
    gathered: &mut Vec<u8>,
    head: Head,
    sequence: u8,
    limit: usize,
) -> Result<(), Unexpected> {
    let length = usize::try_from(head.length).map_err(|_| Unexpected)?;
    if head.sequence != sequence || length > limit {
        return Err(Unexpected);
    }
    gathered.reserve_exact(length);
    gathered.extend(head.first);
    Ok(())
}

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod handshakes;
