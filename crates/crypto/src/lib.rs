//! The algorithms that IKE and ESP negotiate, named by their IANA transform.
//!
//! [`transform`] names the algorithms and gives their sizes; every other module
//! maps one kind of transform to the library that computes it. Nothing here
//! does I/O or draws randomness of its own: the random source is passed in.

#![deny(unsafe_code)]

mod accelerated;
pub mod aead;
pub mod cbc;
#[cfg(target_arch = "x86_64")]
mod constants;
pub mod error;
pub mod hash;
pub mod key_exchange;
pub mod random;
pub mod secret;
pub mod suite;
#[cfg(test)]
mod testing;
pub mod transform;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use accelerated::accelerated;
pub use aead::AeadKey;
pub use cbc::CbcKey;
pub use error::{KeyError, KeyExchangeError, LengthError, NoPlace, NotAuthentic};
pub use hash::covered::Covered;
pub use hash::digest;
pub use hash::mac::MacKey;
pub use key_exchange::{KeyPair, PrivateKey, check_public};
pub use random::{PublicRandom, RandomError, RandomSources, SecretRandom};
pub use secret::Secret;
pub use suite::{DirectionKeys, EspSuite, IkeSuite};
pub use transform::{Encryption, Group, Integrity, Prf};
