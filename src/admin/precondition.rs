//! Whether a request is to be followed, given what its sender knows (RFC 9110,
//! section 13). Pure.

use std::time::{Duration, SystemTime};

/// What a client knows of a resource.
pub(super) struct Validators {
    /// A weak entity tag, `W/"…"`.
    pub(super) tag: String,
    /// When it changed last; HTTP knows whole seconds alone.
    pub(super) modified: SystemTime,
}

/// The header fields that make a request conditional.
#[derive(Debug, Default)]
#[allow(clippy::struct_field_names, reason = "the names of the header fields")]
pub(super) struct Preconditions {
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) if_modified_since: Option<String>,
    pub(super) if_unmodified_since: Option<String>,
}

/// What follows from the preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The request is followed.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client thinks it is.
    Failed,
}

impl Preconditions {
    /// Evaluates them in the order of RFC 9110, section 13.2.2, for a resource that exists.
    pub(super) fn evaluate(&self, resource: &Validators, reads: bool) -> Outcome {
        let modified = whole_seconds(resource.modified);
        if let Some(tags) = &self.if_match {
            // Our tags are weak, and a weak one is never the same for this (section 8.8.3.2).
            if tags.trim() != "*" {
                return Outcome::Failed;
            }
        } else if let Some(date) = date(self.if_unmodified_since.as_ref())
            && modified > date
        {
            return Outcome::Failed;
        }
        let has_it_already = match &self.if_none_match {
            Some(tags) => tags.trim() == "*" || has_tag(tags, &resource.tag),
            None => {
                reads && date(self.if_modified_since.as_ref()).is_some_and(|date| modified <= date)
            }
        };
        match (has_it_already, reads) {
            (false, _) => Outcome::Proceed,
            (true, true) => Outcome::NotModified,
            (true, false) => Outcome::Failed,
        }
    }
}

/// A date that is none is ignored (sections 13.1.3 and 13.1.4).
fn date(text: Option<&String>) -> Option<SystemTime> {
    httpdate::parse_http_date(text?).ok()
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Whether a list has a tag, weak or not (the weak comparison of section 8.8.3.2).
fn has_tag(list: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    // Our tags have no comma in them.
    list.split(',')
        .any(|other| opaque(other.trim()) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun Nov  6 08:49:38 1994";

    fn evaluate(fields: &[(&str, &str)], reads: bool) -> Outcome {
        let field = |name: &str| {
            fields
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let preconditions = Preconditions {
            if_match: field("M"),
            if_none_match: field("NM"),
            if_modified_since: field("MS"),
            if_unmodified_since: field("US"),
        };
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900);
        preconditions.evaluate(
            &Validators {
                tag: "W/\"a-1\"".to_owned(),
                modified,
            },
            reads,
        )
    }

    #[test]
    fn each_precondition_alone() {
        for (field, to_read, to_write) in [
            (("M", "*"), Outcome::Proceed, Outcome::Proceed),
            (("M", "W/\"a-1\""), Outcome::Failed, Outcome::Failed),
            (("M", "\"a-1\""), Outcome::Failed, Outcome::Failed),
            (("NM", "*"), Outcome::NotModified, Outcome::Failed),
            (("NM", "W/\"a-1\""), Outcome::NotModified, Outcome::Failed),
            (
                ("NM", "\"x\", \"a-1\""),
                Outcome::NotModified,
                Outcome::Failed,
            ),
            (("NM", "W/\"a-2\""), Outcome::Proceed, Outcome::Proceed),
            (("NM", "garbage"), Outcome::Proceed, Outcome::Proceed),
            (("MS", BEFORE), Outcome::Proceed, Outcome::Proceed),
            (("MS", THEN), Outcome::NotModified, Outcome::Proceed),
            (("MS", AFTER), Outcome::NotModified, Outcome::Proceed),
            (("MS", "garbage"), Outcome::Proceed, Outcome::Proceed),
            (("US", BEFORE), Outcome::Failed, Outcome::Failed),
            (("US", THEN), Outcome::Proceed, Outcome::Proceed),
            (("US", AFTER), Outcome::Proceed, Outcome::Proceed),
            (("US", "garbage"), Outcome::Proceed, Outcome::Proceed),
        ] {
            assert_eq!(evaluate(&[field], true), to_read, "{field:?}");
            assert_eq!(evaluate(&[field], false), to_write, "{field:?}");
        }
    }

    #[test]
    fn tags_count_before_dates_and_matching_before_not_matching() {
        assert_eq!(
            evaluate(&[("M", "*"), ("US", BEFORE)], true),
            Outcome::Proceed
        );
        assert_eq!(
            evaluate(&[("NM", "\"x\""), ("MS", AFTER)], true),
            Outcome::Proceed
        );
        assert_eq!(
            evaluate(&[("M", "\"x\""), ("NM", "*")], true),
            Outcome::Failed
        );
        assert_eq!(
            evaluate(&[("M", "*"), ("NM", "*")], true),
            Outcome::NotModified
        );
    }
}
