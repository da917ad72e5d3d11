//! AES-GCM (NIST SP 800-38D) with two blocks to a 256-bit vector, and with the
//! cipher of one group of blocks beside the hash of another.
//!
//! The counter blocks of a message are taken in groups of sixteen, from the counter
//! 0 on: then the counters of a group differ in four bits alone. Counter 1 makes the
//! mask of the tag, counter 2 is the first for data (section 7.1). In the first
//! group, the hash has a zero and the last block of additional data in the places of
//! counters 0 and 1, so that cipher and hash have the same groups.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_set_epi8, _mm_set_epi32,
    _mm_setzero_si128, _mm_xor_si128, _mm256_add_epi32, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_extracti128_si256,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_xor_si256, _mm256_zextsi128_si256,
};
use std::iter;

use zeroize::Zeroizing;

use super::cbc::WideCbc;
use super::ghash::{HashKey, Sum, turn_round, turn_round_both};
use super::key_schedule::{ROUNDS_128, ROUNDS_256, RoundKeys, expand, rounds};
use super::memory::{load_block, load_octets, load_pair, store_block, store_octets, store_pair};
use super::partial::{cut, load_part_of_pair, store_part_of_pair};

/// Pairs of blocks in a group, each in one vector, and in half a group.
const PAIRS: usize = 8;
const HALF: usize = PAIRS / 2;

/// Octets of data whose counters are in the first group, and in one half of it.
const FIRST_GROUP: usize = 32 * (PAIRS - 1);
const FIRST_HALF: usize = 32 * (HALF - 1);

/// Rounds of the cipher, by their numbers: which key belongs to which must be
/// known when this is compiled, or the states would not stay in registers.
macro_rules! rounds {
    ($message:ident, $states:ident, $($round:literal)*) => {$(
        let key = _mm256_broadcastsi128_si256(load_block(&$message.keys[$round]));
        for state in &mut $states {
            *state = _mm256_aesenc_epi128(*state, key);
        }
    )*};
}

type Pair = [[u8; 16]; 2];
type Group = [Pair; PAIRS];

/// The low bits of a group's counters.
static COUNTERS: Group = {
    let mut counters = [[[0; 16]; 2]; PAIRS];
    let mut blocks = counters.as_flattened_mut();
    let mut count = 0;
    while let Some((block, others)) = blocks.split_first_mut() {
        block[15] = count;
        count += 1;
        blocks = others;
    }
    counters
};

/// An AES-GCM key on a CPU that has VAES and VPCLMULQDQ. Wiped on drop.
pub(crate) struct WideGcm {
    rounds: usize,
    keys: RoundKeys,
    hash_key: HashKey,
}

impl WideGcm {
    /// None if the CPU lacks the instructions, or `key` is not 16 or 32 octets long.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let rounds = rounds(key)?;
        if !Self::detected() {
            return None;
        }
        // SAFETY: the features were just detected.
        Some(unsafe { expand_all(rounds, key) })
    }

    /// Whether the CPU has the instructions.
    pub(crate) fn detected() -> bool {
        WideCbc::detected()
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("pclmulqdq")
    }

    /// Encrypts `data`, shorter than 64 GiB, and returns their tag.
    #[inline]
    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        self.crypt::<true>(nonce, aad, data)
    }

    /// Decrypts `data`, shorter than 64 GiB, and returns the tag that they must have.
    #[inline]
    pub(crate) fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        self.crypt::<false>(nonce, aad, data)
    }

    #[inline]
    fn crypt<const SEAL: bool>(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let mut counter_block = [0; 16];
        if let Some(front) = counter_block.first_chunk_mut() {
            *front = *nonce;
        }
        let counter_block = u128::from_le_bytes(counter_block);
        let aad = Aad::new(aad);
        // SAFETY: a value of this type exists only where `new` detected the
        // features.
        unsafe {
            if self.rounds == ROUNDS_128 {
                crypt::<ROUNDS_128, SEAL>(self, counter_block, &aad, data)
            } else {
                crypt::<ROUNDS_256, SEAL>(self, counter_block, &aad, data)
            }
        }
    }
}

