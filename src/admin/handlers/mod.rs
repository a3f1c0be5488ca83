//! What each resource looks like: one file a resource, the registry in, a
//! document out.
//!
//! A handler takes the table's lock to find what it needs, and writes after
//! letting go.

mod root;
mod sessions;

use std::sync::Arc;
use std::time::Instant;

use super::refusal::Refusal;
use super::reply::Reply;
use super::route::Route;
use crate::jsonapi::{Links, Query};
use crate::registry::Registry;

/// What every handler may look at.
pub(super) struct Context {
    pub(super) registry: Arc<Registry>,
    /// When the server began to answer, by the clock that never jumps.
    pub(super) began: Instant,
}

impl Context {
    /// The answer to a request for a route.
    pub(super) fn look_up(
        &self,
        route: &Route,
        query: &Query,
        links: Links,
    ) -> Result<Reply, Refusal> {
        match route {
            Route::Root => Ok(Reply::document(root::document(self, query, &links))),
            Route::Sessions => Ok(Reply::pieces(sessions::collection(
                &self.registry,
                query,
                links,
            ))),
            Route::Session(id) => {
                sessions::one(&self.registry, id, query, &links).map(Reply::document)
            }
        }
    }
}
