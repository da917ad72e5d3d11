//! HMAC (RFC 2104) of several messages at a time, on any hash that compresses
//! several streams at once.

use std::array;

use zeroize::{Zeroize, Zeroizing};

use crate::hash::covered::{Covered, MAX_ICV_LEN};
use crate::hash::streams::{Streams, Word};
use crate::transform::Integrity;

/// An HMAC key for `L` messages at a time. Wiped on drop.
pub(crate) struct LaneMac<S, W: Zeroize, const N: usize, const B: usize, const L: usize> {
    streams: S,
    /// The state once the inner or the outer key block is absorbed.
    inner: Zeroizing<[W; N]>,
    outer: Zeroizing<[W; N]>,
    digest_len: usize,
}

impl<S, W, const N: usize, const B: usize, const L: usize> LaneMac<S, W, N, B, L>
where
    S: Streams<W, N, B, L>,
    W: Word,
    [W; N]: Zeroize,
{
    /// A key of at most `B` octets for the hash that starts with `start`.
    pub(crate) fn new(streams: S, start: [W; N], integrity: Integrity, key: &[u8]) -> Self {
        let keyed = |pad: u8| {
            let mut block = Zeroizing::new([pad; B]);
            for (octet, key) in block.iter_mut().zip(key) {
                *octet ^= key;
            }
            let mut states = start.map(|word| [word; L]);
            streams.compress(&mut states, &[array::from_ref(&*block).as_slice(); L]);
            let mut words = states.iter().filter_map(|lanes| lanes.first().copied());
            Zeroizing::new(array::from_fn(|_| words.next().unwrap_or_default()))
        };
        Self {
            inner: keyed(0x36),
            outer: keyed(0x5c),
            digest_len: integrity.key_len(),
            streams,
        }
    }

    /// Whether hashing these messages, at most `L`, is faster here than one by
    /// one.
    pub(crate) fn suits(messages: &[Covered]) -> bool {
        let longest = messages.iter().map(|message| message.range.len()).max();
        let all: usize = messages.iter().map(|message| message.range.len()).sum();
        messages.len() > 1 && all >= longest.unwrap_or(0).saturating_mul(S::WORTHWHILE)
    }

    /// The check values, uncut, of at most `L` messages.
    pub(crate) fn icvs(&self, buffer: &[u8], messages: &[Covered]) -> [[u8; MAX_ICV_LEN]; L] {
        let mut bodies: [&[[u8; B]]; L] = [&[]; L];
        let mut tails = [[[0; B]; 2]; L];
        let mut tail_blocks = [0; L];
        for (((message, body), tail), count) in messages
            .iter()
            .zip(&mut bodies)
            .zip(&mut tails)
            .zip(&mut tail_blocks)
        {
            let (blocks, rest) = message.octets(buffer).as_chunks();
            *body = blocks;
            *count = finish(tail, &[rest, message.high()], B + blocks.len() * B);
        }
        let mut states = self.inner.map(|word| [word; L]);
        self.streams.compress(&mut states, &bodies);
        let mut last: [&[[u8; B]]; L] = [&[]; L];
        for ((last, tail), count) in last.iter_mut().zip(&tails).zip(tail_blocks) {
            *last = tail.get(..count).unwrap_or_default();
        }
        self.streams.compress(&mut states, &last);

        let mut digests = [[[0; B]; 2]; L];
        for (lane, digest) in digests.iter_mut().enumerate() {
            let mut octets = [0; B];
            write(&states, lane, &mut octets);
            let inner = octets.get(..self.digest_len).unwrap_or_default();
            finish(digest, &[inner], B);
        }
        let mut states = self.outer.map(|word| [word; L]);
        let digests = digests
            .each_ref()
            .map(|[digest, _]| array::from_ref(digest).as_slice());
        self.streams.compress(&mut states, &digests);
        let mut icvs = [[0; MAX_ICV_LEN]; L];
        for (lane, icv) in icvs.iter_mut().enumerate() {
            write(&states, lane, icv);
        }
        icvs
    }
}

/// Writes the words of one lane, as many as `to` takes.
fn write<W: Word, const N: usize, const L: usize>(
    states: &[[W; L]; N],
    lane: usize,
    to: &mut [u8],
) {
    let words = states.iter().filter_map(|lanes| lanes.get(lane));
    for (to, word) in to.chunks_mut(size_of::<W>()).zip(words) {
        word.write(to);
    }
}

/// Puts `parts` and the padding of FIPS 180-4 section 5.1 into `tail`, which is
/// zero, and returns how many blocks that made. `before` octets were hashed already.
fn finish<const B: usize>(tail: &mut [[u8; B]; 2], parts: &[&[u8]], before: usize) -> usize {
    let tail = tail.as_flattened_mut();
    let mut used = 0;
    for part in parts {
        for (to, octet) in tail.iter_mut().skip(used).zip(*part) {
            *to = *octet;
        }
        used += part.len();
    }
    let bits = u64::try_from(before + used).unwrap_or(0) * 8;
    if let Some(end) = tail.get_mut(used) {
        *end = 0x80;
    }
    // The length field takes an eighth of a block.
    let blocks = if used < B - B / 8 { 1 } else { 2 };
    if let Some(length) = tail.get_mut(..blocks * B).and_then(<[u8]>::last_chunk_mut) {
        *length = bits.to_be_bytes();
    }
    blocks
}
