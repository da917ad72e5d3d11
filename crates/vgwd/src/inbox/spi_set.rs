//! A set of SPIs whose changed copy shares with the original what did not change.

use std::sync::Arc;

/// Parts of a set. A change copies one of them, and the list of the parts.
const PARTS: u8 = 128;

/// The lowest bits of an SPI, which are as random as the others, say its part. Each part is
/// sorted.
#[derive(Debug, Clone)]
pub(super) struct SpiSet(Vec<Arc<[u64]>>);

impl Default for SpiSet {
    fn default() -> Self {
        Self(vec![Arc::default(); PARTS.into()])
    }
}

impl FromIterator<u64> for SpiSet {
    fn from_iter<I: IntoIterator<Item = u64>>(spis: I) -> Self {
        let mut parts = vec![Vec::new(); PARTS.into()];
        for spi in spis {
            if let Some(part) = parts.get_mut(part_of(spi)) {
                part.push(spi);
            }
        }
        parts.iter_mut().for_each(|part| part.sort_unstable());
        Self(parts.into_iter().map(Arc::from).collect())
    }
}

impl SpiSet {
    pub(super) fn contains(&self, spi: u64) -> bool {
        let part = self.0.get(part_of(spi));
        part.is_some_and(|part| part.binary_search(&spi).is_ok())
    }

    /// Takes SPIs in, or out, one after the other.
    pub(super) fn change(&mut self, changes: impl IntoIterator<Item = (u64, bool)>) {
        for (spi, is_there) in changes {
            let Some(part) = self.0.get_mut(part_of(spi)) else {
                continue;
            };
            let mut spis: Vec<u64> = part.to_vec();
            match (spis.binary_search(&spi), is_there) {
                (Err(place), true) => spis.insert(place, spi),
                (Ok(place), false) => drop(spis.remove(place)),
                (Ok(_), true) | (Err(_), false) => continue,
            }
            *part = spis.into();
        }
    }
}

fn part_of(spi: u64) -> usize {
    usize::try_from(spi % u64::from(PARTS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::{PARTS, SpiSet};

    #[test]
    fn a_set_that_was_changed_has_what_was_put_in_and_shares_the_rest_with_the_one_before() {
        let mut should: BTreeSet<u64> = (0..2_000).map(|n| n * 0x1234_5679).collect();
        let mut set: SpiSet = should.iter().copied().collect();
        for n in 0..3_000 {
            let (spi, is_there) = (n * 0x1234_5679, n % 2 == 1);
            let before = set.clone();
            set.change([(spi, is_there)]);
            let changed = if is_there {
                should.insert(spi)
            } else {
                should.remove(&spi)
            };
            let same = before.0.iter().zip(&set.0);
            let same = same.filter(|(a, b)| Arc::ptr_eq(a, b)).count();
            assert_eq!(same, usize::from(PARTS) - usize::from(changed));
        }
        for n in 0..4_000 {
            let spi = n * 0x1234_5679;
            assert_eq!(set.contains(spi), should.contains(&spi), "{n}");
        }
    }
}
