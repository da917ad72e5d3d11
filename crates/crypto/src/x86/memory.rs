//! Vectors from and to memory. References carry the lengths, so that nothing
//! else here needs a pointer.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
};

macro_rules! load {
    ($feature:literal, $name:ident: $from:ty => $vector:ty, $with:ident) => {
        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn $name(from: &$from) -> $vector {
            // SAFETY: the reference is to as many octets as the vector has, and
            // the instruction needs no alignment.
            unsafe { $with(std::ptr::from_ref(from).cast()) }
        }
    };
}

macro_rules! store {
    ($feature:literal, $name:ident: $vector:ty => $to:ty, $with:ident) => {
        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn $name(to: &mut $to, vector: $vector) {
            // SAFETY: as for a load; any octets are a value of the target.
            unsafe { $with(std::ptr::from_mut(to).cast(), vector) }
        }
    };
}

load!("sse2", load_block: [u8; 16] => __m128i, _mm_loadu_si128);
load!("sse2", load_u32x4: [u32; 4] => __m128i, _mm_loadu_si128);
load!("avx", load_pair: [[u8; 16]; 2] => __m256i, _mm256_loadu_si256);
load!("avx", load_octets: [u8; 32] => __m256i, _mm256_loadu_si256);
load!("avx", load_u32x8: [u32; 8] => __m256i, _mm256_loadu_si256);
load!("avx", load_u64x4: [u64; 4] => __m256i, _mm256_loadu_si256);
store!("sse2", store_block: __m128i => [u8; 16], _mm_storeu_si128);
store!("sse2", store_u32x4: __m128i => [u32; 4], _mm_storeu_si128);
store!("avx", store_octets: __m256i => [u8; 32], _mm256_storeu_si256);
store!("avx", store_pair: __m256i => [[u8; 16]; 2], _mm256_storeu_si256);
store!("avx", store_u32x8: __m256i => [u32; 8], _mm256_storeu_si256);
store!("avx", store_u64x4: __m256i => [u64; 4], _mm256_storeu_si256);
