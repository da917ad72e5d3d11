//! A packet that is encrypted beside others.

use aes::cipher::array::Array;
use aes::cipher::consts::U16;

/// Octets of an AES block.
pub(crate) const BLOCK_LEN: usize = 16;

/// A block, as the library takes it.
pub(crate) type Block = Array<u8, U16>;

/// Packets that are encrypted at a time.
pub(crate) const LANES: usize = 16;

/// A packet that is encrypted beside others.
#[derive(Default)]
pub(crate) struct Lane<'a> {
    pub(crate) iv: [u8; BLOCK_LEN],
    pub(crate) blocks: &'a mut [[u8; BLOCK_LEN]],
}
