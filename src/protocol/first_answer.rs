//! What a server's first answer says of the server itself.
//!
//! A server that has no room, or is not ready, says so before it asks anything.
//! The client can then be sent to another server, as if this one had not been
//! there: so such an answer is recognised while it can still be held back.

use super::ServerError;

/// The longest answer that is looked at, in bytes. Errors have some hundred.
pub(super) const MAX_ANSWER: usize = 4096;

/// A server's first answer, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAnswer {
    /// It is not whole yet, and may be an error.
    Partial,
    /// It is for the client: a greeting, a request for a password, an error that says nothing
    /// about the server, or unknown to us.
    Pass,
    /// The server takes no clients now.
    Unavailable {
        /// Why.
        error: ServerError,
        /// How many bytes the answer has.
        length: usize,
    },
}
