//! JSON values: what filters compare, and what sparse fieldsets choose from.
//!
//! A document is not made of them; a row becomes a tree of values only when a
//! parameter has to look into it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::time::SystemTime;

use miniserde::json;

use super::date::{self, whole_second};
use super::emit::Emit;
use super::meter;

/// How deep arrays and objects may stand in each other where a value is read: what
/// follows goes down into it, and documents are far less deep.
const MAX_DEPTH: usize = 32;

/// A JSON value. Members of objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, which only a filter can contain.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Whole(i128),
    /// A number with a fraction or an exponent.
    Fraction(f64),
    /// A string.
    String(String),
    /// A time, and the form that documents have for it, which shows whole seconds.
    Date(SystemTime, String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Vec<(Cow<'static, str>, Value)>),
}

impl Value {
    /// Reads JSON text (RFC 8259), unless it is deeper than any document.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if depth(text) > MAX_DEPTH {
            return None;
        }
        json::from_str::<json::Value>(text).ok().map(Self::from)
    }

    /// A member of an object.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Whether two values are the same. A number and a string of digits are, by value.
    #[must_use]
    pub fn is_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(one), Self::Array(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(other)
                        .all(|(one, other)| one.is_equal(other))
            }
            (Self::Object(one), Self::Object(_)) => {
                let same = |(name, value): &(Cow<'static, str>, Self)| {
                    other
                        .member(name)
                        .is_some_and(|other| value.is_equal(other))
                };
                other.size() == one.len() && one.iter().all(same)
            }
            (Self::Null, Self::Null) => true,
            (Self::Boolean(one), Self::Boolean(other)) => one == other,
            (Self::Date(_, form), Self::String(text))
            | (Self::String(text), Self::Date(_, form)) => form == text,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// Which is greater: of two numbers, of two strings, or of a number and a
    /// string of digits, by value; of two times, or a time and a string that is a date in
    /// one of the usual forms. Other values have no order.
    #[must_use]
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::String(one), Self::String(other)) => Some(one.cmp(other)),
            (Self::Date(one, _), Self::Date(other, _)) => Some(one.cmp(other)),
            (Self::Date(time, _), Self::String(text)) => {
                Some(whole_second(*time).cmp(&date::parse(text)?))
            }
            (Self::String(text), Self::Date(time, _)) => {
                Some(date::parse(text)?.cmp(&whole_second(*time)))
            }
            (Self::String(digits), number) => order_numbers(&whole(digits)?, number),
            (number, Self::String(digits)) => order_numbers(number, &whole(digits)?),
            (one, other) => order_numbers(one, other),
        }
    }

    /// Where it stands among all values: numbers before times before strings before
    /// the rest, and strings of digits by value.
    #[must_use]
    pub(super) fn rank(&self) -> Rank {
        match self {
            Self::Null => Rank::Null,
            Self::Boolean(value) => Rank::Boolean(*value),
            Self::Whole(value) => Rank::Number(Number(*value, 0.0)),
            Self::Fraction(value) => Rank::Number(Number::of_fraction(*value)),
            Self::Date(time, _) => Rank::Date(*time),
            Self::String(text) => match whole(text) {
                Some(Self::Whole(value)) => Rank::Digits(value),
                _ => Rank::Text(text.clone()),
            },
            Self::Array(_) => Rank::Array,
            Self::Object(_) => Rank::Object,
        }
    }

    /// What it costs to compare something with it, in units of work.
    pub(super) fn weight(&self) -> u64 {
        let sum = |values: &mut dyn Iterator<Item = &Self>| {
            values.fold(meter::COMPARISON, |sum, value| sum + value.weight())
        };
        match self {
            Self::Null | Self::Boolean(_) | Self::Whole(_) | Self::Fraction(_) => meter::COMPARISON,
            // It may be read as a date.
            Self::String(text) | Self::Date(_, text) => {
                2 * meter::COMPARISON + (text.len() / meter::BYTES) as u64
            }
            Self::Array(values) => sum(&mut values.iter()),
            // Each member is looked for among all of the other's.
            Self::Object(members) => {
                let each = (members.len() * members.len() / 2) as u64;
                each + sum(&mut members.iter().map(|(_, value)| value))
            }
        }
    }

    /// Writes it.
    pub fn emit(&self, out: &mut impl Emit) {
        match self {
            Self::Null => {}
            Self::Boolean(value) => out.boolean(*value),
            Self::Whole(value) => out.number(u64::try_from(*value).unwrap_or_default()),
            Self::Fraction(value) => out.thousandths(thousandths(*value)),
            Self::String(value) => out.string(value),
            Self::Date(time, form) => out.date(*time, form),
            Self::Array(values) => {
                out.begin_array();
                for value in values {
                    value.emit(out);
                }
                out.end_array();
            }
            Self::Object(members) => {
                out.begin_object();
                for (name, value) in members {
                    out.key_of(name);
                    value.emit(out);
                }
                out.end_object();
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Array(values) => values.len(),
            Self::Object(members) => members.len(),
            _ => 0,
        }
    }
}

/// What values are sorted by, made once for each of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Null,
    Boolean(bool),
    Number(Number),
    Date(SystemTime),
    /// A string of digits.
    Digits(i128),
    Text(String),
    Array,
    Object,
}

/// A number in its whole part and what is behind the point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(i128, f64);

impl Number {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "what is too large for a whole number is the largest one"
    )]
    fn of_fraction(value: f64) -> Self {
        let whole = value.floor();
        Self(whole as i128, value - whole)
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0).then(self.1.total_cmp(&other.1))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

