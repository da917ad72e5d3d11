//! AES-GCM with a 16-octet ICV, as ESP (RFC 4106) and IKE (RFC 5282) use it.

use std::fmt;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
#[cfg(target_arch = "x86_64")]
use subtle::ConstantTimeEq;

use crate::error::{KeyError, NotAuthentic};
use crate::transform::Encryption;
#[cfg(target_arch = "x86_64")]
use crate::x86::gcm::WideGcm;

/// Octets of integrity check value.
const ICV_LEN: usize = 16;

/// An AES-GCM key with its salt, expanded once for many packets. Wiped on drop,
/// except where the library holds the expanded key.
pub struct AeadKey {
    encryption: Encryption,
    cipher: Cipher,
    salt: [u8; 4],
}

enum Cipher {
    Ring(Box<LessSafeKey>),
    /// For the CPU's instructions that work on two blocks at once.
    #[cfg(target_arch = "x86_64")]
    Wide(Box<WideGcm>),
}

impl AeadKey {
    /// Takes [`Encryption::keymat_len`] octets: the key, then 4 octets of salt
    /// (RFC 4106 section 8.1).
    ///
    /// # Errors
    /// [`KeyError`] if `encryption` is not an AEAD cipher or `keymat` has another length.
    pub fn new(encryption: Encryption, keymat: &[u8]) -> Result<Self, KeyError> {
        Self::with(encryption, keymat, Cipher::fastest)
    }

    /// A key that uses only instructions that every CPU has.
    #[cfg(test)]
    fn portable(encryption: Encryption, keymat: &[u8]) -> Result<Self, KeyError> {
        Self::with(encryption, keymat, Cipher::portable)
    }

    fn with(
        encryption: Encryption,
        keymat: &[u8],
        cipher: impl FnOnce(Encryption, &[u8]) -> Option<Cipher>,
    ) -> Result<Self, KeyError> {
        if !encryption.is_aead() {
            return Err(KeyError::Kind {
                algorithm: encryption.name(),
                expected: "an AEAD cipher",
            });
        }
        let wrong_length = KeyError::Length {
            algorithm: encryption.name(),
            expected: encryption.keymat_len(),
            found: keymat.len(),
        };
        let (key, salt) = keymat
            .split_at_checked(encryption.key_len())
            .ok_or(wrong_length)?;
        let salt = salt.try_into().map_err(|_| wrong_length)?;
        Ok(Self {
            encryption,
            cipher: cipher(encryption, key).ok_or(wrong_length)?,
            salt,
        })
    }

    /// Encrypts `data` and returns its integrity check value. An `iv` must never
    /// be used twice with one key (RFC 4106 section 3.1).
    #[allow(
        clippy::expect_used,
        reason = "ring refuses only data of 64 GiB and more, and its tags have 16 octets"
    )]
    #[must_use]
    #[inline]
    pub fn seal_in_place(&self, iv: [u8; 8], aad: &[u8], data: &mut [u8]) -> [u8; ICV_LEN] {
        let nonce = self.nonce(iv);
        match &self.cipher {
            Cipher::Ring(key) => *key
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(aad),
                    data,
                )
                .expect("data are shorter than 64 GiB")
                .as_ref()
                .first_chunk()
                .expect("the tag has 16 octets, never less"),
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(key) => key.seal(&nonce, aad, data),
        }
    }

    /// Checks `icv` over `aad` and `data`, and decrypts `data`. After a failure
    /// the content of `data` is undefined.
    ///
    /// # Errors
    /// [`NotAuthentic`] if the check value differs or is not 16 octets long.
    #[inline]
    pub fn open_in_place(
        &self,
        iv: [u8; 8],
        aad: &[u8],
        data: &mut [u8],
        icv: &[u8],
    ) -> Result<(), NotAuthentic> {
        let nonce = self.nonce(iv);
        match &self.cipher {
            Cipher::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = Tag::try_from(icv).map_err(|_| NotAuthentic)?;
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, data, 0..)
                    .map_err(|_| NotAuthentic)?;
            }
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(key) => {
                let icv = icv.try_into().map_err(|_| NotAuthentic)?;
                let expected = u128::from_ne_bytes(key.open(&nonce, aad, data));
                if !bool::from(expected.ct_eq(&u128::from_ne_bytes(icv))) {
                    // Zero the buffer, so that unauthenticated plaintext cannot be used by mistake.
                    data.fill(0);
                    return Err(NotAuthentic);
                }
            }
        }
        Ok(())
    }

    // RFC 4106 section 4: salt, then the packet's explicit IV.
    #[inline]
    fn nonce(&self, iv: [u8; 8]) -> [u8; 12] {
        let [a, b, c, d] = self.salt;
        let [e, f, g, h, i, j, k, l] = iv;
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

impl Cipher {
    /// The fastest cipher that this CPU has; None if `key` is not of the right length.
    fn fastest(encryption: Encryption, key: &[u8]) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = WideGcm::new(key) {
            return Some(Self::Wide(Box::new(wide)));
        }
        Self::portable(encryption, key)
    }

    /// The cipher that runs on every CPU; None if `key` is not of the right length.
    fn portable(encryption: Encryption, key: &[u8]) -> Option<Self> {
        let algorithm = if encryption == Encryption::AesGcm128 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Self::Ring(Box::new(LessSafeKey::new(key))))
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AeadKey({})", self.encryption)
    }
}

#[cfg(test)]
mod tests;
