//! SHA-1 of eight streams at a time, one to a 32-bit lane of AVX2.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_epi8, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::memory::{load_octets, load_u32x8, store_u32x8};
use crate::hash::streams::Streams;

/// Streams at a time.
const LANES: usize = 8;

/// Proof that the CPU has AVX2.
pub(crate) struct Sha1Avx2(());

impl Sha1Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Streams<u32, 5, 64, LANES> for Sha1Avx2 {
    const WORTHWHILE: usize = 5;

    fn compress(&self, states: &mut [[u32; LANES]; 5], streams: &[&[[u8; 64]]; LANES]) {
        // SAFETY: a value of this type exists only where the feature was detected.
        unsafe { compress(states, streams) }
    }
}

/// The block that a stream at its end is fed with; its state does not change.
const NOTHING: [u8; 64] = [0; 64];

#[target_feature(enable = "avx2")]
fn compress(states: &mut [[u32; LANES]; 5], streams: &[&[[u8; 64]]; LANES]) {
    let steps = streams.iter().map(|blocks| blocks.len()).max().unwrap_or(0);
    let mut state = [_mm256_setzero_si256(); 5];
    for (vector, words) in state.iter_mut().zip(&*states) {
        *vector = load_u32x8(words);
    }
    for step in 0..steps {
        let mut active = [0_u32; LANES];
        let mut blocks = [&NOTHING; LANES];
        for ((stream, active), block) in streams.iter().zip(&mut active).zip(&mut blocks) {
            if let Some(next) = stream.get(step) {
                *active = u32::MAX;
                *block = next;
            }
        }
        let active = load_u32x8(&active);
        let after = block(state, words(&blocks));
        for (state, after) in state.iter_mut().zip(after) {
            *state = _mm256_blendv_epi8(*state, _mm256_add_epi32(*state, after), active);
        }
    }
    for (words, vector) in states.iter_mut().zip(state) {
        store_u32x8(words, vector);
    }
}

/// The sixteen words of every stream's block, each word of all streams together.
#[inline]
#[target_feature(enable = "avx2")]
fn words(blocks: &[&[u8; 64]; LANES]) -> [__m256i; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    let (halves, _) = words.as_chunks_mut::<LANES>();
    for (half, words) in halves.iter_mut().enumerate() {
        for (row, block) in words.iter_mut().zip(blocks) {
            if let Some(octets) = block.as_chunks::<32>().0.get(half) {
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
    let (high, low) = (0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm256_shuffle_epi8(vector, _mm256_set_epi64x(high, low, high, low))
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose([a, b, c, d, e, f, g, h]: [__m256i; 8]) -> [__m256i; 8] {
    let pairs = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let quads = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let ((ab0, ab1), (cd0, cd1)) = (pairs(a, b), pairs(c, d));
    let ((ef0, ef1), (gh0, gh1)) = (pairs(e, f), pairs(g, h));
    let ((p0, p1), (p2, p3)) = (quads(ab0, cd0), quads(ab1, cd1));
    let ((q0, q1), (q2, q3)) = (quads(ef0, gh0), quads(ef1, gh1));
    let low = |p, q| _mm256_permute2x128_si256::<0x20>(p, q);
    let high = |p, q| _mm256_permute2x128_si256::<0x31>(p, q);
    [
        low(p0, q0),
        low(p1, q1),
        low(p2, q2),
        low(p3, q3),
        high(p0, q0),
        high(p1, q1),
        high(p2, q2),
        high(p3, q3),
    ]
}

/// FIPS 180-4 section 6.1.2 steps 1 to 3.
#[allow(
    clippy::indexing_slicing,
    reason = "the indices are taken modulo the length"
)]
#[inline]
#[target_feature(enable = "avx2")]
fn block([mut a, mut b, mut c, mut d, mut e]: [__m256i; 5], mut w: [__m256i; 16]) -> [__m256i; 5] {
    macro_rules! rotate_left {
        ($x:expr, $by:literal) => {
            _mm256_or_si256(
                _mm256_slli_epi32::<$by>($x),
                _mm256_srli_epi32::<{ 32 - $by }>($x),
            )
        };
    }
    macro_rules! rounds {
        ($rounds:expr, $constant:literal, $mix:expr) => {
            let constant = _mm256_set1_epi32(u32::cast_signed($constant));
            for t in $rounds {
                let t: usize = t;
                if t >= 16 {
                    let sum = _mm256_xor_si256(
                        _mm256_xor_si256(w[(t + 13) % 16], w[(t + 8) % 16]),
                        _mm256_xor_si256(w[(t + 2) % 16], w[t % 16]),
                    );
                    w[t % 16] = rotate_left!(sum, 1);
                }
                let sum = _mm256_add_epi32(
                    _mm256_add_epi32(_mm256_add_epi32(e, constant), w[t % 16]),
                    _mm256_add_epi32(rotate_left!(a, 5), $mix(b, c, d)),
                );
                (a, b, c, d, e) = (sum, a, rotate_left!(b, 30), c, d);
            }
        };
    }
    let choose = |b, c, d| _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)));
    let parity = |b, c, d| _mm256_xor_si256(b, _mm256_xor_si256(c, d));
    // The two terms have no bit in common: their sum is their disjunction.
    let majority = |b, c, d| {
        _mm256_or_si256(
            _mm256_and_si256(b, c),
            _mm256_and_si256(d, _mm256_xor_si256(b, c)),
        )
    };
    rounds!(0..20, 0x5a82_7999, choose);
    rounds!(20..40, 0x6ed9_eba1, parity);
    rounds!(40..60, 0x8f1b_bcdc, majority);
    rounds!(60..80, 0xca62_c1d6, parity);
    [a, b, c, d, e]
}
