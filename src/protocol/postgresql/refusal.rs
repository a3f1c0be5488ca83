//! Says no to a client of PostgreSQL in words that its user gets to see.

use crate::protocol::Refusal;

/// The longest text that is sent, in bytes. A service's name may be long.
const MAX_TEXT: usize = 1024;

/// The ErrorResponse that answers a StartupMessage, after which the connection
/// is closed (manual, sections "Message Formats" and "Error and Notice Message
/// Fields"; the codes are in the appendix "PostgreSQL Error Codes").
#[must_use]
pub fn refuse(refusal: &Refusal<'_>) -> Vec<u8> {
    let code = match refusal {
        // too_many_connections
        Refusal::TooManyConnections { .. } => "53300",
        // cannot_connect_now
        Refusal::NoServer { .. } | Refusal::Stopped { .. } => "57P03",
        // admin_shutdown
        Refusal::Killed { .. } => "57P01",
    };
    // A zero byte would end the field.
    let mut text = refusal.to_string().replace('\0', "?");
    let end = (0..=MAX_TEXT.min(text.len())).rfind(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    // It counts its own four bytes, and is small, since the text is.
    let length = u32::try_from(4 + fields.len()).unwrap_or(u32::MAX);
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_response_with_four_fields() {
        let service = "Read";
        for (refusal, code, text) in [
            (
                Refusal::TooManyConnections { service, limit: 7 },
                "53300",
                "Too many connections: service Read has its limit of 7",
            ),
            (
                Refusal::NoServer { service },
                "57P03",
                "No server of service Read is available",
            ),
            (
                Refusal::Stopped { service },
                "57P03",
                "Service Read is stopped",
            ),
            (
                Refusal::Killed { service },
                "57P01",
                "An operator of service Read has ended the connection",
            ),
        ] {
            let fields = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
            let length = u8::try_from(4 + fields.len()).unwrap();
            let expected = [&[b'E', 0, 0, 0, length], fields.as_bytes()].concat();
            assert_eq!(refuse(&refusal), expected);
        }
    }

    #[test]
    fn a_service_of_any_name_is_refused_in_one_short_message() {
        for service in ["a\0b".to_owned(), "é".repeat(5_000), "\0".repeat(5_000)] {
            let bytes = refuse(&Refusal::Stopped { service: &service });
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
            assert_eq!(bytes.len(), 1 + length as usize);
            assert!(bytes.len() <= 40 + MAX_TEXT);
            // Four fields and the terminator.
            let fields = std::str::from_utf8(&bytes[5..]).unwrap();
            assert_eq!(fields.matches('\0').count(), 5, "{fields:?}");
            assert!(fields.ends_with("\0\0"));
        }
    }
}
