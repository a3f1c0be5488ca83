//! What a path means. Pure: a path in, a [`Route`] out.

use std::borrow::Cow;

use super::negotiation::prefers_html;
use super::refusal::Refusal;
use crate::jsonapi::decode_percent;

/// A resource that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`: the status page for a browser, and the program itself for others.
    Home,
    /// `/v1`: the program itself.
    Root,
    /// The status page, a part of it: what `/` is for a browser, `/page.js` and so on.
    Page(Part),
    /// `/v1/openapi.json`.
    OpenApi,
    /// `/metrics`.
    Metrics,
    /// `/v1/sessions` and the like.
    Collection(Kind),
    /// `/v1/sessions/:id` and the like, with the id as it was given.
    One(Kind, String),
    /// `/v1/sessions/:id/relationships/services` and the like.
    Relationship(Kind, String, String),
    /// `/v1/sessions/events`.
    Events,
    /// `/v1/services/:name/stop` and the like: where something is done by PUT.
    Deed(Kind, String, Deed),
}

/// The parts of the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    Style,
    Script,
    Icon,
}

/// Something that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Kill,
    KillAll,
    Stop,
    Start,
    Set,
    Clear,
}

impl Deed {
    /// What a PUT does with a resource, by the last segment of its path.
    fn parse(kind: Kind, segment: &str) -> Option<Self> {
        match (kind, segment) {
            (Kind::Services | Kind::Listeners, "stop") => Some(Self::Stop),
            (Kind::Services | Kind::Listeners, "start") => Some(Self::Start),
            (Kind::Servers, "set") => Some(Self::Set),
            (Kind::Servers, "clear") => Some(Self::Clear),
            _ => None,
        }
    }
}

/// What there are collections of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sessions,
    Services,
    Servers,
    Listeners,
}

impl Kind {
    fn parse(segment: &str) -> Option<Self> {
        match segment {
            "sessions" => Some(Self::Sessions),
            "services" => Some(Self::Services),
            "servers" => Some(Self::Servers),
            "listeners" => Some(Self::Listeners),
            _ => None,
        }
    }
}

impl Route {
    /// Reads a path, split at its slashes and then decoded. One slash at the end is ignored.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let segments: Vec<Cow<'_, str>> = inner.split('/').map(decode).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(Cow::as_ref).collect();
        let found = match segments[..] {
            [""] => Some(Self::Home),
            ["v1"] => Some(Self::Root),
            ["page.css"] => Some(Self::Page(Part::Style)),
            ["page.js"] => Some(Self::Page(Part::Script)),
            ["page.svg"] => Some(Self::Page(Part::Icon)),
            ["v1", "openapi.json"] => Some(Self::OpenApi),
            ["metrics"] => Some(Self::Metrics),
            ["v1", "sessions", "events"] => Some(Self::Events),
            ["v1", kind] => Kind::parse(kind).map(Self::Collection),
            ["v1", kind, id] if !id.is_empty() => {
                Kind::parse(kind).map(|kind| Self::One(kind, id.to_owned()))
            }
            ["v1", kind, id, last] if !id.is_empty() => Kind::parse(kind).and_then(|kind| {
                let deed = Deed::parse(kind, last)?;
                Some(Self::Deed(kind, id.to_owned(), deed))
            }),
            ["v1", kind, id, "relationships", name] if !id.is_empty() => Kind::parse(kind)
                .map(|kind| Self::Relationship(kind, id.to_owned(), name.to_owned())),
            _ => None,
        };
        found.ok_or_else(|| {
            Refusal::NotFound(format!(
                "nothing is at {path}; there are /v1, /v1/sessions, /v1/services, /v1/servers, /v1/listeners, \
                 and each of these with an id behind it, and /metrics; /v1/openapi.json describes them all"
            ))
        })
    }

    /// What a client gets that accepts this: at `/` that is not the same for all.
    pub(super) fn for_accept(self, accept: Option<&str>) -> Self {
        match self {
            Self::Home if prefers_html(accept) => Self::Page(Part::Text),
            Self::Home => Self::Root,
            other => other,
        }
    }

    /// The methods that it has, as the `Allow` header lists them.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Collection(Kind::Sessions) | Self::One(Kind::Sessions, _) => {
                "GET, HEAD, DELETE, OPTIONS"
            }
            Self::Deed(..) => "PUT, OPTIONS",
            Self::Home
            | Self::Root
            | Self::Page(_)
            | Self::OpenApi
            | Self::Metrics
            | Self::Events
            | Self::Collection(_)
            | Self::One(..)
            | Self::Relationship(..) => "GET, HEAD, OPTIONS",
        }
    }

    /// What is done here by a method that does something.
    pub(super) fn deed(&self, method: &str) -> Option<Deed> {
        match (method, self) {
            ("DELETE", Self::One(Kind::Sessions, _)) => Some(Deed::Kill),
            ("DELETE", Self::Collection(Kind::Sessions)) => Some(Deed::KillAll),
            ("PUT", Self::Deed(_, _, deed)) => Some(*deed),
            _ => None,
        }
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, Refusal> {
    decode_percent(segment).ok_or_else(|| {
        Refusal::BadRequest(format!(
            "{segment} in the path is not UTF-8 text in percent-encoding"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_then_decoded_and_one_slash_at_its_end_is_ignored() {
        let one = |id: &str| Ok(Route::One(Kind::Sessions, id.to_owned()));
        for (path, route) in [
            ("/", Ok(Route::Home)),
            ("/page.js", Ok(Route::Page(Part::Script))),
            ("/v1", Ok(Route::Root)),
            ("/v1/", Ok(Route::Root)),
            ("/v1/openapi.json", Ok(Route::OpenApi)),
            ("/metrics", Ok(Route::Metrics)),
            ("/metrics/", Ok(Route::Metrics)),
            ("/v1/sessions", Ok(Route::Collection(Kind::Sessions))),
            ("/v1/servers/", Ok(Route::Collection(Kind::Servers))),
            ("/%76%31/%73essions", Ok(Route::Collection(Kind::Sessions))),
            ("/v1/sessions/4", one("4")),
            ("/v1/sessions/4/", one("4")),
            ("/v1/sessions/a%2Fb", one("a/b")),
            (
                "/v1/services/CLI/relationships/servers",
                Ok(Route::Relationship(
                    Kind::Services,
                    "CLI".to_owned(),
                    "servers".to_owned(),
                )),
            ),
            ("/v1/sessions/events", Ok(Route::Events)),
            (
                "/v1/listeners/stop/stop/",
                Ok(Route::Deed(Kind::Listeners, "stop".to_owned(), Deed::Stop)),
            ),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_found_and_half_an_escape_is_no_path() {
        for path in [
            "/v2",
            "/metrics/x",
            "/v1/metrics",
            "/v1/session",
            "/v1/sessions//",
            "/v1//sessions",
            "/V1",
            "/v1/sessions/1/x",
            "/v1/sessions/1/stop",
            "/v1/servers/db1/stop",
            "/v1/services/CLI/set",
            "/v1/services//stop",
            "/v1/sessions/1/relationships",
            "/v1/sessions//relationships/services",
            "/v1%2Fsessions",
        ] {
            assert!(
                matches!(Route::parse(path), Err(Refusal::NotFound(_))),
                "{path}"
            );
        }
        assert!(matches!(
            Route::parse("/v1/sessions/%ff"),
            Err(Refusal::BadRequest(_))
        ));
        assert!(matches!(Route::parse("/%"), Err(Refusal::BadRequest(_))));
    }
}
