//! Kernel features that move more than one packet at once.

/// Kernel features beyond one packet a call. In a configuration they say what
/// may be used; from a running data plane, what is in use. Each can be missing
/// without the others, except that the TUN's offloads need its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// A header before each packet of the TUN device (`IFF_VNET_HDR`), which
    /// the other TUN offloads and joined writes need.
    pub tun_vnet_header: bool,
    /// TCP super-packets from the TUN device (`TUN_F_TSO4`, `TUN_F_TSO6`) and to it.
    pub tun_tso: bool,
    /// The same of UDP (`TUN_F_USO4`, `TUN_F_USO6`; Linux 6.2).
    pub tun_uso: bool,
    /// A queue of the TUN device for each worker (`IFF_MULTI_QUEUE`).
    pub tun_multi_queue: bool,
    /// Several ESP packets in one send (`UDP_SEGMENT`; Linux 4.18).
    pub udp_gso: bool,
    /// Several ESP packets in one receive (`UDP_GRO`; Linux 5.0).
    pub udp_gro: bool,
}

impl Features {
    /// Everything.
    pub const ALL: Self = Self {
        tun_vnet_header: true,
        tun_tso: true,
        tun_uso: true,
        tun_multi_queue: true,
        udp_gso: true,
        udp_gro: true,
    };

    /// Nothing: one packet a call.
    pub const NONE: Self = Self {
        tun_vnet_header: false,
        tun_tso: false,
        tun_uso: false,
        tun_multi_queue: false,
        udp_gso: false,
        udp_gro: false,
    };
}

impl Default for Features {
    fn default() -> Self {
        Self::ALL
    }
}
