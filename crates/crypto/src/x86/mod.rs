//! Several streams at a time with the wide instructions of x86-64 CPUs.
//!
//! Everything here that needs an instruction which not every CPU has is reached
//! through a value that only detection makes ([`cbc::WideCbc`], [`sha256_ni::Sha256Ni`] and the like).

#![allow(
    unsafe_code,
    reason = "loads and stores of whole vectors, and calls of what detection allows, have no safe form"
)]

pub(crate) mod cbc;
pub(crate) mod gcm;
mod ghash;
mod key_schedule;
mod memory;
mod partial;
pub(crate) mod sha1_avx2;
pub(crate) mod sha256_ni;
pub(crate) mod sha512_avx2;
