//! JSON values: what filters compare, and what sparse fieldsets choose from.
//!
//! A document is not made of them; a row becomes a tree of values only when a
//! parameter has to look into it.

use std::borrow::Cow;
use std::cmp::Ordering;

use miniserde::json;

use super::emit::Emit;

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
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Vec<(Cow<'static, str>, Value)>),
}

impl Value {
    /// Reads JSON text (RFC 8259).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
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
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// Which is greater: of two numbers, of two strings, or of a number and a
    /// string of digits, by value. Other values have no order.
    #[must_use]
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::String(one), Self::String(other)) => Some(one.cmp(other)),
            (Self::String(digits), number) => order_numbers(&whole(digits)?, number),
            (number, Self::String(digits)) => order_numbers(number, &whole(digits)?),
            (one, other) => order_numbers(one, other),
        }
    }

    /// An order in which all values stand somewhere: numbers before strings
    /// before the rest, and strings of digits by value.
    #[must_use]
    pub fn total_order(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Whole(_) | Self::Fraction(_) => 2,
            Self::String(_) => 3,
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        };
        let by_value = match (self, other) {
            (Self::String(one), Self::String(other)) => match (whole(one), whole(other)) {
                (Some(one), Some(other)) => order_numbers(&one, &other),
                (Some(_), None) => Some(Ordering::Less),
                (None, Some(_)) => Some(Ordering::Greater),
                (None, None) => Some(one.cmp(other)),
            },
            (Self::Boolean(one), Self::Boolean(other)) => Some(one.cmp(other)),
            (one, other) if rank(one) == rank(other) => one.order(other),
            _ => None,
        };
        by_value.unwrap_or_else(|| rank(self).cmp(&rank(other)))
    }

    /// Writes it.
    pub fn emit(&self, out: &mut impl Emit) {
        match self {
            Self::Null => {}
            Self::Boolean(value) => out.boolean(*value),
            Self::Whole(value) => out.number(u64::try_from(*value).unwrap_or_default()),
            Self::Fraction(value) => out.thousandths(thousandths(*value)),
            Self::String(value) => out.string(value),
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
    fn objects_are_equal_whatever_the_order_of_their_members() {
        assert!(value("{\"a\":1,\"b\":[2]}").is_equal(&value("{\"b\":[2],\"a\":1}")));
        assert!(!value("{\"a\":1}").is_equal(&value("{\"a\":1,\"b\":2}")));
    }

    #[test]
    fn every_value_has_its_place_in_the_total_order() {
        let ordered = [
            "null", "false", "true", "-1", "0.5", "1", "\"2\"", "\"10\"", "\"a\"", "[]", "{}",
        ];
        for (place, one) in ordered.iter().enumerate() {
            for (other_place, other) in ordered.iter().enumerate() {
                assert_eq!(
                    value(one).total_order(&value(other)),
                    place.cmp(&other_place),
                    "{one} {other}"
                );
            }
        }
    }
}
