//! What a negotiation settles on, and the keys that follow from it.

use std::fmt;

use crate::secret::Secret;
use crate::transform::{Encryption, Group, Integrity, Prf};

/// The algorithms of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IkeSuite {
    /// Cipher of the encrypted payload.
    pub encryption: Encryption,
    /// None with an AEAD cipher (RFC 5282 section 8).
    pub integrity: Option<Integrity>,
    /// Key derivation and authentication.
    pub prf: Prf,
    /// Key exchange method.
    pub group: Group,
}

/// The algorithms of a CHILD SA that carries ESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EspSuite {
    /// Cipher.
    pub encryption: Encryption,
    /// None with an AEAD cipher.
    pub integrity: Option<Integrity>,
    /// Extended (64-bit) sequence numbers, RFC 4303 section 2.2.1.
    pub esn: bool,
}

impl EspSuite {
    /// Octets of integrity check value at the end of each packet.
    #[must_use]
    pub fn icv_len(&self) -> usize {
        self.integrity.map_or(16, Integrity::icv_len)
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "/{integrity}")?;
        }
        write!(f, "/{}/group {}", self.prf, self.group)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "/{integrity}")?;
        }
        f.write_str(if self.esn { "/ESN" } else { "" })
    }
}

/// Keying material of one direction of a CHILD SA, as cut from KEYMAT
/// (RFC 7296 section 2.17).
#[derive(Debug, Clone)]
pub struct DirectionKeys {
    /// Cipher key and, for AEAD, the salt after it.
    pub encryption: Secret,
    /// Integrity key; empty with an AEAD cipher.
    pub integrity: Secret,
}
