//! The INI dialect of `maxscale.cnf`: text in, sections with line numbers out.
//!
//! A section is `[name]`, an entry `key=value`, a comment a line that starts
//! with `#` or `;`. A line that starts with white space continues the value
//! above it. White space around names, keys and values does not count.
//! Nothing here knows what a key means.

use super::fault::Faults;

/// `[name]` and what follows it.
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) entries: Vec<Entry>,
}

/// `key=value`.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Splits a file into its sections. What cannot be read is a fault and left out.
pub(super) fn sections(text: &[u8], faults: &mut Faults) -> Vec<Section> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut sections: Vec<Section> = Vec::new();
    // A header that cannot be read takes its entries with it, without a fault for each.
    let mut under_a_bad_header = false;
    // Whether the entry above could not be read.
    let mut refused = false;

    for (index, bytes) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = index + 1;
        let Some(raw) = printable(bytes) else {
            faults.add(line, "the line is not printable UTF-8 text");
            continue;
        };
        let content = raw.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = content.strip_prefix('[') {
            refused = false;
            under_a_bad_header = match section_name(header) {
                Ok(name) => {
                    sections.push(Section {
                        name: name.to_owned(),
                        line,
                        entries: Vec::new(),
                    });
                    false
                }
                Err(message) => {
                    faults.add(line, message);
                    true
                }
            };
        } else if !under_a_bad_header {
            let Some(section) = sections.last_mut() else {
                faults.add(
                    line,
                    format!("{content}: a section such as [maxscale] must come first"),
                );
                continue;
            };
            // What continues a line that was refused goes the same way.
            if refused && raw.starts_with([' ', '\t']) {
                continue;
            }
            let added = add_line(section, raw, line);
            refused = added.is_err();
            if let Err(message) = added {
                faults.add(line, message);
            }
        }
    }
    sections
}

fn printable(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    (!text.chars().any(|c| c.is_control() && c != '\t')).then_some(text)
}

/// The name in what follows a `[`, or what is wrong with it.
///
/// Names end up in URLs, so they are made of the characters that need no
/// escape there (RFC 3986, section 2.3).
fn section_name(header: &str) -> Result<&str, String> {
    let name = header
        .strip_suffix(']')
        .ok_or_else(|| format!("[{header}: the ] at the end is missing"))?
        .trim();
    if name.is_empty() {
        return Err("[]: a section needs a name".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "[{name}]: a name has at most {MAX_NAME} characters"
        ));
    }
    if let Some(bad) = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"-._~".contains(*c))
    {
        return Err(format!(
            "[{name}]: a name is made of letters, digits and - . _ ~, not of {bad:?}"
        ));
    }
    Ok(name)
}

/// Names are shown in tables and log lines; nobody types a longer one.
const MAX_NAME: usize = 128;

fn add_line(section: &mut Section, raw: &str, line: usize) -> Result<(), String> {
    let content = raw.trim();
    if raw.starts_with([' ', '\t'])
        && let Some(above) = section.entries.last_mut()
    {
        above.value.push(' ');
        above.value.push_str(content);
        return Ok(());
    }
    let Some((key, value)) = content.split_once('=') else {
        return Err(format!(
            "{content}: neither [section], key=value nor a # comment"
        ));
    };
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        return Err(format!(
            "={value}: the parameter's name is missing before the ="
        ));
    }
    if let Some(first) = section.entries.iter().find(|entry| entry.key == key) {
        return Err(format!(
            "{}: {key} is given twice (first on line {})",
            section.name, first.line
        ));
    }
    section.entries.push(Entry {
        key: key.to_owned(),
        value: value.to_owned(),
        line,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (Vec<Section>, Vec<String>) {
        let mut faults = Faults::new("f");
        let sections = sections(text, &mut faults);
        (
            sections,
            faults
                .iter()
                .map(|fault| format!("{}: {}", fault.line, fault.message))
                .collect(),
        )
    }

    #[test]
    fn white_space_comments_and_line_ends_do_not_count() {
        let (sections, faults) = read(b"\xef\xbb\xbf# c\r\n ; c\r\n [ a ] \r\n key = v = w \r\n");
        assert_eq!(faults, [""; 0]);
        assert_eq!((sections[0].name.as_str(), sections[0].line), ("a", 3));
        let entry = &sections[0].entries[0];
        assert_eq!(
            (entry.key.as_str(), entry.value.as_str(), entry.line),
            ("key", "v = w", 4)
        );
    }

    #[test]
    fn an_indented_line_continues_the_value_above() {
        let (sections, _) = read(b"[a]\nservers=x,\n  y,\n\tz\n");
        assert_eq!(sections[0].entries[0].value, "x, y, z");
    }

    #[test]
    fn what_continues_a_line_that_was_refused_is_refused_with_it() {
        let (sections, faults) = read(b"[a]\nk=v\nk=w\n  x\nno entry\n  y\n");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(sections[0].entries[0].value, "v");
    }

    #[test]
    fn entries_under_a_header_that_cannot_be_read_make_no_further_faults() {
        let (sections, faults) = read(b"[a b]\nx\ny=1\n[c]\nz=1\n");
        assert_eq!(faults.len(), 1);
        assert_eq!(sections.len(), 1);
    }
}
