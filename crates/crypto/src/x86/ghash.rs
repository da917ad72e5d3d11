//! GHASH (NIST SP 800-38D section 6.4) of two blocks at a time.
//!
//! In GHASH the first bit of a block is the lowest power of x. With its octets
//! reversed, a block is a number that the CPU can multiply; the product comes
//! out one bit too low, which the key makes up for. This is POLYVAL of RFC 8452
//! appendix A, whose reduction needs two multiplications and no shifts.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_set_epi8, _mm_set_epi64x, _mm_shuffle_epi8,
    _mm_shuffle_epi32, _mm_slli_si128, _mm_srli_si128, _mm_xor_si128, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_xor_si256,
    _mm256_zextsi128_si256,
};

use zeroize::Zeroizing;

use super::memory::{load_block, load_pair, store_block};

/// The highest power of the key that is kept: this many blocks are multiplied
/// before the sum is reduced.
pub(super) const POWERS: usize = 17;

/// x^127 + x^126 + x^121 + 1, the field's polynomial without its highest term.
const POLYNOMIAL: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;

/// Exchanges the halves of a block.
const SWAP_HALVES: i32 = 0x4e;

/// The powers of a hash key. Wiped on drop.
pub(super) struct HashKey {
    /// From the highest to the first. A zero follows, for a block that stands alone.
    powers: Zeroizing<[[u8; 16]; POWERS + 1]>,
    /// The sum of each power's halves (Karatsuba).
    folded: Zeroizing<[[u8; 16]; POWERS + 1]>,
}

impl HashKey {
    /// The powers of `hash_key`, which is an encrypted block of zeros.
    #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
    pub(super) fn new(hash_key: [u8; 16]) -> Self {
        let key = times_x(u128::from_be_bytes(hash_key));
        let mut powers = Zeroizing::new([[0; 16]; POWERS + 1]);
        let mut folded = Zeroizing::new([[0; 16]; POWERS + 1]);
        let first = load_block(&key.to_le_bytes());
        let mut power = first;
        let places = powers.iter_mut().zip(folded.iter_mut());
        for (place, folded) in places.rev().skip(1) {
            store_block(place, power);
            store_block(folded, fold(power));
            let mut sum = Sum::zero();
            sum.add_product(
                _mm256_zextsi128_si256(power),
                _mm256_zextsi128_si256(first),
                _mm256_zextsi128_si256(fold(first)),
            );
            power = sum.reduce();
        }
        Self { powers, folded }
    }
}

/// RFC 8452 appendix A, `mulX_POLYVAL`. Takes the same time for every key.
fn times_x(block: u128) -> u128 {
    let carry = 0_u128.wrapping_sub(block >> 127);
    (block << 1) ^ (POLYNOMIAL & carry)
}

#[inline]
#[target_feature(enable = "sse2")]
fn fold(block: __m128i) -> __m128i {
    _mm_xor_si128(block, _mm_shuffle_epi32::<SWAP_HALVES>(block))
}

/// Reverses the octets of a block.
#[inline]
#[target_feature(enable = "sse2,ssse3")]
pub(super) fn turn_round(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, backwards())
}

/// Reverses the octets of each of two blocks.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn turn_round_both(blocks: __m256i) -> __m256i {
    _mm256_shuffle_epi8(blocks, _mm256_broadcastsi128_si256(backwards()))
}

#[inline]
#[target_feature(enable = "sse2")]
fn backwards() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}

/// A sum of products that is not reduced: each lane has one, and the two must
/// still be added up.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) low: __m256i,
    pub(super) middle: __m256i,
    pub(super) high: __m256i,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn zero() -> Self {
        let zero = _mm256_setzero_si256();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// Adds two blocks, turned round, times the key to the power of `power` and
    /// of one less. A block that stands alone at power 1 leaves the other zero.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn add(&mut self, key: &HashKey, power: usize, blocks: __m256i) {
        let at = |table: &[[u8; 16]; POWERS + 1]| {
            let from = table.get(POWERS.saturating_sub(power)..);
            let pair = from.and_then(<[_]>::first_chunk);
            load_pair(pair.unwrap_or(&[[0; 16]; 2]))
        };
        self.add_product(blocks, at(&key.powers), at(&key.folded));
    }

    /// Adds `blocks` times `by`, lane by lane, by Karatsuba's three products.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    fn add_product(&mut self, blocks: __m256i, by: __m256i, folded_by: __m256i) {
        let low = _mm256_clmulepi64_epi128::<0x00>(blocks, by);
        self.low = _mm256_xor_si256(self.low, low);
        let high = _mm256_clmulepi64_epi128::<0x11>(blocks, by);
        self.high = _mm256_xor_si256(self.high, high);
        let folded = _mm256_xor_si256(blocks, _mm256_shuffle_epi32::<SWAP_HALVES>(blocks));
        let middle = _mm256_clmulepi64_epi128::<0x00>(folded, folded_by);
        self.middle = _mm256_xor_si256(self.middle, middle);
    }

    /// The sum modulo the field's polynomial, as one block.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let low = add_lanes(self.low);
        let high = add_lanes(self.high);
        let middle = _mm_xor_si128(add_lanes(self.middle), _mm_xor_si128(low, high));
        let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
        // Twice, add the multiple of the polynomial that clears the lowest 64
        // bits, then drop them: they are one half of the swapped halves.
        let polynomial = _mm_set_epi64x(0, 0xc200_0000_0000_0000_u64.cast_signed());
        let mut rest = low;
        for _ in 0..2 {
            let multiple = _mm_clmulepi64_si128::<0x00>(rest, polynomial);
            rest = _mm_xor_si128(_mm_shuffle_epi32::<SWAP_HALVES>(rest), multiple);
        }
        _mm_xor_si128(high, rest)
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(lanes: __m256i) -> __m128i {
    _mm_xor_si128(
        _mm256_castsi256_si128(lanes),
        _mm256_extracti128_si256::<1>(lanes),
    )
}
