//! What the workers look packets up in. Everything here is immutable once
//! published; a change makes new tables, which share what did not change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use ipnet::IpNet;
use ts_bart::RoutingTable;
use vgw_sa::{Changes, InsideAddress, NextHop, TunnelId};

use crate::links::outside_link::OutsideLink;
use crate::packet::inner::InnerPacket;
use crate::tables::counters::DropReason;
use crate::tables::host_firewall::HostServices;

mod child;
mod chunks;
pub(crate) mod counters;
mod egress;
pub(crate) mod host_firewall;
pub(crate) mod lookup;
pub(crate) mod misplaced;
mod prefix_trie;
pub(crate) mod rate;
pub(crate) mod seen_paths;
pub(crate) mod sender_lease;
pub(crate) mod traffic_selectors;
pub(crate) mod unknown_spis;

pub(crate) use child::{Inbound, Outbound};
use chunks::Chunks;
pub(crate) use egress::{Egress, OutsideEnds, Policy, ResolvedPath, TunnelPath};
use prefix_trie::Table;

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

/// Whether a packet to this address stays on its link. On the TUN link it can then only
/// be the host's own, even where all of the Internet is behind us. IPv4's link-local
/// addresses are not among them, as they are the inside addresses of tunnels.
const fn stays_on_link(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

/// All that a worker needs to know.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    slots: Chunks<Option<Slot>>,
    /// By tunnel number; the newest SA first. Packets that wait to be sent keep
    /// their entry, even if the tables change.
    tunnels: Chunks<Vec<Arc<Egress>>>,
    fib: Arc<Table<NextHop>>,
    local: Arc<Table<()>>,
    /// The prefixes that the kernel delivers to the host itself. While they are
    /// not known, any local destination may be the host's.
    host: Option<Arc<Table<()>>>,
    inside: Arc<Table<InsideAddress>>,
    services: Arc<HostServices>,
    site_to_site: bool,
}

/// Whose a destination of decrypted packets is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DestinationOwner {
    /// That of a network behind us.
    BehindUs,
    /// The host's own.
    Host,
    /// Neither.
    Elsewhere,
}

impl Tables {
    /// The SA of an inbound SPI: one index and one compare.
    pub(crate) fn inbound(&self, spi: u32) -> Option<&Slot> {
        let slot = self.slots.get(slot_of(spi)?)?.as_ref()?;
        (slot.inbound.spi == spi).then_some(slot)
    }

    /// Whether decrypted packets may go to this address.
    fn is_local(&self, destination: IpAddr) -> bool {
        self.local.contains(destination)
    }

    /// Whose this destination is. A host that is open for everything counts as
    /// behind us, except for the inside addresses.
    pub(crate) fn owner_of(&self, destination: IpAddr) -> DestinationOwner {
        if !self.is_local(destination) {
            return DestinationOwner::Elsewhere;
        }
        let host = || {
            let known = self.host.as_ref();
            known.is_none_or(|host| host.contains(destination)) || stays_on_link(destination)
        };
        let closed = *self.services != HostServices::All && host();
        if closed || self.inside.contains(destination) {
            DestinationOwner::Host
        } else {
            DestinationOwner::BehindUs
        }
    }

    /// Whether a packet from this tunnel to the host is delivered. Inside
    /// addresses are for their own connection.
    pub(crate) fn host_admits(&self, tunnel: TunnelId, packet: &InnerPacket<'_>) -> bool {
        match self.inside.lookup(packet.destination()) {
            Some(inside) if !inside.tunnels.is_by(tunnel) => false,
            inside => {
                let own = inside.filter(|inside| inside.tunnels.carrier == tunnel);
                self.services.admit(packet, own)
            }
        }
    }

    /// Whether this tunnel's peer may send from this source: the reverse path
    /// to it leads through the tunnel or its standby (RFC 3704 section 2.3),
    /// and it is not an address of ours. A peer that a default route leads to
    /// may use any other source.
    pub(crate) fn is_routed_to(&self, source: IpAddr, tunnel: TunnelId) -> bool {
        let hop = self.fib.lookup(source);
        hop.is_some_and(|hop| hop.is_by(tunnel)) && !self.is_local(source)
    }

    /// The tunnels that lead to an inside address.
    pub(crate) fn next_hop(&self, destination: IpAddr) -> Option<NextHop> {
        self.fib.lookup(destination).copied()
    }

