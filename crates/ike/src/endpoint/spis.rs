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

/// IKE SAs by SPI. Those of each standing are apart, because who has not
/// authenticated can change one of them often, and not the other.
#[derive(Debug, Default)]
pub(super) struct Spis {
    half_open: BySpi,
    known: BySpi,
}

#[derive(Debug, Default)]
struct BySpi {
    sas: BTreeMap<u64, SaId>,
    revision: u64,
}

impl Spis {
    pub(super) fn insert(&mut self, spi: u64, id: SaId, standing: Standing) {
        let of = match standing {
            Standing::HalfOpen => &mut self.half_open,
            Standing::Known => &mut self.known,
        };
        of.sas.insert(spi, id);
        of.revision += 1;
    }

    pub(super) fn remove(&mut self, spi: u64) {
        for of in [&mut self.half_open, &mut self.known] {
            if of.sas.remove(&spi).is_some() {
                of.revision += 1;
            }
        }
    }

    /// The peer of this SA has authenticated. Harmless if that is known.
    pub(super) fn authenticated(&mut self, spi: u64) {
        if let Some(id) = self.half_open.sas.remove(&spi) {
            self.half_open.revision += 1;
            self.insert(spi, id, Standing::Known);
        }
    }

    pub(super) fn get(&self, spi: u64) -> Option<SaId> {
        let known = self.known.sas.get(&spi);
        known.or_else(|| self.half_open.sas.get(&spi)).copied()
    }

    /// In ascending order.
    pub(super) fn iter(&self, standing: Standing) -> impl Iterator<Item = u64> {
        self.of(standing).sas.keys().copied()
    }

    pub(super) const fn revision(&self, standing: Standing) -> u64 {
        self.of(standing).revision
    }

    const fn of(&self, standing: Standing) -> &BySpi {
        match standing {
            Standing::HalfOpen => &self.half_open,
            Standing::Known => &self.known,
        }
    }
}
