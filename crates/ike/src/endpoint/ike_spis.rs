//! The SPIs by which peers' messages name our IKE SAs.

use std::collections::{BTreeMap, VecDeque};

use crate::core::event::SaId;

/// How many recent changes a follower can ask for; a follower that missed more reads all SPIs.
const REMEMBERED: usize = 64;

/// Whether the peer of an IKE SA is known, which decides whose messages are handled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaClass {
    /// Begun by a sender that has not authenticated.
    HalfOpen,
    /// With a configured peer: begun by us, or the peer authenticated.
    Known,
}

/// IKE SAs by SPI. The two classes are kept apart, because unauthenticated senders can change the
/// half-open ones often, and the known ones not at all.
#[derive(Debug, Default)]
pub(super) struct Spis {
    half_open: BySpi,
    known: BySpi,
}

#[derive(Debug, Default)]
struct BySpi {
    sas: BTreeMap<u64, SaId>,
    /// How many changes there were.
    revision: u64,
    /// The last changes: the SPI, and whether it was added (true) or removed.
    changes: VecDeque<(u64, bool)>,
}

impl BySpi {
    fn insert(&mut self, spi: u64, id: SaId) {
        self.sas.insert(spi, id);
        self.note(spi, true);
    }

    fn remove(&mut self, spi: u64) -> Option<SaId> {
        let id = self.sas.remove(&spi)?;
        self.note(spi, false);
        Some(id)
    }

    fn note(&mut self, spi: u64, is_there: bool) {
        self.revision += 1;
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back((spi, is_there));
    }

    fn changes_since(&self, revision: u64) -> Option<impl Iterator<Item = (u64, bool)>> {
        let missed = usize::try_from(self.revision.checked_sub(revision)?).ok()?;
        let known = self.changes.len().checked_sub(missed)?;
        Some(self.changes.iter().skip(known).copied())
    }
}

impl Spis {
    pub(super) fn insert(&mut self, spi: u64, id: SaId, class: SaClass) {
        match class {
            SaClass::HalfOpen => self.half_open.insert(spi, id),
            SaClass::Known => self.known.insert(spi, id),
        }
    }

    pub(super) fn remove(&mut self, spi: u64) {
        self.half_open.remove(spi);
        self.known.remove(spi);
    }

    /// Notes that the peer of this SA has authenticated; may be called again.
    pub(super) fn authenticated(&mut self, spi: u64) {
        if let Some(id) = self.half_open.remove(spi) {
            self.known.insert(spi, id);
        }
    }

    pub(super) fn get(&self, spi: u64) -> Option<SaId> {
        let known = self.known.sas.get(&spi);
        known.or_else(|| self.half_open.sas.get(&spi)).copied()
    }

    /// The SPIs in ascending order.
    pub(super) fn iter(&self, class: SaClass) -> impl Iterator<Item = u64> {
        self.of(class).sas.keys().copied()
    }

    pub(super) const fn revision(&self, class: SaClass) -> u64 {
        self.of(class).revision
    }

    /// The changes after a revision; None if too many were made since.
    pub(super) fn changes_since(
        &self,
        class: SaClass,
        revision: u64,
    ) -> Option<impl Iterator<Item = (u64, bool)>> {
        self.of(class).changes_since(revision)
    }

    const fn of(&self, class: SaClass) -> &BySpi {
        match class {
            SaClass::HalfOpen => &self.half_open,
            SaClass::Known => &self.known,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{REMEMBERED, SaClass, Spis};
    use crate::core::event::SaId;

    #[test]
    fn who_follows_the_changes_knows_the_spis_and_who_was_away_too_long_is_told_so() {
        let mut spis = Spis::default();
        let mut followed: [BTreeSet<u64>; 2] = Default::default();
        let mut seen = [0, 0];
        for spi in 0..1_000 {
            spis.insert(spi, SaId(spi), SaClass::HalfOpen);
            if spi % 3 == 0 {
                spis.authenticated(spi);
            }
            spis.remove(spi / 2);
            for (place, class) in [SaClass::HalfOpen, SaClass::Known].into_iter().enumerate() {
                for (spi, is_there) in spis.changes_since(class, seen[place]).unwrap() {
                    let changed = if is_there {
                        followed[place].insert(spi)
                    } else {
                        followed[place].remove(&spi)
                    };
                    assert!(changed, "{spi} {is_there}");
                }
                seen[place] = spis.revision(class);
                assert!(spis.iter(class).eq(followed[place].iter().copied()));
            }
        }
        let now = spis.revision(SaClass::HalfOpen);
        let remembered = u64::try_from(REMEMBERED).unwrap();
        let known = |since| spis.changes_since(SaClass::HalfOpen, since).is_some();
        assert!(known(now) && known(now - remembered));
        assert!(!known(now - remembered - 1));
    }
}
