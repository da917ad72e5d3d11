//! AES in CBC mode, without padding of its own (RFC 3602).

pub(crate) mod lane;
mod lockstep;

use std::array;
use std::fmt;
use std::mem;
use std::ops::Range;

use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
    KeyInit, consts::U16,
};
use aes::{Aes128, Aes256};

use crate::cbc::lane::{BLOCK_LEN, Block, LANES, Lane};
use crate::error::{KeyError, LengthError};
use crate::transform::Encryption;
#[cfg(target_arch = "x86_64")]
use crate::x86::cbc::WideCbc;

/// An AES-CBC key, expanded once for many packets. Wiped on drop.
pub struct CbcKey {
    encryption: Encryption,
    cipher: Cipher,
}

// Boxed: the library's keys are as large as its widest implementation needs.
enum Cipher {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
    /// A key of either length, for instructions that encrypt [`LANES`] packets at once.
    #[cfg(target_arch = "x86_64")]
    Wide(Box<WideCbc>),
}

impl CbcKey {
    /// Takes [`Encryption::key_len`] octets.
    ///
    /// # Errors
    /// [`KeyError`] if `encryption` is an AEAD cipher or `key` has another length.
    pub fn new(encryption: Encryption, key: &[u8]) -> Result<Self, KeyError> {
        if encryption.is_aead() {
            return Err(KeyError::Kind {
                algorithm: encryption.name(),
                expected: "a CBC cipher",
            });
        }
        if key.len() != encryption.key_len() {
            return Err(wrong_length(encryption, key));
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = WideCbc::new(key) {
            let cipher = Cipher::Wide(Box::new(wide));
            return Ok(Self { encryption, cipher });
        }
        Self::portable(encryption, key)
    }

    /// A key that uses only instructions that every CPU has.
    fn portable(encryption: Encryption, key: &[u8]) -> Result<Self, KeyError> {
        let wrong_length = |_| wrong_length(encryption, key);
        let cipher = if encryption == Encryption::AesCbc128 {
            Cipher::Aes128(Box::new(Aes128::new_from_slice(key).map_err(wrong_length)?))
        } else {
            Cipher::Aes256(Box::new(Aes256::new_from_slice(key).map_err(wrong_length)?))
        };
        Ok(Self { encryption, cipher })
    }

    /// Encrypts `data`. The `iv` must not be predictable (RFC 3602 section 3).
    ///
    /// # Errors
    /// [`LengthError`] if `data` are not whole blocks; they are then unchanged.
    pub fn encrypt_in_place(&self, iv: &[u8; 16], data: &mut [u8]) -> Result<(), LengthError> {
        let blocks = whole_blocks(data)?;
        match &self.cipher {
            Cipher::Aes128(cipher) => encrypt(&**cipher, iv, blocks),
            Cipher::Aes256(cipher) => encrypt(&**cipher, iv, blocks),
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(wide) => {
                let mut lanes: [Lane<'_>; LANES] = array::from_fn(|_| Lane::default());
                let [lane, ..] = &mut lanes;
                lane.iv = *iv;
                lane.blocks = Block::cast_slice_to_core_mut(blocks);
                wide.encrypt(&mut lanes);
            }
        }
        Ok(())
    }

    /// Encrypts several stretches of `buffer`, each under the IV in the 16
    /// octets before it. Stretches and IVs must ascend without overlap.
    ///
    /// # Errors
    /// [`LengthError`] if a stretch is not whole blocks, has no IV before it or
    /// leaves `buffer`, whose content is then undefined.
    pub fn encrypt_burst(
        &self,
        buffer: &mut [u8],
        stretches: &[Range<usize>],
    ) -> Result<(), LengthError> {
        let mut rest = Rest { buffer, at: 0 };
        for group in stretches.chunks(LANES) {
            let mut lanes: [Lane<'_>; LANES] = array::from_fn(|_| Lane::default());
            for (lane, stretch) in lanes.iter_mut().zip(group) {
                *lane = rest.lane(stretch).ok_or(LengthError {
                    found: stretch.len(),
                    block: BLOCK_LEN,
                })?;
            }
            self.encrypt_lanes(&mut lanes, group.len());
        }
        Ok(())
    }

    fn encrypt_lanes(&self, lanes: &mut [Lane<'_>; LANES], count: usize) {
        let used = lanes.get_mut(..count).unwrap_or_default();
        match &self.cipher {
            Cipher::Aes128(cipher) => lockstep::encrypt(&**cipher, used),
            Cipher::Aes256(cipher) => lockstep::encrypt(&**cipher, used),
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(wide) => wide.encrypt(lanes),
        }
    }

    /// Encrypts each block by itself.
    pub fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_LEN]]) {
        match &self.cipher {
            Cipher::Aes128(cipher) => {
                cipher.encrypt_blocks(Block::cast_slice_from_core_mut(blocks));
            }
            Cipher::Aes256(cipher) => {
                cipher.encrypt_blocks(Block::cast_slice_from_core_mut(blocks));
            }
            // One block of CBC with an IV of zeros is the bare cipher.
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(wide) => {
                for group in blocks.chunks_mut(LANES) {
                    let mut blocks = group.chunks_mut(1);
                    let mut lanes = array::from_fn(|_| Lane {
                        iv: [0; BLOCK_LEN],
                        blocks: blocks.next().unwrap_or_default(),
                    });
                    wide.encrypt(&mut lanes);
                }
            }
        }
    }

    /// Decrypts `data`, which must have been authenticated before.
    ///
    /// # Errors
    /// [`LengthError`] if `data` are not whole blocks; they are then unchanged.
    pub fn decrypt_in_place(&self, iv: &[u8; 16], data: &mut [u8]) -> Result<(), LengthError> {
        let blocks = whole_blocks(data)?;
        match &self.cipher {
            Cipher::Aes128(cipher) => decrypt(&**cipher, iv, blocks),
            Cipher::Aes256(cipher) => decrypt(&**cipher, iv, blocks),
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(wide) => wide.decrypt(iv, Block::cast_slice_to_core_mut(blocks)),
        }
        Ok(())
    }
}

fn wrong_length(encryption: Encryption, key: &[u8]) -> KeyError {
    KeyError::Length {
        algorithm: encryption.name(),
        expected: encryption.key_len(),
        found: key.len(),
    }
}

/// The part of a burst's buffer that no lane has taken yet.
struct Rest<'a> {
    buffer: &'a mut [u8],
    /// Where in the whole buffer it begins.
    at: usize,
}

impl<'a> Rest<'a> {
    /// Takes the stretch and the IV before it. None if they do not lie here, or
    /// the stretch is not whole blocks.
    fn lane(&mut self, stretch: &Range<usize>) -> Option<Lane<'a>> {
        let skipped = stretch.start.checked_sub(self.at)?.checked_sub(BLOCK_LEN)?;
        let len = stretch.end.checked_sub(stretch.start)?;
        let (_, from_iv) = mem::take(&mut self.buffer).split_at_mut_checked(skipped)?;
        let (iv, from_data) = from_iv.split_first_chunk_mut()?;
        let (data, rest) = from_data.split_at_mut_checked(len)?;
        self.buffer = rest;
        self.at = stretch.end;
        let (blocks, partial) = data.as_chunks_mut();
        partial.is_empty().then_some(Lane { iv: *iv, blocks })
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
        write!(f, "CbcKey({})", self.encryption)
    }
}

#[cfg(test)]
mod tests;
