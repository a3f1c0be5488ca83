//! Which media type a client wants (RFC 9110, section 12.5.1, and the rules of
//! JSON:API 1.1, "Server Responsibilities"). Pure.

/// What a document can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/vnd.api+json`.
    JsonApi,
    /// `application/json`, for those who know no other.
    Json,
    /// `application/x-ndjson`: a line of JSON each.
    Lines,
}

const JSON_API: &str = "application/vnd.api+json";
const JSON: &str = "application/json";

impl MediaType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::JsonApi => JSON_API,
            Self::Json => JSON,
            Self::Lines => "application/x-ndjson",
        }
    }

    /// The media type for an `Accept` header; `None` where there is none that it accepts.
    pub(super) fn for_accept(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept else {
            return Some(Self::JsonApi);
        };
        let ranges: Vec<Range<'_>> = split(accept, ',').map(Range::parse).collect();
        let of = |name: &str| -> Vec<&Range<'_>> {
            ranges
                .iter()
                .filter(|range| range.name.eq_ignore_ascii_case(name))
                .collect()
        };
        let (json_api, json) = (of(JSON_API), of(JSON));
        if json_api
            .iter()
            .any(|range| range.is_wanted && range.is_plain)
        {
            return Some(Self::JsonApi);
        }
        // Who asks for it with parameters that nobody knows wants nothing else.
        if json_api.iter().any(|range| range.is_wanted) {
            return None;
        }
        if json.iter().any(|range| range.is_wanted) {
            return Some(Self::Json);
        }
        let mut wildcards = of("*/*").into_iter().chain(of("application/*"));
        (json_api.is_empty() && wildcards.any(|range| range.is_wanted)).then_some(Self::JsonApi)
    }
}

/// One of the media ranges.
struct Range<'a> {
    name: &'a str,
    /// Its weight is not 0.
    is_wanted: bool,
    /// It has no parameter but `profile`: of extensions, `ext`, we have none.
    is_plain: bool,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = split(text, ';');
        let mut range = Self {
            name: parts.next().unwrap_or_default(),
            is_wanted: true,
            is_plain: true,
        };
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                // What follows the weight is no parameter of the media type.
                "q" => {
                    range.is_wanted = value
                        .trim()
                        .bytes()
                        .any(|byte| (b'1'..=b'9').contains(&byte));
                    break;
                }
                "profile" => {}
                _ => range.is_plain = false,
            }
        }
        range
    }
}

/// Splits at a character that is not in quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    let mut escaped = false;
    text.split(move |c: char| {
        let is_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if in_quotes && !is_escaped => escaped = true,
            '"' if !is_escaped => in_quotes = !in_quotes,
            _ => {}
        }
        c == at && !in_quotes
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_what_the_client_names() {
        let (api, json) = (Some(MediaType::JsonApi), Some(MediaType::Json));
        assert_eq!(MediaType::for_accept(None), api);
        for (accept, expected) in [
            ("*/*", api),
            ("application/*", api),
            ("application/vnd.api+json", api),
            ("APPLICATION/VND.API+JSON", api),
            ("application/json, application/vnd.api+json", api),
            ("application/json", json),
            ("application/json;charset=utf-8", json),
            ("application/json, text/plain, */*", json),
            ("text/html, application/json;q=0.5", json),
            ("text/html, */*;q=0.1", api),
            ("application/vnd.api+json; profile=\"http://a/,;b\"", api),
            ("application/vnd.api+json;q=0.5", api),
            ("application/vnd.api+json;q=0.5;x=y", api),
            (
                "application/vnd.api+json;charset=utf-8, application/vnd.api+json",
                api,
            ),
            ("application/vnd.api+json;charset=utf-8", None),
            ("application/vnd.api+json;charset=utf-8, */*", None),
            ("application/vnd.api+json;ext=\"http://a/\"", None),
            ("application/vnd.api+json;q=0", None),
            ("application/vnd.api+json;q=0, */*", None),
            ("application/vnd.api+json;q=0, application/json", json),
            ("application/json;q=0.0", None),
            ("*/*;q=0", None),
            ("text/html", None),
            ("", None),
            (",;=", None),
        ] {
            assert_eq!(MediaType::for_accept(Some(accept)), expected, "{accept}");
        }
    }
}
