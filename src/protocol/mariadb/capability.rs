//! What a server offers and a client takes up, a bit each: those that change
//! how a login is read (MariaDB Knowledge Base, "Connection", capabilities).
//!
//! What counts is what both have: a server ignores what it has not offered.

/// Of MySQL. Where it is missing, 32 further bits of MariaDB's own are there.
pub(super) const MYSQL: u64 = 1;

/// A database in the handshake response.
pub(super) const CONNECT_WITH_DATABASE: u64 = 1 << 3;

/// Compression by zlib, behind the login.
pub(super) const COMPRESS: u64 = 1 << 5;

/// The packets of version 4.1 and later, the only ones that are read here.
pub(super) const PROTOCOL_41: u64 = 1 << 9;

/// TLS, from the client's first packet on.
pub(super) const TLS: u64 = 1 << 11;

/// A length before the answer to the scramble.
pub(super) const SECURE_CONNECTION: u64 = 1 << 15;

/// The names of authentication plugins.
pub(super) const PLUGIN_AUTH: u64 = 1 << 19;

/// Connection attributes.
pub(super) const CONNECT_ATTRIBUTES: u64 = 1 << 20;

/// A length of more than one byte before the answer to the scramble.
pub(super) const LONG_ANSWER: u64 = 1 << 21;

/// Session state in OK packets.
pub(super) const SESSION_TRACK: u64 = 1 << 23;

/// Compression by zstd, behind the login (MySQL).
pub(super) const ZSTD: u64 = 1 << 26;
