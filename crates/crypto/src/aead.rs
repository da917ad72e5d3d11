//! AES-GCM with a 16-octet ICV, as ESP (RFC 4106) and IKE (RFC 5282) use it.

use std::fmt;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use crate::error::{KeyError, NotAuthentic};
use crate::transform::Encryption;

/// Octets of integrity check value.
const ICV_LEN: usize = 16;

/// An AES-GCM key with its salt, ready to be used many times. The library that
/// holds the expanded key does not wipe it on drop.
pub struct AeadKey {
    encryption: Encryption,
    key: LessSafeKey,
    salt: [u8; 4],
}

impl AeadKey {
    /// Takes [`Encryption::keymat_len`] octets: the key, then 4 octets of salt
    /// (RFC 4106 section 8.1).
    ///
    /// # Errors
    /// [`KeyError`] if `encryption` is no AEAD cipher or `keymat` of another length.
    pub fn new(encryption: Encryption, keymat: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match encryption {
            Encryption::AesGcm128 => &AES_128_GCM,
            Encryption::AesGcm256 => &AES_256_GCM,
            Encryption::AesCbc128 | Encryption::AesCbc256 => {
                return Err(KeyError::Kind {
                    algorithm: encryption.name(),
                    expected: "an AEAD cipher",
                });
            }
        };
        let wrong_length = KeyError::Length {
            algorithm: encryption.name(),
            expected: encryption.keymat_len(),
            found: keymat.len(),
        };
        let (key, salt) = keymat
            .split_at_checked(encryption.key_len())
            .ok_or(wrong_length)?;
        let salt = salt.try_into().map_err(|_| wrong_length)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong_length)?;
        Ok(Self {
            encryption,
            key: LessSafeKey::new(key),
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
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), data)
            .expect("data are shorter than 64 GiB");
        *tag.as_ref()
            .first_chunk()
            .expect("the tag has 16 octets, never less")
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
        let tag = Tag::try_from(icv).map_err(|_| NotAuthentic)?;
        self.key
            .open_in_place_separate_tag(self.nonce(iv), Aad::from(aad), tag, data, 0..)
            .map_err(|_| NotAuthentic)?;
        Ok(())
    }

    // RFC 4106 section 4: salt, then the packet's explicit IV.
    #[inline]
    fn nonce(&self, iv: [u8; 8]) -> Nonce {
        let [a, b, c, d] = self.salt;
        let [e, f, g, h, i, j, k, l] = iv;
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AeadKey({})", self.encryption)
    }
}

#[cfg(test)]
mod tests {
    use super::AeadKey;
    use crate::error::{KeyError, NotAuthentic};
    use crate::testing::hex;
    use crate::transform::Encryption;

    struct Vector {
        encryption: Encryption,
        key: &'static str,
        nonce: &'static str,
        aad: &'static str,
        plain: &'static str,
        sealed: &'static str,
    }

    // draft-mcgrew-gcm-test-01 section 4, the first 128-bit and the first
    // 256-bit case; McGrew and Viega, "The Galois/Counter Mode of Operation",
    // appendix B, test cases 4 and 16.
    const VECTORS: &[Vector] = &[
        Vector {
            encryption: Encryption::AesGcm128,
            key: "4c80cdefbb5d10da906ac73c3613a634",
            nonce: "2e443b684956ed7e3b244cfe",
            aad: "000043218765432100000000",
            plain: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000\
                    00000000045f736970045f756470037369700963796265726369747902646b00\
                    0021000101020201",
            sealed: "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34\
                     cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce\
                     61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
        },
        Vector {
            encryption: Encryption::AesGcm256,
            key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
            nonce: "112233440102030405060708",
            aad: "4a2cbfe300000002",
            plain: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
                    7002400020bf0000020405b40101040201020201",
            sealed: "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763\
                     748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831824b4c49\
                     15956c96",
        },
        Vector {
            encryption: Encryption::AesGcm128,
            key: "feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888",
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                     21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
                     5bc94fbc3221a5db94fae95ae7121a47",
        },
        Vector {
            encryption: Encryption::AesGcm256,
            key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888",
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                     8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                     76fc6ece0f4e1768cddf8853bb2d551b",
        },
    ];

    fn key_and_iv(vector: &Vector) -> (AeadKey, [u8; 8]) {
        let nonce = hex(vector.nonce);
        let keymat = [hex(vector.key), nonce[..4].to_vec()].concat();
        let key = AeadKey::new(vector.encryption, &keymat).unwrap();
        (key, nonce[4..].try_into().unwrap())
    }

    #[test]
    fn published_vectors_are_sealed_and_opened() {
        for vector in VECTORS {
            let (key, iv) = key_and_iv(vector);
            let mut data = hex(vector.plain);
            let icv = key.seal_in_place(iv, &hex(vector.aad), &mut data);
            assert_eq!([&data[..], &icv].concat(), hex(vector.sealed));
            key.open_in_place(iv, &hex(vector.aad), &mut data, &icv)
                .unwrap();
            assert_eq!(data, hex(vector.plain));
        }
    }

    #[test]
    fn another_iv_another_aad_or_a_shortened_icv_is_not_authentic() {
        let (key, iv) = key_and_iv(&VECTORS[0]);
        let mut sealed = b"some data".to_vec();
        let icv = key.seal_in_place(iv, b"aad", &mut sealed);
        let opened =
            |iv, aad: &[u8], icv: &[u8]| key.open_in_place(iv, aad, &mut sealed.clone(), icv);
        assert_eq!(opened(iv, b"aad", &icv), Ok(()));
        assert_eq!(opened([0; 8], b"aad", &icv), Err(NotAuthentic));
        assert_eq!(opened(iv, b"aae", &icv), Err(NotAuthentic));
        assert_eq!(opened(iv, b"aad", &icv[..12]), Err(NotAuthentic));
        assert_eq!(opened(iv, b"aad", &[]), Err(NotAuthentic));
    }

    #[test]
    fn a_key_without_its_salt_is_refused_with_both_lengths() {
        let error = AeadKey::new(Encryption::AesGcm256, &[0; 32]).unwrap_err();
        assert_eq!(
            error,
            KeyError::Length {
                algorithm: "AES256-GCM-16",
                expected: 36,
                found: 32
            }
        );
    }

    #[test]
    fn a_cbc_cipher_makes_no_aead_key() {
        assert!(matches!(
            AeadKey::new(Encryption::AesCbc128, &[0; 20]),
            Err(KeyError::Kind { .. })
        ));
    }
}