/// How deep arrays and objects stand in each other in a JSON text, brackets in
/// strings left out.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The only fractions that documents have are tenths and thousandths.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it was a whole number of thousandths"
)]
fn thousandths(value: f64) -> u64 {
    (value * 1000.0).round() as u64
}

/// A string of digits as a number. Longer ones than any counter are none.
fn whole(digits: &str) -> Option<Value> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        .then(|| digits.parse().ok())
        .flatten()
        .map(Value::Whole)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a fraction has no more precision"
)]
fn order_numbers(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Whole(one), Value::Whole(other)) => Some(one.cmp(other)),
        (Value::Whole(one), Value::Fraction(other)) => (*one as f64).partial_cmp(other),
        (Value::Fraction(one), Value::Whole(other)) => one.partial_cmp(&(*other as f64)),
        (Value::Fraction(one), Value::Fraction(other)) => one.partial_cmp(other),
        _ => None,
    }
}

impl From<json::Value> for Value {
    fn from(value: json::Value) -> Self {
        match value {
            json::Value::Null => Self::Null,
            json::Value::Bool(value) => Self::Boolean(value),
            json::Value::Number(json::Number::U64(value)) => Self::Whole(value.into()),
            json::Value::Number(json::Number::I64(value)) => Self::Whole(value.into()),
            json::Value::Number(json::Number::F64(value)) => Self::Fraction(value),
            json::Value::String(value) => Self::String(value),
            json::Value::Array(values) => Self::Array(values.into_iter().map(Self::from).collect()),
            json::Value::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name.into(), Self::from(value)))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn values_of_different_types_are_not_equal_and_have_no_order() {
        let values = ["null", "true", "1", "1.5", "\"a\"", "[1]", "{\"a\":1}"];
        for (place, one) in values.iter().enumerate() {
            for (other_place, other) in values.iter().enumerate() {
                assert_eq!(
                    value(one).is_equal(&value(other)),
                    place == other_place,
                    "{one} {other}"
                );
            }
        }
        assert_eq!(value("true").order(&value("1")), None);
        assert_eq!(value("\"a\"").order(&value("1")), None);
        assert_eq!(value("[1]").order(&value("[2]")), None);
    }

    #[test]
    fn a_number_and_a_string_of_digits_compare_by_value() {
        assert_eq!(value("\"50\"").order(&value("9")), Some(Ordering::Greater));
        assert_eq!(value("9").order(&value("\"50\"")), Some(Ordering::Less));
        assert!(value("\"007\"").is_equal(&value("7")));
        assert!(value("7.0").is_equal(&value("7")));
        assert!(!value("\"7.0\"").is_equal(&value("7")));
        assert_eq!(
            value("18446744073709551615").order(&value("18446744073709551614")),
            Some(Ordering::Greater)
        );
        // Two strings compare as strings.
        assert_eq!(value("\"50\"").order(&value("\"9\"")), Some(Ordering::Less));
    }

    #[test]
    fn a_time_compares_with_dates_by_time_and_is_equal_to_its_form_alone() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_495_015_595_900);
        let form = "Wed May 17 10:06:35 2017";
        let shown = Value::Date(time, form.to_owned());
        let text = |text: &str| Value::String(text.to_owned());
        for (other, order) in [
            (form, Ordering::Equal),
            // As text, both would be the other way round.
            ("Thu May 18 10:06:35 2017", Ordering::Less),
            ("Wed May  3 10:06:35 2017", Ordering::Greater),
            ("2017-05-17T10:06:35.001Z", Ordering::Less),
            ("2017-05-17T12:06:35+02:00", Ordering::Equal),
            ("Wed, 17 May 2017 10:06:34 GMT", Ordering::Greater),
        ] {
            assert_eq!(shown.order(&text(other)), Some(order), "{other}");
            assert_eq!(text(other).order(&shown), Some(order.reverse()), "{other}");
            assert_eq!(shown.is_equal(&text(other)), other == form, "{other}");
        }
        for other in [
            text("Wed"),
            text("1495015595"),
            Value::Whole(1_495_015_595),
            Value::Null,
        ] {
            assert_eq!(shown.order(&other), None, "{other:?}");
            assert!(!shown.is_equal(&other), "{other:?}");
        }
        // Rows are sorted by what is not shown of a time, too.
        let later = time + std::time::Duration::from_millis(1);
        assert!(shown.rank() < Value::Date(later, form.to_owned()).rank());
    }

    #[test]
    fn a_value_deeper_than_any_document_is_not_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::parse(&nested(MAX_DEPTH)).is_some());
        assert!(Value::parse(&nested(MAX_DEPTH + 1)).is_none());
        assert!(Value::parse(&nested(100_000)).is_none());
        let in_string = format!("\"\\\"{}\"", "[".repeat(MAX_DEPTH + 1));
        assert!(Value::parse(&in_string).is_some());
    }

    #[test]
    fn objects_are_equal_whatever_the_order_of_their_members() {
        assert!(value("{\"a\":1,\"b\":[2]}").is_equal(&value("{\"b\":[2],\"a\":1}")));
        assert!(!value("{\"a\":1}").is_equal(&value("{\"a\":1,\"b\":2}")));
    }

    #[test]
    fn every_value_has_its_place_in_the_total_order() {
        let ordered = [
            "null", "false", "true", "-1.5", "-1", "-0.5", "0.5", "1", "1.5", "\"2\"", "\"10\"",
            "\"a\"", "[]", "{}",
        ];
        for (place, one) in ordered.iter().enumerate() {
            for (other_place, other) in ordered.iter().enumerate() {
                assert_eq!(
                    value(one).rank().cmp(&value(other).rank()),
                    place.cmp(&other_place),
                    "{one} {other}"
                );
            }
        }
    }
}
