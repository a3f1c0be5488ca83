//! The parameters of a request: the part of its target after the `?`.
//!
//! A parameter that is not known, or whose value does not parse, is a fault: a
//! typing mistake never passes for an answer.

use std::collections::HashSet;
use std::time::Duration;

use super::filter::Filter;
use super::link::{decode_percent, encode_percent};
use super::meter::{ROW, VALUE};
use super::path::Path;
use super::writer::Layout;
use crate::boolean;
use crate::duration;

/// How many filters and sort keys a request may have; nobody types more.
const MAX_TERMS: usize = 16;

/// How many different fields a request may name; no resource has a third of that.
const MAX_FIELDS: usize = 100;

/// The resource types there are, for `fields[TYPE]`.
const TYPES: [&str; 4] = ["sessions", "services", "servers", "listeners"];

/// The parameters that a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts(&'static [&'static str]);

impl Accepts {
    /// To read something that has one form alone, or to do something with it.
    pub const LAYOUT: Self = Self(&["pretty"]);
    /// To read a resource.
    pub const RESOURCE: Self = Self(&["pretty", "fields[TYPE]"]);
    /// To read a resource that has connections.
    pub const CONNECTED: Self = Self(&["pretty", "fields[TYPE]", "wait"]);
    /// To read a session.
    pub const SESSION: Self = Self(&["pretty", "fields[TYPE]", "rdns", "wait"]);
    /// To read a collection.
    pub const COLLECTION: Self = Self(&[
        "pretty",
        "fields[TYPE]",
        "filter",
        "filter[PATH]",
        "sort",
        "page[size]",
        "page[number]",
    ]);
    /// To read the collection of sessions.
    pub const SESSIONS: Self = Self(&[
        "pretty",
        "fields[TYPE]",
        "filter",
        "filter[PATH]",
        "sort",
        "page[size]",
        "page[number]",
        "rdns",
        "state",
    ]);
    /// To kill a session.
    pub const KILL: Self = Self(&["pretty", "ttl"]);
    /// To kill all sessions of a kind.
    pub const KILL_ALL: Self = Self(&["pretty", "filter", "filter[PATH]", "ttl", "dry_run"]);
    /// To stop something.
    pub const STOP: Self = Self(&["pretty", "force"]);
    /// To set a server's condition or clear it.
    pub const SETTING: Self = Self(&["pretty", "state", "force"]);

    fn has(self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// All of them, in words.
    fn in_words(self) -> String {
        match self.0 {
            [one] => format!("there is {one}"),
            [first @ .., last] => format!("there are {} and {last}", first.join(", ")),
            [] => "there is none".to_owned(),
        }
    }
}

/// `state`, where a server is set to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `drain`.
    Drain,
    /// `maintenance`.
    Maintenance,
}

/// The longest `wait`. A client that is still there then may ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// `state`: which sessions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Those that live.
    #[default]
    Open,
    /// Those of the history.
    Closed,
    /// Both.
    Any,
}

impl Lifetime {
    /// The API's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Any => "any",
        }
    }

    /// What that word says.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Open, Self::Closed, Self::Any];
        all.into_iter().find(|lifetime| lifetime.as_str() == word)
    }
}

/// What the parameters ask for. They are followed in the order filter, sort,
/// page, fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// `pretty`: how the document is to look.
    pub layout: Layout,
    /// `fields[TYPE]`: the members of attributes and relationships that are wanted, by type.
    fields: Vec<(&'static str, Vec<Path>)>,
    /// `filter`: what must be true of a row.
    pub filters: Vec<Filter>,
    /// `sort`: the keys, the first one first.
    pub sort: Vec<SortKey>,
    /// `page`: which part of the rows.
    pub page: Option<Page>,
    /// `state`: whether rows live or have ended.
    pub lifetime: Lifetime,
    /// `rdns`: whether hosts are to be named.
    pub host_names: bool,
    /// `wait`: how long to wait for the end of a session, or of the last connection.
    pub wait: Option<Duration>,
    /// `ttl`: how long a session gets that is killed.
    pub ttl: Duration,
    /// `dry_run`: whether nothing is to be done.
    pub dry_run: bool,
    /// `force`: whether sessions end, too.
    pub force: bool,
    /// `state`, where a server is set to one.
    pub setting: Option<Setting>,
    /// All parameters but those of the page, encoded again.
    others: String,
}

