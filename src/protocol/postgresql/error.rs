//! Reads an ErrorResponse: which error the server reports, and in which words.

use crate::protocol::ServerError;

/// Reads the body of an ErrorResponse (manual, section "Error and Notice Message
/// Fields"): fields of a type byte and a string, of which the code and the message
/// are read. The body may be cut off.
pub(in crate::protocol) fn read(body: &[u8]) -> ServerError {
    let field = |wanted: u8| {
        let mut fields = body.split(|&byte| byte == 0);
        let field = fields.find_map(|field| field.strip_prefix(&[wanted]));
        field.unwrap_or_default()
    };
    ServerError::new(field(b'C'), field(b'M'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_code_and_a_message_among_its_fields() {
        let error = read(b"SFATAL\0VFATAL\0C28P01\0Mno Cway\0Fauth.c\0\0");
        let expected = ServerError {
            code: "28P01".into(),
            message: "no Cway".into(),
        };
        assert_eq!(error, expected);
        assert_eq!(read(b"SFATAL\0C28P01\0Mno").message, "no");
        for none in [&b""[..], b"\0", b"SFATAL\0\0"] {
            assert_eq!(read(none), ServerError::new(b"", b""));
        }
    }
}
