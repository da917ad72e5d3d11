//! The tables as a worker sees them, to ask what it would do with a packet.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use vgw_sa::{GatewayId, Inside, NextHop, TunnelId};

use crate::packet::inner::InnerPacket;
use crate::tables::counters::DropReason;
use crate::tables::{GatewayTables, Tables};

/// Looks packets up as the workers do and sees what they see, but changes and
/// counts nothing. Each thread has its own.
#[derive(Clone)]
pub struct Lookup<'a>(Cache<&'a ArcSwap<Tables>, Arc<Tables>>);

impl std::fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(tables: &'a ArcSwap<Tables>) -> Self {
        Self(Cache::new(tables))
    }

    /// The tunnel that receives with this SPI, if any does.
    #[must_use]
    pub fn inbound(&mut self, spi: u32) -> Option<TunnelId> {
        let slot = self.0.load().inbound(spi)?;
        Some(slot.inbound.tunnel)
    }

    /// The tunnels that lead to an inside address.
    #[must_use]
    pub fn next_hop(&mut self, destination: Inside<IpAddr>) -> Option<NextHop> {
        self.0.load().next_hop(destination)
    }

    /// Whether packets may go from one tunnel of a gateway into another.
    #[must_use]
    pub fn site_to_site(&mut self, gateway: GatewayId) -> bool {
        let gateway = self.0.load().gateway(gateway);
        gateway.is_some_and(GatewayTables::site_to_site)
    }

    /// The tunnel by which a packet from inside a gateway leaves.
    ///
    /// # Errors
    ///
    /// Why it would be dropped.
    pub fn outbound(
        &mut self,
        gateway: GatewayId,
        packet: &InnerPacket<'_>,
    ) -> Result<TunnelId, DropReason> {
        let egress = self.0.load().egress_for(gateway, packet)?;
        Ok(egress.outbound.tunnel)
    }
}
