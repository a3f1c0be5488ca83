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
    /// Prometheus' own text format, 0.0.4.
    Metrics,
    /// OpenMetrics 1.0.
    OpenMetrics,
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
const OPEN_METRICS: &str = "application/openmetrics-text";

impl MediaType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::JsonApi => JSON_API,
            Self::Json => JSON,
            Self::Lines => "application/x-ndjson",
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Image => "image/svg+xml",
        }
    }

    /// Whether it is a form of metrics.
    pub(super) fn is_of_metrics(self) -> bool {
        matches!(self, Self::Metrics | Self::OpenMetrics)
    }

    /// The form of metrics for an `Accept` header: OpenMetrics where the client
    /// names that, and wants it no less than plain text. Otherwise the form that
    /// everybody reads, whatever is accepted, as all that export metrics do.
    pub(super) fn of_metrics(accept: Option<&str>) -> Self {
        let ranges = split(accept.unwrap_or_default(), ',').map(Range::parse);
        let (mut open_metrics, mut plain) = (0, None);
        for range in ranges {
            let is = |name: &str| range.name.eq_ignore_ascii_case(name);
            if is(OPEN_METRICS) && matches!(range.version, None | Some("1.0.0")) {
                open_metrics = range.weight.max(open_metrics);
            } else if is("text/plain") {
                plain = Some(range.weight).max(plain);
            }
        }
        if open_metrics > 0 && Some(open_metrics) >= plain {
            Self::OpenMetrics
        } else {
            Self::Metrics
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
            .any(|range| range.is_wanted() && range.is_plain)
        {
            return Some(Self::JsonApi);
        }
        // Who asks for it with parameters that nobody knows wants nothing else.
        if json_api.iter().any(|range| range.is_wanted()) {
            return None;
        }
        if json.iter().any(|range| range.is_wanted()) {
            return Some(Self::Json);
        }
        let mut wildcards = of("*/*").into_iter().chain(of("application/*"));
        (json_api.is_empty() && wildcards.any(Range::is_wanted)).then_some(Self::JsonApi)
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
    /// How much it is wanted, in thousandths.
    weight: u16,
    /// It has no parameter but `profile`: of extensions, `ext`, we have none.
    is_plain: bool,
    version: Option<&'a str>,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = split(text, ';');
        let mut range = Self {
            name: parts.next().unwrap_or_default(),
            weight: 1000,
            is_plain: true,
            version: None,
        };
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                // What follows the weight is no parameter of the media type.
                "q" => {
                    range.weight = weight(value.trim());
                    break;
                }
                "profile" => {}
                "version" => {
                    range.version = Some(value.trim().trim_matches('"'));
                    range.is_plain = false;
                }
                _ => range.is_plain = false,
            }
        }
        range
    }

    fn is_wanted(&self) -> bool {
        self.weight > 0
    }
}

/// A weight (RFC 9110, section 12.4.2) in thousandths. What is more than one, and
/// so none, counts as one.
fn weight(value: &str) -> u16 {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if whole
        .bytes()
        .any(|byte| byte.is_ascii_digit() && byte != b'0')
    {
        return 1000;
    }
    let digits = fraction.bytes().chain(*b"000").take(3);
    digits.fold(0, |sum, digit| {
        10 * sum + u16::from(digit.saturating_sub(b'0').min(9))
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

    #[test]
    fn metrics_are_open_where_the_client_names_that_and_wants_it_no_less() {
        let (text, open) = (MediaType::Metrics, MediaType::OpenMetrics);
        assert_eq!(MediaType::of_metrics(None), text);
        for (accept, expected) in [
            // Prometheus 2.42 and 3.1.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                open,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,/;q=0.1",
                open,
            ),
            ("application/openmetrics-text", open),
            ("APPLICATION/OpenMetrics-Text; version=\"1.0.0\"", open),
            ("application/openmetrics-text;q=0.001", open),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.5", open),
            (
                "application/openmetrics-text;q=0.5, text/plain;q=0.51",
                text,
            ),
            ("application/openmetrics-text;q=0.9, text/plain", text),
            ("application/openmetrics-text;q=0.5, */*", open),
            ("application/openmetrics-text;version=0.0.1", text),
            ("application/openmetrics-text;version=2.0.0", text),
            ("application/openmetrics-text;q=0", text),
            ("application/openmetrics-text;q=0.0, text/plain;q=0", text),
            ("text/plain;version=0.0.4", text),
            ("*/*", text),
            ("application/json", text),
            ("application/vnd.google.protobuf;encoding=delimited", text),
            ("", text),
            (",;=", text),
        ] {
            assert_eq!(MediaType::of_metrics(Some(accept)), expected, "{accept}");
        }
    }
}