#[target_feature(enable = "avx2,aes,pclmulqdq,vpclmulqdq,sse4.1")]
fn expand_all(rounds: usize, key: &[u8]) -> WideGcm {
    let keys = expand(key);
    // A block of zeros, encrypted.
    let mut state = _mm_setzero_si128();
    if let Some([first, middle @ .., last]) = keys.get(..=rounds) {
        state = load_block(first);
        for key in middle {
            state = _mm_aesenc_si128(state, load_block(key));
        }
        state = _mm_aesenclast_si128(state, load_block(last));
    }
    let mut hash_key = Zeroizing::new([0; 16]);
    store_block(&mut hash_key, state);
    WideGcm {
        rounds,
        hash_key: HashKey::new(*hash_key),
        keys,
    }
}

/// Additional data, cut into blocks where the compiler may know their length.
struct Aad<'a> {
    len: usize,
    before_last: &'a [[u8; 16]],
    /// Little-endian, zeros at its end.
    last: u128,
}

impl<'a> Aad<'a> {
    #[inline]
    fn new(aad: &'a [u8]) -> Self {
        let (blocks, rest) = aad.as_chunks();
        let (before_last, last) = match blocks.split_last() {
            Some((last, others)) if rest.is_empty() => (others, last.as_slice()),
            _ => (blocks, rest),
        };
        let mut block = [0; 16];
        for (to, octet) in block.iter_mut().zip(last) {
            *to = *octet;
        }
        Self {
            len: aad.len(),
            before_last,
            last: u128::from_le_bytes(block),
        }
    }
}

#[target_feature(enable = "avx2,vaes,pclmulqdq,vpclmulqdq")]
fn crypt<const ROUNDS: usize, const SEAL: bool>(
    key: &WideGcm,
    counter_block: u128,
    aad: &Aad<'_>,
    data: &mut [u8],
) -> [u8; 16] {
    let mut message = Message::new(key, counter_block, aad.len, data.len());
    let last_aad = message.absorb_all_but_last(aad);
    let end = match data.split_first_chunk_mut() {
        Some((head, rest)) if SEAL => message.seal_groups::<ROUNDS>(last_aad, head, rest),
        Some((head, rest)) => message.open_groups::<ROUNDS>(last_aad, head, rest),
        None => message.only_the_end::<ROUNDS, SEAL>(last_aad, data),
    };
    message.finish::<ROUNDS, SEAL>(end)
}

/// The last octets of a message, fewer than a group.
struct End<'a> {
    data: &'a mut [u8],
    /// The keystream for `data`, as far as it is needed.
    keystream: [__m256i; PAIRS],
    /// The mask of the tag, made by counter 1.
    mask: __m128i,
    /// The part of the hash that is not reduced yet.
    sum: Sum,
}

/// The whole groups of `data`, and what is left.
fn groups_of(data: &mut [u8]) -> (&mut [Group], &mut [u8]) {
    let whole = data.len() - data.len() % size_of::<Group>();
    let (whole, rest) = data.split_at_mut(whole);
    let pairs = whole.as_chunks_mut().0.as_chunks_mut().0;
    (pairs.as_chunks_mut().0, rest)
}

/// Half a group's keystream, as the first half of a whole one.
#[inline]
#[target_feature(enable = "avx2")]
fn half([a, b, c, d]: [__m256i; HALF]) -> [__m256i; PAIRS] {
    let none = _mm256_setzero_si256();
    [a, b, c, d, none, none, none, none]
}

