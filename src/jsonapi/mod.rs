//! JSON:API 1.1 documents (jsonapi.org/format/1.1): the writer, links, errors,
//! and the parameters of a request.
//!
//! Documents are written by hand, member by member, into one growing string:
//! key order is part of what our users asked for, and a list of 100,000
//! sessions must not exist as a tree first. Nothing here knows what a session is.

mod error;
mod link;
mod query;
mod writer;

pub use error::ErrorObject;
pub use link::{Links, decode_percent};
pub use query::{ParameterFault, Query};
pub use writer::{Layout, Writer};