/// What rows are sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Where it is in the row.
    pub path: Path,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// A part of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many rows are on it; never 0.
    pub size: usize,
    /// Which one, from 0.
    pub number: usize,
}

/// A parameter that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterFault {
    /// Its name, decoded where that is possible.
    pub parameter: String,
    /// What is wrong and what is accepted.
    pub detail: String,
}

impl Query {
    /// Reads what follows the `?`. Filters add up; of several others of one name
    /// the last counts.
    pub fn parse(text: &str, accepts: Accepts) -> Result<Self, ParameterFault> {
        let mut query = Self::default();
        let (mut size, mut number) = (None, None);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (decode(name)?, Some(decode_value(name, value)?)),
                None => (decode(pair)?, None),
            };
            match name.as_str() {
                "page[size]" if accepts.has("page[size]") => {
                    size = Some(page_size(value.as_deref())?);
                }
                "page[number]" if accepts.has("page[number]") => {
                    number = Some(page_number(value.as_deref())?);
                }
                _ => {
                    query.take(&name, value.as_deref(), accepts)?;
                    query.remember(&name, value.as_deref());
                }
            }
        }
        query.page = match (size, number) {
            (Some(size), number) => Some(Page {
                size,
                number: number.unwrap_or(0),
            }),
            (None, None) => None,
            (None, Some(_)) => return Err(fault("page[number]", "page[number] needs page[size]")),
        };
        Ok(query)
    }

    /// How a document is to look, whatever else is asked: errors are pretty, too.
    #[must_use]
    pub fn layout_of(text: &str) -> Layout {
        let mut pairs = text.split('&').map(|pair| {
            pair.split_once('=')
                .map_or((pair, None), |(name, value)| (name, Some(value)))
        });
        let last = pairs.rfind(|(name, _)| *name == "pretty");
        last.and_then(|(_, value)| layout(value).ok())
            .unwrap_or_default()
    }

    fn take(
        &mut self,
        name: &str,
        value: Option<&str>,
        accepts: Accepts,
    ) -> Result<(), ParameterFault> {
        let filters = accepts.has("filter");
        let inside = |outer: &str| {
            name.strip_prefix(outer)?
                .strip_prefix('[')?
                .strip_suffix(']')
        };
        if name == "pretty" {
            self.layout = layout(value)?;
        } else if let Some(of) = inside("fields").filter(|_| accepts.has("fields[TYPE]")) {
            let of = TYPES.into_iter().find(|known| *known == of);
            let of = of.ok_or_else(|| {
                fault(
                    name,
                    &format!("there is no such type; there are {}", TYPES.join(", ")),
                )
            })?;
            let list = fields(value.unwrap_or_default()).map_err(|detail| fault(name, &detail))?;
            self.fields.retain(|(other, _)| *other != of);
            self.fields.push((of, list));
        } else if name == "filter" && filters {
            let filter = Filter::pointer(value.unwrap_or_default());
            self.filters
                .push(filter.map_err(|detail| fault(name, &detail))?);
        } else if let Some(path) = inside("filter").filter(|_| filters) {
            let filter = Filter::json_path(path, value.unwrap_or_default());
            self.filters
                .push(filter.map_err(|detail| fault(name, &detail))?);
        } else if name == "sort" && accepts.has(name) {
            self.sort =
                sort_keys(value.unwrap_or_default()).map_err(|detail| fault(name, &detail))?;
        } else if !accepts.has(name) {
            return Err(fault(name, &unknown(name, accepts)));
        } else {
            self.take_plain(name, value, accepts)?;
        }
        if self.filters.len() > MAX_TERMS {
            return Err(fault(
                name,
                &format!("there are at most {MAX_TERMS} filters"),
            ));
        }
        Ok(())
    }

    /// Takes a parameter that has no other name inside its own.
    fn take_plain(
        &mut self,
        name: &str,
        value: Option<&str>,
        accepts: Accepts,
    ) -> Result<(), ParameterFault> {
        match name {
            "rdns" => self.host_names = boolean_value(name, value)?,
            "dry_run" => self.dry_run = boolean_value(name, value)?,
            "force" => self.force = boolean_value(name, value)?,
            "ttl" => self.ttl = duration_value(name, value)?,
            "wait" => {
                let wait = duration_value(name, value)?;
                if wait > LONGEST_WAIT {
                    return Err(fault(
                        name,
                        "wait must be 60s at most; ask again after that",
                    ));
                }
                self.wait = Some(wait);
            }
            "state" if accepts == Accepts::SETTING => self.setting = Some(setting(value)?),
            "state" => self.lifetime = lifetime(value)?,
            _ => return Err(fault(name, &unknown(name, accepts))),
        }
        Ok(())
    }

    /// Keeps a parameter for the links to other pages, where all that means
    /// something in a URL is encoded.
    fn remember(&mut self, name: &str, value: Option<&str>) {
        if !self.others.is_empty() {
            self.others.push('&');
        }
        self.others.push_str(&encode_percent(name));
        if let Some(value) = value {
            self.others.push('=');
            self.others.push_str(&encode_percent(value));
        }
    }

    /// The fields that are wanted of resources of a type; `None` where all are.
    #[must_use]
    pub fn fields_of(&self, of: &str) -> Option<&[Path]> {
        self.fields
            .iter()
            .find(|(other, _)| *other == of)
            .map(|(_, list)| &list[..])
    }

    /// Whether rows have to be looked into before they are written.
    #[must_use]
    pub fn looks_into_rows(&self) -> bool {
        !self.filters.is_empty() || !self.sort.is_empty()
    }

    /// What it costs about to look into a row, in units of work; nothing where that is
    /// not done.
    #[must_use]
    pub fn cost_of_row(&self) -> u64 {
        if !self.looks_into_rows() {
            return 0;
        }
        // A tree of what is looked at has few values, and ends in a key or a comparison.
        let terms = (self.filters.len() + self.sort.len()) as u64;
        let filters: u64 = self.filters.iter().map(Filter::cost).sum();
        2 * ROW + 4 * VALUE * terms + filters
    }

    /// The parameters of another page of the same rows.
    #[must_use]
    pub fn with_page(&self, size: usize, number: usize) -> String {
        let separator = if self.others.is_empty() { "" } else { "&" };
        format!(
            "{}{separator}page%5Bsize%5D={size}&page%5Bnumber%5D={number}",
            self.others
        )
    }
}

