//! The accounts file: who may use the admin server over TCP.
//!
//! One account a line, `NAME:ROLE:SHA256`, as `sessiond token` prints it. Only
//! the hash of a token is ever on a disk. A token is 128 random bits, so the
//! hash needs no salt and no stretching: there is nothing to guess.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::fault::Faults;
use super::{LoadError, MAX_FILE_SIZE};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Basic,
    /// Read and write.
    Admin,
}

impl Role {
    /// Reads the word for it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Basic, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Admin => "admin",
        }
    }
}

/// One account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Letters, digits and `- . _ ~`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    hash: [u8; 32],
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.role.as_str())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.name, self.role.as_str())?;
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// All accounts. A name may have several tokens, so that they can be changed
/// one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    list: Vec<Account>,
}

impl Account {
    /// An account with a token, which is not kept.
    pub fn new(name: &str, role: Role, token: &str) -> Result<Self, String> {
        check_name(name)?;
        Ok(Self {
            name: name.to_owned(),
            role,
            hash: Sha256::digest(token).into(),
        })
    }

    fn parse(line: &str) -> Result<Self, String> {
        let mut fields = line.split(':');
        let (Some(name), Some(role), Some(hash), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("an account is NAME:ROLE:SHA256, as sessiond token prints it".to_owned());
        };
        check_name(name)?;
        let role = Role::parse(role)
            .ok_or_else(|| format!("account {name}: the role must be basic or admin"))?;
        let hash = parse_hash(hash).ok_or_else(|| {
            format!("account {name}: the SHA-256 of a token has 64 hexadecimal digits")
        })?;
        Ok(Self {
            name: name.to_owned(),
            role,
            hash,
        })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "the name of an account is made of 1 to 64 letters, digits and - . _ ~, unlike {name:?}"
    ))
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        let digits = &text[2 * index..2 * index + 2];
        // `from_str_radix` takes a sign, too.
        *byte = u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| !digits.starts_with('+'))?;
    }
    Some(hash)
}

impl Accounts {
    /// Reads a file that nobody but its owner can write, who must be root or
    /// the one who runs this program.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |cause| LoadError::Unreadable(path.into(), cause);
        // Opening a pipe would wait for somebody to write.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let own = rustix::process::geteuid().as_raw();
        if metadata.mode() & 0o022 != 0 || ![0, own].contains(&metadata.uid()) {
            return Err(LoadError::WritableByOthers(path.into()));
        }
        let mut text = Vec::new();
        file.take(MAX_FILE_SIZE + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_SIZE {
            return Err(unreadable(io::Error::other(format!(
                "longer than {MAX_FILE_SIZE} bytes"
            ))));
        }
        Self::parse(&path.to_string_lossy(), &text).map_err(LoadError::Faulty)
    }

    /// Reads accounts, under the name by which their faults call the file.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, Faults> {
        let mut faults = Faults::new(file);
        let mut accounts = Self::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = std::str::from_utf8(line).map(str::trim);
            match line.map(|line| {
                (!line.is_empty() && !line.starts_with('#')).then(|| Account::parse(line))
            }) {
                Ok(None) => {}
                Ok(Some(Ok(account))) => accounts.list.push(account),
                Ok(Some(Err(message))) => faults.add(index + 1, message),
                Err(_) => faults.add(index + 1, "the line is not UTF-8 text"),
            }
        }
        faults.or(accounts)
    }

    /// The account whose token that is; and whose name, where one is given.
    ///
    /// It takes as long for a wrong token as for a right one: every account is
    /// compared, and every byte.
    #[must_use]
    pub fn find(&self, name: Option<&str>, token: &str) -> Option<&Account> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for account in &self.list {
            let is_named = name.is_none_or(|name| name == account.name);
            if is_equal(&account.hash, &hash) & is_named {
                found = Some(account);
            }
        }
        found
    }
}

/// Compares without stopping at the first difference.
fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (one, other)| {
        // Hidden from the optimiser, which could otherwise stop early.
        std::hint::black_box(difference | (one ^ other))
    });
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_looks_at_every_byte() {
        let hash: [u8; 32] = Sha256::digest("token").into();
        assert!(is_equal(&hash, &hash));
        for byte in 0..32 {
            for bit in 0..8 {
                let mut other = hash;
                other[byte] ^= 1 << bit;
                assert!(!is_equal(&hash, &other), "byte {byte}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let account = Account::new("ops", Role::Admin, "token").unwrap();
        let line = account.to_string();
        assert_eq!(
            line,
            "ops:admin:3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"
        );
        let text = format!("# who\n\n  {line}  \r\n");
        let accounts = Accounts::parse("accounts", text.as_bytes()).unwrap();
        assert_eq!(accounts.find(None, "token"), Some(&account));
        assert_eq!(accounts.find(Some("ops"), "token"), Some(&account));
        assert_eq!(accounts.find(Some("op"), "token"), None);
        assert_eq!(accounts.find(None, "tokem"), None);
        assert_eq!(accounts.find(None, ""), None);
    }

    #[test]
    fn a_name_may_have_two_tokens() {
        let lines =
            ["one", "two"].map(|token| Account::new("a", Role::Basic, token).unwrap().to_string());
        let accounts = Accounts::parse("accounts", lines.join("\n").as_bytes()).unwrap();
        for token in ["one", "two"] {
            assert!(accounts.find(Some("a"), token).is_some());
        }
    }

    #[test]
    fn each_malformed_line_is_named() {
        let hash = "0".repeat(64);
        for (line, expected) in [
            (
                "ops".to_owned(),
                "an account is NAME:ROLE:SHA256, as sessiond token prints it",
            ),
            (
                format!("ops:admin:{hash}:x"),
                "an account is NAME:ROLE:SHA256, as sessiond token prints it",
            ),
            (
                format!("ops:root:{hash}"),
                "account ops: the role must be basic or admin",
            ),
            (
                format!("ops:Admin:{hash}"),
                "account ops: the role must be basic or admin",
            ),
            (
                format!("ops:admin:{}", &hash[1..]),
                "account ops: the SHA-256 of a token has 64 hexadecimal digits",
            ),
            (
                format!("ops:admin:+{}", &hash[1..]),
                "account ops: the SHA-256 of a token has 64 hexadecimal digits",
            ),
            (
                format!(":admin:{hash}"),
                "the name of an account is made of 1 to 64 letters, digits and - . _ ~, unlike \"\"",
            ),
        ] {
            let faults = Accounts::parse("f", line.as_bytes()).unwrap_err();
            assert_eq!(faults.to_string(), format!("f:1: {expected}"), "{line}");
        }
        let both = Accounts::parse("f", b"x\n\xff\ny").unwrap_err();
        assert_eq!(
            both.iter().map(|fault| fault.line).collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }
}
