//! Reads along with a session of MariaDB or MySQL, from the greeting to the
//! last change of its user (MariaDB Knowledge Base, "Connection", "0-packet"
//! and "COM_CHANGE_USER").
//!
//! [`packet`] takes each side's bytes apart. The server greets ([`greeting`](mod@greeting)),
//! or refuses at once ([`refusal`]). The client asks for a login ([`login`]) or
//! for TLS, behind which nothing can be seen. Then the server decides, after
//! some packets to and fro ([`exchange`]), and only when it has agreed is
//! anybody logged in. From there on the session is [`open`]: the client's
//! [`commands`] pass by, a few instructions each, until one changes the user: that
//! is another request, and another exchange. The default [`database`] is followed,
//! and the end of the session is seen. What is [`compressed`] is framed in another
//! way, and less of it can be seen.
//!
//! The client's bytes are its own stream, and count from its first byte on even
//! where they come before the greeting: they wait until that is whole.
//!
//! The hard thing is to know which packets an answer is made of, when only their
//! heads are looked at. Where that is in doubt, it is said that nobody knows the
//! user: a wrong name would be worse.
//!
//! What comes is a matter of bytes, not of reads: the same bytes of both sides
//! in the same order tell the same, however they are cut.

mod capability;
mod commands;
mod compressed;
mod database;
mod exchange;
mod fields;
mod first;
mod greeting;
mod inflate;
mod login;
mod open;
mod packet;
mod probe;
mod refusal;

pub use first::{first_packet, is_login_unavailable};
pub use greeting::{Greeting, NoGreeting, greeting};
pub use probe::{QUIT, probe_answer, probe_login};
pub use refusal::refuse;

use self::capability::{COMPRESS, SESSION_TRACK, ZSTD};
use self::commands::{Commands, QUIT_HEAD};
use self::compressed::Compressed;
use self::exchange::{Exchange, Occasion, SHORTEST_ERROR, Verdict};
use self::greeting::MAX_GREETING;
use self::login::{Asked, Response};
use self::open::{Next, Open};
use self::packet::{FULL, Framing, Head, Piece};
use self::refusal::{ERROR, MAX_ERROR};
use super::held::hold;
use super::server_error::{MAX_VERSION, printable};
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
    Greeting {
        gathered: Vec<u8>,
        /// What the client has sent without waiting for it.
        early: Vec<u8>,
    },
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
    /// The client's commands.
    Open(Open),
    /// The same, compressed.
    Compressed(Box<Compressed>),
    /// The rest of one; `None` where it is too long to be read.
    Change(Option<Vec<u8>>),
    /// Nothing.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Greeting {
            gathered: Vec::new(),
            early: Vec::new(),
        }
    }
}

/// The longest handshake response: it is held together with the error that refuses it.
const MAX_LOGIN: usize = MAX_HELD - 2 * MAX_ERROR;

