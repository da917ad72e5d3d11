//! How this CPU computes the HMACs of several messages at once.

use crate::hash::covered::{Covered, MAX_ICV_LEN};
use crate::transform::Integrity;

#[cfg(target_arch = "x86_64")]
use crate::{
    constants::{SHA1_START, SHA256_START, SHA384_START, SHA512_START},
    hash::lanes::LaneMac,
    hash::streams::{Streams, Word},
    x86::{sha1_avx2::Sha1Avx2, sha256_ni::Sha256Ni, sha512_avx2::Sha512Avx2},
};

/// The most messages that any implementation takes at once.
pub(crate) const MAX_LANES: usize = 8;

/// A key for several messages at once, if the CPU has what that takes.
pub(crate) enum Wide {
    OneByOne,
    #[cfg(target_arch = "x86_64")]
    Sha1(Box<LaneMac<Sha1Avx2, u32, 5, 64, 8>>),
    #[cfg(target_arch = "x86_64")]
    Sha256(Box<LaneMac<Sha256Ni, u32, 8, 64, 2>>),
    /// SHA-384 and SHA-512, which differ in where they start and end.
    #[cfg(target_arch = "x86_64")]
    Sha512(Box<LaneMac<Sha512Avx2, u64, 8, 128, 4>>),
}

impl Wide {
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn new(integrity: Integrity, key: &[u8]) -> Self {
        let sha512 = |start| {
            let streams = Sha512Avx2::detect()?;
            let mac = LaneMac::new(streams, start, integrity, key);
            Some(Self::Sha512(Box::new(mac)))
        };
        let wide = match integrity {
            Integrity::HmacSha1_96 => Sha1Avx2::detect()
                .map(|streams| LaneMac::new(streams, SHA1_START, integrity, key))
                .map(|mac| Self::Sha1(Box::new(mac))),
            Integrity::HmacSha256_128 => Sha256Ni::detect()
                .map(|streams| LaneMac::new(streams, SHA256_START, integrity, key))
                .map(|mac| Self::Sha256(Box::new(mac))),
            Integrity::HmacSha384_192 => sha512(SHA384_START),
            Integrity::HmacSha512_256 => sha512(SHA512_START),
        };
        wide.unwrap_or(Self::OneByOne)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn new(_integrity: Integrity, _key: &[u8]) -> Self {
        Self::OneByOne
    }

    /// How many messages [`Self::icvs`] takes.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Self::OneByOne => MAX_LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Sha1(_) => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Sha256(_) => 2,
            #[cfg(target_arch = "x86_64")]
            Self::Sha512(_) => 4,
        }
    }

    /// Computes the check values of at most [`Self::lanes`] messages. False if
    /// one by one is faster.
    pub(crate) fn icvs(
        &self,
        buffer: &[u8],
        messages: &[Covered],
        icvs: &mut [[u8; MAX_ICV_LEN]; MAX_LANES],
    ) -> bool {
        match self {
            Self::OneByOne => false,
            #[cfg(target_arch = "x86_64")]
            Self::Sha1(mac) => compute(mac, buffer, messages, icvs),
            #[cfg(target_arch = "x86_64")]
            Self::Sha256(mac) => compute(mac, buffer, messages, icvs),
            #[cfg(target_arch = "x86_64")]
            Self::Sha512(mac) => compute(mac, buffer, messages, icvs),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn compute<S, W, const N: usize, const B: usize, const L: usize>(
    mac: &LaneMac<S, W, N, B, L>,
    buffer: &[u8],
    messages: &[Covered],
    icvs: &mut [[u8; MAX_ICV_LEN]; MAX_LANES],
) -> bool
where
    S: Streams<W, N, B, L>,
    W: Word,
    [W; N]: zeroize::Zeroize,
{
    let suits = LaneMac::<S, W, N, B, L>::suits(messages);
    if suits {
        for (icv, found) in icvs.iter_mut().zip(mac.icvs(buffer, messages)) {
            *icv = found;
        }
    }
    suits
}
