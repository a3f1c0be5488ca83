//! Takes the parameters out of one section, and checks the names in them.
//!
//! Whatever is wrong becomes a fault that says what would be right, and the
//! reading goes on.

use super::fault::Faults;
use super::ini::{Entry, Section};

const MAXSCALE: &str = "maxscale";
pub(super) const SERVER: &str = "server";
pub(super) const SERVICE: &str = "service";
pub(super) const LISTENER: &str = "listener";

/// Whether a section is `[maxscale]`, in upper or lower case: files of MaxScale
/// have it in either.
pub(super) fn is_maxscale(section: &Section) -> bool {
    section.name.eq_ignore_ascii_case(MAXSCALE)
}

/// What kind of object a section makes, or where and why none.
pub(super) fn section_type(section: &Section) -> Result<&'static str, (usize, String)> {
    let name = &section.name;
    let Some(entry) = section.entries.iter().find(|entry| entry.key == "type") else {
        return Err((
            section.line,
            format!("{name}: type is missing; it must be server, service or listener"),
        ));
    };
    [SERVER, SERVICE, LISTENER]
        .into_iter()
        .find(|known| *known == entry.value)
        .ok_or_else(|| {
            let message = format!(
                "{name}: type={} must be server, service or listener",
                entry.value
            );
            (entry.line, message)
        })
}

/// Which names a reference may use.
pub(super) struct Names<'a> {
    servers: Vec<&'a str>,
    services: Vec<&'a str>,
    /// Sections without a proper type: whoever refers to them may be right.
    unclear: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn new(sections: &'a [Section]) -> Self {
        let of = |wanted: Option<&str>| {
            let is =
                |section: &&Section| section_type(section).ok() == wanted && !is_maxscale(section);
            sections
                .iter()
                .filter(is)
                .map(|section| section.name.as_str())
                .collect()
        };
        Self {
            servers: of(Some(SERVER)),
            services: of(Some(SERVICE)),
            unclear: of(None),
        }
    }

    /// What is wrong with a reference to a server or a service of that name, if anything is.
    pub(super) fn refuse(&self, kind: &str, name: &str) -> Option<String> {
        let there_are = if kind == SERVER {
            &self.servers
        } else {
            &self.services
        };
        if there_are.contains(&name) || self.unclear.contains(&name) {
            return None;
        }
        let others = match &there_are[..] {
            [] => "there is none".to_owned(),
            [one] => format!("there is {one}"),
            many => format!("there are {}", many.join(", ")),
        };
        Some(format!("no {kind} is called {name} ({others})"))
    }
}

/// Takes the parameters out of one section, and knows in the end which it was
/// not asked for.
pub(super) struct Reader<'a> {
    pub(super) section: &'a Section,
    label: String,
    accepted: Vec<&'static str>,
    faults: &'a mut Faults,
    /// Whether everything read so far was there and right.
    whole: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(section: &'a Section, kind: Option<&str>, faults: &'a mut Faults) -> Self {
        let label = kind.map_or_else(
            || section.name.clone(),
            |kind| format!("{kind} {}", section.name),
        );
        Self {
            section,
            label,
            accepted: Vec::new(),
            faults,
            whole: true,
        }
    }

    pub(super) fn fault(&mut self, line: usize, message: &str) {
        self.faults.add(line, format!("{}: {message}", self.label));
        self.whole = false;
    }

    pub(super) fn wrote(&self, key: &str) -> bool {
        self.section.entries.iter().any(|entry| entry.key == key)
    }

    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.accepted.contains(&key) {
            self.accepted.push(key);
        }
        self.section.entries.iter().find(|entry| entry.key == key)
    }

    fn refuse(&mut self, entry: &Entry, what_is_right: &str) {
        let message = format!("{}={} {what_is_right}", entry.key, entry.value);
        self.fault(entry.line, &message);
    }

    pub(super) fn parse<T>(
        &mut self,
        entry: &Entry,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&entry.value) {
            Ok(value) => Some(value),
            Err(what_is_right) => {
                self.refuse(entry, &what_is_right);
                None
            }
        }
    }

    /// A parameter that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        match self.entry(key) {
            Some(entry) => self.parse(entry, parse).unwrap_or(default),
            None => default,
        }
    }

    /// A parameter that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if let Some(entry) = self.entry(key) {
            return self.parse(entry, parse);
        }
        self.miss(key);
        None
    }

    fn miss(&mut self, key: &str) {
        self.fault(self.section.line, &format!("{key} is missing"));
    }

    /// Checks a name of another object that stands in a parameter.
    pub(super) fn reference(
        &mut self,
        key: &'static str,
        kind: &str,
        name: &str,
        names: &Names<'_>,
    ) -> bool {
        let Some(message) = names.refuse(kind, name) else {
            return true;
        };
        let line = self
            .entry(key)
            .map_or(self.section.line, |entry| entry.line);
        self.fault(line, &message);
        false
    }

    /// Complains about what nobody asked for. True where the section has no fault.
    pub(super) fn finish(&mut self) -> bool {
        let accepted = std::mem::take(&mut self.accepted);
        for entry in &self.section.entries {
            if !accepted.contains(&entry.key.as_str()) && entry.key != "type" {
                let message = format!(
                    "unknown parameter {} (there are {})",
                    entry.key,
                    accepted.join(", ")
                );
                self.fault(entry.line, &message);
            } else if entry.key == "type" && is_maxscale(self.section) {
                self.fault(entry.line, "[maxscale] has no type");
            }
        }
        self.whole
    }
}
