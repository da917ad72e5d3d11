//! AES in CBC mode, without padding of its own (RFC 3602).

use std::fmt;
use std::ops::Range;

use aes::cipher::array::Array;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
    KeyInit, consts::U16,
};
use aes::{Aes128, Aes256};

use crate::error::{KeyError, LengthError};
use crate::transform::Encryption;

/// Octets of an AES block.
const BLOCK_LEN: usize = 16;

type Block = Array<u8, U16>;

/// An AES-CBC key, expanded once for many packets. Wiped on drop.
pub struct CbcKey(Cipher);

enum Cipher {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl CbcKey {
    /// Takes [`Encryption::key_len`] octets.
    ///
    /// # Errors
    /// [`KeyError`] if `encryption` is an AEAD cipher or `key` of another length.
    pub fn new(encryption: Encryption, key: &[u8]) -> Result<Self, KeyError> {
        let wrong_length = |_| KeyError::Length {
            algorithm: encryption.name(),
            expected: encryption.key_len(),
            found: key.len(),
        };
        let cipher = match encryption {
            Encryption::AesCbc128 => {
                Cipher::Aes128(Aes128::new_from_slice(key).map_err(wrong_length)?)
            }
            Encryption::AesCbc256 => {
                Cipher::Aes256(Aes256::new_from_slice(key).map_err(wrong_length)?)
            }
            Encryption::AesGcm128 | Encryption::AesGcm256 => {
                return Err(KeyError::Kind {
                    algorithm: encryption.name(),
                    expected: "a CBC cipher",
                });
            }
        };
        Ok(Self(cipher))
    }

    /// Encrypts `data`. The `iv` must not be predictable (RFC 3602 section 3).
    ///
    /// # Errors
    /// [`LengthError`] if `data` are not whole blocks; they are then unchanged.
    pub fn encrypt_in_place(&self, iv: &[u8; 16], data: &mut [u8]) -> Result<(), LengthError> {
        let blocks = whole_blocks(data)?;
        match &self.0 {
            Cipher::Aes128(cipher) => encrypt(cipher, iv, blocks),
            Cipher::Aes256(cipher) => encrypt(cipher, iv, blocks),
        }
        Ok(())
    }

    /// Encrypts several stretches of `buffer`, each under the IV that lies in the
    /// 16 octets before it. The stretches and their IVs do not overlap.
    ///
    /// # Errors
    /// [`LengthError`] if a stretch has not whole blocks, no IV before it or does
    /// not lie within `buffer`; what `buffer` holds is then undefined.
    pub fn encrypt_burst(
        &self,
        buffer: &mut [u8],
        stretches: &[Range<usize>],
    ) -> Result<(), LengthError> {
        for stretch in stretches {
            let misplaced = LengthError {
                found: stretch.len(),
                block: BLOCK_LEN,
            };
            let (iv, data) = stretch
                .start
                .checked_sub(BLOCK_LEN)
                .and_then(|iv_at| buffer.get_mut(iv_at..stretch.end))
                .and_then(<[u8]>::split_first_chunk_mut)
                .ok_or(misplaced)?;
            self.encrypt_in_place(iv, data)?;
        }
        Ok(())
    }

    /// Encrypts each block by itself.
    pub fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_LEN]]) {
        let blocks = Block::cast_slice_from_core_mut(blocks);
        match &self.0 {
            Cipher::Aes128(cipher) => cipher.encrypt_blocks(blocks),
            Cipher::Aes256(cipher) => cipher.encrypt_blocks(blocks),
        }
    }

    /// Decrypts `data`, which must have been authenticated before.
    ///
    /// # Errors
    /// [`LengthError`] if `data` are not whole blocks; they are then unchanged.
    pub fn decrypt_in_place(&self, iv: &[u8; 16], data: &mut [u8]) -> Result<(), LengthError> {
        let blocks = whole_blocks(data)?;
        match &self.0 {
            Cipher::Aes128(cipher) => decrypt(cipher, iv, blocks),
            Cipher::Aes256(cipher) => decrypt(cipher, iv, blocks),
        }
        Ok(())
    }
}

fn whole_blocks(data: &mut [u8]) -> Result<&mut [Block], LengthError> {
    let found = data.len();
    let (blocks, rest) = Block::slice_as_chunks_mut(data);
    if !rest.is_empty() {
        return Err(LengthError {
            found,
            block: BLOCK_LEN,
        });
    }
    Ok(blocks)
}

