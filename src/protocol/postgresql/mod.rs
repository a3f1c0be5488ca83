//! PostgreSQL up to the end of a login: who logs in, and how to turn somebody away.
//!
//! A session's journey, as the PostgreSQL manual tells it (part "Internals",
//! chapter "Frontend/Backend Protocol", sections "Message Flow" and "Message
//! Formats"): the client may ask for encryption, and the server answers with one
//! byte; then the client's [opening](mod@opening) names the user and the
//! database, the two agree on a password, and the server says that it is ready.
//! The [`observer`] reads along through the server's [`answers`] until then, and
//! no further. A client that is not let in gets a [`refusal`]. A [`probe`] begins
//! a login of its own to see whether a server is up.
//!
//! Nothing here reads what the client sends after its opening: it carries
//! passwords first, and queries after them.

mod answers;
mod error;
mod observer;
mod opening;
mod probe;
mod refusal;

pub use super::first_answer::{
    is_postgresql_unavailable as is_unavailable, of_postgresql as first_answer,
};
pub(super) use error::read as read_error;
pub use observer::Observer;
pub use opening::{Encryption, Kind, Opening, Unexpected, opening, read_cancel_request};
pub use probe::{MAX_ANSWER, NotUp, ProbeAnswer, TERMINATE, probe_answer, probe_startup};
pub use refusal::refuse;