fn unknown(name: &str, accepts: Accepts) -> String {
    format!(
        "{name} is not a parameter of this request; {}",
        accepts.in_words()
    )
}

fn fault(parameter: &str, detail: &str) -> ParameterFault {
    ParameterFault {
        parameter: parameter.to_owned(),
        detail: detail.to_owned(),
    }
}

fn decode(name: &str) -> Result<String, ParameterFault> {
    decode_value(name, name)
}

/// Decodes a name or value, in which a `+` is a space as HTML forms have it.
fn decode_value(name: &str, value: &str) -> Result<String, ParameterFault> {
    let wrong = || {
        let name = decode_percent(name).unwrap_or(name.into());
        fault(
            &name,
            &format!("{value} is not UTF-8 text in percent-encoding"),
        )
    };
    let value = value.replace('+', " ");
    let decoded = decode_percent(&value).ok_or_else(wrong)?;
    Ok(decoded.into_owned())
}

fn layout(value: Option<&str>) -> Result<Layout, ParameterFault> {
    Ok(if boolean_value("pretty", value)? {
        Layout::Indented
    } else {
        Layout::Compact
    })
}

/// A name without a value is true.
fn boolean_value(name: &str, value: Option<&str>) -> Result<bool, ParameterFault> {
    value.map_or(Some(true), boolean::parse).ok_or_else(|| {
        let detail =
            format!("the value of {name} must be true or false, on or off, yes or no, 1 or 0");
        fault(name, &detail)
    })
}

