//! The name of a tunnel.

/// Numbers a tunnel for as long as it is configured; small and dense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u32);
