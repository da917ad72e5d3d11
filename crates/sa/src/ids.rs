//! The ids of gateways and tunnels. They are in every key about a tunnel, a route, an address
//! or an SA: gateways share outside addresses, and may have the same prefixes inside.

/// Numbers a gateway for as long as it is configured; small and dense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u16);

impl GatewayId {
    /// One of its tunnels.
    #[must_use]
    pub const fn tunnel(self, number: u32) -> TunnelId {
        TunnelId {
            gateway: self,
            number,
        }
    }

    /// One of its addresses or prefixes inside.
    #[must_use]
    pub const fn inside<T: Copy>(self, at: T) -> Inside<T> {
        Inside { gateway: self, at }
    }
}

/// Names a tunnel for as long as it is configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId {
    /// Whose it is.
    pub gateway: GatewayId,
    /// No other tunnel has it, of no gateway; small and dense.
    pub number: u32,
}

// The packet path copies and compares it.
const _: () = assert!(size_of::<TunnelId>() <= 8);

impl TunnelId {
    /// The first in order.
    pub const MIN: Self = GatewayId(0).tunnel(0);
    /// The last in order.
    pub const MAX: Self = GatewayId(u16::MAX).tunnel(u32::MAX);
}

/// An address or a prefix inside a gateway. At another gateway the same may be somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inside<T> {
    /// The gateway.
    pub gateway: GatewayId,
    /// The address or prefix.
    pub at: T,
}
