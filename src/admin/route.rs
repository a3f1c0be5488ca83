//! What a path means. Pure: a path in, a [`Route`] out.

use super::refusal::Refusal;
use crate::jsonapi::decode_percent;

/// A resource that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/` and `/v1`: the program itself.
    Root,
    /// `/v1/sessions`.
    Sessions,
    /// `/v1/sessions/:id`, with the id as it was given.
    Session(String),
}

impl Route {
    /// Reads a path, split at its slashes and then decoded. One slash at the end is ignored.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let decode = |segment: &str| {
            decode_percent(segment).ok_or_else(|| {
                Refusal::BadRequest(format!(
                    "{segment} in the path is not UTF-8 text in percent-encoding"
                ))
            })
        };
        let segments: Vec<String> = inner.split('/').map(decode).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments[..] {
            ["" | "v1"] => Ok(Self::Root),
            ["v1", "sessions"] => Ok(Self::Sessions),
            ["v1", "sessions", id] if !id.is_empty() => Ok(Self::Session(id.to_owned())),
            _ => Err(Refusal::NotFound(format!(
                "nothing is at {path}; there are /v1, /v1/sessions and /v1/sessions/:id"
            ))),
        }
    }

    /// The methods that it has, as the `Allow` header lists them.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Root | Self::Sessions | Self::Session(_) => "GET, HEAD, OPTIONS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_then_decoded_and_one_slash_at_its_end_is_ignored() {
        let session = |id: &str| Ok(Route::Session(id.to_owned()));
        for (path, route) in [
            ("/", Ok(Route::Root)),
            ("/v1", Ok(Route::Root)),
            ("/v1/", Ok(Route::Root)),
            ("/v1/sessions", Ok(Route::Sessions)),
            ("/v1/sessions/", Ok(Route::Sessions)),
            ("/%76%31/%73essions", Ok(Route::Sessions)),
            ("/v1/sessions/4", session("4")),
            ("/v1/sessions/4/", session("4")),
            ("/v1/sessions/a%2Fb", session("a/b")),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_found_and_half_an_escape_is_no_path() {
        for path in [
            "//",
            "/v2",
            "/v1/sessions//",
            "/v1//sessions",
            "/V1",
            "/v1/sessions/1/x",
            "/v1%2Fsessions",
            "",
        ] {
            assert!(
                !matches!(Route::parse(path), Ok(Route::Sessions | Route::Session(_))),
                "{path}"
            );
        }
        assert!(matches!(Route::parse("/v2"), Err(Refusal::NotFound(_))));
        assert!(matches!(
            Route::parse("/v1/sessions/%ff"),
            Err(Refusal::BadRequest(_))
        ));
        assert!(matches!(Route::parse("/%"), Err(Refusal::BadRequest(_))));
    }
}