    /// By which SA a packet leaves, or why it does not.
    pub(crate) fn egress_for(&self, packet: &InnerPacket<'_>) -> Result<&Arc<Egress>, DropReason> {
        let destination = packet.destination();
        let Some(hop) = self.fib.lookup(destination) else {
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
            .and_then(|tunnel| self.tunnels.get(tunnel))
            .map_or(&[], Vec::as_slice)
    }

    /// How many SAs the tunnel sends with before the one with this inbound SPI, if it sends
    /// with that at all.
    pub(crate) fn rank_of_egress(&self, tunnel: TunnelId, spi_in: u32) -> Option<usize> {
        let mut egresses = self.egresses(tunnel).iter();
        egresses.position(|egress| egress.outbound.spi_in == spi_in)
    }

    /// Whether packets may go from one tunnel into another.
    pub(crate) const fn site_to_site(&self) -> bool {
        self.site_to_site
    }

    pub(crate) fn set_site_to_site(&mut self, allowed: bool) {
        self.site_to_site = allowed;
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

    /// Sends with this SA before any other of the tunnel, and no more with
    /// those of the same selectors.
    pub(crate) fn use_outbound(&mut self, tunnel: TunnelId, egress: Egress) {
        if let Ok(tunnel) = usize::try_from(tunnel.number) {
            self.tunnels.grow_to(tunnel);
        }
        if let Some(egresses) = self.egresses_mut(tunnel) {
            egresses.retain(|older| older.outbound.selectors != egress.outbound.selectors);
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

    /// The egresses of a tunnel, to be changed, if it ever had any.
    fn egresses_mut(&mut self, tunnel: TunnelId) -> Option<&mut Vec<Arc<Egress>>> {
        self.tunnels.get_mut(usize::try_from(tunnel.number).ok()?)
    }

    /// Replaces the forwarding table.
    pub(crate) fn set_forwarding(&mut self, routes: impl IntoIterator<Item = (IpNet, NextHop)>) {
        let mut fib = Table::default();
        for (prefix, hop) in routes {
            fib.insert(prefix.trunc(), hop);
        }
        self.fib = Arc::new(fib);
    }

    /// Replaces the prefixes that the kernel delivers to the host itself.
    pub(crate) fn set_host_addresses(&mut self, prefixes: impl IntoIterator<Item = IpNet>) {
        self.host = Some(Arc::new(set_of(prefixes)));
    }

    /// Changes entries of the forwarding table.
    pub(crate) fn change_forwarding(&mut self, changes: Changes<IpNet, NextHop>) {
        change(&mut self.fib, changes);
    }

    /// Replaces the services that the host has open.
    pub(crate) fn set_host_services(&mut self, services: HostServices) {
        self.services = Arc::new(services);
    }

    /// Changes our inside addresses.
    pub(crate) fn change_inside_addresses(&mut self, changes: Changes<IpAddr, InsideAddress>) {
        let changes = changes.into_iter();
        change(
            &mut self.inside,
            changes.map(|(ours, entry)| (ours.into(), entry)),
        );
    }

    /// Changes the prefixes that decrypted packets may go to.
    pub(crate) fn change_local_prefixes(&mut self, changes: Changes<IpNet, ()>) {
        change(&mut self.local, changes);
    }

    /// Replaces the prefixes that decrypted packets may go to.
    pub(crate) fn set_local_prefixes(&mut self, prefixes: impl IntoIterator<Item = IpNet>) {
        self.local = Arc::new(set_of(prefixes));
    }
}

/// Changes our copy of a table; the copies that others have stay as they are.
fn change<T: Clone + 'static>(
    table: &mut Arc<Table<T>>,
    changes: impl IntoIterator<Item = (IpNet, Option<T>)>,
) {
    let table = Arc::make_mut(table);
    for (prefix, entry) in changes {
        match entry {
            Some(entry) => drop(table.insert(prefix.trunc(), entry)),
            None => drop(table.remove(prefix.trunc())),
        }
    }
}

fn set_of(prefixes: impl IntoIterator<Item = IpNet>) -> Table<()> {
    let mut set = Table::default();
    for prefix in prefixes {
        set.insert(prefix.trunc(), ());
    }
    set
}

#[cfg(test)]
mod tests;
