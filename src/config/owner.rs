//! Users and groups by name, as `/etc/passwd` and `/etc/group` list them.
//!
//! A static binary has no other directory of users to ask; a number does
//! always.

use std::fs;

/// The number of a user, who is named or numbered.
pub(super) fn user(text: &str) -> Result<u32, String> {
    number_of(text, "/etc/passwd", "user")
}

/// The number of a group, which is named or numbered.
pub(super) fn group(text: &str) -> Result<u32, String> {
    number_of(text, "/etc/group", "group")
}

fn number_of(text: &str, file: &str, kind: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let list = fs::read_to_string(file).unwrap_or_default();
    find(&list, text)
        .ok_or_else(|| format!("must be a {kind} of this machine ({file}) or a number"))
}

/// The third field of the line whose first one is the name (passwd(5), group(5)).
fn find(list: &str, name: &str) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_whole_first_field() {
        let list = "root:x:0:0:root:/root:/bin/sh\ndaemon2:x:7:7\ndaemon:x:1:1\nbroken\n";
        assert_eq!(find(list, "daemon"), Some(1));
        assert_eq!(find(list, "daem"), None);
        assert_eq!(find(list, "broken"), None);
        assert_eq!(find(list, ""), None);
    }

    #[test]
    fn a_number_needs_no_list() {
        assert_eq!(user("1234"), Ok(1234));
        assert_eq!(user("root"), Ok(0));
        assert!(group("no such group").unwrap_err().contains("/etc/group"));
    }
}
