//! AES round keys.

use core::arch::x86_64::{_mm_aeskeygenassist_si128, _mm_extract_epi32, _mm_set1_epi32};

use zeroize::Zeroizing;

/// Rounds of AES-128 and of AES-256 (FIPS 197 section 5).
pub(super) const ROUNDS_128: usize = 10;
pub(super) const ROUNDS_256: usize = 14;

/// One key more than there are rounds. Those that a key of 16 octets does not need stay zero.
pub(super) type RoundKeys = Zeroizing<[[u8; 16]; ROUNDS_256 + 1]>;

/// Rounds under `key`. None if it is not 16 or 32 octets long.
pub(super) fn rounds(key: &[u8]) -> Option<usize> {
    match key.len() {
        16 => Some(ROUNDS_128),
        32 => Some(ROUNDS_256),
        _ => None,
    }
}

/// FIPS 197 section 5.2.
#[target_feature(enable = "aes,sse4.1")]
pub(super) fn expand(key: &[u8]) -> RoundKeys {
    let mut words = Zeroizing::new([0_u32; 4 * (ROUNDS_256 + 1)]);
    let key_words = key.len() / 4;
    for (word, octets) in words.iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*octets);
    }
    let mut round_constant = 1;
    let count = 4 * (key_words + 7);
    for i in key_words..count {
        let before = |n: usize| words.get(i - n).copied().unwrap_or(0);
        let mut word = before(1);
        if i.is_multiple_of(key_words) {
            // A word's first octet is the lowest, so the standard's rotation is to the right.
            word = substitute(word.rotate_right(8)) ^ round_constant;
            round_constant = (round_constant << 1) ^ (0x11b * (round_constant >> 7));
        } else if key_words == 8 && i % 8 == 4 {
            word = substitute(word);
        }
        word ^= before(key_words);
        if let Some(slot) = words.get_mut(i) {
            *slot = word;
        }
    }
    let mut keys = Zeroizing::new([[0; 16]; ROUNDS_256 + 1]);
    for (octets, word) in keys
        .as_flattened_mut()
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(&*words)
    {
        *octets = word.to_le_bytes();
    }
    keys
}

/// SubWord of FIPS 197 section 5.2.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn substitute(word: u32) -> u32 {
    let word = _mm_set1_epi32(word.cast_signed());
    _mm_extract_epi32::<2>(_mm_aeskeygenassist_si128::<0>(word)).cast_unsigned()
}
