//! What the data plane counts.

use std::time::Instant;

use crate::TunnelId;

/// What was counted for one tunnel, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunnelTraffic {
    /// Packets that passed authentication.
    pub packets_in: u64,
    /// Octets after decryption (AWS: TunnelDataIn).
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Octets before encryption (AWS: TunnelDataOut).
    pub bytes_out: u64,
}

/// What was counted for one CHILD SA, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChildTraffic {
    /// The inbound SPI.
    pub spi_in: u32,
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// Packets received and accepted.
    pub packets_in: u64,
    /// Octets received, after decryption.
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Octets sent, before encryption.
    pub bytes_out: u64,
    /// Last sequence number sent.
    pub sequence: u64,
}

/// What is noticed of a tunnel's traffic, soon after it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Packets came.
    Heard,
    /// Packets have left, the first of them at this time, and none came since.
    Silent(Instant),
}
