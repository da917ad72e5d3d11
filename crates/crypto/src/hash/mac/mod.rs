//! Integrity: HMAC cut to the length of its transform.

use std::fmt;
use std::ops::{Deref, Range};

use subtle::ConstantTimeEq;

use crate::error::{KeyError, NoPlace, NotAuthentic};
use crate::hash::covered::{Covered, MAX_ICV_LEN};
use crate::hash::keyed_hash::KeyedHash;
use crate::hash::wide::{MAX_LANES, Wide};
use crate::transform::Integrity;

/// An integrity key, ready to be used many times.
pub struct MacKey {
    integrity: Integrity,
    keyed: KeyedHash,
    wide: Wide,
}

impl MacKey {
    /// Takes a key of exactly [`Integrity::key_len`] octets (RFC 4868 section 2.1.1).
    ///
    /// # Errors
    /// [`KeyError::Length`] if `key` is of another length.
    pub fn new(integrity: Integrity, key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != integrity.key_len() {
            return Err(KeyError::Length {
                algorithm: integrity.name(),
                expected: integrity.key_len(),
                found: key.len(),
            });
        }
        let keyed = match integrity {
            Integrity::HmacSha1_96 => KeyedHash::sha1(key),
            Integrity::HmacSha256_128 => KeyedHash::sha256(key),
            Integrity::HmacSha384_192 => KeyedHash::sha384(key),
            Integrity::HmacSha512_256 => KeyedHash::sha512(key),
        };
        Ok(Self {
            integrity,
            keyed,
            wide: Wide::new(integrity, key),
        })
    }

    /// The same key without the instructions that take several messages at once.
    #[cfg(test)]
    fn one_by_one(self) -> Self {
        Self {
            wide: Wide::OneByOne,
            ..self
        }
    }

    /// Octets of integrity check value.
    #[must_use]
    pub fn icv_len(&self) -> usize {
        self.integrity.icv_len()
    }

    /// The integrity check value over the concatenated `parts`, of
    /// [`Self::icv_len`] octets.
    #[must_use]
    pub fn icv(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut icv = vec![0; self.icv_len()];
        self.keyed.digest_into(parts, &mut icv);
        icv
    }

    /// Writes the integrity check value of each of `messages`, which lie in
    /// `buffer`, right behind it.
    ///
    /// # Errors
    /// [`NoPlace`] for the first message that does not lie in `buffer` with its
    /// check value. That one gets none; the others get theirs.
    pub fn icv_burst(&self, buffer: &mut [u8], messages: &[Covered]) -> Result<(), NoPlace> {
        let mut result = Ok(());
        self.for_each_icv(messages, buffer, |buffer, message, icv| {
            let place = message.icv_place(icv.len());
            if let Some(place) = place.and_then(|place| buffer.get_mut(place)) {
                place.copy_from_slice(icv);
            } else if result.is_ok() {
                let Range { start, end } = message.range;
                result = Err(NoPlace { start, end });
            }
        });
        result
    }

    /// Tells for each of `messages` whether the integrity check value behind it
    /// in `buffer` is right.
    pub fn verify_burst(&self, buffer: &[u8], messages: &[Covered], authentic: &mut [bool]) {
        let mut authentic = authentic.iter_mut();
        self.for_each_icv(messages, buffer, |buffer, message, icv| {
            let place = message.icv_place(icv.len());
            let found = place.and_then(|place| buffer.get(place));
            if let Some(authentic) = authentic.next() {
                *authentic = found.is_some_and(|found| found.ct_eq(icv).into());
            }
        });
    }

    fn for_each_icv<B: Deref<Target = [u8]>>(
        &self,
        messages: &[Covered],
        mut buffer: B,
        mut each: impl FnMut(&mut B, &Covered, &[u8]),
    ) {
        let len = self.icv_len();
        for group in messages.chunks(self.wide.lanes()) {
            let mut icvs = [[0; MAX_ICV_LEN]; MAX_LANES];
            if !self.wide.icvs(&buffer, group, &mut icvs) {
                for (message, icv) in group.iter().zip(&mut icvs) {
                    let icv = icv.get_mut(..len).unwrap_or_default();
                    let parts = [message.octets(&buffer), message.high()];
                    self.keyed.digest_into(&parts, icv);
                }
            }
            for (message, icv) in group.iter().zip(&icvs) {
                each(&mut buffer, message, icv.get(..len).unwrap_or_default());
            }
        }
    }

    /// Checks `icv` against the concatenated `parts` in constant time.
    ///
    /// # Errors
    /// [`NotAuthentic`] if it differs, or is not [`Self::icv_len`] octets long.
    pub fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> Result<(), NotAuthentic> {
        if icv.len() == self.icv_len() && self.keyed.matches(parts, icv) {
            Ok(())
        } else {
            Err(NotAuthentic)
        }
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({})", self.integrity)
    }
}

#[cfg(test)]
mod tests;
