//! A JSON document, looked into by JSON pointers.

use std::time::Duration;

use miniserde::json::{self, Number, Value};

#[derive(Debug)]
pub struct Document {
    value: Value,
}

impl Document {
    pub fn parse(text: &str) -> Self {
        Self {
            value: json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}")),
        }
    }

    fn find(&self, pointer: &str) -> Option<&Value> {
        pointer
            .split('/')
            .skip(1)
            .try_fold(&self.value, |value, segment| match value {
                Value::Object(object) => object.get(segment),
                Value::Array(array) => array.get(segment.parse::<usize>().ok()?),
                _ => None,
            })
    }

    fn value(&self, pointer: &str) -> &Value {
        self.find(pointer)
            .unwrap_or_else(|| panic!("nothing at {pointer} in {}", json::to_string(&self.value)))
    }

    pub fn has(&self, pointer: &str) -> bool {
        self.find(pointer).is_some()
    }

    /// The document below a pointer.
    pub fn at(&self, pointer: &str) -> Self {
        Self::parse(&json::to_string(self.value(pointer)))
    }

    pub fn text(&self, pointer: &str) -> String {
        match self.value(pointer) {
            Value::String(text) => text.clone(),
            other => panic!("{pointer} is not a string but {other:?}"),
        }
    }

    /// A whole number.
    pub fn integer(&self, pointer: &str) -> u64 {
        match self.value(pointer) {
            Value::Number(Number::U64(number)) => *number,
            other => panic!("{pointer} is not a whole number but {other:?}"),
        }
    }

    /// A duration, given in seconds.
    pub fn seconds(&self, pointer: &str) -> Duration {
        match self.value(pointer) {
            Value::Number(Number::F64(number)) => Duration::from_secs_f64(*number),
            _ => Duration::from_secs(self.integer(pointer)),
        }
    }

    /// The elements of an array.
    pub fn elements(&self, pointer: &str) -> Vec<Self> {
        match self.value(pointer) {
            Value::Array(array) => array
                .iter()
                .map(|value| Self::parse(&json::to_string(value)))
                .collect(),
            other => panic!("{pointer} is not an array but {other:?}"),
        }
    }

    /// The names of an object's members, sorted.
    pub fn members(&self, pointer: &str) -> Vec<String> {
        match self.value(pointer) {
            Value::Object(object) => object.keys().cloned().collect(),
            other => panic!("{pointer} is not an object but {other:?}"),
        }
    }
}
