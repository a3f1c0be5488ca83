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

/// Reads an error in the form of before protocol 3 behind its `E`: a text that a NUL
/// ends. `None` where the NUL has not come; the length is the text's and the NUL's.
pub(super) fn early(bytes: &[u8]) -> Result<Option<(ServerError, usize)>, NoText> {
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = &bytes[..end.unwrap_or(bytes.len())];
    let is_text = |byte: &u8| *byte == b'\n' || !byte.is_ascii_control();
    if !text.iter().all(is_text) {
        return Err(NoText);
    }
    Ok(end.map(|end| (ServerError::new(b"", text), end + 1)))
}

/// Bytes are no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoText;

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

    #[test]
    fn an_error_of_the_old_form_is_a_text() {
        let (error, length) = early(b"could not fork\n\0more").unwrap().unwrap();
        let expected = (16, "", "could not fork");
        assert_eq!((length, &error.code[..], &error.message[..]), expected);
        assert_eq!(early(b"could not fork\n"), Ok(None));
        assert_eq!(early(b"\x16\x03\0"), Err(NoText));
    }
}
