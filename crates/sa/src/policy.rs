//! How a tunnel's packets are treated.

/// What may differ from tunnel to tunnel beside its SAs and its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelPolicy {
    /// The largest outer packet that the path to the peer carries unfragmented, octets.
    pub outside_mtu: u16,
    /// What becomes of packets that do not fit.
    pub df_policy: DfPolicy,
    /// Whether the outer header has the inner one's DSCP, which tells the network
    /// between the gateways what kind of traffic is inside (RFC 4301 section 5.1.2.1).
    pub copy_dscp: bool,
    /// Bits of inner packets per second that the tunnel carries at most in each
    /// direction; None: no limit.
    pub bandwidth_limit: Option<u64>,
    /// Whether what the peer sends must have a source that a route leads to through the
    /// tunnel.
    pub source_check: bool,
}

impl Default for TunnelPolicy {
    /// Ethernet, senders are told, DSCP stays inside, no limit, sources are checked.
    fn default() -> Self {
        Self {
            outside_mtu: 1500,
            df_policy: DfPolicy::Honor,
            copy_dscp: false,
            bandwidth_limit: None,
            source_check: true,
        }
    }
}

/// What becomes of an inner packet that is too large for a tunnel and whose
/// sender wants no fragments: an IPv4 packet with DF, or any of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DfPolicy {
    /// Its sender is told how large packets may be: "fragmentation needed"
    /// (RFC 1191), or "packet too big" (RFC 8201) for IPv6.
    #[default]
    Honor,
    /// It travels in outer fragments, for networks in which such answers are lost.
    Ignore,
}
