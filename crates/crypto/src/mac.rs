//! Integrity: HMAC cut to the length of its transform.

use std::fmt;
use std::ops::Range;

use crate::error::{KeyError, NotAuthentic};
use crate::keyed_hash::KeyedHash;
use crate::transform::Integrity;

/// What one integrity check value of a burst covers. The value lies right behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Covered {
    /// Octets of the burst's buffer.
    pub range: Range<usize>,
    /// The high half of an extended sequence number, which is covered but not
    /// sent (RFC 4303 section 2.2.1).
    pub high: Option<[u8; 4]>,
}

impl Covered {
    fn high(&self) -> &[u8] {
        self.high.as_ref().map_or(&[], <[u8; 4]>::as_slice)
    }
}

/// An integrity key, ready to be used many times.
pub struct MacKey {
    integrity: Integrity,
    keyed: KeyedHash,
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
        Ok(Self { integrity, keyed })
    }

    /// Octets of integrity check value.
    #[must_use]
    pub fn icv_len(&self) -> usize {
        self.integrity.icv_len()
    }

    /// Writes the integrity check value over the concatenated `parts` into
    /// `out`, which the caller makes [`Self::icv_len`] octets long.
    pub fn icv(&self, parts: &[&[u8]], out: &mut [u8]) {
        debug_assert_eq!(out.len(), self.icv_len());
        self.keyed.digest_into(parts, out);
    }

    /// Writes behind each of `messages`, which lie in `buffer`, its integrity
    /// check value. None is written for what does not lie there.
    pub fn icv_burst(&self, buffer: &mut [u8], messages: &[Covered]) {
        for message in messages {
            let Some((data, icv)) = buffer
                .get_mut(message.range.start..message.range.end + self.icv_len())
                .and_then(|packet| packet.split_at_mut_checked(message.range.len()))
            else {
                continue;
            };
            self.icv(&[data, message.high()], icv);
        }
    }

    /// Says of each of `messages` whether its integrity check value, which lies
    /// behind it in `buffer`, is right.
    pub fn verify_burst(&self, buffer: &[u8], messages: &[Covered], authentic: &mut [bool]) {
        for (message, authentic) in messages.iter().zip(authentic) {
            *authentic = buffer
                .get(message.range.start..message.range.end + self.icv_len())
                .and_then(|packet| packet.split_at_checked(message.range.len()))
                .is_some_and(|(data, icv)| self.verify(&[data, message.high()], icv).is_ok());
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
mod tests {
    use proptest::prelude::*;

    use super::MacKey;
    use crate::error::{KeyError, NotAuthentic};
    use crate::testing::hex;
    use crate::transform::Integrity;

    // RFC 4868 section 2.7.1 (AUTH256-1, AUTH384-1, AUTH512-1) and RFC 2202
    // section 3, test case 1, cut to 96 bits (RFC 2404 section 2).
    #[test]
    fn each_algorithm_cuts_its_output_as_the_rfcs_print() {
        let cases = [
            (Integrity::HmacSha1_96, "b617318655057264e28bc0b6"),
            (
                Integrity::HmacSha256_128,
                "198a607eb44bfbc69903a0f1cf2bbdc5",
            ),
            (
                Integrity::HmacSha384_192,
                "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
            ),
            (
                Integrity::HmacSha512_256,
                "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
            ),
        ];
        for (integrity, expected) in cases {
            let key = MacKey::new(integrity, &vec![0x0b; integrity.key_len()]).unwrap();
            let mut icv = vec![0; integrity.icv_len()];
            key.icv(&[b"Hi ", b"There"], &mut icv);
            assert_eq!(icv, hex(expected), "{integrity}");
            assert_eq!(key.verify(&[b"Hi There"], &icv), Ok(()));
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused_with_both_lengths() {
        let error = MacKey::new(Integrity::HmacSha256_128, &[0; 20]).unwrap_err();
        assert_eq!(
            error,
            KeyError::Length {
                algorithm: "SHA2-256",
                expected: 32,
                found: 20
            }
        );
    }

    #[test]
    fn a_shortened_icv_is_refused_although_its_octets_match() {
        let key = MacKey::new(Integrity::HmacSha1_96, &[7; 20]).unwrap();
        let mut icv = [0; 12];
        key.icv(&[b"data"], &mut icv);
        for len in 0..12 {
            assert_eq!(key.verify(&[b"data"], &icv[..len]), Err(NotAuthentic));
        }
    }

    #[test]
    fn debug_output_names_the_algorithm_and_no_key() {
        let key = MacKey::new(Integrity::HmacSha1_96, &[7; 20]).unwrap();
        assert_eq!(format!("{key:?}"), "MacKey(SHA1)");
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(
            which in 0..Integrity::ALL.len(),
            mut data in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<proptest::sample::Index>(),
            bit in 0..8u32,
        ) {
            let integrity = Integrity::ALL[which];
            let key = MacKey::new(integrity, &vec![3; integrity.key_len()]).unwrap();
            let mut icv = vec![0; integrity.icv_len()];
            key.icv(&[&data], &mut icv);
            let at = at.index(data.len());
            data[at] ^= 1 << bit;
            prop_assert_eq!(key.verify(&[&data], &icv), Err(NotAuthentic));
        }
    }
}
