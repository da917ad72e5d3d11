//! The Internet checksum (RFC 1071), taken in 64-bit words.

/// A ones' complement sum of 16-bit words that is still growing.
///
/// It is kept in the machine's own byte order, which the sum does not mind
/// (RFC 1071 section 2, "Byte Order Independence"), and not yet folded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum of `octets`; one octet left over counts as padded with a zero.
    #[inline]
    pub(crate) fn of(octets: &[u8]) -> Self {
        let (blocks, rest) = octets.as_chunks::<64>();
        let mut lanes = [0; 2];
        for block in blocks {
            add_block(&mut lanes, block);
        }
        Self::of_lanes(lanes).and_rest(rest)
    }

    /// Copies `from` to `to` and sums it on the way. None, and nothing copied, if
    /// they are not of one length.
    pub(crate) fn of_copied(from: &[u8], to: &mut [u8]) -> Option<Self> {
        if from.len() != to.len() {
            return None;
        }
        let (from_blocks, from_rest) = from.as_chunks::<64>();
        let (to_blocks, to_rest) = to.as_chunks_mut::<64>();
        let mut lanes = [0; 2];
        for (block, copy) in from_blocks.iter().zip(to_blocks) {
            *copy = *block;
            add_block(&mut lanes, block);
        }
        if to_rest.len() == from_rest.len() {
            to_rest.copy_from_slice(from_rest);
        }
        Some(Self::of_lanes(lanes).and_rest(from_rest))
    }

    /// Adds what `other` has summed.
    pub(crate) const fn and_sum(self, other: Self) -> Self {
        // Each part is below 2^34: billions of them fit.
        Self(self.0.wrapping_add(other.0))
    }

    /// Adds one word, given as the number that it is on the wire.
    pub(crate) fn and_word(self, word: u16) -> Self {
        self.and_sum(Self(u64::from(word.to_be())))
    }

    /// Adds two words, given as the number that they are on the wire.
    pub(crate) fn and_double(self, words: u32) -> Self {
        self.and_sum(Self(u64::from(words.to_be())))
    }

    /// Takes out one word that was summed.
    pub(crate) fn without_word(self, word: u16) -> Self {
        // In ones' complement, a number's inverse is its negative.
        self.and_word(!word)
    }

    /// The sum in 16 bits, as the number that it is on the wire.
    #[inline]
    pub(crate) fn folded(self) -> u16 {
        let sum = (self.0 & 0xFFFF_FFFF).wrapping_add(self.0 >> 32);
        let sum = (sum & 0xFFFF)
            .wrapping_add((sum >> 16) & 0xFFFF)
            .wrapping_add(sum >> 32);
        let sum = (sum & 0xFFFF).wrapping_add(sum >> 16);
        let sum = (sum & 0xFFFF).wrapping_add(sum >> 16);
        let [low @ .., _, _, _, _, _, _] = sum.to_le_bytes();
        u16::from_be(u16::from_le_bytes(low))
    }

    /// The value for a checksum field that was zero while it was summed.
    pub(crate) fn checksum(self) -> u16 {
        !self.folded()
    }

    fn of_lanes([even, odd]: [u128; 2]) -> Self {
        let [sum @ .., _, _, _, _, _, _, _, _] = even.wrapping_add(odd).to_le_bytes();
        let [_, _, _, _, _, _, _, _, carried @ ..] = even.wrapping_add(odd).to_le_bytes();
        Self(halves(u64::from_le_bytes(sum)).wrapping_add(u64::from_le_bytes(carried)))
    }

    /// Adds what is left, in ever smaller words: bytes put together one by one
    /// would have to wait for their own stores.
    #[inline]
    fn and_rest(self, rest: &[u8]) -> Self {
        let (words, rest) = rest.as_chunks::<8>();
        let mut sum = self;
        for word in words {
            sum = sum.and_sum(Self(halves(u64::from_ne_bytes(*word))));
        }
        let (doubles, rest) = rest.as_chunks::<4>();
        for double in doubles {
            sum = sum.and_sum(Self(u64::from(u32::from_ne_bytes(*double))));
        }
        let (pairs, rest) = rest.as_chunks::<2>();
        for pair in pairs {
            sum = sum.and_sum(Self(u64::from(u16::from_ne_bytes(*pair))));
        }
        for octet in rest {
            sum = sum.and_sum(Self(u64::from(u16::from_ne_bytes([*octet, 0]))));
        }
        sum
    }
}

/// Two sums, so that one need not wait for the other's carry.
fn add_block(lanes: &mut [u128; 2], block: &[u8; 64]) {
    let [even, odd] = lanes;
    let (pairs, _) = block.as_chunks::<16>();
    for pair in pairs {
        let [a0, a1, a2, a3, a4, a5, a6, a7, b @ ..] = *pair;
        let a = u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        *even = even.wrapping_add(u128::from(a));
        *odd = odd.wrapping_add(u128::from(u64::from_ne_bytes(b)));
    }
}

const fn halves(word: u64) -> u64 {
    (word & 0xFFFF_FFFF).wrapping_add(word >> 32)
}

/// A checksum after one of the words that it covers has changed (RFC 1624
/// section 3).
pub(crate) fn replaced(checksum: u16, before: u16, after: u16) -> u16 {
    Sum::default()
        .and_word(!checksum)
        .without_word(before)
        .and_word(after)
        .checksum()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::Sum;

    /// RFC 1071 section 4.1, word by word.
    pub(crate) fn naive(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(pair[0]) << 8;
            sum += u32::from(pair.get(1).copied().unwrap_or_default());
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&octets).folded(), 0xddf2);
        assert_eq!(Sum::of(&octets).checksum(), 0x220d);
    }

    #[test]
    fn a_sum_of_nothing_but_ones_stays_ones() {
        for length in [2, 32, 64, 1400, 65_534] {
            assert_eq!(Sum::of(&vec![0xFF; length]).folded(), 0xFFFF, "{length}");
        }
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_words_one_by_one(
            octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xFF)], 0..300),
            cut in 0usize..150,
            word: u16,
            double: u32,
        ) {
            prop_assert_eq!(Sum::of(&octets).folded(), naive(&octets));
            let mut copy = vec![0; octets.len()];
            let sum = Sum::of_copied(&octets, &mut copy).unwrap();
            prop_assert_eq!(sum.folded(), naive(&octets));
            prop_assert_eq!(&copy, &octets);
            let (front, back) = octets.split_at((2 * cut).min(octets.len() & !1));
            let mut all = word.to_be_bytes().to_vec();
            all.extend(double.to_be_bytes());
            all.extend(&octets);
            let sum = Sum::of(front).and_sum(Sum::of(back)).and_word(word).and_double(double);
            prop_assert_eq!(sum.folded(), naive(&all));
        }
    }
}
