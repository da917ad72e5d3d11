//! Hash functions and what is made of them: HMAC for integrity, and the PRFs of IKE.

pub(crate) mod covered;
pub mod digest;
mod keyed_hash;
#[cfg(target_arch = "x86_64")]
pub(crate) mod lanes;
pub mod mac;
pub(crate) mod prf;
#[cfg(target_arch = "x86_64")]
pub(crate) mod streams;
mod wide;