fn duration_value(name: &str, value: Option<&str>) -> Result<Duration, ParameterFault> {
    let parsed = duration::parse(value.unwrap_or_default());
    parsed.map_err(|what_is_right| fault(name, &format!("{name} {what_is_right}")))
}

fn setting(value: Option<&str>) -> Result<Setting, ParameterFault> {
    match value {
        Some("drain") => Ok(Setting::Drain),
        Some("maintenance") => Ok(Setting::Maintenance),
        _ => Err(fault("state", "state must be drain or maintenance")),
    }
}

fn lifetime(value: Option<&str>) -> Result<Lifetime, ParameterFault> {
    let lifetime = value.and_then(Lifetime::parse);
    lifetime.ok_or_else(|| fault("state", "state must be open, closed or any"))
}

/// Names or pointers with commas between them, each once; none at all is a list, too.
fn fields(text: &str) -> Result<Vec<Path>, String> {
    let names = text.split(',').map(str::trim);
    // A request has room for thousands.
    let mut known = HashSet::new();
    let mut fields = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        if !known.insert(name) {
            continue;
        }
        let field = Path::names(name)?;
        if fields.len() == MAX_FIELDS {
            return Err(format!(
                "at most {MAX_FIELDS} different fields can be named"
            ));
        }
        fields.push(field);
    }
    Ok(fields)
}

fn sort_keys(text: &str) -> Result<Vec<SortKey>, String> {
    let keys: Vec<SortKey> = text
        .split(',')
        .map(|key| sort_key(key.trim()))
        .collect::<Result<_, _>>()?;
    if keys.len() > MAX_TERMS {
        return Err(format!("there are at most {MAX_TERMS} sort keys"));
    }
    Ok(keys)
}

fn sort_key(text: &str) -> Result<SortKey, String> {
    let (name, descending) = text
        .strip_prefix('-')
        .map_or((text, false), |name| (name, true));
    if name.is_empty() {
        return Err(
            "a sort key is id or an attribute, with - in front for descending, such as -idle,id"
                .to_owned(),
        );
    }
    let path = Path::names(name)?;
    Ok(SortKey {
        path: if name == "id" {
            path
        } else {
            path.inside("attributes")
        },
        descending,
    })
}

fn page_size(value: Option<&str>) -> Result<usize, ParameterFault> {
    whole_number(value)
        .filter(|size| *size > 0)
        .ok_or_else(|| fault("page[size]", "page[size] must be a number from 1 upwards"))
}

fn page_number(value: Option<&str>) -> Result<usize, ParameterFault> {
    whole_number(value).ok_or_else(|| {
        fault(
            "page[number]",
            "page[number] must be a number from 0 upwards",
        )
    })
}

