//! The inbound ESP SPIs that are in use.

use std::collections::VecDeque;

use vgw_crypto::PublicRandom;
use vgw_sa::{SLOT_BITS, slot_of};

/// This many free slots are not reused while there are unused ones: a data plane may keep an SA
/// that ended for packets still on the way to it.
const RESTING: usize = 32;

/// Hands out SPIs. A slot is reused only after [`SpiPool::release`], with other random bits; the
/// slot that has been free longest comes first.
#[derive(Debug, Default)]
pub struct SpiPool {
    free: VecDeque<u32>,
    used: u32,
}

impl SpiPool {
    /// A new SPI, or None when every slot is taken or there is no random number. SPIs 0 to 255 are reserved
    /// (RFC 4303 section 2.1), so the random part is never zero.
    pub fn allocate(&mut self, random: &mut PublicRandom) -> Option<u32> {
        let tag = (random.next_u32().ok()? >> SLOT_BITS).max(1);
        let slot = if self.free.len() <= RESTING && self.used < 1 << SLOT_BITS {
            self.used += 1;
            self.used - 1
        } else {
            self.free.pop_front()?
        };
        Some((tag << SLOT_BITS) | slot)
    }

    /// Makes a slot free again.
    pub fn release(&mut self, spi: u32) {
        self.free.push_back(slot_of(spi));
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;
    use vgw_sa::slot_of;

    use vgw_crypto::{PublicRandom, RandomSources};

    use super::{RESTING, SpiPool};

    fn random() -> PublicRandom {
        let [secret, public] = [1, 2].map(ChaCha8Rng::seed_from_u64);
        RandomSources::new(secret, public).public
    }

    #[test]
    fn an_spi_is_never_one_of_the_reserved_and_slots_are_dense() {
        let mut random = random();
        let mut pool = SpiPool::default();
        for slot in 0..100 {
            let spi = pool.allocate(&mut random).unwrap();
            assert!(spi > 255);
            assert_eq!(slot_of(spi), slot);
        }
    }

    #[test]
    fn a_slot_rests_before_it_is_given_out_again() {
        let mut random = random();
        let mut pool = SpiPool::default();
        let mut slots = Vec::new();
        for _ in 0..100 {
            let spi = pool.allocate(&mut random).unwrap();
            slots.push(slot_of(spi));
            pool.release(spi);
        }
        let resting = u32::try_from(RESTING).unwrap();
        let expected: Vec<u32> = (0..100).map(|n| n % (resting + 1)).collect();
        assert_eq!(slots, expected);
    }
}
