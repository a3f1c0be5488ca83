//! What a resource is written to: [text](super::Writer), or a [tree](super::Tree)
//! for the parameters to look into.

use std::net::IpAddr;
use std::time::SystemTime;

use super::key::Key;

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
    /// A number of thousandths, as `0.015`, without zeros at the end.
    fn thousandths(&mut self, value: u64);
    /// A boolean.
    fn boolean(&mut self, value: bool);
    /// A time, in the form that documents have for it: filters and sort keys go by
    /// the time itself.
    fn date(&mut self, _time: SystemTime, form: &str) {
        self.plain(&[form]);
    }

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

    /// A member whose value is a time.
    fn member_date(&mut self, key: &Key, time: SystemTime, form: &str) {
        self.key(key);
        self.date(time, form);
    }

    /// A member whose value is a whole number.
    fn member_number(&mut self, key: &Key, value: u64) {
        self.key(key);
        self.number(value);
    }
}
