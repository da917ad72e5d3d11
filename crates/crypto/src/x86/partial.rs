//! Blocks, and pairs of blocks, of which only the first octets are there. A
//! copy through memory would make the CPU wait: it does not forward several
//! small stores to one wide load.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_set_epi32, _mm256_and_si256, _mm256_castsi256_si128, _mm256_cmpgt_epi8,
    _mm256_extracti128_si256, _mm256_set_epi8, _mm256_set_m128i, _mm256_set1_epi8,
    _mm256_zextsi128_si256,
};

use super::memory::{load_block, store_block};

/// At most 16 octets, and zeros after them.
#[inline]
#[target_feature(enable = "sse2")]
fn load_part(octets: &[u8]) -> __m128i {
    if let Ok(block) = octets.try_into() {
        return load_block(block);
    }
    let (words, odd) = octets.as_chunks();
    let mut odd_word = [0; 4];
    for (to, octet) in odd_word.iter_mut().zip(odd) {
        *to = *octet;
    }
    let word = |at| {
        let after = if at == words.len() { odd_word } else { [0; 4] };
        i32::from_le_bytes(words.get(at).copied().unwrap_or(after))
    };
    _mm_set_epi32(word(3), word(2), word(1), word(0))
}

/// At most 32 octets, and zeros after them.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_part_of_pair(octets: &[u8]) -> __m256i {
    match octets.split_first_chunk() {
        Some((low, high)) => _mm256_set_m128i(load_part(high), load_block(low)),
        None => _mm256_zextsi128_si256(load_part(octets)),
    }
}

/// Writes the first octets of a pair, at most 32.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_part_of_pair(octets: &mut [u8], pair: __m256i) {
    let low = _mm256_castsi256_si128(pair);
    match octets.split_first_chunk_mut() {
        Some((to, rest)) => {
            store_block(to, low);
            store_part(rest, _mm256_extracti128_si256::<1>(pair));
        }
        None => store_part(octets, low),
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store_part(octets: &mut [u8], block: __m128i) {
    let mut from = [0; 16];
    store_block(&mut from, block);
    for (to, octet) in octets.iter_mut().zip(from) {
        *to = octet;
    }
}

/// The pair, with all but its first `len` octets (at most 32) cleared.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn cut(pair: __m256i, len: usize) -> __m256i {
    let places = _mm256_set_epi8(
        31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9,
        8, 7, 6, 5, 4, 3, 2, 1, 0,
    );
    let len = _mm256_set1_epi8(i8::try_from(len).unwrap_or(i8::MAX));
    _mm256_and_si256(pair, _mm256_cmpgt_epi8(len, places))
}
