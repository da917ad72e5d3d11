//! Inbound ESP SPIs, whose low bits are a dense slot, so that the data plane finds an SA
//! by an index and a compare.

/// Low bits of an inbound SPI that are its slot; the rest is random.
pub const SLOT_BITS: u32 = 18;

/// The slot of an inbound SPI.
#[must_use]
pub const fn slot_of(spi: u32) -> u32 {
    spi & ((1 << SLOT_BITS) - 1)
}
