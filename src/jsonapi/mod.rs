//! JSON:API 1.1 documents (jsonapi.org/format/1.1): the writer, links, errors,
//! resources, and the query language.
//!
//! Documents are written by hand, member by member, into growing bytes:
//! key order is part of what our users asked for, and a list of 100,000
//! sessions must not exist as a tree first. Nothing here knows what a session is.

mod date;
mod emit;
mod error;
mod filter;
mod key;
mod link;
mod meter;
mod path;
mod query;
mod resource;
mod selection;
mod tree;
mod value;
mod writer;

pub use emit::Emit;
pub use error::ErrorObject;
pub use filter::Filter;
pub use key::Key;
pub(crate) use key::key;
pub use link::{Links, decode_percent, encode_percent};
pub use meter::{Meter, Stopped};
pub use path::Path;
pub use query::{Accepts, Lifetime, Page, ParameterFault, Query, Setting, SortKey};
pub use resource::{
    Collection, Resource, View, begin_collection, document, end_collection, write_metered_row,
    write_object,
};
pub use selection::{Selecting, Selection};
pub use tree::Tree;
pub use value::Value;
pub use writer::{Layout, Writer, push_decimal};
