//! Inbound ESP SPIs whose low bits are a dense slot, so that the data plane
//! finds an SA by an index and a compare.

use rand_core::Rng;

/// Low bits of an SPI that are its slot; the rest is random.
pub const SLOT_BITS: u32 = 18;

/// Hands out SPIs. A slot is reused only after [`SpiPool::release`], and then
/// under other random bits.
#[derive(Debug, Default)]
pub struct SpiPool {
    free: Vec<u32>,
    used: u32,
}

impl SpiPool {
    /// A new SPI, or None when every slot is taken. SPIs 0 to 255 are reserved
    /// (RFC 4303 section 2.1), so the random part is never zero.
    pub fn allocate(&mut self, random: &mut impl Rng) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.used < 1 << SLOT_BITS => {
                self.used += 1;
                self.used - 1
            }
            None => return None,
        };
        let tag = (random.next_u32() >> SLOT_BITS).max(1);
        Some((tag << SLOT_BITS) | slot)
    }

    /// Gives a slot back.
    pub fn release(&mut self, spi: u32) {
        self.free.push(spi & ((1 << SLOT_BITS) - 1));
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::{SLOT_BITS, SpiPool};

    #[test]
    fn an_spi_is_never_one_of_the_reserved_and_slots_are_dense() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut pool = SpiPool::default();
        for slot in 0..100 {
            let spi = pool.allocate(&mut random).unwrap();
            assert!(spi > 255);
            assert_eq!(spi & ((1 << SLOT_BITS) - 1), slot);
        }
        pool.release(7);
        let spi = pool.allocate(&mut random).unwrap();
        assert_eq!(spi & ((1 << SLOT_BITS) - 1), 7);
    }
}
