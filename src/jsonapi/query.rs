//! The parameters of a request: the part of its target after the `?`.
//!
//! A parameter that is not known, or whose value does not parse, is a fault: a
//! typing mistake never passes for an answer.

use super::link::decode_percent;
use super::writer::Layout;
use crate::boolean;

/// What the parameters ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `pretty`: how the document is to look.
    pub layout: Layout,
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
    /// Reads what follows the `?`. The last of several of one name counts.
    pub fn parse(text: &str) -> Result<Self, ParameterFault> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (decode(name)?, Some(decode_value(name, value)?)),
                None => (decode(pair)?, None),
            };
            if name != "pretty" {
                let detail = format!("{name} is not a parameter of this resource; there is pretty");
                return Err(fault(&name, &detail));
            }
            query.layout = match value.as_deref().map_or(Some(true), boolean::parse) {
                Some(true) => Layout::Indented,
                Some(false) => Layout::Compact,
                None => {
                    let detail =
                        "the value of pretty must be true or false, on or off, yes or no, 1 or 0";
                    return Err(fault(&name, detail));
                }
            };
        }
        Ok(query)
    }
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
    decode_percent(&value.replace('+', " ")).ok_or_else(|| {
        fault(
            name,
            &format!("{value} is not UTF-8 text in percent-encoding"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
                Query::parse(text).map(|query| query.layout),
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
                Query::parse(text).map(|query| query.layout),
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
            ("prety=1", "prety"),
            ("=1", ""),
            ("a+b", "a b"),
            ("%zz=1", "%zz"),
            ("pretty=%zz", "pretty"),
        ] {
            assert_eq!(
                Query::parse(text).map_err(|fault| fault.parameter),
                Err(parameter.to_owned()),
                "{text}"
            );
        }
    }
}