/// The first group as it is hashed: in the places of counters 0 and 1 it has a
/// zero and what is to be hashed for the last block of additional data.
#[inline]
#[target_feature(enable = "avx2")]
fn first_hashed(last_aad: __m128i, head: &[Pair]) -> Group {
    let mut first = Group::default();
    let [[_, aad], data @ ..] = &mut first;
    store_block(aad, turn_round(last_aad));
    data.copy_from_slice(head);
    first
}

#[inline]
#[target_feature(enable = "avx2")]
fn apply(keystream: &[__m256i], pairs: &mut [Pair]) {
    for (keystream, pair) in keystream.iter().zip(pairs) {
        store_pair(pair, _mm256_xor_si256(*keystream, load_pair(pair)));
    }
}

/// A message on its way.
struct Message<'k> {
    keys: &'k [[u8; 16]; ROUNDS_256 + 1],
    hash_key: &'k HashKey,
    /// The counter block with the counter 0, after the first round key was added.
    start: __m256i,
    /// Where the next group's counters begin, in the machine's order of octets.
    counter: __m256i,
    /// The hash of every group that was given to it, its octets turned round.
    hash: __m128i,
    /// The last block of the hash, its octets turned round: how many bits of
    /// additional data and of data there are.
    lengths: u128,
}

