//! What a client asks for when it logs in, by a handshake response or by
//! COM_CHANGE_USER (MariaDB Knowledge Base, "Connection" and "COM_CHANGE_USER").
//!
//! Such a packet holds the answer to the server's scramble, or a password in
//! plain text. It is cut out as soon as the packet is whole; what is kept until
//! the server has decided is the packet's own memory, shortened.
//!
//! Where MariaDB and MySQL would read a packet differently, it is not read.

use std::ops::Range;

use super::capability::{
    CONNECT_ATTRIBUTES, CONNECT_WITH_DATABASE, LONG_ANSWER, MYSQL, PLUGIN_AUTH, PROTOCOL_41,
    SECURE_CONNECTION, TLS,
};
use super::fields::Fields;
use crate::protocol::{Login, MAX_ATTRIBUTE_COUNT, MAX_ATTRIBUTES, MAX_NAME};

/// The length of a request for TLS: a handshake response up to the user's name.
const TLS_REQUEST: usize = 32;

/// A client's first packet.
#[derive(Debug)]
pub(super) enum Response {
    /// It wants TLS, and its next bytes begin that.
    Tls,
    /// It logs in, and both sides have these capabilities.
    Login(Asked, u64),
}

/// A login that was asked for: the user, the database and the connection
/// attributes behind each other, and nothing else of the packet.
#[derive(Debug)]
pub(super) struct Asked {
    kept: Vec<u8>,
    user: usize,
    database: usize,
}

/// Where a packet says what.
struct Places {
    user: Range<usize>,
    database: Range<usize>,
    attributes: Range<usize>,
}

impl Response {
    /// Reads a handshake response, of version 4.1 or later, to a server that
    /// offers these capabilities; `None` where it cannot be understood.
    pub(super) fn read(packet: Vec<u8>, offered: u64) -> Option<Self> {
        let mut fields = Fields::new(&packet);
        let mut capabilities = u64::from(fields.long()?);
        // The longest packet, the collation, and bytes that are not used.
        fields.take(4 + 1 + 19)?;
        let extended = fields.long()?;
        if capabilities & MYSQL == 0 {
            capabilities |= u64::from(extended) << 32;
        }
        capabilities &= offered;
        let has = |capability| capabilities & capability != 0;
        if !has(PROTOCOL_41) {
            return None;
        }
        if has(TLS) {
            return (packet.len() == TLS_REQUEST).then_some(Self::Tls);
        }
        let user = without_quotes(&packet, fields.text()?);
        match (has(SECURE_CONNECTION), has(LONG_ANSWER)) {
            (true, true) => fields.counted()?,
            (true, false) => skip_short_answer(&mut fields)?,
            (false, false) => fields.text()?,
            // MySQL sees a length here, MariaDB does not.
            (false, true) => return None,
        };
        let database = if has(CONNECT_WITH_DATABASE) {
            fields.last_text()
        } else {
            fields.nothing()
        };
        let attributes = find_attributes(&mut fields, capabilities)?;
        let places = Places {
            user,
            database,
            attributes,
        };
        Some(Self::Login(Asked::keep(packet, places)?, capabilities))
    }
}

impl Asked {
    /// Reads a COM_CHANGE_USER of a session in which both sides have these capabilities.
    pub(super) fn change(packet: Vec<u8>, capabilities: u64) -> Option<Self> {
        let mut fields = Fields::new(&packet);
        // The command.
        fields.byte()?;
        let user = fields.text()?;
        if capabilities & SECURE_CONNECTION == 0 {
            fields.text()?;
        } else {
            skip_short_answer(&mut fields)?;
        }
        let database = fields.text()?;
        if !fields.rest().is_empty() {
            // The collation.
            fields.short()?;
        }
        let attributes = find_attributes(&mut fields, capabilities)?;
        let places = Places {
            user,
            database,
            attributes,
        };
        Self::keep(packet, places)
    }

    /// Cuts a packet down to what is wanted of it; `None` where a name is too long.
    fn keep(mut packet: Vec<u8>, places: Places) -> Option<Self> {
        let Places {
            user,
            database,
            attributes,
        } = places;
        let is_long = |place: &Range<usize>| text_length(&packet[place.clone()]) > MAX_NAME;
        if is_long(&user) || is_long(&database) {
            return None;
        }
        let (user_length, database_length) = (user.len(), database.len());
        // From the back to the front, so that the other places stay true.
        packet.truncate(attributes.end);
        packet.drain(database.end..attributes.start);
        packet.drain(user.end..database.start);
        packet.drain(..user.start);
        packet.shrink_to_fit();
        Some(Self {
            kept: packet,
            user: user_length,
            database: database_length,
        })
    }

