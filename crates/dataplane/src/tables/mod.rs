//! What the workers look packets up in. Everything here is immutable once
//! published; a change makes new tables, which share what did not change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use vgw_sa::{GatewayId, Inside, NextHop, TunnelId};

use crate::links::outside_link::OutsideLink;
use crate::packet::inner::InnerPacket;
use crate::tables::counters::DropReason;

mod child;
mod chunks;
pub(crate) mod counters;
mod egress;
mod gateway;
pub(crate) mod host_firewall;
pub(crate) mod lookup;
pub(crate) mod misplaced;
mod prefix_trie;
pub(crate) mod rate;
pub(crate) mod sample;
pub(crate) mod seen_paths;
pub(crate) mod sender_lease;
pub(crate) mod traffic_selectors;

pub(crate) use child::{Inbound, Outbound};
use chunks::Chunks;
pub(crate) use egress::{Egress, OutsideEnds, Policy, ResolvedPath, TunnelPath};
use gateway::stays_on_link;
pub(crate) use gateway::{DestinationOwner, GatewayTables};

/// The place of an inbound SPI's slot.
fn slot_of(spi: u32) -> Option<usize> {
    usize::try_from(vgw_sa::slot_of(spi)).ok()
}

/// An entry of the inbound SA table.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) tunnel_path: TunnelPath,
}

/// A worker's own hold on the newest tables.
pub(crate) type TableCache<'a> = Cache<&'a ArcSwap<Tables>, Arc<Tables>>;

/// All that a worker needs to know.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    slots: Chunks<Option<Slot>>,
    /// By tunnel number; the newest SA first. Packets that wait to be sent keep
    /// their entry, even if the tables change.
    tunnels: Chunks<Vec<Arc<Egress>>>,
    /// By gateway number.
    gateways: Chunks<Option<GatewayTables>>,
}

impl Tables {
    /// The SA of an inbound SPI: one index and one compare.
    pub(crate) fn inbound(&self, spi: u32) -> Option<&Slot> {
        let slot = self.slots.get(slot_of(spi)?)?.as_ref()?;
        (slot.inbound.spi == spi).then_some(slot)
    }

    /// The tables of a gateway, if anything is known of it.
    pub(crate) fn gateway(&self, id: GatewayId) -> Option<&GatewayTables> {
        self.gateways.get(id.0.into())?.as_ref()
    }

    /// Changes the tables of a gateway.
    pub(crate) fn change_gateway(
        &mut self,
        id: GatewayId,
        change: impl FnOnce(&mut GatewayTables),
    ) {
        let number = id.0.into();
        self.gateways.grow_to(number);
        if let Some(tables) = self.gateways.get_mut(number) {
            change(tables.get_or_insert_with(|| GatewayTables::new(id)));
        }
    }

    /// The tunnels that lead to an inside address.
    pub(crate) fn next_hop(&self, destination: Inside<IpAddr>) -> Option<NextHop> {
        self.gateway(destination.gateway)?.next_hop(destination.at)
    }

    /// By which SA a packet inside a gateway leaves, or why it does not.
    pub(crate) fn egress_for(
        &self,
        gateway: GatewayId,
        packet: &InnerPacket<'_>,
    ) -> Result<&Arc<Egress>, DropReason> {
        let destination = packet.destination();
        let Some(hop) = self.next_hop(gateway.inside(destination)) else {
            return Err(if stays_on_link(destination) {
                DropReason::LinkLocal
            } else {
                DropReason::NoRoute
            });
        };
        let egresses = self.egresses(hop.carrier);
        if egresses.is_empty() {
            return Err(DropReason::NoSa);
        }
        egresses
            .iter()
            .find(|egress| egress.outbound.selectors.admit_outbound(packet))
            .ok_or(DropReason::OutsideSelectors)
    }

    fn egresses(&self, tunnel: TunnelId) -> &[Arc<Egress>] {
        usize::try_from(tunnel.number)
            .ok()
            .and_then(|number| self.tunnels.get(number))
            .filter(|egresses| are_of(egresses, tunnel))
            .map_or(&[], Vec::as_slice)
    }

    /// How many SAs the tunnel sends with before the one with this inbound SPI, if it sends
    /// with that at all.
    pub(crate) fn rank_of_egress(&self, tunnel: TunnelId, spi_in: u32) -> Option<usize> {
        let mut egresses = self.egresses(tunnel).iter();
        egresses.position(|egress| egress.outbound.spi_in == spi_in)
    }

    /// The largest inner packet that the tunnel carries unfragmented, if it has
    /// an SA to send with.
    pub(crate) fn mtu(&self, tunnel: TunnelId) -> Option<usize> {
        self.egresses(tunnel)
            .first()
            .map(|egress| egress.tunnel_path.mtu)
    }

    /// The largest outer packet of the tunnel that is not fragmented, if it has
    /// an SA to send with.
    pub(crate) fn outside_mtu(&self, tunnel: TunnelId) -> Option<usize> {
        let first = self.egresses(tunnel).first();
        first.map(|egress| egress.tunnel_path.outside_mtu)
    }

