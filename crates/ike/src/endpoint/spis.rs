//! The SPIs that peers' messages name our IKE SAs by.

use std::collections::BTreeMap;

use crate::event::SaId;

/// Whose an IKE SA is, as far as that is known; it says whose messages are to
/// come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Begun by somebody who has not authenticated.
    HalfOpen,
    /// With a configured peer: begun by us, or authenticated.
    Known,
}

/// IKE SAs by SPI, with a revision that tells whether any has changed.
#[derive(Debug, Default)]
pub(super) struct Spis {
    by_spi: BTreeMap<u64, (SaId, Standing)>,
    revision: u64,
}

impl Spis {
    pub(super) fn insert(&mut self, spi: u64, id: SaId, standing: Standing) {
        self.by_spi.insert(spi, (id, standing));
        self.revision += 1;
    }

    pub(super) fn remove(&mut self, spi: u64) {
        if self.by_spi.remove(&spi).is_some() {
            self.revision += 1;
        }
    }

    /// The peer of this SA has authenticated. Harmless if that is known.
    pub(super) fn authenticated(&mut self, spi: u64) {
        if let Some((_, standing)) = self.by_spi.get_mut(&spi)
            && *standing != Standing::Known
        {
            *standing = Standing::Known;
            self.revision += 1;
        }
    }

    pub(super) fn get(&self, spi: u64) -> Option<SaId> {
        self.by_spi.get(&spi).map(|(id, _)| *id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Standing)> {
        let all = self.by_spi.iter();
        all.map(|(spi, (_, standing))| (*spi, *standing))
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }
}
