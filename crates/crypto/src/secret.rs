//! Key material that wipes itself and never prints.

use std::fmt;

use zeroize::Zeroizing;

/// Octets that must not leak: zeroized on drop, redacted in `Debug`.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `octets`.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// A secret of `len` octets, which `fill` writes in place.
    pub(crate) fn fill<E>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut octets = Zeroizing::new(vec![0; len]);
        fill(&mut octets)?;
        Ok(Self(octets))
    }

    /// The octets themselves. Callers must not print or copy them about.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no octets at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Secret {
    fn from(octets: &[u8]) -> Self {
        Self::new(octets.to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_shows_no_octet() {
        let secret = Secret::new(vec![0xAB; 16]);
        assert_eq!(format!("{secret:?}"), "Secret(16 octets)");
    }
}
