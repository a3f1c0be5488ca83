//! What is wrong with a configuration, and where.
//!
//! Faults are gathered, never thrown: one run shows them all, in the order of
//! the file.

use std::fmt;

/// One thing that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// In the form `service CLI: no server is called x (there is admin)`.
    pub message: String,
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    file: String,
    list: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, line: usize, message: impl Into<String>) {
        self.list.push(Fault {
            line,
            message: message.into(),
        });
    }

    /// The value where nothing is wrong, and all that is wrong otherwise.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.sort();
        Err(self)
    }

    fn sort(&mut self) {
        self.list.sort_by_key(|fault| fault.line);
    }

    /// Each fault, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(
                f,
                "{newline}{}:{}: {}",
                self.file, fault.line, fault.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
