//! Which rows are kept: a path into the row, and what must be true of a value there.
//!
//! A row is kept where some value that the path leads to satisfies the
//! expression. Where the path leads nowhere the row is not kept, not even by
//! `ne` or `not`.

use std::cmp::Ordering;

use super::meter::{Meter, Stopped};
use super::path::Path;
use super::value::Value;

/// The longest expression that is read.
const MAX_LENGTH: usize = 1024;

/// How deep expressions may stand in each other.
const MAX_DEPTH: usize = 16;

/// One filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub(super) path: Path,
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    /// With a value, and what that costs.
    Compare(Comparison, Value, u64),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Reads `POINTER=JSON` or `POINTER=EXPR`.
    pub fn pointer(text: &str) -> Result<Self, String> {
        let Some((pointer, condition)) = text.split_once('=') else {
            return Err(format!("{text:?} is not POINTER=VALUE, such as /id=\"1\""));
        };
        let path = Path::pointer(pointer)?;
        let short = Some(condition).filter(|condition| condition.len() <= MAX_LENGTH);
        let expression = match short.and_then(Value::parse) {
            Some(value) => Expression::compare(Comparison::Equal, value),
            None => Expression::parse(condition)
                .map_err(|error| format!("{error}, or a JSON value such as \"CLI\" or 1"))?,
        };
        Ok(Self { path, expression })
    }

    /// Reads the two sides of `filter[PATH]=EXPR`.
    pub fn json_path(path: &str, expression: &str) -> Result<Self, String> {
        Ok(Self {
            path: Path::json_path(path)?,
            expression: Expression::parse(expression)?,
        })
    }

    /// What it costs to compare one value with all that it is compared with.
    pub(super) fn cost(&self) -> u64 {
        self.expression.cost()
    }

    /// Whether a row is kept.
    pub fn keeps(&self, row: &Value, meter: &mut Meter<'_>) -> Result<bool, Stopped> {
        for value in self.path.find(row, meter)? {
            if self.expression.holds(value, meter)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Expression {
    fn compare(comparison: Comparison, value: Value) -> Self {
        let cost = value.weight();
        Self::Compare(comparison, value, cost)
    }

    fn cost(&self) -> u64 {
        match self {
            Self::Compare(_, _, cost) => *cost,
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::cost).sum(),
            Self::Not(part) => part.cost(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("an expression has at most {MAX_LENGTH} bytes"));
        }
        let wrong = |what: &str| {
            let shown: String = text.chars().take(80).collect();
            format!(
                "{what} in {shown:?}; an expression is eq, ne, lt, le, gt or ge of a JSON value, or and, or, not of expressions, such as or(eq(1),gt(5))"
            )
        };
        let mut rest = text;
        let expression = Self::read(&mut rest, 0).map_err(wrong)?;
        if rest.trim().is_empty() {
            Ok(expression)
        } else {
            Err(wrong("something follows the expression"))
        }
    }

    /// Takes an expression off the front of a text.
    fn read(rest: &mut &str, depth: usize) -> Result<Self, &'static str> {
        if depth == MAX_DEPTH {
            return Err("there are too many expressions in each other");
        }
        let (name, inside) = rest.split_once('(').ok_or("a name and a ( are missing")?;
        let comparison = match name.trim() {
            "eq" => Comparison::Equal,
            "ne" => Comparison::NotEqual,
            "lt" => Comparison::Less,
            "le" => Comparison::LessOrEqual,
            "gt" => Comparison::Greater,
            "ge" => Comparison::GreaterOrEqual,
            logic @ ("and" | "or" | "not") => {
                *rest = inside;
                let mut parts = Self::read_list(rest, depth)?;
                return match (logic, parts.len()) {
                    ("and", _) => Ok(Self::And(parts)),
                    ("or", _) => Ok(Self::Or(parts)),
                    (_, 1) => Ok(Self::Not(Box::new(parts.remove(0)))),
                    _ => Err("not takes one expression"),
                };
            }
            _ => return Err("there is an unknown name"),
        };
        let end = end_of_literal(inside).ok_or("a ) is missing")?;
        let value = Value::parse(&inside[..end])
            .ok_or("there is something that is not JSON (strings have double quotes)")?;
        *rest = &inside[end + 1..];
        Ok(Self::compare(comparison, value))
    }

    /// Takes expressions with commas between them, and the bracket that ends them.
    fn read_list(rest: &mut &str, depth: usize) -> Result<Vec<Self>, &'static str> {
        let mut list = Vec::new();
        loop {
            list.push(Self::read(rest, depth + 1)?);
            let after = rest.trim_start();
            if let Some(after) = after.strip_prefix(')') {
                *rest = after;
                return Ok(list);
            }
            *rest = after.strip_prefix(',').ok_or("a , or ) is missing")?;
        }
    }

    fn holds(&self, value: &Value, meter: &mut Meter<'_>) -> Result<bool, Stopped> {
        match self {
            Self::Compare(comparison, literal, cost) => {
                meter.spend(*cost)?;
                Ok(comparison.holds(value, literal))
            }
            Self::And(parts) => Self::has(parts, false, value, meter).map(|has| !has),
            Self::Or(parts) => Self::has(parts, true, value, meter),
            Self::Not(part) => part.holds(value, meter).map(|holds| !holds),
        }
    }

    /// Whether there is a part that holds, or one that does not.
    fn has(
        parts: &[Self],
        wanted: bool,
        value: &Value,
        meter: &mut Meter<'_>,
    ) -> Result<bool, Stopped> {
        for part in parts {
            if part.holds(value, meter)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Comparison {
    fn holds(self, value: &Value, literal: &Value) -> bool {
        let is = |wanted: fn(Ordering) -> bool| value.order(literal).is_some_and(wanted);
        match self {
            Self::Equal => value.is_equal(literal),
            Self::NotEqual => !value.is_equal(literal),
            Self::Less => is(Ordering::is_lt),
            Self::LessOrEqual => is(Ordering::is_le),
            Self::Greater => is(Ordering::is_gt),
            Self::GreaterOrEqual => is(Ordering::is_ge),
        }
    }
}

/// Where the closing bracket stands behind a JSON value: the first one that is
/// not in a string.
fn end_of_literal(text: &str) -> Option<usize> {
    let mut in_string = false;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b')' if !in_string => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expression: &str, value: &str) -> bool {
        Expression::parse(expression)
            .unwrap()
            .holds(&Value::parse(value).unwrap(), &mut Meter::one_slice())
            .unwrap()
    }

    #[test]
    fn each_comparison_holds_for_what_it_should_of_each_type() {
        for (value, literal, equal, less, greater) in [
            ("1", "1", true, false, false),
            ("1", "2", false, true, false),
            ("2.5", "2", false, false, true),
            ("-1", "1", false, true, false),
            ("\"a\"", "\"a\"", true, false, false),
            ("\"a\"", "\"b\"", false, true, false),
            ("\"50\"", "9", false, false, true),
            ("9", "\"50\"", false, true, false),
            ("true", "true", true, false, false),
            ("true", "false", false, false, false),
            ("null", "null", true, false, false),
            ("[1,2]", "[1,2]", true, false, false),
            ("[1,2]", "[1,3]", false, false, false),
            ("{\"a\":1}", "{\"a\":1}", true, false, false),
            // Of different types nothing holds but that they differ.
            ("1", "\"a\"", false, false, false),
            ("1", "true", false, false, false),
            ("1", "null", false, false, false),
            ("\"a\"", "[\"a\"]", false, false, false),
            ("1", "{\"a\":1}", false, false, false),
        ] {
            let ordered_equal = equal
                && Value::parse(value)
                    .unwrap()
                    .order(&Value::parse(literal).unwrap())
                    .is_some();
            for (name, expected) in [
                ("eq", equal),
                ("ne", !equal),
                ("lt", less),
                ("le", less || ordered_equal),
                ("gt", greater),
                ("ge", greater || ordered_equal),
            ] {
                assert_eq!(
                    holds(&format!("{name}({literal})"), value),
                    expected,
                    "{value} {name} {literal}"
                );
            }
        }
    }

    #[test]
    fn expressions_are_combined() {
        assert!(holds("or(eq(1),eq(2))", "2"));
        assert!(!holds("and(ge(1),lt(2))", "2"));
        assert!(holds(" and( ge(1) , not( eq(5) ), or(lt(9)) ) ", "2"));
        assert!(holds("not(not(eq(\"a)\\\"(\")))", "\"a)\\\"(\""));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "eq",
            "eq(",
            "eq()",
            "eq(1",
            "eq(1))",
            "eq(1) x",
            "is(1)",
            "eq(a)",
            "eq('a')",
            "eq(1,2)",
            "and()",
            "not()",
            "not(eq(1),eq(2))",
            "and(eq(1)",
            "and(eq(1);eq(2))",
            "(eq(1))",
            "EQ(1)",
            "1",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        let deep = |depth: usize| format!("{}eq(1){}", "not(".repeat(depth), ")".repeat(depth));
        assert!(Expression::parse(&deep(MAX_DEPTH - 1)).is_ok());
        assert!(Expression::parse(&deep(MAX_DEPTH)).is_err());
        assert!(Expression::parse(&format!("eq({}1)", " ".repeat(MAX_LENGTH))).is_err());
    }

    #[test]
    fn some_value_at_the_path_must_satisfy_it_and_none_never_does() {
        let row = Value::parse(r#"{"list":[1,2,3],"a":{"b":"x"}}"#).unwrap();
        let keeps = |filter: &Filter| filter.keeps(&row, &mut Meter::one_slice()).unwrap();
        let at =
            |path: &str, expression: &str| keeps(&Filter::json_path(path, expression).unwrap());
        assert!(at("list[*]", "eq(3)"));
        assert!(at("list[*]", "ne(3)"));
        assert!(!at("list[*]", "gt(3)"));
        assert!(!at("missing", "ne(1)"));
        assert!(!at("missing", "not(eq(1))"));
        let pointer = |text: &str| keeps(&Filter::pointer(text).unwrap());
        assert!(pointer("/a/b=\"x\""));
        assert!(pointer("/a/b=ge(\"x\")"));
        assert!(pointer("/list=[1,2,3]"));
        assert!(!pointer("/a/b=\"y\""));
    }

    #[test]
    fn what_a_filter_costs_grows_with_its_values_and_comparisons() {
        let row = Value::parse(r#"{"list":[1,2,3,4,5,6,7,8]}"#).unwrap();
        let fits = |path: &str, comparisons: usize| {
            let expression = format!("or({})", vec!["eq(0)"; comparisons].join(","));
            let filter = Filter::json_path(path, &expression).unwrap();
            let mut meter = Meter::one_slice();
            (0..10_000).all(|_| filter.keeps(&row, &mut meter).is_ok())
        };
        assert!(fits("list[0]", 1));
        assert!(fits("list[0,0,0,0,0,0,0,0]", 1));
        assert!(!fits("list[0]", 100));
        assert!(!fits("list[*]", 10));
        // It is stopped in the middle of a row, too.
        let filter = Filter::json_path("list[*]", "or(eq(0),eq(9))").unwrap();
        let mut meter = Meter::one_slice();
        while meter.spend(1).is_ok() {}
        assert_eq!(filter.keeps(&row, &mut meter), Err(Stopped));
    }
}
