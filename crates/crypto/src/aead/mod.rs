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

/// An AES-GCM key with its salt, ready to be used many times. Wiped on drop,
/// except where it is the library that holds the expanded key.
pub struct AeadKey {
    encryption: Encryption,
    cipher: Cipher,
    salt: [u8; 4],
}

enum Cipher {
    Ring(Box<LessSafeKey>),
    /// For the instructions that work on two blocks at once.
    #[cfg(target_arch = "x86_64")]
    Wide(Box<WideGcm>),
}

impl AeadKey {
    /// Takes [`Encryption::keymat_len`] octets: the key, then 4 octets of salt
    /// (RFC 4106 section 8.1).
    ///
    /// # Errors
    /// [`KeyError`] if `encryption` is no AEAD cipher or `keymat` of another length.
    pub fn new(encryption: Encryption, keymat: &[u8]) -> Result<Self, KeyError> {
        #[cfg(target_arch = "x86_64")]
        {
            let (key, salt) = split(encryption, keymat)?;
            if let Some(wide) = WideGcm::new(key) {
                return Ok(Self {
                    encryption,
                    cipher: Cipher::Wide(Box::new(wide)),
                    salt,
                });
            }
        }
        Self::portable(encryption, keymat)
    }

    /// A key that needs no instruction that not every CPU has.
    fn portable(encryption: Encryption, keymat: &[u8]) -> Result<Self, KeyError> {
        let (key, salt) = split(encryption, keymat)?;
        let algorithm = if encryption == Encryption::AesGcm128 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong_length(encryption, keymat))?;
        Ok(Self {
            encryption,
            cipher: Cipher::Ring(Box::new(LessSafeKey::new(key))),
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

    /// Checks `icv` over `aad` and `data` and decrypts `data`. What `data` hold
    /// after a failure is undefined.
    ///
    /// # Errors
    /// [`NotAuthentic`] if the check value differs or has not 16 octets.
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
                    // Nobody shall take for a message what is none.
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

/// The key and the salt in `keymat`.
fn split(encryption: Encryption, keymat: &[u8]) -> Result<(&[u8], [u8; 4]), KeyError> {
    if !encryption.is_aead() {
        return Err(KeyError::Kind {
            algorithm: encryption.name(),
            expected: "an AEAD cipher",
        });
    }
    let (key, salt) = keymat
        .split_at_checked(encryption.key_len())
        .ok_or_else(|| wrong_length(encryption, keymat))?;
    let salt = salt
        .try_into()
        .map_err(|_| wrong_length(encryption, keymat))?;
    Ok((key, salt))
}

fn wrong_length(encryption: Encryption, keymat: &[u8]) -> KeyError {
    KeyError::Length {
        algorithm: encryption.name(),
        expected: encryption.keymat_len(),
        found: keymat.len(),
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AeadKey({})", self.encryption)
    }
}

#[cfg(test)]
mod tests;
