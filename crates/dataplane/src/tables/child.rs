//! The two halves of a CHILD SA, as the workers hold them.

use std::sync::Arc;

use vgw_esp::{InboundSa, OutboundSa};
use vgw_sa::TunnelId;

use crate::tables::counters::{Count, Traffic};
use crate::tables::sender_lease::SenderLease;
use crate::tables::traffic_selectors::Selectors;

/// The receiving half of a CHILD SA.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) spi: u32,
    pub(crate) tunnel: TunnelId,
    pub(crate) sa: InboundSa,
    pub(crate) selectors: Arc<Selectors>,
    pub(crate) child: Arc<Traffic>,
    pub(crate) tunnel_traffic: Arc<Traffic>,
    /// Highest sequence number accepted, for [`crate::SeenPath`].
    pub(crate) newest: Count,
}

impl Inbound {
    /// Counts authentic packets for the SA and its tunnel.
    pub(crate) fn count(&self, packets: usize, bytes: usize) {
        self.child.inbound.add(packets, bytes);
        self.tunnel_traffic.inbound.add(packets, bytes);
    }
}

/// The sending half of a CHILD SA.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) spi_in: u32,
    pub(crate) tunnel: TunnelId,
    pub(crate) sa: OutboundSa,
    /// Who sends for the tunnel.
    pub(crate) lease: Arc<SenderLease>,
    pub(crate) selectors: Arc<Selectors>,
    pub(crate) child: Arc<Traffic>,
    pub(crate) tunnel_traffic: Arc<Traffic>,
}

impl Outbound {
    /// Counts sent packets for the SA and its tunnel.
    pub(crate) fn count(&self, packets: usize, bytes: usize) {
        self.child.outbound.add(packets, bytes);
        self.tunnel_traffic.outbound.add(packets, bytes);
    }
}
