//! AES-CBC with two blocks to a 256-bit vector and eight vectors at a time, as
//! many as hide the latency of a round: blocks of sixteen packets to encrypt,
//! sixteen blocks of one packet to decrypt.

use core::arch::x86_64::{
    _mm_aesimc_si128, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_permute2x128_si256, _mm256_set_m128i, _mm256_setzero_si256,
    _mm256_xor_si256,
};

use zeroize::Zeroizing;

use super::key_schedule::{RoundKeys, expand, rounds};
use super::memory::{load_block, load_pair, store_block, store_pair};
use crate::cbc::lane::{LANES, Lane};

/// Pairs of lanes, each in one vector.
const PAIRS: usize = LANES / 2;

/// An expanded key on a CPU that has VAES. Wiped on drop.
pub(crate) struct WideCbc {
    rounds: usize,
    encryption: RoundKeys,
    decryption: RoundKeys,
}

impl WideCbc {
    /// None if the CPU lacks the instructions, or `key` is not 16 or 32 octets long.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let rounds = rounds(key)?;
        if !Self::detected() {
            return None;
        }
        // SAFETY: the features were just detected.
        let (encryption, decryption) = unsafe { (expand(key), Zeroizing::default()) };
        let mut vaes = Self {
            rounds,
            encryption,
            decryption,
        };
        // SAFETY: likewise.
        vaes.decryption = unsafe { invert(vaes.encryption_keys()) };
        Some(vaes)
    }

    /// Whether the CPU has the instructions.
    pub(crate) fn detected() -> bool {
        is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("sse4.1")
    }

    /// Encrypts every lane to its end.
    pub(crate) fn encrypt(&self, lanes: &mut [Lane<'_>; LANES]) {
        // SAFETY: a value of this type exists only where `new` detected the
        // features.
        unsafe { encrypt(self.encryption_keys(), lanes) }
    }

    /// Decrypts one packet.
    pub(crate) fn decrypt(&self, iv: &[u8; 16], blocks: &mut [[u8; 16]]) {
        let keys = self.decryption.get(..=self.rounds).unwrap_or_default();
        // SAFETY: as for encryption.
        unsafe { decrypt(keys, iv, blocks) }
    }

    fn encryption_keys(&self) -> &[[u8; 16]] {
        self.encryption.get(..=self.rounds).unwrap_or_default()
    }
}

/// The round keys of the equivalent inverse cipher (FIPS 197 section 5.3.5).
#[target_feature(enable = "aes,sse2")]
fn invert(encryption: &[[u8; 16]]) -> RoundKeys {
    let mut keys = RoundKeys::default();
    let last = encryption.len() - 1;
    for (i, (key, from)) in keys.iter_mut().zip(encryption.iter().rev()).enumerate() {
        if i == 0 || i == last {
            *key = *from;
        } else {
            store_block(key, _mm_aesimc_si128(load_block(from)));
        }
    }
    keys
}

// The compiler must not know the number of rounds: it would finish one vector
// before it begins the next.
#[target_feature(enable = "avx2,vaes")]
fn encrypt(keys: &[[u8; 16]], lanes: &mut [Lane<'_>; LANES]) {
    let [first, middle @ .., last] = keys else {
        return;
    };
    let steps = lanes.iter().map(|lane| lane.blocks.len()).max();
    // A lane that is at its end goes on with a block that nobody reads.
    let mut idle = [[0; 16]; LANES];
    let (idle, _) = idle.as_chunks_mut::<2>();
    let (pairs, _) = lanes.as_chunks_mut::<2>();
    let mut chains = [_mm256_setzero_si256(); PAIRS];
    for (chain, [low, high]) in chains.iter_mut().zip(&*pairs) {
        *chain = _mm256_set_m128i(load_block(&high.iv), load_block(&low.iv));
    }
    for step in 0..steps.unwrap_or(0) {
        let key = _mm256_broadcastsi128_si256(load_block(first));
        for ((chain, [low, high]), [idle_low, idle_high]) in
            chains.iter_mut().zip(&*pairs).zip(&*idle)
        {
            let low = low.blocks.get(step).unwrap_or(idle_low);
            let high = high.blocks.get(step).unwrap_or(idle_high);
            let data = _mm256_set_m128i(load_block(high), load_block(low));
            *chain = _mm256_xor_si256(*chain, _mm256_xor_si256(data, key));
        }
        for key in middle {
            let key = _mm256_broadcastsi128_si256(load_block(key));
            for chain in &mut chains {
                *chain = _mm256_aesenc_epi128(*chain, key);
            }
        }
        let key = _mm256_broadcastsi128_si256(load_block(last));
        for ((chain, [low, high]), [idle_low, idle_high]) in
            chains.iter_mut().zip(&mut *pairs).zip(&mut *idle)
        {
            *chain = _mm256_aesenclast_epi128(*chain, key);
            let low = low.blocks.get_mut(step).unwrap_or(idle_low);
            store_block(low, _mm256_castsi256_si128(*chain));
            let high = high.blocks.get_mut(step).unwrap_or(idle_high);
            store_block(high, _mm256_extracti128_si256::<1>(*chain));
        }
    }
}

#[target_feature(enable = "avx2,vaes")]
fn decrypt(keys: &[[u8; 16]], iv: &[u8; 16], blocks: &mut [[u8; 16]]) {
    let (sixteens, rest) = blocks.as_chunks_mut::<LANES>();
    let mut before = *iv;
    for sixteen in sixteens {
        before = decrypt_sixteen(keys, &before, sixteen);
    }
    if !rest.is_empty() {
        let mut sixteen = [[0; 16]; LANES];
        for (to, from) in sixteen.iter_mut().zip(&*rest) {
            *to = *from;
        }
        decrypt_sixteen(keys, &before, &mut sixteen);
        for (to, from) in rest.iter_mut().zip(&sixteen) {
            *to = *from;
        }
    }
}

/// Decrypts sixteen blocks that follow `before` and returns the last one's ciphertext.
#[inline]
#[target_feature(enable = "avx2,vaes")]
fn decrypt_sixteen(
    keys: &[[u8; 16]],
    before: &[u8; 16],
    blocks: &mut [[u8; 16]; LANES],
) -> [u8; 16] {
    let [first, middle @ .., last] = keys else {
        return *before;
    };
    let [.., after] = *blocks;
    let (pairs, _) = blocks.as_chunks_mut::<2>();
    let mut states = [_mm256_setzero_si256(); PAIRS];
    let key = _mm256_broadcastsi128_si256(load_block(first));
    for (state, pair) in states.iter_mut().zip(&*pairs) {
        *state = _mm256_xor_si256(load_pair(pair), key);
    }
    for key in middle {
        let key = _mm256_broadcastsi128_si256(load_block(key));
        for state in &mut states {
            *state = _mm256_aesdec_epi128(*state, key);
        }
    }
    let key = _mm256_broadcastsi128_si256(load_block(last));
    // Both halves are the block before the first.
    let mut previous = _mm256_broadcastsi128_si256(load_block(before));
    for (state, pair) in states.into_iter().zip(pairs) {
        let sealed = load_pair(pair);
        // High half of the vector before, low half of this one.
        let chain = _mm256_permute2x128_si256::<0x21>(previous, sealed);
        let state = _mm256_aesdeclast_epi128(state, key);
        store_pair(pair, _mm256_xor_si256(state, chain));
        previous = sealed;
    }
    after
}
