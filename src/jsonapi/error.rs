//! Error documents (jsonapi.org/format/1.1, section "Errors").

use super::emit::Emit;
use super::key::key;
use super::writer::{Layout, Writer};

/// What one answer says went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorObject<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: &'a str,
    /// The thing, and what to do about it.
    pub detail: &'a str,
    /// The query parameter at fault, where one is.
    pub parameter: Option<&'a str>,
}

impl ErrorObject<'_> {
    /// The whole document.
    #[must_use]
    pub fn document(&self, layout: Layout) -> Vec<u8> {
        let mut writer = Writer::new(layout);
        writer.begin_object();
        writer.key(key!("errors"));
        writer.begin_array();
        writer.begin_object();
        writer.member(key!("status"), &self.status.to_string());
        writer.member(key!("title"), self.title);
        writer.member(key!("detail"), self.detail);
        if let Some(parameter) = self.parameter {
            writer.key(key!("source"));
            writer.begin_object();
            writer.member(key!("parameter"), parameter);
            writer.end_object();
        }
        writer.end_object();
        writer.end_array();
        writer.end_object();
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_its_source_where_a_parameter_is_at_fault() {
        let mut error = ErrorObject {
            status: 404,
            title: "Not Found",
            detail: "999 is not a session",
            parameter: None,
        };
        let plain = "{\"errors\":[{\"status\":\"404\",\"title\":\"Not Found\",\"detail\":\"999 is not a session\"}]}\n";
        assert_eq!(error.document(Layout::Compact), plain.as_bytes());
        error.parameter = Some("page[size]");
        assert!(
            error
                .document(Layout::Compact)
                .ends_with(b",\"source\":{\"parameter\":\"page[size]\"}}]}\n")
        );
    }
}
