//! SHA-256 of two streams at a time with the SHA extensions: one round's latency
//! is twice its cost, so that two chains take as long as one.

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_set_epi32, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::memory::{load_block, load_u32x4, store_u32x4};
use crate::constants::K256;
use crate::hash::streams::Streams;

/// Proof that the CPU has the SHA extensions.
pub(crate) struct Sha256Ni(());

impl Sha256Ni {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")).then_some(Self(()))
    }
}

impl Streams<u32, 8, 64, 2> for Sha256Ni {
    const WORTHWHILE: usize = 1;

    fn compress(&self, states: &mut [[u32; 2]; 8], [one, other]: &[&[[u8; 64]]; 2]) {
        // SAFETY: a value of this type exists only where the features were detected.
        unsafe { compress(states, one, other) }
    }
}

/// One stream's state, in the order that the instructions want.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,avx")]
fn compress(states: &mut [[u32; 2]; 8], one: &[[u8; 64]], other: &[[u8; 64]]) {
    let [a, b, c, d, e, f, g, h] = *states;
    let state = |abef: [u32; 4], cdgh: [u32; 4]| {
        let vector = |[w, x, y, z]: [u32; 4]| {
            let [w, x, y, z] = [w, x, y, z].map(u32::cast_signed);
            _mm_set_epi32(w, x, y, z)
        };
        State {
            abef: vector(abef),
            cdgh: vector(cdgh),
        }
    };
    let mut first = state([a[0], b[0], e[0], f[0]], [c[0], d[0], g[0], h[0]]);
    let mut second = state([a[1], b[1], e[1], f[1]], [c[1], d[1], g[1], h[1]]);

    let (constants, _) = K256.as_chunks::<16>();
    for (one, other) in one.iter().zip(other) {
        let (before_first, before_second) = (first, second);
        let (mut w, mut v) = (words(one), words(other));
        for (sixteen, constants) in constants.iter().enumerate() {
            if sixteen > 0 {
                schedule(&mut w);
                schedule(&mut v);
            }
            let (constants, _) = constants.as_chunks::<4>();
            for ((w, v), constants) in w.iter().zip(&v).zip(constants) {
                let constants = load_u32x4(constants);
                rounds(&mut first, *w, constants);
                rounds(&mut second, *v, constants);
            }
        }
        add(&mut first, before_first);
        add(&mut second, before_second);
    }
    let together = one.len().min(other.len());
    for (state, rest) in [(&mut first, one), (&mut second, other)] {
        for block in rest.get(together..).unwrap_or_default() {
            let before = *state;
            let mut w = words(block);
            for (sixteen, constants) in constants.iter().enumerate() {
                if sixteen > 0 {
                    schedule(&mut w);
                }
                let (constants, _) = constants.as_chunks::<4>();
                for (w, constants) in w.iter().zip(constants) {
                    rounds(state, *w, load_u32x4(constants));
                }
            }
            add(state, before);
        }
    }

    let [mut abef, mut cdgh] = [[[0; 4]; 2]; 2];
    for ((state, abef), cdgh) in [first, second].iter().zip(&mut abef).zip(&mut cdgh) {
        store_u32x4(abef, state.abef);
        store_u32x4(cdgh, state.cdgh);
    }
    for (lane, ([f, e, b, a], [h, g, d, c])) in abef.into_iter().zip(cdgh).enumerate() {
        for (word, value) in states.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            if let Some(word) = word.get_mut(lane) {
                *word = value;
            }
        }
    }
}

/// The sixteen words of a block.
#[inline]
#[target_feature(enable = "avx")]
fn words(block: &[u8; 64]) -> [__m128i; 4] {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (quarters, _) = block.as_chunks::<16>();
    let mut words = [big_endian; 4];
    for (words, octets) in words.iter_mut().zip(quarters) {
        *words = _mm_shuffle_epi8(load_block(octets), big_endian);
    }
    words
}

/// FIPS 180-4 section 6.2.2 step 1: the next sixteen words.
#[inline]
#[target_feature(enable = "sha,avx")]
fn schedule(w: &mut [__m128i; 4]) {
    let [w0, w1, w2, w3] = *w;
    let w4 = next(w0, w1, w2, w3);
    let w5 = next(w1, w2, w3, w4);
    let w6 = next(w2, w3, w4, w5);
    *w = [w4, w5, w6, next(w3, w4, w5, w6)];
}

/// The four words after these sixteen.
#[inline]
#[target_feature(enable = "sha,avx")]
fn next(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let partial = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(partial, w3)
}

/// FIPS 180-4 section 6.2.2 step 3: four rounds.
#[inline]
#[target_feature(enable = "sha,avx")]
fn rounds(state: &mut State, words: __m128i, constants: __m128i) {
    let sum = _mm_add_epi32(words, constants);
    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
    let sum = _mm_shuffle_epi32::<0x0e>(sum);
    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, sum);
}

#[inline]
#[target_feature(enable = "avx")]
fn add(state: &mut State, before: State) {
    state.abef = _mm_add_epi32(state.abef, before.abef);
    state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
}
