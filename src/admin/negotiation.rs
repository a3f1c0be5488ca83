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
    /// `text/html`.
    Html,
    /// `text/css`.
    Style,
    /// `text/javascript`.
    Script,
    /// `image/svg+xml`.
    Image,
}

const HTML: &str = "text/html";

const JSON_API: &str = "application/vnd.api+json";
const JSON: &str = "application/json";

impl MediaType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::JsonApi => JSON_API,
            Self::Json => JSON,
            Self::Lines => "application/x-ndjson",
            Self::Html => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Image => "image/svg+xml",
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

/// Whether a client would rather read a page than a document, as browsers do:
/// it names `text/html`, and gives no document the same weight by name.
pub(super) fn prefers_html(accept: Option<&str>) -> bool {
    let ranges: Vec<Range<'_>> = split(accept.unwrap_or_default(), ',')
        .map(Range::parse)
        .collect();
    let weight = |names: &[&str]| {
        let is_named = |range: &&Range<'_>| {
            names
                .iter()
                .any(|name| range.name.eq_ignore_ascii_case(name))
        };
        let weights = ranges.iter().filter(is_named).map(|range| range.weight);
        weights.max().unwrap_or(0)
    };
    let html = weight(&[HTML]);
    html > weight(&[JSON_API, JSON]) && html >= weight(&["*/*", "application/*"])
}

/// One of the media ranges.
struct Range<'a> {
    name: &'a str,
    /// Its weight is not 0.
    is_wanted: bool,
    /// Its weight, in thousandths.
    weight: u16,
    /// It has no parameter but `profile`: of extensions, `ext`, we have none.
    is_plain: bool,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = split(text, ';');
        let mut range = Self {
            name: parts.next().unwrap_or_default(),
            is_wanted: true,
            weight: 1000,
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
                    range.weight = thousandths(value.trim());
                    break;
                }
                "profile" => {}
                _ => range.is_plain = false,
            }
        }
        range
    }
}

/// A weight (RFC 9110, section 12.4.2), of which three digits count.
fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if whole != "0" {
        return u16::from(whole == "1") * 1000;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    digits.fold(0, |sum, digit| {
        sum * 10 + u16::from(digit.wrapping_sub(b'0').min(9))
    })
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
    fn a_page_is_for_those_who_would_rather_have_one() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html, application/xhtml+xml, */*",
            "TEXT/HTML",
            "text/html;q=0.9, application/json;q=0.85",
            "application/json;q=0.001, text/html;q=0.01",
            "text/html;charset=utf-8",
            "text/html; q=1.000",
        ] {
            assert!(prefers_html(Some(accept)), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/plain",
            "text/html;q=0",
            "text/html;q=0.5, */*",
            "text/html, application/json",
            "application/vnd.api+json, text/html;q=0.9",
            "text/html;q=0.8, application/json;q=0.85",
            "text/html;q=nonsense",
        ] {
            assert!(!prefers_html(Some(accept)), "{accept}");
        }
        assert!(!prefers_html(None));
    }

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