    /// The login, now that the server has agreed.
    pub(super) fn login(&self) -> Login {
        let (user, rest) = self.kept.split_at(self.user);
        let (database, attributes) = rest.split_at(self.database);
        Login {
            user: text(user),
            database: (!database.is_empty()).then(|| text(database)),
            attributes: read_attributes(attributes),
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }
}

/// How long bytes are as a text: each that is not UTF-8 is replaced by three.
fn text_length(bytes: &[u8]) -> usize {
    let replaced = |chunk: std::str::Utf8Chunk<'_>| {
        let replacement = if chunk.invalid().is_empty() { 0 } else { 3 };
        chunk.valid().len() + replacement
    };
    bytes.utf8_chunks().map(replaced).sum()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Some clients send a user's name in quotes, which servers take off.
fn without_quotes(packet: &[u8], user: Range<usize>) -> Range<usize> {
    match &packet[user.clone()] {
        [b'\'', .., b'\''] => user.start + 1..user.end - 1,
        _ => user,
    }
}

/// Passes over the answer to the scramble, before which its length stands in one byte.
fn skip_short_answer(fields: &mut Fields<'_>) -> Option<Range<usize>> {
    let length = fields.byte()?;
    fields.take(length.into())
}

/// Finds the connection attributes, which end the packet or come near to it.
fn find_attributes(fields: &mut Fields<'_>, capabilities: u64) -> Option<Range<usize>> {
    if capabilities & PLUGIN_AUTH != 0 {
        fields.last_text();
    }
    if capabilities & CONNECT_ATTRIBUTES == 0 || fields.rest().is_empty() {
        return Some(fields.nothing());
    }
    let before = fields.rest();
    let place = fields.counted()?;
    let length = before.len() - fields.rest().len();
    let mut pairs = Fields::new(&before[length - place.len()..length]);
    while !pairs.rest().is_empty() {
        pairs.counted()?;
        pairs.counted()?;
    }
    Some(place)
}

/// Reads the connection attributes; those for which there is no room are left out.
fn read_attributes(bytes: &[u8]) -> Vec<(String, String)> {
    let mut fields = Fields::new(bytes);
    let mut attributes = Vec::new();
    let mut room = MAX_ATTRIBUTES;
    while let (Some(name), Some(value)) = (fields.counted(), fields.counted()) {
        if attributes.len() == MAX_ATTRIBUTE_COUNT {
            break;
        }
        let length = text_length(&bytes[name.clone()]) + text_length(&bytes[value.clone()]);
        let left = room.checked_sub(length);
        if let Some(left) = left {
            room = left;
            attributes.push((text(&bytes[name]), text(&bytes[value])));
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = !TLS;
    const SECRET: &[u8] = b"a-secret";

    /// A handshake response of these capabilities, with what follows its fixed fields.
    fn response(capabilities: u64, fields: &[&[u8]]) -> Vec<u8> {
        let low = u32::try_from(capabilities & 0xffff_ffff).unwrap();
        let fixed = [&low.to_le_bytes()[..], &[0; 28]].concat();
        [fixed, fields.concat()].concat()
    }

    fn read(capabilities: u64, fields: &[&[u8]]) -> Option<Login> {
        match Response::read(response(capabilities, fields), ALL)? {
            Response::Login(asked, both) => {
                assert_eq!(both, capabilities);
                let kept = asked.kept.windows(SECRET.len());
                assert_eq!(kept.filter(|kept| *kept == SECRET).count(), 0);
                assert_eq!(asked.kept.capacity(), asked.kept.len());
                Some(asked.login())
            }
            Response::Tls => panic!("not asked for"),
        }
    }

    fn change(capabilities: u64, fields: &[&[u8]]) -> Option<Login> {
        let packet = [b"\x11", fields.concat().as_slice()].concat();
        Some(Asked::change(packet, capabilities)?.login())
    }

    fn login(user: &str, database: Option<&str>, attributes: &[(&str, &str)]) -> Login {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Login {
            user: user.into(),
            database: database.map(Into::into),
            attributes: attributes.iter().map(own).collect(),
        }
    }

    const PLAIN: u64 = MYSQL | PROTOCOL_41;
    const SECURE: u64 = PLAIN | SECURE_CONNECTION;

    #[test]
    fn the_answer_to_the_scramble_has_three_forms_and_none_is_kept() {
        let with_database = |form| form | CONNECT_WITH_DATABASE;
        let shop = Some(login("ann", Some("shop"), &[]));
        let end = b"shop\0";
        let nul = [SECRET, b"\0"].concat();
        assert_eq!(read(with_database(PLAIN), &[b"ann\0", &nul, end]), shop);
        let byte = [b"\x08", SECRET].concat();
        assert_eq!(read(with_database(SECURE), &[b"ann\0", &byte, end]), shop);
        let counted = [b"\xfc\x08\0", SECRET].concat();
        let long = with_database(SECURE | LONG_ANSWER);
        assert_eq!(read(long, &[b"ann\0", &counted, end]), shop);
        assert_eq!(read(long, &[b"ann\0", &byte, end]), shop);
        // MariaDB and MySQL read this one differently.
        let odd = with_database(PLAIN | LONG_ANSWER);
        assert_eq!(read(odd, &[b"ann\0", &byte, end]), None);
    }

    #[test]
    fn a_database_is_there_where_one_is_named() {
        let database = SECURE | CONNECT_WITH_DATABASE;
        assert_eq!(
            read(SECURE, &[b"ann\0\0shop\0"]),
            Some(login("ann", None, &[]))
        );
        assert_eq!(
            read(database, &[b"ann\0\0\0"]),
            Some(login("ann", None, &[]))
        );
        assert_eq!(read(database, &[b"ann\0\0"]), Some(login("ann", None, &[])));
        let shop = Some(login("ann", Some("shop"), &[]));
        // The servers take a name that the packet ends.
        assert_eq!(read(database, &[b"ann\0\0shop"]), shop);
        let plugin = database | PLUGIN_AUTH;
        assert_eq!(read(plugin, &[b"ann\0\0shop\0ed25519\0"]), shop);
        assert_eq!(read(plugin, &[b"ann\0\0shop\0"]), shop);
    }

    #[test]
    fn a_name_is_text_without_quotes_whatever_its_bytes() {
        assert_eq!(read(SECURE, &[b"'ann'\0\0"]), Some(login("ann", None, &[])));
        assert_eq!(read(SECURE, &[b"''\0\0"]), Some(login("", None, &[])));
        assert_eq!(read(SECURE, &[b"'\0\0"]), Some(login("'", None, &[])));
        assert_eq!(read(SECURE, &[b"'ann\0\0"]), Some(login("'ann", None, &[])));
        assert_eq!(read(SECURE, &[b"\0\0"]), Some(login("", None, &[])));
        assert_eq!(
            read(SECURE, &[b"\xc3\xa9\xff\0\0"]),
            Some(login("\u{e9}\u{fffd}", None, &[]))
        );
    }

    #[test]
    fn a_name_that_is_too_long_is_not_read() {
        let name = |length| [vec![b'n'; length], vec![0]].concat();
        let database = SECURE | CONNECT_WITH_DATABASE;
        assert!(read(database, &[&name(MAX_NAME), b"\0", &name(MAX_NAME)]).is_some());
        assert_eq!(read(database, &[&name(MAX_NAME + 1), b"\0shop\0"]), None);
        assert_eq!(read(database, &[b"ann\0\0", &name(MAX_NAME + 1)]), None);
    }

    #[test]
    fn a_name_is_as_long_as_it_is_shown() {
        for bytes in [
            &b"ann"[..],
            "\u{e9}".as_bytes(),
            b"\xff\xfe",
            b"a\xe9b\xe2\x82",
            b"",
        ] {
            assert_eq!(text_length(bytes), text(bytes).len());
        }
        let name = |length| [vec![0xff; length], vec![0]].concat();
        assert!(read(SECURE, &[&name(MAX_NAME / 3), b"\0"]).is_some());
        assert_eq!(read(SECURE, &[&name(MAX_NAME / 3 + 1), b"\0"]), None);
    }

    #[test]
    fn connection_attributes_are_kept_in_their_order() {
        let capabilities = SECURE | PLUGIN_AUTH | CONNECT_ATTRIBUTES;
        let begin = b"ann\0\0plugin\0";
        let attributes = b"\x0f\x03_os\x05Linux\x03pid\0";
        let expected = Some(login("ann", None, &[("_os", "Linux"), ("pid", "")]));
        assert_eq!(read(capabilities, &[begin, attributes]), expected);
        // What stands behind them is a matter of other capabilities.
        assert_eq!(read(capabilities, &[begin, attributes, b"\x03"]), expected);
        assert_eq!(
            read(capabilities, &[begin, b"\0"]),
            Some(login("ann", None, &[]))
        );
        assert_eq!(read(capabilities, &[begin]), Some(login("ann", None, &[])));
    }

    #[test]
    fn connection_attributes_that_are_cut_off_are_not_read() {
        let capabilities = SECURE | PLUGIN_AUTH | CONNECT_ATTRIBUTES;
        for attributes in [
            &b"\x05\x03_os"[..],
            b"\x04\x03_os",
            b"\x05\x03_os\x01",
            b"\x01\xfb",
            b"\xff",
            b"\xfc\x01",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
        ] {
            let read = read(capabilities, &[b"ann\0\0plugin\0", attributes]);
            assert_eq!(read, None, "{attributes:?}");
        }
    }

    #[test]
    fn attributes_for_which_there_is_no_room_are_left_out() {
        let capabilities = SECURE | CONNECT_ATTRIBUTES;
        let pair = |name: &str, length: usize| {
            let length = u16::try_from(length).unwrap();
            let value = vec![b'v'; length.into()];
            let [low, high] = length.to_le_bytes();
            [&[1], name.as_bytes(), &[0xfc, low, high], &value].concat()
        };
        let attributes = |pairs: &[Vec<u8>]| {
            let pairs = pairs.concat();
            let [low, high] = u16::try_from(pairs.len()).unwrap().to_le_bytes();
            let block = [&[0xfc, low, high], pairs.as_slice()].concat();
            read(capabilities, &[b"ann\0\0", &block])
                .unwrap()
                .attributes
        };
        let names = |pairs: &[Vec<u8>]| -> String {
            attributes(pairs)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        let whole = MAX_ATTRIBUTES - 1;
        assert_eq!(names(&[pair("a", whole), pair("b", 0)]), "a");
        assert_eq!(names(&[pair("a", whole + 1), pair("b", 9)]), "b");
        assert_eq!(
            names(&[pair("a", whole - 3), pair("b", 3), pair("c", 1)]),
            "ac"
        );
        let empty = vec![vec![0, 0]; MAX_ATTRIBUTE_COUNT + 9];
        assert_eq!(attributes(&empty).len(), MAX_ATTRIBUTE_COUNT);
    }

    #[test]
    fn a_response_that_ends_too_early_is_not_read() {
        let fields: [&[u8]; 2] = [b"ann\0", b"\x03key"];
        let whole = response(SECURE, &fields);
        assert!(Response::read(whole.clone(), ALL).is_some());
        for cut in 0..whole.len() {
            assert!(
                Response::read(whole[..cut].to_vec(), ALL).is_none(),
                "{cut}"
            );
        }
    }

    #[test]
    fn what_only_one_side_has_does_not_count() {
        let packet = response(SECURE | CONNECT_WITH_DATABASE | TLS, &[b"ann\0\0shop\0"]);
        let Some(Response::Login(asked, both)) = Response::read(packet.clone(), SECURE) else {
            panic!("not read");
        };
        assert_eq!((asked.login().database, both), (None, SECURE));
        assert!(Response::read(packet, SECURE & !PROTOCOL_41).is_none());
        let old = response(SECURE & !PROTOCOL_41, &[b"ann\0\0"]);
        assert!(Response::read(old, ALL).is_none());
        // The further bits are those of a client that is not MySQL's.
        let mut packet = response(SECURE, &[b"ann\0\0"]);
        packet[28] = 4;
        let further = 4 << 32;
        for (first, expected) in [(1, SECURE), (0, SECURE & !MYSQL | further)] {
            packet[0] = packet[0] & !1 | first;
            let read = Response::read(packet.clone(), SECURE | further);
            assert!(matches!(read, Some(Response::Login(_, both)) if both == expected));
        }
    }

    #[test]
    fn a_request_for_tls_has_no_user() {
        let packet = response(SECURE | TLS, &[]);
        assert!(matches!(
            Response::read(packet, ALL | TLS),
            Some(Response::Tls)
        ));
        let longer = response(SECURE | TLS, &[b"ann\0\0"]);
        assert!(Response::read(longer, ALL | TLS).is_none());
    }

    #[test]
    fn a_change_of_user_is_read_like_a_login() {
        let capabilities = SECURE | LONG_ANSWER | PLUGIN_AUTH | CONNECT_ATTRIBUTES;
        let bob = Some(login("bob", Some("shop"), &[("a", "b")]));
        let (begin, end) = (b"bob\0\x08a-secretshop\0", b"\x21\0plugin\0\x04\x01a\x01b");
        assert_eq!(change(capabilities, &[begin, end]), bob);
        let plain = PLAIN | PLUGIN_AUTH | CONNECT_ATTRIBUTES;
        assert_eq!(change(plain, &[b"bob\0a-secret\0shop\0", end]), bob);
        for end in [&b""[..], b"\x21\0", b"\x21\0plugin\0"] {
            let bob = Some(login("bob", Some("shop"), &[]));
            assert_eq!(change(capabilities, &[begin, end]), bob);
        }
        assert_eq!(
            change(capabilities, &[b"bob\0\0\0"]),
            Some(login("bob", None, &[]))
        );
        for cut in 0..begin.len() {
            assert_eq!(change(capabilities, &[&begin[..cut]]), None, "{cut}");
        }
        assert_eq!(change(capabilities, &[begin, b"\x21"]), None);
        assert_eq!(change(capabilities, &[begin, b"\x21\0plugin\0\x04"]), None);
    }
}
