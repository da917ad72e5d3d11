//! SHA-512 and SHA-384 of four streams at a time, one to a 64-bit lane of AVX2.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_blendv_epi8, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::memory::{load_octets, load_u64x4, store_u64x4};
use crate::constants::K512;
use crate::hash::streams::Streams;

/// Streams at a time.
const LANES: usize = 4;

/// Proof that the CPU has AVX2.
pub(crate) struct Sha512Avx2(());

impl Sha512Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Streams<u64, 8, 128, LANES> for Sha512Avx2 {
    const WORTHWHILE: usize = 2;

    fn compress(&self, states: &mut [[u64; LANES]; 8], streams: &[&[[u8; 128]]; LANES]) {
        // SAFETY: a value of this type exists only where the feature was detected.
        unsafe { compress(states, streams) }
    }
}

/// The block that a stream at its end is fed with; its state does not change.
const NOTHING: [u8; 128] = [0; 128];

#[target_feature(enable = "avx2")]
fn compress(states: &mut [[u64; LANES]; 8], streams: &[&[[u8; 128]]; LANES]) {
    let steps = streams.iter().map(|blocks| blocks.len()).max().unwrap_or(0);
    let mut state = [_mm256_setzero_si256(); 8];
    for (vector, words) in state.iter_mut().zip(&*states) {
        *vector = load_u64x4(words);
    }
    for step in 0..steps {
        let mut active = [0_u64; LANES];
        let mut blocks = [&NOTHING; LANES];
        for ((stream, active), block) in streams.iter().zip(&mut active).zip(&mut blocks) {
            if let Some(next) = stream.get(step) {
                *active = u64::MAX;
                *block = next;
            }
        }
        let active = load_u64x4(&active);
        let after = block(state, words(&blocks));
        for (state, after) in state.iter_mut().zip(after) {
            *state = _mm256_blendv_epi8(*state, _mm256_add_epi64(*state, after), active);
        }
    }
    for (words, vector) in states.iter_mut().zip(state) {
        store_u64x4(words, vector);
    }
}

/// The sixteen words of every stream's block, each word of all streams together.
#[inline]
#[target_feature(enable = "avx2")]
fn words(blocks: &[&[u8; 128]; LANES]) -> [__m256i; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    let (quarters, _) = words.as_chunks_mut::<LANES>();
    for (quarter, words) in quarters.iter_mut().enumerate() {
        for (row, block) in words.iter_mut().zip(blocks) {
            if let Some(octets) = block.as_chunks::<32>().0.get(quarter) {
                *row = big_endian(load_octets(octets));
            }
        }
        *words = transpose(*words);
    }
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn big_endian(vector: __m256i) -> __m256i {
    let (high, low) = (0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607);
    _mm256_shuffle_epi8(vector, _mm256_set_epi64x(high, low, high, low))
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let pairs = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let ((ab0, ab1), (cd0, cd1)) = (pairs(a, b), pairs(c, d));
    let low = |p, q| _mm256_permute2x128_si256::<0x20>(p, q);
    let high = |p, q| _mm256_permute2x128_si256::<0x31>(p, q);
    [low(ab0, cd0), low(ab1, cd1), high(ab0, cd0), high(ab1, cd1)]
}

/// FIPS 180-4 section 6.4.2 steps 1 to 3.
#[allow(
    clippy::indexing_slicing,
    reason = "the indices are taken modulo the length"
)]
#[inline]
#[target_feature(enable = "avx2")]
fn block(state: [__m256i; 8], mut w: [__m256i; 16]) -> [__m256i; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    macro_rules! rotate_right {
        ($x:expr, $by:literal) => {
            _mm256_or_si256(
                _mm256_srli_epi64::<$by>($x),
                _mm256_slli_epi64::<{ 64 - $by }>($x),
            )
        };
    }
    macro_rules! xor {
        ($x:expr, $y:expr, $z:expr) => {
            _mm256_xor_si256(_mm256_xor_si256($x, $y), $z)
        };
    }
    for (t, constant) in K512.iter().enumerate() {
        if t >= 16 {
            let (w1, w14) = (w[(t + 1) % 16], w[(t + 14) % 16]);
            let small_0 = xor!(
                rotate_right!(w1, 1),
                rotate_right!(w1, 8),
                _mm256_srli_epi64::<7>(w1)
            );
            let small_1 = xor!(
                rotate_right!(w14, 19),
                rotate_right!(w14, 61),
                _mm256_srli_epi64::<6>(w14)
            );
            w[t % 16] = _mm256_add_epi64(
                _mm256_add_epi64(w[t % 16], small_0),
                _mm256_add_epi64(w[(t + 9) % 16], small_1),
            );
        }
        let sum_1 = xor!(
            rotate_right!(e, 14),
            rotate_right!(e, 18),
            rotate_right!(e, 41)
        );
        let choice = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
        let word = _mm256_add_epi64(w[t % 16], _mm256_set1_epi64x(constant.cast_signed()));
        let one = _mm256_add_epi64(_mm256_add_epi64(h, word), _mm256_add_epi64(sum_1, choice));
        let sum_0 = xor!(
            rotate_right!(a, 28),
            rotate_right!(a, 34),
            rotate_right!(a, 39)
        );
        // The two terms have no bit in common: their sum is their disjunction.
        let majority = _mm256_or_si256(
            _mm256_and_si256(a, b),
            _mm256_and_si256(c, _mm256_xor_si256(a, b)),
        );
        let two = _mm256_add_epi64(sum_0, majority);
        (h, g, f, e) = (g, f, e, _mm256_add_epi64(d, one));
        (d, c, b, a) = (c, b, a, _mm256_add_epi64(one, two));
    }
    [a, b, c, d, e, f, g, h]
}
