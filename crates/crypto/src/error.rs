//! What the algorithms refuse.

use thiserror::Error;

use crate::transform::{Encryption, Group, Integrity};

/// Key material that does not fit its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The number of octets is not what the algorithm takes.
    #[error("{algorithm} takes {expected} octets of key, not {found}")]
    Length {
        /// Name of the algorithm, as in configuration.
        algorithm: &'static str,
        /// Octets the algorithm takes, salt included.
        expected: usize,
        /// Octets that were given.
        found: usize,
    },
    /// The algorithm is not of the kind that was asked for: CBC where an AEAD
    /// cipher is needed or the reverse.
    #[error("{algorithm} is not {expected}")]
    Kind {
        /// Name of the algorithm, as in configuration.
        algorithm: &'static str,
        /// The kind of cipher that was needed.
        expected: &'static str,
    },
    /// A cipher that does not authenticate, without an integrity algorithm.
    #[error("{encryption} needs an integrity algorithm beside it, found none")]
    NeedsIntegrity {
        /// The cipher.
        encryption: Encryption,
    },
    /// An AEAD cipher with an integrity algorithm (RFC 7296 section 3.3).
    #[error("{encryption} authenticates by itself and takes no {integrity} beside it")]
    TakesNoIntegrity {
        /// The AEAD cipher.
        encryption: Encryption,
        /// The algorithm that is too much.
        integrity: Integrity,
    },
}

/// The data were altered, or sealed with another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("integrity check value does not match")]
pub struct NotAuthentic;

/// A message of a burst whose integrity check value has no place in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no place for the integrity check value behind octets {start} to {end} of the buffer")]
pub struct NoPlace {
    /// Where the message was to begin.
    pub start: usize,
    /// Where it was to end.
    pub end: usize,
}

/// Data for a block cipher that are not whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{found} octets are not a multiple of the block of {block}")]
pub struct LengthError {
    /// Octets that were given.
    pub found: usize,
    /// Octets of a block.
    pub block: usize,
}

/// Why a peer's public value gave no shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyExchangeError {
    /// RFC 7296 section 3.4: a public value has one length per group.
    #[error("public value for group {group} has {found} octets, expected {expected}")]
    Length {
        /// Group the value was for.
        group: Group,
        /// Octets of the peer's value.
        found: usize,
        /// Octets the group prescribes.
        expected: usize,
    },
    /// RFC 6989 section 2.1: 1 < y < p - 1.
    #[error("public value for group {group} is not between 1 and p - 1")]
    OutOfRange {
        /// Group the value was for.
        group: Group,
    },
    /// RFC 6989 section 2.3: the point at infinity is no public value.
    #[error("public value for group {group} is the point at infinity")]
    Infinity {
        /// Group the value was for.
        group: Group,
    },
    /// RFC 6989 section 2.3: the point must satisfy the curve's equation.
    #[error("public value for group {group} is not a point of the curve")]
    NotOnCurve {
        /// Group the value was for.
        group: Group,
    },
    /// RFC 8031 section 2: a public value of small order yields zero.
    #[error("public value for group {group} has small order: the shared secret is zero")]
    ZeroSecret {
        /// Group the value was for.
        group: Group,
    },
}
