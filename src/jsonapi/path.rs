//! Ways into a value: JSON pointers, and a small part of JSONPath.

use super::meter::{Meter, Stopped};
use super::tree::Beginning;
use super::value::Value;

/// The longest path that is read; every real one has fewer than 100 characters.
const MAX_LENGTH: usize = 512;

/// The steps from a value to values inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A member by name, or an element by its number in digits.
    Key(String),
    /// A member by name.
    Name(String),
    /// Elements by number, each once.
    Elements(Vec<usize>),
    /// All members, or all elements.
    All,
}

impl Path {
    /// Reads a JSON pointer (RFC 6901), such as `/attributes/state`.
    pub fn pointer(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "{text:?} is not a JSON pointer, which starts with a slash"
            ));
        };
        Self::segments(rest)
    }

    /// Reads names with slashes between them; one in front is ignored.
    pub fn names(text: &str) -> Result<Self, String> {
        Self::segments(text.strip_prefix('/').unwrap_or(text))
    }

    fn segments(text: &str) -> Result<Self, String> {
        check_length(text)?;
        let unescape = |segment: &str| {
            let escapes_are_whole = segment
                .split('~')
                .skip(1)
                .all(|rest| rest.starts_with(['0', '1']));
            escapes_are_whole
                .then(|| Step::Key(segment.replace("~1", "/").replace("~0", "~")))
                .ok_or_else(|| format!("{segment:?} has a ~ that is neither ~0 nor ~1"))
        };
        Ok(Self {
            steps: text.split('/').map(unescape).collect::<Result<_, _>>()?,
        })
    }

    /// Reads a `JSONPath` of `.name`, `['name']`, `[0]`, `[0,1]`, `[*]` and `.*`, with
    /// or without the `$` in front.
    pub fn json_path(text: &str) -> Result<Self, String> {
        check_length(text)?;
        let wrong = || {
            format!(
                "{text:?} is not a path such as attributes.state, relationships.services.data[0].id or connections[*]"
            )
        };
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        // The first name needs no dot.
        if !rest.starts_with(['.', '[']) && !rest.is_empty() {
            let (step, after) = dotted(rest).ok_or_else(wrong)?;
            return Self::more_steps(vec![step], after).ok_or_else(wrong);
        }
        if rest.is_empty() {
            rest = ".";
        }
        Self::more_steps(Vec::new(), rest).ok_or_else(wrong)
    }

    fn more_steps(mut steps: Vec<Step>, mut rest: &str) -> Option<Self> {
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('.') {
                Some(name) => dotted(name)?,
                None => bracketed(rest.strip_prefix('[')?)?,
            };
            steps.push(step);
            rest = after;
        }
        Some(Self { steps })
    }

    /// This path inside a member.
    #[must_use]
    pub fn inside(mut self, member: &str) -> Self {
        self.steps.insert(0, Step::Key(member.to_owned()));
        self
    }

    /// The first two names on the way, for a [`Tree`](super::Tree) of no more than that.
    pub(super) fn beginning(&self) -> Beginning<'_> {
        let name = |place: usize| match self.steps.get(place)? {
            Step::Key(name) | Step::Name(name) => Some(&name[..]),
            Step::Elements(_) | Step::All => None,
        };
        [name(0), name(1)]
    }

    /// Every value that it leads to, each once.
    pub fn find<'a>(
        &self,
        value: &'a Value,
        meter: &mut Meter<'_>,
    ) -> Result<Vec<&'a Value>, Stopped> {
        let mut found = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                meter.spend(step.cost(value))?;
                next.extend(step.take(value));
            }
            found = next;
        }
        Ok(found)
    }

    /// A value with nothing in it but what these paths lead to, in the value's
    /// own order; `None` where they lead nowhere.
    #[must_use]
    pub fn select(paths: &[&Self], value: &Value) -> Option<Value> {
        let paths: Vec<&[Step]> = paths.iter().map(|path| &path.steps[..]).collect();
        select(&paths, value)
    }
}

fn check_length(text: &str) -> Result<(), String> {
    if text.len() > MAX_LENGTH {
        Err(format!("a path has at most {MAX_LENGTH} bytes"))
    } else {
        Ok(())
    }
}

impl Step {
    /// What it costs to go on from a value.
    fn cost(&self, value: &Value) -> u64 {
        let looked_at = match (self, value) {
            (Self::Elements(indexes), _) => indexes.len(),
            (Self::Key(_) | Self::Name(_) | Self::All, Value::Object(members)) => members.len(),
            (Self::All, Value::Array(values)) => values.len(),
            _ => 0,
        };
        1 + looked_at as u64
    }

    fn take<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Key(name) | Self::Name(name), Value::Object(_)) => {
                value.member(name).into_iter().collect()
            }
            (Self::Key(digits), Value::Array(values)) => index(digits)
                .and_then(|index| values.get(index))
                .into_iter()
                .collect(),
            (Self::Elements(indexes), Value::Array(values)) => indexes
                .iter()
                .filter_map(|index| values.get(*index))
                .collect(),
            (Self::All, Value::Array(values)) => values.iter().collect(),
            (Self::All, Value::Object(members)) => members.iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        }
    }
}