fn whole_number(value: Option<&str>) -> Option<usize> {
    let text = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, ParameterFault> {
        Query::parse(text, Accepts::COLLECTION)
    }

    #[test]
    fn pretty_takes_every_boolean_and_none_at_all() {
        for text in [
            "pretty",
            "pretty=true",
            "pretty=ON",
            "pretty=Yes",
            "pretty=1",
            "%70retty=%31",
            "pretty=0&pretty",
        ] {
            assert_eq!(
                parse(text).map(|query| query.layout),
                Ok(Layout::Indented),
                "{text}"
            );
        }
        for text in [
            "",
            "&",
            "pretty=false",
            "pretty=off",
            "pretty=no",
            "pretty=0",
            "pretty&pretty=false",
        ] {
            assert_eq!(
                parse(text).map(|query| query.layout),
                Ok(Layout::Compact),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, parameter) in [
            ("pretty=2", "pretty"),
            ("pretty=", "pretty"),
            ("Pretty", "Pretty"),
            ("=1", ""),
            ("a+b", "a b"),
            ("%zz=1", "%zz"),
            ("pretty=%zz", "pretty"),
            ("page%5Bsize%5D=%zz", "page[size]"),
            ("fields", "fields"),
            ("fields[x]=a", "fields[x]"),
            ("fields[sessions]=a~", "fields[sessions]"),
            ("filter", "filter"),
            ("filter=garbage", "filter"),
            ("filter=/id", "filter"),
            ("filter=/id=CLI", "filter"),
            ("filter[id]=1", "filter[id]"),
            ("filter[id", "filter[id"),
            ("filter[a..b]=eq(1)", "filter[a..b]"),
            ("sort=", "sort"),
            ("sort=-", "sort"),
            ("sort=id,,id", "sort"),
            ("page=1", "page"),
            ("page[size]=0", "page[size]"),
            ("page[size]=-1", "page[size]"),
            ("page[size]=x", "page[size]"),
            ("page[size]", "page[size]"),
            ("page[size]=99999999999999999999", "page[size]"),
            ("page[number]=1", "page[number]"),
            ("page[size]=1&page[number]=+1", "page[number]"),
        ] {
            assert_eq!(
                parse(text).map_err(|fault| fault.parameter),
                Err(parameter.to_owned()),
                "{text}"
            );
        }
        let many = vec!["filter=/id=1"; MAX_TERMS + 1].join("&");
        assert_eq!(
            parse(&many).unwrap_err().detail,
            "there are at most 16 filters"
        );
        let names = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("a{number}")).collect();
            parse(&format!(
                "fields[sessions]={},{}",
                names.join(","),
                names.join(",")
            ))
        };
        let fields = names(MAX_FIELDS).unwrap();
        assert_eq!(fields.fields_of("sessions").unwrap().len(), MAX_FIELDS);
        assert_eq!(
            names(MAX_FIELDS + 1).unwrap_err().detail,
            "at most 100 different fields can be named"
        );
        assert_eq!(
            parse(&format!("sort={}", vec!["id"; MAX_TERMS + 1].join(",")))
                .unwrap_err()
                .detail,
            "there are at most 16 sort keys"
        );
    }

    #[test]
    fn parameters_of_collections_are_unknown_to_others() {
        for text in [
            "filter=/id=1",
            "filter[id]=eq(1)",
            "sort=id",
            "page[size]=1",
        ] {
            assert!(parse(text).is_ok(), "{text}");
            assert!(Query::parse(text, Accepts::RESOURCE).is_err(), "{text}");
        }
        assert!(Query::parse("fields[sessions]=a", Accepts::RESOURCE).is_ok());
        assert!(Query::parse("fields[sessions]=a", Accepts::LAYOUT).is_err());
    }

    #[test]
    fn another_page_keeps_the_other_parameters() {
        let query = parse("page[size]=5&filter=/id%3D1&pretty&page[number]=2").unwrap();
        assert_eq!(query.page, Some(Page { size: 5, number: 2 }));
        let next = query.with_page(5, 3);
        assert_eq!(
            next,
            "filter=%2Fid%3D1&pretty&page%5Bsize%5D=5&page%5Bnumber%5D=3"
        );
        assert_eq!(parse(&next).unwrap().with_page(5, 3), next);
    }

    #[test]
    fn durations_settings_and_waits_are_checked() {
        let session = |text: &str| Query::parse(text, Accepts::SESSION);
        assert_eq!(
            session("wait=30s").unwrap().wait,
            Some(Duration::from_secs(30))
        );
        for text in ["wait", "wait=", "wait=61s", "wait=x", "ttl=5"] {
            assert!(session(text).is_err(), "{text}");
        }
        let kill = |text: &str| Query::parse(text, Accepts::KILL).map(|query| query.ttl);
        assert_eq!(kill(""), Ok(Duration::ZERO));
        assert_eq!(kill("ttl=500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(
            kill("ttl=soon").unwrap_err().detail,
            "ttl must be a whole number with ms, s, m or h, such as 10s"
        );
        let set = |text: &str| Query::parse(text, Accepts::SETTING).map(|query| query.setting);
        assert_eq!(set("state=drain"), Ok(Some(Setting::Drain)));
        assert_eq!(set("state=maintenance"), Ok(Some(Setting::Maintenance)));
        assert_eq!(set(""), Ok(None));
        for text in ["state", "state=open", "state=Drain", "ttl=5"] {
            assert!(set(text).is_err(), "{text}");
        }
    }
}
