//! What can go wrong on the way to an answer, each with what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::text;

/// Why something that was asked for is not there.
#[derive(Debug)]
pub enum Failure {
    /// The configuration names no place where the program could be asked.
    Nowhere(&'static str),
    /// The file of the token cannot be read.
    TokenFile(PathBuf, io::Error),
    /// This holds no token: a file, or the environment's variable.
    NoToken(String),
    /// Nobody takes the connection.
    Unreachable(String, io::Error),
    /// The connection broke before the answer was whole.
    Broken(String, io::Error),
    /// The answer has not come in time.
    Late(String, Duration),
    /// What came is no answer of this program; the rest says what is wrong with it.
    Garbled(String, &'static str),
    /// The answer is no: its status, and its reason.
    Refused(u16, String),
    /// The screen cannot be used.
    NoScreen(&'static str),
    /// The terminal does not do what it should.
    Terminal(io::Error),
    /// Some of what was asked for.
    Several(Vec<Failure>),
}

impl Failure {
    /// Those together, if there are any.
    pub(super) fn of_all(failures: Vec<Self>) -> Option<Self> {
        (!failures.is_empty()).then_some(Self::Several(failures))
    }

    /// Whether the command line is wrong, or what it leads to.
    #[must_use]
    pub fn is_of_usage(&self) -> bool {
        matches!(
            self,
            Self::Nowhere(_) | Self::TokenFile(..) | Self::NoToken(_) | Self::NoScreen(_)
        )
    }

    /// In few words, where it is known whom was asked, and that it will be tried again.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Unreachable(_, cause) => format!("no connection: {cause}"),
            other => other.to_string(),
        }
    }

    /// Whether there is nobody to ask again.
    pub(super) fn is_of_way(&self) -> bool {
        matches!(self, Self::Unreachable(..) | Self::Late(..))
    }
}

impl fmt::Display for Failure {
    /// One line for each thing that went wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere(why) | Self::NoScreen(why) => f.write_str(why),
            Self::TokenFile(path, cause) => {
                write!(f, "cannot read the token in {}: {cause}", path.display())
            }
            Self::NoToken(place) => write!(
                f,
                "{place} must hold a token as `sessiond token` prints it, and nothing else"
            ),
            Self::Unreachable(place, cause) => {
                write!(f, "cannot connect to {place}: {cause}; {}", remedy(cause))
            }
            Self::Broken(place, cause) => {
                write!(f, "{place} has not answered to the end: {cause}; try again")
            }
            Self::Late(place, time) => {
                let seconds = time.as_secs();
                write!(f, "{place} has not answered within {seconds} s; try again")
            }
            Self::Garbled(place, what) => {
                write!(f, "{place} answers with {what}; is that sessiond?")
            }
            Self::Refused(status, reason) => write!(f, "{} ({status})", text::clean(reason)),
            Self::Terminal(cause) => write!(f, "cannot use the terminal: {cause}"),
            Self::Several(failures) => {
                for (index, failure) in failures.iter().enumerate() {
                    let line_end = if index == 0 { "" } else { "\n" };
                    write!(f, "{line_end}{failure}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TokenFile(_, cause)
            | Self::Unreachable(_, cause)
            | Self::Broken(_, cause)
            | Self::Terminal(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What helps where nobody takes a connection.
fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            "only root and the group of the socket may (admin_socket_group)"
        }
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            "is sessiond running, and is that its admin_socket or address?"
        }
        _ => "is that where sessiond listens?",
    }
}
