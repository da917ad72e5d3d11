//! Several streams hashed at once.

use zeroize::Zeroize;

/// A hash's word. Everything in FIPS 180-4 is big-endian.
pub(crate) trait Word: Copy + Default + Zeroize {
    /// Writes the word to the front of `to`, cut to its length.
    fn write(self, to: &mut [u8]);
}

impl Word for u32 {
    fn write(self, to: &mut [u8]) {
        for (to, octet) in to.iter_mut().zip(self.to_be_bytes()) {
            *to = octet;
        }
    }
}

impl Word for u64 {
    fn write(self, to: &mut [u8]) {
        for (to, octet) in to.iter_mut().zip(self.to_be_bytes()) {
            *to = octet;
        }
    }
}

/// Compresses `L` streams of `B`-octet blocks into states of `N` words.
pub(crate) trait Streams<W, const N: usize, const B: usize, const L: usize> {
    /// Fewer full streams than these are done faster one by one.
    const WORTHWHILE: usize;

    /// Absorbs all blocks of every stream. States are held word by word, each
    /// word of all streams together.
    fn compress(&self, states: &mut [[W; L]; N], streams: &[&[[u8; B]]; L]);
}