/// As much may a client send before it is greeted: more than a handshake response of the
/// usual clients, and no more than can be held beside the greeting.
const MAX_EARLY: usize = MAX_LOGIN - MAX_GREETING;

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
        !matches!(self.state, State::Greeting { .. } | State::Response(_))
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
            match (&mut self.state, side) {
                (State::Greeting { early, .. }, Side::Client) => {
                    if early.len() + rest.len() > MAX_EARLY {
                        return Err(Unexpected);
                    }
                    hold(early, rest, MAX_EARLY);
                    break;
                }
                (State::Open(open), Side::Client) => {
                    let next = open.client(framing, &mut rest, facts);
                    if next == Next::Wait {
                        break;
                    }
                    self.follow(&next, facts)?;
                    continue;
                }
                (State::Open(open), Side::Server) => {
                    return open.server(framing, &mut rest, facts);
                }
                (State::Compressed(session), _) => {
                    if session.observe(side, rest, facts).is_break() {
                        self.state = State::Over;
                    }
                    break;
                }
                _ => {}
            }
            match framing.next(&mut rest) {
                None => break,
                Some(Piece::Head(head)) => self.begin(side, head, facts)?,
                Some(Piece::Body(bytes)) => self.gather(bytes),
                Some(Piece::End) => self.end(side, facts)?,
            }
        }
        Ok(())
    }

    /// Does as a command of the client demands.
    fn follow(&mut self, next: &Next, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        match next {
            Next::Wait => {}
            Next::Quit => {
                facts.push(Fact::Quit);
                self.state = State::Over;
            }
            Next::Change(head) if head.length < FULL && self.server.is_between() => {
                let fits = head.length as usize <= MAX_HELD;
                self.state = State::Change(fits.then(|| Vec::from_iter(head.first)));
            }
            Next::Change(_) => return Err(Unexpected),
        }
        Ok(())
    }

    /// Whether a side's packets are looked at; an error where it must not speak now.
    fn listens(&self, side: Side, rest: &[u8]) -> Result<bool, Unexpected> {
        match (&self.state, side) {
            (State::Over, _) | (State::Refusal { .. }, Side::Client) => Ok(false),
            (State::Exchange(exchange), Side::Client) if exchange.has_quit() => Ok(false),
            (State::Change(_), Side::Server) if !rest.is_empty() => Err(Unexpected),
            _ => Ok(true),
        }
    }

    /// Takes more of a packet, behind its first byte.
    fn gather(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Greeting { gathered, .. } => hold(gathered, bytes, MAX_GREETING),
            State::Response(gathered) => hold(gathered, bytes, MAX_LOGIN),
            State::Change(Some(gathered)) => hold(gathered, bytes, MAX_HELD),
            State::Refusal { error, .. } => {
                let room = MAX_ERROR - error.len();
                hold(error, &bytes[..bytes.len().min(room)], MAX_ERROR);
            }
            _ => {}
        }
    }

    /// A packet begins.
    fn begin(&mut self, side: Side, head: Head, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        match &mut self.state {
            State::Greeting { gathered, .. } => gather(gathered, head, 0, MAX_GREETING),
            // A server may lose its patience, or shut down, before the client has answered.
            State::Response(_) if side == Side::Server => {
                if head.first != Some(ERROR) || head.length < SHORTEST_ERROR {
                    return Err(Unexpected);
                }
                self.state = State::refusal(None);
                Ok(())
            }
            State::Response(gathered) => gather(gathered, head, 1, MAX_LOGIN),
            State::Exchange(exchange) if side == Side::Client && head == QUIT_HEAD => {
                exchange.quit();
                self.client.settle();
                facts.push(Fact::Quit);
                Ok(())
            }
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
            State::Change(_)
            | State::Refusal { .. }
            | State::Open(_)
            | State::Compressed(_)
            | State::Over => Ok(()),
        }
    }

    /// A packet is whole.
    fn end(&mut self, side: Side, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        match &mut self.state {
            State::Greeting { gathered, early } => match greeting::read(gathered) {
                Ok(greeting) => {
                    let version = greeting.version.strip_prefix("5.5.5-");
                    let version = version.unwrap_or(&greeting.version);
                    let version = printable(version.as_bytes(), MAX_VERSION);
                    facts.push(Fact::ConnectionId(greeting.connection_id.into()));
                    if !version.is_empty() {
                        facts.push(Fact::ServerVersion(version));
                    }
                    let early = std::mem::take(early);
                    self.capabilities = greeting.capabilities;
                    self.state = State::Response(Vec::new());
                    return self.take(Side::Client, &early, facts);
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
            State::Exchange(_) | State::Open(_) | State::Compressed(_) | State::Over => {}
        }
        Ok(())
    }

    /// Reports the error with which the server has refused the login.
    fn refuse(&mut self, facts: &mut Vec<Fact>) -> Result<(), Unexpected> {
        let (claimed, packet) = match std::mem::replace(&mut self.state, State::Over) {
            State::Greeting { gathered, .. } => (None, gathered),
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
        let is_tracked = self.capabilities & SESSION_TRACK != 0;
        self.state = match (exchange.occasion(), exchange.verdict()) {
            (_, Verdict::Agreed) => {
                let asked = exchange.asked().ok_or(Unexpected)?;
                facts.push(Fact::LoggedIn(asked.login()));
                match exchange.occasion() {
                    _ if exchange.has_quit() => State::Over,
                    _ if self.capabilities & (COMPRESS | ZSTD) != 0 => {
                        State::Compressed(Box::new(Compressed::new(self.capabilities)))
                    }
                    Occasion::Login => State::Open(Open::new(Commands::after_login(), is_tracked)),
                    Occasion::Change => {
                        State::Open(Open::new(Commands::after_change(), is_tracked))
                    }
                }
            }
            (Occasion::Login, _) => return Err(Unexpected),
            (Occasion::Change, _) if exchange.has_quit() => State::Over,
            // The user stays.
            (Occasion::Change, _) => State::Open(Open::new(Commands::after_change(), is_tracked)),
        };
        Ok(())
    }

    /// How many of a side's next bytes need not be shown: the rest of a packet
    /// after the login, and everything where there is nothing more to see.
    #[must_use]
    pub fn blind(&self, side: Side) -> usize {
        match (&self.state, side) {
            (State::Open(open), Side::Client) if !open.wants_client_body() => self.client.left(),
            (State::Open(open), Side::Server) if !open.wants_server_body() => self.server.left(),
            (State::Compressed(session), side) => session.blind(side),
            (State::Over, _) => usize::MAX,
            _ => 0,
        }
    }

    /// Skips bytes of a side that have passed unseen, no more than [`Self::blind`] says.
    pub fn skip(&mut self, side: Side, length: usize) {
        match (&mut self.state, side) {
            (State::Open(_), Side::Client) => self.client.skip(length),
            (State::Open(_), Side::Server) => self.server.skip(length),
            (State::Compressed(session), side) => session.skip(side, length),
            _ => {}
        }
    }

    fn stage(&self) -> Stage {
        match &self.state {
            State::Greeting { .. } | State::Response(_) | State::Refusal { .. } => Stage::Login,
            State::Exchange(exchange) => match exchange.occasion() {
                Occasion::Login => Stage::Login,
                Occasion::Change => Stage::Open,
            },
            State::Open(_) | State::Compressed(_) | State::Change(_) => Stage::Open,
            State::Over => Stage::Over,
        }
    }

    /// Bytes of memory that it holds beside itself; none while a session is
    /// open, not compressed, and about to change neither its user nor its database.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Greeting { gathered, early } => gathered.capacity() + early.capacity(),
            State::Response(gathered) => gathered.capacity(),
            State::Exchange(exchange) => exchange.asked().map_or(0, Asked::memory),
            State::Refusal { claimed, error } => {
                claimed.as_ref().map_or(0, Asked::memory) + error.capacity()
            }
            State::Change(gathered) => gathered.as_ref().map_or(0, Vec::capacity),
            State::Open(open) => open.memory(),
            State::Compressed(session) => size_of::<Compressed>() + session.memory(),
            State::Over => 0,
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
    gathered.extend(head.first);
    Ok(())
}

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod handshakes;