fn select<'a>(paths: &[&'a [Step]], value: &Value) -> Option<Value> {
    if paths.iter().any(|steps| steps.is_empty()) {
        return Some(value.clone());
    }
    let into = |name: &str| -> Vec<&'a [Step]> {
        let step_into = |steps: &&'a [Step]| match steps.split_first() {
            Some((Step::Key(key), rest)) if key == name => Some(rest),
            _ => None,
        };
        paths.iter().filter_map(step_into).collect()
    };
    match value {
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), select(&into(name), value)?)))
                .collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        Value::Array(values) => {
            let values: Vec<_> = values
                .iter()
                .enumerate()
                .filter_map(|(index, value)| select(&into(&index.to_string()), value))
                .collect();
            (!values.is_empty()).then_some(Value::Array(values))
        }
        _ => None,
    }
}

/// An element's number: digits without a leading zero (RFC 6901, section 4).
fn index(digits: &str) -> Option<usize> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten()
}

/// A name or `*`, up to the next dot or bracket.
fn dotted(text: &str) -> Option<(Step, &str)> {
    let (name, rest) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    let is_plain = |c: char| c.is_alphanumeric() || "_-".contains(c);
    match name {
        "*" => Some((Step::All, rest)),
        name if !name.is_empty() && name.chars().all(is_plain) => {
            Some((Step::Name(name.to_owned()), rest))
        }
        _ => None,
    }
}

/// What stands between brackets, the first of which is gone already.
fn bracketed(text: &str) -> Option<(Step, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (name, rest) = quoted.split_once(quote)?;
            return Some((Step::Name(name.to_owned()), rest.strip_prefix(']')?));
        }
    }
    let (inner, rest) = text.split_once(']')?;
    if inner.trim() == "*" {
        return Some((Step::All, rest));
    }
    let mut indexes = Vec::new();
    for digits in inner.split(',').map(str::trim) {
        let index = index(digits).filter(|_| !digits.is_empty())?;
        // There are as many as fit into a path.
        if !indexes.contains(&index) {
            indexes.push(index);
        }
    }
    Some((Step::Elements(indexes), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"a":{"b":[10,20,{"c":"x"}],"d e":1,"0":"zero","x/y~z":2},"n":3}"#;

    fn found(path: Result<Path, String>) -> Result<String, String> {
        let value = Value::parse(TEXT).unwrap();
        path.map(|path| {
            let found: Vec<String> = path
                .find(&value, &mut Meter::one_slice())
                .unwrap()
                .into_iter()
                .map(|value| format!("{value:?};"))
                .collect();
            found.concat()
        })
    }

    #[test]
    fn a_pointer_leads_to_one_value_or_none() {
        for (pointer, expected) in [
            ("/n", "Whole(3);"),
            ("/a/b/0", "Whole(10);"),
            ("/a/b/2/c", "String(\"x\");"),
            ("/a/d e", "Whole(1);"),
            ("/a/0", "String(\"zero\");"),
            ("/a/x~1y~0z", "Whole(2);"),
            ("/a/b/3", ""),
            ("/a/b/00", ""),
            ("/a/b/-", ""),
            ("/missing/b", ""),
            ("/n/b", ""),
        ] {
            assert_eq!(
                found(Path::pointer(pointer)).as_deref(),
                Ok(expected),
                "{pointer}"
            );
        }
        for pointer in [
            "",
            "n",
            "n/a",
            "/a~",
            "/a~2",
            &format!("/{}", "a".repeat(513)),
        ] {
            assert!(Path::pointer(pointer).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_json_path_leads_to_any_number_of_values() {
        for (path, expected) in [
            ("n", "Whole(3);"),
            (".n", "Whole(3);"),
            ("$.n", "Whole(3);"),
            ("$['n']", "Whole(3);"),
            ("$[\"n\"]", "Whole(3);"),
            ("a.b[0]", "Whole(10);"),
            ("a.b[0,1]", "Whole(10);Whole(20);"),
            ("a.b[ 1 , 0 ]", "Whole(20);Whole(10);"),
            ("a.b[1,0,1,1,0]", "Whole(20);Whole(10);"),
            ("a.b[*].c", "String(\"x\");"),
            ("a['d e']", "Whole(1);"),
            ("a['x/y~z']", "Whole(2);"),
            ("a.b[9]", ""),
            ("a.b.0", ""),
            ("a[0]", ""),
            ("n.*", ""),
        ] {
            assert_eq!(
                found(Path::json_path(path)).as_deref(),
                Ok(expected),
                "{path}"
            );
        }
        assert_eq!(
            found(Path::json_path("a.*")).unwrap().matches(';').count(),
            4
        );
        for path in [
            "", "$", "$.", "a.", "a..b", "a[", "a[]", "a[x]", "a['b]", "a['b'", "a[-1]", "a[1,]",
            "a b", "a[0]b", "$$",
        ] {
            assert!(Path::json_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_selected_stands_where_it_stood() {
        let value = Value::parse(TEXT).unwrap();
        let selected = |names: &[&str]| {
            let paths: Vec<Path> = names
                .iter()
                .map(|names| Path::names(names).unwrap())
                .collect();
            Path::select(&paths.iter().collect::<Vec<_>>(), &value)
        };
        assert_eq!(
            selected(&["a/b/2/c"]),
            Value::parse(r#"{"a":{"b":[{"c":"x"}]}}"#)
        );
        assert_eq!(
            selected(&["/n", "a/0", "a/b/1"]),
            Value::parse(r#"{"a":{"0":"zero","b":[20]},"n":3}"#)
        );
        assert_eq!(
            selected(&["a/b", "a/b/2/c"]),
            Value::parse(r#"{"a":{"b":[10,20,{"c":"x"}]}}"#)
        );
        assert_eq!(selected(&["a/z", "n/x"]), None);
    }
}