    /// Puts an SA into its slot. The error is the SPI of the SA that has the slot already.
    pub(crate) fn insert_inbound(&mut self, slot: Slot) -> Result<(), u32> {
        let Some(index) = slot_of(slot.inbound.spi) else {
            return Ok(());
        };
        self.slots.grow_to(index);
        match self.slots.get_mut(index) {
            Some(Some(taken)) => Err(taken.inbound.spi),
            Some(free) => {
                *free = Some(slot);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Sends with this SA before any other of its tunnel, and no more with
    /// those of the same selectors.
    pub(crate) fn use_outbound(&mut self, egress: Egress) {
        let outbound = &egress.outbound;
        let Ok(number) = usize::try_from(outbound.tunnel.number) else {
            return;
        };
        self.tunnels.grow_to(number);
        if let Some(egresses) = self.tunnels.get_mut(number) {
            egresses.retain(|older| {
                older.outbound.tunnel == outbound.tunnel
                    && older.outbound.selectors != outbound.selectors
            });
            egresses.insert(0, Arc::new(egress));
        }
    }

    /// Takes out both halves of the CHILD SA with this inbound SPI.
    pub(crate) fn remove_child(&mut self, tunnel: TunnelId, spi_in: u32) {
        if self.inbound(spi_in).is_some()
            && let Some(slot) = slot_of(spi_in).and_then(|slot| self.slots.get_mut(slot))
        {
            *slot = None;
        }
        self.stop_outbound(tunnel, spi_in);
    }

    /// Takes out the sending half of the CHILD SA with this inbound SPI.
    pub(crate) fn stop_outbound(&mut self, tunnel: TunnelId, spi_in: u32) {
        if let Some(egresses) = self.egresses_mut(tunnel) {
            egresses.retain(|egress| egress.outbound.spi_in != spi_in);
        }
    }

    /// Moves every SA of a tunnel to another path, or treats its packets by
    /// another policy.
    /// `spis` are the inbound SPIs of its SAs.
    pub(crate) fn set_path(
        &mut self,
        tunnel: TunnelId,
        spis: impl IntoIterator<Item = u32>,
        path: Option<&ResolvedPath>,
        policy: &Arc<Policy>,
    ) {
        let tunnel_path = |old: &TunnelPath, layout| {
            let path = path.unwrap_or(&old.path).clone();
            TunnelPath::new(path, Arc::clone(policy), layout)
        };
        for index in spis.into_iter().filter_map(slot_of) {
            if let Some(Some(slot)) = self.slots.get_mut(index) {
                slot.tunnel_path = tunnel_path(&slot.tunnel_path, slot.inbound.sa.layout());
            }
        }
        for egress in self.egresses_mut(tunnel).into_iter().flatten() {
            let tunnel_path = tunnel_path(&egress.tunnel_path, egress.outbound.sa.layout());
            *egress = Arc::new(Egress::new(Arc::clone(&egress.outbound), tunnel_path));
        }
    }

    /// Has the packets between these ends leave by other links.
    pub(crate) fn set_links(&mut self, links: &BTreeMap<OutsideEnds, OutsideLink>) {
        let affected = |tunnel_path: &TunnelPath| links.contains_key(&tunnel_path.path.ends());
        let relinked = |tunnel_path: &TunnelPath, layout| {
            let mut path = tunnel_path.path.clone();
            path.link = links.get(&path.ends()).cloned();
            TunnelPath::new(path, Arc::clone(&tunnel_path.policy), layout)
        };
        // Searched first without changing anything, so that only affected chunks are copied.
        let slots = self.slots.iter().enumerate();
        let slots =
            slots.filter(|(_, slot)| slot.as_ref().is_some_and(|s| affected(&s.tunnel_path)));
        for index in slots.map(|(index, _)| index).collect::<Vec<_>>() {
            if let Some(Some(slot)) = self.slots.get_mut(index) {
                slot.tunnel_path = relinked(&slot.tunnel_path, slot.inbound.sa.layout());
            }
        }
        let tunnels = self.tunnels.iter().enumerate();
        let tunnels = tunnels
            .filter(|(_, egresses)| egresses.iter().any(|egress| affected(&egress.tunnel_path)));
        for index in tunnels.map(|(index, _)| index).collect::<Vec<_>>() {
            let egresses = self.tunnels.get_mut(index).into_iter().flatten();
            for egress in egresses.filter(|egress| affected(&egress.tunnel_path)) {
                let tunnel_path = relinked(&egress.tunnel_path, egress.outbound.sa.layout());
                *egress = Arc::new(Egress::new(Arc::clone(&egress.outbound), tunnel_path));
            }
        }
    }

    /// The egresses of a tunnel, to be changed, if it has any.
    fn egresses_mut(&mut self, tunnel: TunnelId) -> Option<&mut Vec<Arc<Egress>>> {
        let egresses = self.tunnels.get_mut(usize::try_from(tunnel.number).ok()?)?;
        are_of(egresses, tunnel).then_some(egresses)
    }
}

/// Whether these egresses, which have the tunnel's number, are its own. They may be another
/// gateway's: numbers are given again.
fn are_of(egresses: &[Arc<Egress>], tunnel: TunnelId) -> bool {
    let newest = egresses.first();
    newest.is_some_and(|egress| egress.outbound.tunnel == tunnel)
}

#[cfg(test)]
mod tests;
