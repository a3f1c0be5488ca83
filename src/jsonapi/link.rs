//! Links: absolute, on the host that the client asked; and the percent-encoding
//! of what stands in them (RFC 3986, section 2.1).

use std::borrow::Cow;

use super::emit::Emit;

/// Where the links of a document lead.
#[derive(Clone, Debug)]
pub struct Links {
    /// Scheme and host, such as `http://localhost:8989`.
    base: String,
}

impl Links {
    /// Links on a host, as the `Host` header names it. It must be a host (RFC 3986,
    /// section 3.2.2), with nothing in it that JSON would escape: the door lets no
    /// other through.
    #[must_use]
    pub fn on(host: &str) -> Self {
        Self {
            base: ["http://", host].concat(),
        }
    }

    /// The link to a path, which starts with a slash and is written as it stands.
    pub fn write_path(&self, out: &mut (impl Emit + ?Sized), path: &str) {
        out.plain(&[&self.base, path]);
    }

    /// The link to a path with parameters, if there are any.
    pub fn write_query(&self, out: &mut impl Emit, path: &str, parameters: &str) {
        let question_mark = if parameters.is_empty() { "" } else { "?" };
        out.string_of(&[&self.base, path, question_mark, parameters]);
    }

    /// The link to something below a resource.
    pub fn write_below(
        &self,
        out: &mut (impl Emit + ?Sized),
        collection: &str,
        id: &str,
        rest: &str,
    ) {
        out.plain(&[&self.base, collection, &encode_percent(id), rest]);
    }

    /// The link to a resource of a collection, whose path ends in a slash.
    pub fn write_resource(&self, out: &mut (impl Emit + ?Sized), collection: &str, id: &str) {
        self.write_below(out, collection, id, "");
    }
}

/// Encodes a path segment: everything but the unreserved characters.
#[must_use]
pub fn encode_percent(segment: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if segment.bytes().all(plain) {
        return segment.into();
    }
    let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
    let mut encoded = String::with_capacity(2 * segment.len());
    for byte in segment.bytes() {
        if plain(byte) {
            encoded.push(byte.into());
        } else {
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded.into()
}

/// Decodes percent-encoded text; `None` where a `%` is not followed by two
/// hexadecimal digits, or the result is not UTF-8.
#[must_use]
pub fn decode_percent(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_value(rest.next()?)? << 4 | hex_value(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for text in ["", "CLI", "a b", "a/b?c#d", "100%", "é\"\\"] {
            let encoded = encode_percent(text);
            assert!(
                encoded
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
            );
            assert_eq!(decode_percent(&encoded).as_deref(), Some(text));
        }
    }

    #[test]
    fn half_an_escape_and_bytes_that_are_not_utf8_do_not_decode() {
        for text in ["%", "%4", "%zz", "%+1", "%ff", "a%80"] {
            assert_eq!(decode_percent(text), None, "{text}");
        }
        assert_eq!(decode_percent("%31%e2%82%ac").as_deref(), Some("1€"));
    }
}
