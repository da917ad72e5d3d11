//! What is done by instructions that not every CPU has.

#[cfg(target_arch = "x86_64")]
use crate::x86::{
    cbc::WideCbc, gcm::WideGcm, sha1_avx2::Sha1Avx2, sha256_ni::Sha256Ni, sha512_avx2::Sha512Avx2,
};

/// The algorithms that this CPU has wide instructions for, in the words of a log.
/// All others give the same results, slower.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn accelerated() -> Vec<&'static str> {
    let found = [
        ("AES-GCM", WideGcm::detected()),
        ("AES-CBC", WideCbc::detected()),
        ("HMAC-SHA1", Sha1Avx2::detect().is_some()),
        ("HMAC-SHA2-256", Sha256Ni::detect().is_some()),
        ("HMAC-SHA2-384", Sha512Avx2::detect().is_some()),
        ("HMAC-SHA2-512", Sha512Avx2::detect().is_some()),
    ];
    let names = found.into_iter().filter(|(_, found)| *found);
    names.map(|(name, _)| name).collect()
}

/// None: wide instructions are used on x86-64 alone so far.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn accelerated() -> Vec<&'static str> {
    Vec::new()
}
