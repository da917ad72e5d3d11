//! What is inside: which tunnel leads to a prefix, and the tunnels' own addresses.

use std::net::IpAddr;

use crate::TunnelId;

/// Entries of a table to set or, with None, to remove. All others stay; a new
/// table is empty.
pub type Changes<K, V> = Vec<(K, Option<V>)>;

/// The tunnels that lead to an inside prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The tunnel that packets to there leave by.
    pub carrier: TunnelId,
    /// The other tunnel that packets from there may come by: the peer need not
    /// choose the one that we do.
    pub standby: Option<TunnelId>,
}

impl From<TunnelId> for NextHop {
    /// One tunnel and no other.
    fn from(carrier: TunnelId) -> Self {
        Self {
            carrier,
            standby: None,
        }
    }
}

impl NextHop {
    /// Whether packets from there may come by this tunnel.
    #[must_use]
    pub fn is_by(self, tunnel: TunnelId) -> bool {
        self.carrier == tunnel || self.standby == Some(tunnel)
    }
}

/// An inside address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsideAddress {
    /// Ours.
    pub ours: IpAddr,
    /// That of the tunnel's other end.
    pub peer: IpAddr,
    /// The tunnel, as the carrier, and the other one of its connection.
    pub tunnels: NextHop,
}
