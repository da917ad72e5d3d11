//! Where randomness comes from, by what becomes of it.
//!
//! What a [`PublicRandom`] gives goes out for everyone to see: nonces, SPIs.
//! What a [`SecretRandom`] gives never leaves the process: private keys. They
//! are two types and two sources, so that no value that is sent can tell
//! anything of a generator that makes keys, and neither is taken for the other.
//!
//! Every draw can fail, because the kernel's source can. Then nothing is made
//! of what was drawn: no key is weaker than it should be.

use rand_core::{TryCryptoRng, TryRng};

use crate::secret::Secret;

/// The random source gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random numbers can be had")]
pub struct RandomError;

type Source = Box<dyn TryCryptoRng<Error = RandomError> + Send>;

/// Both sources of a process.
///
/// RFC 7296 section 2.12: for forward secrecy no state may be left from which a
/// Diffie-Hellman secret of the past could be computed again. In production both
/// are the kernel's, which keeps none; a generator that was seeded once is for
/// tests.
pub struct RandomSources {
    /// For what stays here.
    pub secret: SecretRandom,
    /// For what is sent.
    pub public: PublicRandom,
}

impl RandomSources {
    /// `secret` and `public` must not share a state.
    #[must_use]
    pub fn new(
        secret: impl TryCryptoRng + Send + 'static,
        public: impl TryCryptoRng + Send + 'static,
    ) -> Self {
        Self {
            secret: SecretRandom::new(secret),
            public: PublicRandom(Box::new(Plain(public))),
        }
    }
}

/// Gives what must stay secret.
pub struct SecretRandom(Source);

impl SecretRandom {
    /// Draws from this source.
    #[must_use]
    pub fn new(source: impl TryCryptoRng + Send + 'static) -> Self {
        Self(Box::new(Plain(source)))
    }

    /// So many octets.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn secret(&mut self, len: usize) -> Result<Secret, RandomError> {
        Secret::fill(len, |octets| self.0.try_fill_bytes(octets))
    }

    /// As the libraries want it that draw by themselves.
    pub(crate) fn source(&mut self) -> &mut dyn TryCryptoRng<Error = RandomError> {
        &mut *self.0
    }
}

/// Gives what everybody may see.
pub struct PublicRandom(Source);

impl PublicRandom {
    /// Fills `octets`.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn fill(&mut self, octets: &mut [u8]) -> Result<(), RandomError> {
        self.0.try_fill_bytes(octets)
    }

    /// A number.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn next_u32(&mut self) -> Result<u32, RandomError> {
        self.0.try_next_u32()
    }

    /// A number.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn next_u64(&mut self) -> Result<u64, RandomError> {
        self.0.try_next_u64()
    }
}

/// A source whose errors are all the same to us.
struct Plain<R>(R);

impl<R: TryRng> TryRng for Plain<R> {
    type Error = RandomError;

    fn try_next_u32(&mut self) -> Result<u32, RandomError> {
        self.0.try_next_u32().map_err(|_| RandomError)
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomError> {
        self.0.try_next_u64().map_err(|_| RandomError)
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), RandomError> {
        self.0.try_fill_bytes(octets).map_err(|_| RandomError)
    }
}

impl<R: TryCryptoRng> TryCryptoRng for Plain<R> {}
