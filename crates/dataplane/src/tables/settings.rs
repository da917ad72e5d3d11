//! How a tunnel's packets are treated.

/// What may differ from tunnel to tunnel, beside its SAs and its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelSettings {
    /// The largest outer packet that the way to the peer carries whole, octets.
    pub link_mtu: u16,
    /// What becomes of packets that do not fit.
    pub df: DfPolicy,
    /// Copies the inner packet's DSCP to the outer header, which tells the
    /// network between the gateways what kind of traffic is inside (RFC 4301
    /// section 5.1.2.1).
    pub copy_dscp: bool,
    /// Bits of inner packets per second that the tunnel carries at most, in
    /// each direction.
    pub rate_limit: Option<u64>,
    /// Drops what the peer sends from sources that no route leads to through it.
    pub source_check: bool,
}

/// What becomes of a packet whose sender asked that it not be fragmented, and
/// which is too large for the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DfPolicy {
    /// Its sender is told how large a packet may be: "fragmentation needed"
    /// (RFC 1191), or "packet too big" (RFC 8201) for IPv6.
    Honor,
    /// It travels in outer fragments, for networks in which such answers are lost.
    Ignore,
}

impl Default for TunnelSettings {
    /// Ethernet, senders are told, DSCP stays inside, no limit, sources are checked.
    fn default() -> Self {
        Self {
            link_mtu: 1500,
            df: DfPolicy::Honor,
            copy_dscp: false,
            rate_limit: None,
            source_check: true,
        }
    }
}