impl<'k> Message<'k> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(key: &'k WideGcm, counter_block: u128, aad_len: usize, data_len: usize) -> Self {
        let keys = &*key.keys;
        let bits = |octets: usize| u128::try_from(octets).unwrap_or(0) << 3;
        let block = load_block(&counter_block.to_le_bytes());
        let start = _mm_xor_si128(block, load_block(&keys[0]));
        Self {
            keys,
            hash_key: &key.hash_key,
            start: _mm256_broadcastsi128_si256(start),
            counter: _mm256_setzero_si256(),
            hash: _mm_setzero_si128(),
            lengths: bits(aad_len) << 64 | bits(data_len),
        }
    }

    /// Hashes all of the additional data but the last block, and returns what
    /// is to be hashed for that one.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
    fn absorb_all_but_last(&self, aad: &Aad<'_>) -> __m128i {
        let mut hash = _mm_setzero_si128();
        for block in aad.before_last {
            let block = _mm_xor_si128(hash, turn_round(load_block(block)));
            let mut sum = Sum::zero();
            sum.add(self.hash_key, 1, _mm256_zextsi128_si256(block));
            hash = sum.reduce();
        }
        let last = load_block(&aad.last.to_le_bytes());
        _mm_xor_si128(hash, turn_round(last))
    }

    /// For data that all have their counters in the first group. `SEAL` is for
    /// the compiler, as in `keystream_beside_hash`.
    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq")]
    fn only_the_end<'a, const ROUNDS: usize, const SEAL: bool>(
        &mut self,
        last_aad: __m128i,
        data: &'a mut [u8],
    ) -> End<'a> {
        let [mask, keystream @ ..] = if data.len() <= FIRST_HALF {
            half(self.keystream::<ROUNDS, HALF>())
        } else {
            self.keystream::<ROUNDS, PAIRS>()
        };
        let mut sum = Sum::zero();
        let power = data.len().div_ceil(16) + 2;
        sum.add(self.hash_key, power, _mm256_zextsi128_si256(last_aad));
        let [a, b, c, d, e, f, g] = keystream;
        End {
            data,
            keystream: [a, b, c, d, e, f, g, mask],
            mask: _mm256_extracti128_si256::<1>(mask),
            sum,
        }
    }

    /// Encrypts the first group, whose data are `head`, and all whole ones. Each
    /// is hashed when the next one is encrypted.
    #[inline]
    #[target_feature(enable = "avx2,vaes,pclmulqdq,vpclmulqdq")]
    fn seal_groups<'a, const ROUNDS: usize>(
        &mut self,
        last_aad: __m128i,
        head: &mut [u8; FIRST_GROUP],
        rest: &'a mut [u8],
    ) -> End<'a> {
        let [mask, keystream @ ..] = self.keystream::<ROUNDS, PAIRS>();
        let head = head.as_chunks_mut().0.as_chunks_mut().0;
        apply(&keystream, head);
        let first = first_hashed(last_aad, head);
        let mut sealed = &first;
        let (groups, data) = groups_of(rest);
        let mut groups = groups.iter_mut();
        let keystream = loop {
            let group = groups.next();
            if group.is_none() && data.len() <= size_of::<Group>() / 2 {
                break half(self.keystream_beside_hash::<ROUNDS, true, HALF>(sealed));
            }
            let keystream = self.keystream_beside_hash::<ROUNDS, true, PAIRS>(sealed);
            let Some(group) = group else { break keystream };
            apply(&keystream, group);
            sealed = group;
        };
        End {
            data,
            keystream,
            mask: _mm256_extracti128_si256::<1>(mask),
            sum: Sum::zero(),
        }
    }

    /// Decrypts the first group, whose data are `head`, and all whole ones. Each is
    /// hashed meanwhile.
    #[inline]
    #[target_feature(enable = "avx2,vaes,pclmulqdq,vpclmulqdq")]
    fn open_groups<'a, const ROUNDS: usize>(
        &mut self,
        last_aad: __m128i,
        head: &mut [u8; FIRST_GROUP],
        rest: &'a mut [u8],
    ) -> End<'a> {
        let head = head.as_chunks_mut().0.as_chunks_mut().0;
        let mut first = first_hashed(last_aad, head);
        let (groups, data) = groups_of(rest);
        for group in iter::once(&mut first).chain(groups) {
            let keystream = self.keystream_beside_hash::<ROUNDS, false, PAIRS>(group);
            apply(&keystream, group);
        }
        let [[_, masked_aad], opened @ ..] = first;
        head.copy_from_slice(&opened);
        let keystream = if data.len() <= size_of::<Group>() / 2 {
            half(self.keystream::<ROUNDS, HALF>())
        } else {
            self.keystream::<ROUNDS, PAIRS>()
        };
        End {
            data,
            keystream,
            mask: _mm_xor_si128(load_block(&masked_aad), turn_round(last_aad)),
            sum: Sum::zero(),
        }
    }

    /// Encrypts or decrypts what is left and computes the tag. `ROUNDS` is for
    /// the compiler, as `SEAL` in `keystream_beside_hash`.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
    fn finish<const ROUNDS: usize, const SEAL: bool>(&self, end: End<'_>) -> [u8; 16] {
        let mut sum = end.sum;
        let mut hash = _mm256_zextsi128_si256(self.hash);
        let mut power = end.data.len().div_ceil(16) + 1;
        for (keystream, octets) in end.keystream.iter().zip(end.data.chunks_mut(32)) {
            let sealed = if let Ok(pair) = <&mut [u8; 32]>::try_from(&mut *octets) {
                let before = load_octets(pair);
                let after = _mm256_xor_si256(before, *keystream);
                store_octets(pair, after);
                if SEAL { after } else { before }
            } else {
                let before = load_part_of_pair(octets);
                let after = _mm256_xor_si256(before, *keystream);
                store_part_of_pair(octets, after);
                if SEAL {
                    cut(after, octets.len())
                } else {
                    before
                }
            };
            let blocks = _mm256_xor_si256(hash, turn_round_both(sealed));
            sum.add(self.hash_key, power, blocks);
            hash = _mm256_setzero_si256();
            power = power.saturating_sub(2);
        }
        let lengths = _mm256_zextsi128_si256(load_block(&self.lengths.to_le_bytes()));
        sum.add(self.hash_key, 1, _mm256_xor_si256(hash, lengths));
        let mut tag = [0; 16];
        store_block(&mut tag, _mm_xor_si128(turn_round(sum.reduce()), end.mask));
        tag
    }

    /// The first `N` vectors of the next group's counter blocks, with the first
    /// round key added.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn counter_blocks<const N: usize>(&mut self) -> [__m256i; N] {
        let counter_turned_round = _mm256_broadcastsi128_si256(_mm_set_epi8(
            12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
        ));
        let counter = _mm256_shuffle_epi8(self.counter, counter_turned_round);
        let base = _mm256_xor_si256(self.start, counter);
        let group = _mm256_broadcastsi128_si256(_mm_set_epi32(16, 0, 0, 0));
        self.counter = _mm256_add_epi32(self.counter, group);
        let mut blocks = [base; N];
        for (block, counters) in blocks.iter_mut().zip(&COUNTERS) {
            *block = _mm256_xor_si256(*block, load_pair(counters));
        }
        blocks
    }

    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    fn keystream<const ROUNDS: usize, const N: usize>(&mut self) -> [__m256i; N] {
        let mut states = self.counter_blocks();
        rounds!(self, states, 1 2 3 4 5 6 7 8 9);
        self.last_rounds::<ROUNDS, N>(states)
    }

    /// Makes the next keystream, and adds `hashed` to the hash. A round of the
    /// cipher is eight or four instructions that do not depend on each other;
    /// between two rounds there is time for the products of a pair. `SEAL`
    /// changes nothing, but gives each copy one caller: it is compiled into
    /// that, and the keystream stays in registers.
    #[inline]
    #[target_feature(enable = "avx2,vaes,pclmulqdq,vpclmulqdq")]
    fn keystream_beside_hash<const ROUNDS: usize, const SEAL: bool, const N: usize>(
        &mut self,
        hashed: &Group,
    ) -> [__m256i; N] {
        let [first, others @ ..] = hashed;
        let mut states = self.counter_blocks();
        let mut sum = Sum::zero();
        macro_rules! rounds_and_pairs {
            ($($round:literal)*) => {$(
                rounds!(self, states, $round);
                let pair = turn_round_both(load_pair(&others[PAIRS - 1 - $round]));
                sum.add(self.hash_key, 2 * $round, pair);
                keep_order(&mut states, &mut sum);
            )*};
        }
        rounds_and_pairs!(1 2 3 4 5 6 7);
        rounds!(self, states, 8);
        let first = turn_round_both(load_pair(first));
        let first = _mm256_xor_si256(first, _mm256_zextsi128_si256(self.hash));
        sum.add(self.hash_key, 2 * PAIRS, first);
        keep_order(&mut states, &mut sum);
        self.hash = sum.reduce();
        rounds!(self, states, 9);
        self.last_rounds::<ROUNDS, N>(states)
    }

    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    fn last_rounds<const ROUNDS: usize, const N: usize>(
        &self,
        mut states: [__m256i; N],
    ) -> [__m256i; N] {
        let key = if ROUNDS == ROUNDS_256 {
            rounds!(self, states, 10 11 12 13);
            &self.keys[ROUNDS_256]
        } else {
            &self.keys[ROUNDS_128]
        };
        let key = _mm256_broadcastsi128_si256(load_block(key));
        for state in &mut states {
            *state = _mm256_aesenclast_epi128(*state, key);
        }
        states
    }
}

/// Keeps the compiler from moving anything across this point. It would do the
/// hash first and then the cipher, and the CPU does not look far enough ahead
/// to overlap them.
#[inline]
#[target_feature(enable = "avx2")]
fn keep_order<const N: usize>(states: &mut [__m256i; N], sum: &mut Sum) {
    for state in states {
        *state = at_once(*state);
    }
    sum.low = at_once(sum.low);
    sum.middle = at_once(sum.middle);
    sum.high = at_once(sum.high);
}

/// Returns the same vector, computed before the next one that is given here.
#[inline]
#[target_feature(enable = "avx2")]
fn at_once(mut vector: __m256i) -> __m256i {
    // SAFETY: there are no instructions in it.
    unsafe {
        asm!("/* {0} */", inout(ymm_reg) vector, options(nomem, nostack, preserves_flags));
    }
    vector
}
