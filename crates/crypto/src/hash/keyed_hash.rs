//! HMAC (RFC 2104) behind one type, keyed once and cloned for each message.

use ::hmac::digest::block_api::EagerHash;
use ::hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest output of any hash here, in octets.
const MAX_OUTPUT_LEN: usize = 64;

/// HMAC with the key already absorbed. The state is wiped on drop.
#[derive(Clone)]
pub(crate) enum KeyedHash {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl KeyedHash {
    pub(crate) fn sha1(key: &[u8]) -> Self {
        Self::Sha1(keyed(key))
    }

    pub(crate) fn sha256(key: &[u8]) -> Self {
        Self::Sha256(keyed(key))
    }

    pub(crate) fn sha384(key: &[u8]) -> Self {
        Self::Sha384(keyed(key))
    }

    pub(crate) fn sha512(key: &[u8]) -> Self {
        Self::Sha512(keyed(key))
    }

    /// Writes the leading octets of the HMAC over the concatenated `parts` into
    /// `out`, as many as both have.
    pub(crate) fn digest_into(&self, parts: &[&[u8]], out: &mut [u8]) {
        match self {
            Self::Sha1(mac) => finish(mac.clone(), parts, out),
            Self::Sha256(mac) => finish(mac.clone(), parts, out),
            Self::Sha384(mac) => finish(mac.clone(), parts, out),
            Self::Sha512(mac) => finish(mac.clone(), parts, out),
        }
    }

    /// Whether the HMAC over `parts` begins with `expected`, in time that does
    /// not depend on where they differ.
    pub(crate) fn matches(&self, parts: &[&[u8]], expected: &[u8]) -> bool {
        let mut output = Zeroizing::new([0; MAX_OUTPUT_LEN]);
        self.digest_into(parts, output.as_mut_slice());
        output
            .get(..expected.len())
            .is_some_and(|output| output.ct_eq(expected).into())
    }
}

#[allow(
    clippy::expect_used,
    reason = "RFC 2104 section 2: HMAC takes a key of any length"
)]
fn keyed<D: EagerHash>(key: &[u8]) -> Hmac<D> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn finish<D: EagerHash>(mut mac: Hmac<D>, parts: &[&[u8]], out: &mut [u8]) {
    for part in parts {
        mac.update(part);
    }
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
}
