//! The client on the command line: `list`, `show`, `top` and `kill`.
//!
//! The journey: an [`Order`] that was typed → a request to the [`Place`] where
//! the program runs ([`http`]) → a document of the API ([`document`]) → rows
//! and [`columns`] → lines as wide as the screen ([`table`], [`text`]). It
//! knows of the running program what any other client knows: it imports nothing
//! of the registry, the relay or the admin server. The one hard thing is that
//! names come from the network and end on somebody's screen. What it refuses to
//! do: keep anything between two calls, or take a secret from the command line.

mod columns;
mod document;
mod failure;
mod frame;
mod http;
mod keys;
mod kill;
mod list;
mod place;
mod screen;
mod show;
mod table;
mod target;
mod text;
mod top;

use std::io::IsTerminal;
use std::time::Duration;

pub use failure::Failure;
pub use place::{Place, Token};

pub use crate::jsonapi::Lifetime;

use http::Client;
use screen::Screen;
use table::Look;

/// What is asked of the running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Resources of a kind, a line each.
    List {
        /// Of which kind.
        collection: Collection,
        /// Which of them, in what order.
        selection: Selection,
        /// How they are shown.
        form: Form,
    },
    /// All that is known of some resources.
    Show {
        /// Of which kind.
        collection: Collection,
        /// Their ids or names.
        names: Vec<String>,
        /// How they are shown; a header is none either way.
        form: Form,
    },
    /// Sessions, again and again, until somebody has seen enough.
    Top {
        /// Which of them, in what order.
        selection: Selection,
        /// The time between two looks.
        interval: Duration,
    },
    /// The end of sessions.
    Kill {
        /// Which ones.
        ids: Vec<String>,
        /// How long they get first, as the API takes it.
        ttl: Option<String>,
    },
}

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Clients' connections, and what listens for them.
    Sessions,
    /// What clients connect to.
    Services,
    /// The backends.
    Servers,
    /// Where clients arrive.
    Listeners,
}

impl Collection {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Sessions,
        Self::Services,
        Self::Servers,
        Self::Listeners,
    ];

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Services => "services",
            Self::Servers => "servers",
            Self::Listeners => "listeners",
        }
    }

    /// The collection of that name, or of resources of that kind.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|collection| {
            let name = collection.as_str();
            word == name || word == &name[..name.len() - 1]
        })
    }
}

/// Which resources, in what order: parameters of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What must be true of them.
    pub filters: Vec<Filter>,
    /// What they are sorted by.
    pub sort: Option<String>,
    /// Whether they live or have ended.
    pub lifetime: Lifetime,
}

/// A filter of the API: the parameter and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    name: String,
    value: String,
}

impl Filter {
    /// Reads `PATH=EXPR` or `POINTER=JSON`, as the API takes them. A path that
    /// starts with the name of an attribute needs no `attributes.` before it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (path, expression) = text.split_once('=')?;
        if path.starts_with('/') {
            return Some(Self {
                name: "filter".to_owned(),
                value: text.to_owned(),
            });
        }
        let first = path.split(['.', '[']).next().unwrap_or_default();
        let members = [
            "",
            "$",
            "id",
            "type",
            "attributes",
            "relationships",
            "links",
        ];
        let inside = if members.contains(&first) {
            ""
        } else {
            "attributes."
        };
        (!path.is_empty()).then(|| Self {
            name: format!("filter[{inside}{path}]"),
            value: expression.to_owned(),
        })
    }
}

/// How resources are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Columns, with their titles above.
    Titled,
    /// Columns alone.
    Plain,
    /// The API's document.
    Json,
}

/// What came of an order.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is to be written to standard output.
    pub output: String,
    /// What went wrong, if anything did. There may be output all the same.
    pub failure: Option<Failure>,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self {
            output: String::new(),
            failure: Some(failure),
        }
    }
}

impl From<String> for Outcome {
    fn from(output: String) -> Self {
        Self {
            output,
            failure: None,
        }
    }
}

/// Does what was asked for.
#[must_use]
pub fn run(order: &Order, place: Place, token: Option<Token>) -> Outcome {
    let client = Client { place, token };
    let look = look();
    match order {
        Order::List {
            collection,
            selection,
            form,
        } => list::list(&client, *collection, selection, *form, look)
            .map_or_else(Outcome::from, Outcome::from),
        Order::Show {
            collection,
            names,
            form,
        } => show::show(&client, *collection, names, *form, look),
        Order::Top {
            selection,
            interval,
        } => top::top(client, selection, *interval, look)
            .map_or_else(Outcome::from, |()| Outcome::default()),
        Order::Kill { ids, ttl } => kill::kill(&client, ids, ttl.as_deref()),
    }
}

/// How standard output is to be used.
fn look() -> Look {
    let is_terminal = std::io::stdout().is_terminal();
    let is_dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb" || name.is_empty());
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look {
        room: is_terminal.then(|| Screen::size().columns),
        escapes: is_terminal && !is_dumb,
        colour: is_terminal && !is_dumb && !no_colour,
        pinned: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_pointer_or_a_path() {
        let filter = |text: &str| Filter::parse(text).map(|filter| (filter.name, filter.value));
        let parts = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(
            filter("idle=gt(600)"),
            parts("filter[attributes.idle]", "gt(600)")
        );
        assert_eq!(filter("id=ge(50)"), parts("filter[id]", "ge(50)"));
        assert_eq!(
            filter("connections[*].server=eq(\"db=1\")"),
            parts("filter[attributes.connections[*].server]", "eq(\"db=1\")")
        );
        assert_eq!(filter("$.id=eq(1)"), parts("filter[$.id]", "eq(1)"));
        assert_eq!(
            filter("/attributes/user=\"a\""),
            parts("filter", "/attributes/user=\"a\"")
        );
        assert_eq!(filter("idle"), None);
        assert_eq!(filter("=1"), None);
    }

    #[test]
    fn a_collection_is_known_by_one_or_many() {
        assert_eq!(Collection::parse("sessions"), Some(Collection::Sessions));
        assert_eq!(Collection::parse("service"), Some(Collection::Services));
        for word in ["", "s", "sessionss", "4", "Sessions"] {
            assert_eq!(Collection::parse(word), None, "{word}");
        }
    }
}
