//! PostgreSQL as the relay sees it: logins, the life of a session, and refusals.
//!
//! A session's journey, as the PostgreSQL manual tells it (part "Internals",
//! chapter "Frontend/Backend Protocol", sections "Message Flow" and "Message
//! Formats"): the client may ask for encryption, and the server answers with one
//! byte; then the client's [opening](mod@opening) names the user and the
//! database, the two agree on a password, and the server says that it is ready.
//! The [`observer`] reads along through the server's [`answers`] until then. From
//! there on the [`messages`] of a session that is [`open`] are skipped, but for a
//! few. A server that has no room is known by its [`first`] answer, and a client
//! that is not let in gets a [`refusal`].
//!
//! Passwords and queries are never looked at.

mod answers;
mod error;
mod first;
mod messages;
mod observer;
mod open;
mod opening;
mod parameter;
mod probe;
mod refusal;

pub use first::{first_answer, is_login_unavailable};
pub use observer::Observer;
pub use opening::{Encryption, Kind, Opening, Unexpected, cancel, cancel_request, opening};
pub use probe::{MAX_ANSWER, NotUp, ProbeAnswer, TERMINATE, probe_answer, probe_startup};
pub use refusal::refuse;
