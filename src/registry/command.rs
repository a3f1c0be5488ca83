//! What the admin side asks of the data plane.
//!
//! Sessions and sockets belong to the data plane's thread. So whoever wants
//! something done with them leaves a command and waits for the answer, which
//! takes one turn of that thread's loop.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::listener::Listener;
use super::server::{Condition, Server};
use super::service::Service;
use super::session::{Session, SessionId};
use crate::lock::lock;
use crate::queue::{Sender, queue};

/// How many commands may wait. Few threads ask, each for one at a time.
const QUEUE: usize = 16;

/// How long an answer is waited for. A data plane that takes longer stands still.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Something to be done.
#[derive(Debug)]
pub enum Command {
    /// End clients' sessions at some time, or earlier where that was said before.
    Kill {
        /// Which.
        sessions: Vec<Arc<Session>>,
        /// When.
        at: Instant,
    },
    /// Stop listening; all of them or none.
    Stop {
        /// Where.
        listeners: Vec<Arc<Listener>>,
        /// Whose clients' sessions end, too.
        kill: Option<ClientsOf>,
    },
    /// Listen again; all of them or none.
    Start {
        /// Where.
        listeners: Vec<Arc<Listener>>,
    },
    /// Set a server's condition or clear it.
    Condition {
        /// Whose.
        server: Arc<Server>,
        /// Which.
        condition: Condition,
        /// Whether it is set.
        set: bool,
    },
}

/// The clients of a service, or those that came through a listener.
#[derive(Clone, Debug)]
pub enum ClientsOf {
    /// All of a service.
    Service(Arc<Service>),
    /// Those of a listener.
    Listener(Arc<Listener>),
}

/// Why a command was not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    /// It cannot be, for a reason that the data plane names.
    Impossible(String),
    /// Nobody takes commands, or not in time.
    NoAnswer,
}

/// The clients' sessions that a command ends, now or later; or why it was not followed.
pub type Followed = Result<Vec<SessionId>, Unfollowed>;

/// A command that waits to be followed; where it is dropped without an answer,
/// whoever asked learns that there is none.
#[derive(Debug)]
pub struct Asked {
    /// What is to be done.
    pub command: Command,
    number: u64,
    sender: Sender<Followed>,
}

impl Asked {
    /// Says how it went. The command is given back, to be dropped.
    pub fn answer(self, result: Followed) {
        // Whoever asked may have given up.
        let _ = self.sender.send(result);
    }
}

/// The commands that wait, and the bell of the data plane that takes them.
#[derive(Default)]
pub struct Commands {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Asked>,
    /// How many were asked, ever.
    count: u64,
    bell: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Commands {
    /// A data plane takes commands from now on, whenever its bell is rung.
    pub fn attach(&self, bell: impl Fn() + Send + Sync + 'static) {
        lock(&self.inner).bell = Some(Arc::new(bell));
    }

    /// The data plane takes no more. What waits is not followed.
    pub fn detach(&self) {
        let mut inner = lock(&self.inner);
        inner.bell = None;
        inner.queue.clear();
    }

    /// The next command, for the data plane to follow and answer.
    #[must_use]
    pub fn take(&self) -> Option<Asked> {
        lock(&self.inner).queue.pop_front()
    }

    /// Asks for something, and returns when it is done or cannot be.
    pub fn ask(&self, command: Command) -> Followed {
        let (sender, answer) = queue(1);
        let (bell, number) = {
            let mut inner = lock(&self.inner);
            let bell = inner.bell.clone().ok_or(Unfollowed::NoAnswer)?;
            if inner.queue.len() >= QUEUE {
                return Err(Unfollowed::NoAnswer);
            }
            inner.count += 1;
            let number = inner.count;
            inner.queue.push_back(Asked {
                command,
                number,
                sender,
            });
            (bell, number)
        };
        bell();
        if let Ok(answer) = answer.receive_until(Instant::now() + ANSWER_LIMIT) {
            return answer;
        }
        // What nobody has followed by now nobody follows later.
        let mut inner = lock(&self.inner);
        inner.queue.retain(|asked| asked.number != number);
        drop(inner);
        answer.take().unwrap_or(Err(Unfollowed::NoAnswer))
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.inner).queue.len();
        f.debug_struct("Commands")
            .field("waiting", &waiting)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn nothing() -> Command {
        Command::Start {
            listeners: Vec::new(),
        }
    }

    #[test]
    fn without_a_data_plane_there_is_no_answer_and_with_one_its_own() {
        let commands = Arc::new(Commands::default());
        assert_eq!(commands.ask(nothing()), Err(Unfollowed::NoAnswer));

        let (bell, rung) = mpsc::channel();
        commands.attach(move || bell.send(()).unwrap());
        let following = {
            let commands = Arc::clone(&commands);
            thread::spawn(move || {
                let impossible = Unfollowed::Impossible("as the test wants it".to_owned());
                for result in [Ok(Vec::new()), Err(impossible)] {
                    rung.recv().unwrap();
                    commands.take().unwrap().answer(result);
                }
                rung.recv().unwrap();
                commands.detach();
            })
        };
        assert_eq!(commands.ask(nothing()), Ok(Vec::new()));
        assert!(matches!(
            commands.ask(nothing()),
            Err(Unfollowed::Impossible(_))
        ));
        assert_eq!(commands.ask(nothing()), Err(Unfollowed::NoAnswer));
        following.join().unwrap();
    }

    #[test]
    fn what_is_not_followed_in_time_is_not_followed_later() {
        let commands = Commands::default();
        commands.attach(|| {});
        assert_eq!(commands.ask(nothing()), Err(Unfollowed::NoAnswer));
        assert!(commands.take().is_none());
    }
}
