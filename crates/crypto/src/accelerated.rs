//! Which algorithms this CPU computes with instructions that not every CPU has.

#[cfg(target_arch = "x86_64")]
use crate::x86::{
    cbc::WideCbc, gcm::WideGcm, sha1_avx2::Sha1Avx2, sha256_ni::Sha256Ni, sha512_avx2::Sha512Avx2,
};

/// The names, as a log prints them, of the algorithms that this CPU has wide
/// instructions for. All others give the same results, more slowly.
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

/// No algorithm: wide instructions are used on x86-64 only.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn accelerated() -> Vec<&'static str> {
    Vec::new()
}
