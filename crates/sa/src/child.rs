//! CHILD SAs.

use vgw_crypto::{DirectionKeys, EspSuite};

use crate::{Path, TrafficSelector};

/// A CHILD SA as the negotiator hands it over to the data plane: both directions.
#[derive(Debug, Clone)]
pub struct ChildSa {
    /// SPI of packets that we receive; ours, its low [`crate::SLOT_BITS`] bits are a slot.
    pub spi_in: u32,
    /// SPI of packets that we send; the peer's.
    pub spi_out: u32,
    /// Algorithms.
    pub suite: EspSuite,
    /// Keys of what we receive.
    pub keys_in: DirectionKeys,
    /// Keys of what we send.
    pub keys_out: DirectionKeys,
    /// Our side of what may travel, narrowed.
    pub local_selectors: Vec<TrafficSelector>,
    /// The peer's side of what may travel, narrowed.
    pub remote_selectors: Vec<TrafficSelector>,
    /// Where its packets go and come from.
    pub path: Path,
}
