//! Sources of randomness: one for what is sent, one for what stays secret.
//!
//! A [`PublicRandom`] gives what is sent: nonces, SPIs. A [`SecretRandom`]
//! gives what never leaves the process: private keys. Two sources, so that no
//! sent value reveals anything of the generator that makes keys; two types, so
//! that neither is taken for the other.
//!
//! Every draw can fail, because the kernel's source can. Then no key is made,
//! rather than a weak one.

use rand_core::{TryCryptoRng, TryRng};

use crate::secret::Secret;

/// The random source gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random numbers can be had")]
pub struct RandomError;

type Source = Box<dyn TryCryptoRng<Error = RandomError> + Send>;

/// Both sources of a process.
///
/// RFC 7296 section 2.12: for forward secrecy no state may be left from which
/// an old Diffie-Hellman secret can be computed. In production both sources are
/// the kernel's, which keeps no such state; a generator that is seeded once is
/// for tests only.
pub struct RandomSources {
    /// For what stays in the process.
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

    /// Draws `len` octets.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn secret(&mut self, len: usize) -> Result<Secret, RandomError> {
        Secret::fill(len, |octets| self.0.try_fill_bytes(octets))
    }

    /// The source, for libraries that draw from it themselves.
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

    /// Draws a number.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn next_u32(&mut self) -> Result<u32, RandomError> {
        self.0.try_next_u32()
    }

    /// Draws a number.
    ///
    /// # Errors
    /// When the source gives none.
    pub fn next_u64(&mut self) -> Result<u64, RandomError> {
        self.0.try_next_u64()
    }
}

/// A source whose errors all become [`RandomError`].
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
