//! What a resource is written to: text, or a tree for the parameters to look into.

use std::borrow::Cow;
use std::net::IpAddr;

use super::key::Key;
use super::value::Value;

/// Takes a JSON value, call by call, in order.
pub trait Emit {
    /// Opens an object.
    fn begin_object(&mut self);
    /// Closes the object opened last.
    fn end_object(&mut self);
    /// Opens an array.
    fn begin_array(&mut self);
    /// Closes the array opened last.
    fn end_array(&mut self);
    /// A member's name, as the program has it; its value comes next.
    fn key(&mut self, key: &Key);
    /// A member's name, whatever is in it.
    fn key_of(&mut self, name: &str);
    /// A string that is put together from parts in which nothing needs an escape
    /// (RFC 8259, section 7): words of the program, and names and addresses that
    /// it has checked.
    fn plain(&mut self, parts: &[&str]);
    /// A string that is put together from parts.
    fn string_of(&mut self, parts: &[&str]);
    /// An address, as text.
    fn address(&mut self, address: IpAddr) {
        self.plain(&[&address.to_string()]);
    }
    /// A whole number.
    fn number(&mut self, value: u64);
    /// A number of tenths, as `1.5`, or `1` where it is whole.
    fn tenths(&mut self, value: u64);
    /// A boolean.
    fn boolean(&mut self, value: bool);

    /// A member whose value depends on a text alone, as long as the document is
    /// the same. In a row after a row that had the same member of the same text it
    /// may be copied from there.
    fn repeat(&mut self, key: &Key, _of: &str, value: impl FnOnce(&mut Self))
    where
        Self: Sized,
    {
        self.key(key);
        value(self);
    }

    /// A string.
    fn string(&mut self, value: &str) {
        self.string_of(&[value]);
    }

    /// A member whose value is a string.
    fn member(&mut self, key: &Key, value: &str) {
        self.key(key);
        self.string(value);
    }

    /// A member whose value is a string in which nothing needs an escape.
    fn member_plain(&mut self, key: &Key, value: &str) {
        self.key(key);
        self.plain(&[value]);
    }

    /// A member whose value is an address.
    fn member_address(&mut self, key: &Key, address: IpAddr) {
        self.key(key);
        self.address(address);
    }

    /// A member whose value is a whole number.
    fn member_number(&mut self, key: &Key, value: u64) {
        self.key(key);
        self.number(value);
    }
}

/// Makes a tree of what is written to it.
#[derive(Debug, Default)]
pub struct Tree {
    /// What is open, from the outside in, and the key that waits for a value.
    open: Vec<(Option<Cow<'static, str>>, Value)>,
    key: Option<Cow<'static, str>>,
    done: Option<Value>,
}

impl Tree {
    /// The tree of what a function writes.
    ///
    /// # Panics
    ///
    /// Where it writes no value, or not a whole one.
    #[must_use]
    pub fn of(write: impl FnOnce(&mut Self)) -> Value {
        let mut tree = Self::default();
        write(&mut tree);
        tree.done.expect("a whole value is written")
    }

    fn add(&mut self, value: Value) {
        let key = self.key.take();
        self.add_to(key, value);
    }

    fn add_to(&mut self, key: Option<Cow<'static, str>>, value: Value) {
        match (self.open.last_mut(), key) {
            (Some((_, Value::Object(members))), Some(key)) => {
                members.push((key, value));
            }
            (Some((_, Value::Array(values))), _) => values.push(value),
            _ => self.done = Some(value),
        }
    }

    fn begin(&mut self, value: Value) {
        let key = self.key.take();
        self.open.push((key, value));
    }

    fn end(&mut self) {
        if let Some((key, value)) = self.open.pop() {
            self.add_to(key, value);
        }
    }
}

impl Emit for Tree {
    fn begin_object(&mut self) {
        self.begin(Value::Object(Vec::new()));
    }

    fn end_object(&mut self) {
        self.end();
    }

    fn begin_array(&mut self) {
        self.begin(Value::Array(Vec::new()));
    }

    fn end_array(&mut self) {
        self.end();
    }

    fn key(&mut self, key: &Key) {
        self.key = Some(Cow::Borrowed(key.name()));
    }

    fn key_of(&mut self, name: &str) {
        self.key = Some(Cow::Owned(name.to_owned()));
    }

    fn plain(&mut self, parts: &[&str]) {
        self.string_of(parts);
    }

    fn string_of(&mut self, parts: &[&str]) {
        self.add(Value::String(parts.concat()));
    }

    fn number(&mut self, value: u64) {
        self.add(Value::Whole(value.into()));
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "durations are far below the 2^53 tenths of a second that fit"
    )]
    fn tenths(&mut self, value: u64) {
        self.add(if value.is_multiple_of(10) {
            Value::Whole((value / 10).into())
        } else {
            Value::Fraction(value as f64 / 10.0)
        });
    }

    fn boolean(&mut self, value: bool) {
        self.add(Value::Boolean(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::key;
    use super::super::writer::{Layout, Writer};
    use super::*;

    fn sample(out: &mut impl Emit) {
        out.begin_object();
        out.member(key!("string"), "a\"b");
        out.member_number(key!("number"), u64::MAX);
        out.key(key!("nested"));
        out.begin_array();
        out.tenths(15);
        out.tenths(20);
        out.boolean(true);
        out.begin_object();
        out.end_object();
        out.begin_array();
        out.end_array();
        out.end_array();
        out.end_object();
    }

    #[test]
    fn a_tree_is_written_as_the_text_would_have_been() {
        for layout in [Layout::Compact, Layout::Indented] {
            let mut direct = Writer::new(layout);
            sample(&mut direct);
            let mut from_tree = Writer::new(layout);
            Tree::of(sample).emit(&mut from_tree);
            assert_eq!(from_tree.finish_text(), direct.finish_text());
        }
    }
}