// The mode borrows the cipher: a clone would copy and wipe the expanded key for
// every packet.
fn encrypt<C>(cipher: &C, iv: &[u8; 16], blocks: &mut [Block])
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    cbc::Encryptor::inner_iv_init(cipher, iv.into()).encrypt_blocks(blocks);
}

fn decrypt<C>(cipher: &C, iv: &[u8; 16], blocks: &mut [Block])
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    cbc::Decryptor::inner_iv_init(cipher, iv.into()).decrypt_blocks(blocks);
}

impl fmt::Debug for CbcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = match self.0 {
            Cipher::Aes128(_) => Encryption::AesCbc128,
            Cipher::Aes256(_) => Encryption::AesCbc256,
        };
        write!(f, "CbcKey({encryption})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CbcKey;
    use crate::error::{KeyError, LengthError};
    use crate::testing::hex;
    use crate::transform::Encryption;

    // RFC 3602 section 4, cases 1, 2 and 4; NIST SP 800-38A section F.2.5.
    #[test]
    fn published_vectors_are_encrypted_and_decrypted() {
        let cases = [
            (
                Encryption::AesCbc128,
                "06a9214036b8a15b512e03d534120006",
                "3dafba429d9eb430b422da802c9fac41",
                b"Single block msg".to_vec(),
                "e353779c1079aeb82708942dbe77181a",
            ),
            (
                Encryption::AesCbc128,
                "c286696d887c9aa0611bbb3e2025a45a",
                "562e17996d093d28ddb3ba695a2e6f58",
                (0..32).collect(),
                "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
            ),
            (
                Encryption::AesCbc128,
                "56e47a38c5598974bc46903dba290349",
                "8ce82eefbea0da3c44699ed7db51b7d9",
                (0xa0..=0xdf).collect(),
                "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e\
                 35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
            ),
            (
                Encryption::AesCbc256,
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "000102030405060708090a0b0c0d0e0f",
                hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"),
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
            ),
        ];
        for (encryption, key, iv, plain, sealed) in cases {
            let key = CbcKey::new(encryption, &hex(key)).unwrap();
            let iv = hex(iv).try_into().unwrap();
            let mut data = plain.clone();
            key.encrypt_in_place(&iv, &mut data).unwrap();
            assert_eq!(data, hex(sealed));
            key.decrypt_in_place(&iv, &mut data).unwrap();
            assert_eq!(data, plain);
        }
    }

    #[test]
    fn a_partial_block_is_refused_and_left_alone() {
        let key = CbcKey::new(Encryption::AesCbc128, &[1; 16]).unwrap();
        let mut data = [5; 17];
        let error = LengthError {
            found: 17,
            block: 16,
        };
        assert_eq!(key.encrypt_in_place(&[0; 16], &mut data), Err(error));
        assert_eq!(key.decrypt_in_place(&[0; 16], &mut data), Err(error));
        assert_eq!(data, [5; 17]);
    }

    #[test]
    fn a_key_of_the_wrong_length_or_kind_is_refused() {
        assert_eq!(
            CbcKey::new(Encryption::AesCbc256, &[0; 16]).unwrap_err(),
            KeyError::Length {
                algorithm: "AES256",
                expected: 32,
                found: 16
            }
        );
        assert!(matches!(
            CbcKey::new(Encryption::AesGcm128, &[0; 16]),
            Err(KeyError::Kind { .. })
        ));
    }

    proptest! {
        #[test]
        fn decryption_undoes_encryption(
            long in any::<bool>(),
            iv in any::<[u8; 16]>(),
            blocks in proptest::collection::vec(any::<[u8; 16]>(), 0..100),
        ) {
            let encryption = if long { Encryption::AesCbc256 } else { Encryption::AesCbc128 };
            let key = CbcKey::new(encryption, &vec![9; encryption.key_len()]).unwrap();
            let plain = blocks.concat();
            let mut data = plain.clone();
            key.encrypt_in_place(&iv, &mut data).unwrap();
            key.decrypt_in_place(&iv, &mut data).unwrap();
            prop_assert_eq!(data, plain);
        }
    }
}
