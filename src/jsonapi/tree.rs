//! A row as a tree of values, for the parameters that look into rows; or as much
//! of it as they look at, since to make the rest takes most of the time.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use super::emit::Emit;
use super::key::Key;
use super::meter::VALUE;
use super::value::Value;

/// The first two names on the way to what is wanted of a row. Any name will do
/// where there is none.
pub(super) type Beginning<'a> = [Option<&'a str>; 2];

/// Makes a tree of what is written to it.
#[derive(Debug, Default)]
pub struct Tree<'a> {
    /// What is open, from the outside in, and the key that waits for a value.
    open: Vec<(Option<Cow<'static, str>>, Value)>,
    key: Option<Cow<'static, str>>,
    done: Option<Value>,
    /// What is wanted of it, where that is not all.
    wanted: Option<&'a [Beginning<'a>]>,
    /// Inside how many objects and arrays of a member that is not wanted.
    unwanted: Option<usize>,
    /// What it has cost so far, in units of work.
    cost: u64,
}

impl<'a> Tree<'a> {
    /// The tree of what a function writes.
    ///
    /// # Panics
    ///
    /// Where it writes no value, or not a whole one.
    #[must_use]
    pub fn of(write: impl FnOnce(&mut Self)) -> Value {
        Self::default().filled_by(write).0
    }

    /// The same of a row, with nothing but these members, and members of members;
    /// and what that has cost.
    pub(super) fn with(wanted: &'a [Beginning<'a>], write: impl FnOnce(&mut Self)) -> (Value, u64) {
        let tree = Self {
            wanted: Some(wanted),
            ..Self::default()
        };
        tree.filled_by(write)
    }

    fn filled_by(mut self, write: impl FnOnce(&mut Self)) -> (Value, u64) {
        write(&mut self);
        let done = self.done.expect("a whole value is written");
        (done, self.cost)
    }

    /// Whether what comes next belongs to a member of this name that is wanted.
    fn wants(&self, name: &str) -> bool {
        let (Some(wanted), 1..=2) = (self.wanted, self.open.len()) else {
            return true;
        };
        let fits = |beginning: Option<&str>, name: &str| beginning.is_none_or(|it| it == name);
        wanted.iter().any(|[outer, inner]| match self.open.last() {
            Some((Some(parent), _)) => fits(*outer, parent) && fits(*inner, name),
            _ => fits(*outer, name),
        })
    }

    fn begin_member(&mut self, name: Cow<'static, str>) {
        if self.unwanted.is_some() {
            return;
        }
        self.cost += self.wanted.map_or(0, |wanted| wanted.len() as u64);
        if self.wants(&name) {
            self.key = Some(name);
        } else {
            self.unwanted = Some(0);
        }
    }

    /// Adds what is no object and no array.
    fn add(&mut self, value: impl FnOnce() -> Value) {
        self.cost += 1;
        match self.unwanted {
            None => {
                self.cost += VALUE;
                let key = self.key.take();
                self.add_to(key, value());
            }
            Some(0) => self.unwanted = None,
            Some(_) => {}
        }
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
        self.cost += 1;
        if let Some(depth) = &mut self.unwanted {
            *depth += 1;
            return;
        }
        self.cost += VALUE;
        let key = self.key.take();
        self.open.push((key, value));
    }

    fn end(&mut self) {
        if let Some(depth) = self.unwanted {
            self.unwanted = depth.checked_sub(1).filter(|depth| *depth > 0);
        } else if let Some((key, value)) = self.open.pop() {
            self.add_to(key, value);
        }
    }
}

impl Emit for Tree<'_> {
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
        self.begin_member(Cow::Borrowed(key.name()));
    }

    fn key_of(&mut self, name: &str) {
        self.begin_member(Cow::Owned(name.to_owned()));
    }

    fn plain(&mut self, parts: &[&str]) {
        self.string_of(parts);
    }

    fn string_of(&mut self, parts: &[&str]) {
        self.add(|| Value::String(parts.concat()));
    }

    fn address(&mut self, address: IpAddr) {
        self.add(|| Value::String(address.to_string()));
    }

    fn number(&mut self, value: u64) {
        self.add(|| Value::Whole(value.into()));
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "durations are far below the 2^53 tenths of a second that fit"
    )]
    fn tenths(&mut self, value: u64) {
        self.add(|| {
            if value.is_multiple_of(10) {
                Value::Whole((value / 10).into())
            } else {
                Value::Fraction(value as f64 / 10.0)
            }
        });
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "durations are far below the 2^53 thousandths of a second that fit"
    )]
    fn thousandths(&mut self, value: u64) {
        self.add(|| {
            if value.is_multiple_of(1000) {
                Value::Whole((value / 1000).into())
            } else {
                Value::Fraction(value as f64 / 1000.0)
            }
        });
    }

    fn boolean(&mut self, value: bool) {
        self.add(|| Value::Boolean(value));
    }

    fn date(&mut self, time: SystemTime, form: &str) {
        self.add(|| Value::Date(time, form.to_owned()));
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
        out.thousandths(1_040);
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

    /// A row, with text and objects in all places.
    fn row(out: &mut impl Emit) {
        out.begin_object();
        out.member(key!("id"), "7");
        out.key(key!("attributes"));
        sample(out);
        out.key(key!("links"));
        out.begin_object();
        out.member(key!("nested"), "x");
        out.end_object();
        out.end_object();
    }

    #[test]
    fn nothing_but_what_is_wanted_is_in_a_tree() {
        let with = |wanted: &[Beginning]| {
            let mut writer = Writer::new(Layout::Compact);
            Tree::with(wanted, row).0.emit(&mut writer);
            writer.finish_text()
        };
        let mut whole = Writer::new(Layout::Compact);
        row(&mut whole);
        assert_eq!(with(&[[None, None]]), whole.finish_text());
        assert_eq!(with(&[]), "{}\n");
        assert_eq!(with(&[[Some("id"), None]]), "{\"id\":\"7\"}\n");
        assert_eq!(
            with(&[[Some("attributes"), Some("number")], [Some("none"), None]]),
            "{\"attributes\":{\"number\":18446744073709551615}}\n"
        );
        // What is no object has no members, whatever their names.
        assert_eq!(
            with(&[[None, Some("nested")]]),
            "{\"id\":\"7\",\"attributes\":{\"nested\":[1.5,2,1.04,true,{},[]]},\"links\":{\"nested\":\"x\"}}\n"
        );
        assert_eq!(
            with(&[
                [Some("attributes"), Some("nested")],
                [Some("links"), Some("other")]
            ]),
            "{\"attributes\":{\"nested\":[1.5,2,1.04,true,{},[]]},\"links\":{}}\n"
        );
    }
}
