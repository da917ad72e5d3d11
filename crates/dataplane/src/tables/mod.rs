//! What the workers look packets up in. Everything here is immutable once
//! published; a change makes new tables, which share what did not change.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use arc_swap::{ArcSwap, Cache};
use ipnet::IpNet;
use socket2::SockAddr;
use ts_bart::{RoutingTable, Table};
use vgw_esp::{InboundSa, Layout, OutboundSa};

use crate::links::outside_link::OutsideLink;
use crate::packet::inner::InnerPacket;
use crate::packet::mtu::{Family, mtu_of};
use crate::tables::counters::{Count, DropReason, Traffic};
use crate::tables::host::{HostServices, InsideAddress};
use crate::tables::lease::Lease;
use crate::tables::rate::RateLimit;
use crate::tables::selector::Selectors;
use crate::tables::settings::{DfPolicy, TunnelSettings};

mod chunks;
pub(crate) mod counters;
pub(crate) mod host;
pub(crate) mod lease;
pub(crate) mod lookup;
pub(crate) mod paths;
pub(crate) mod rate;
pub(crate) mod selector;
pub(crate) mod settings;
pub(crate) mod strays;

use chunks::Chunks;

/// Low bits of an inbound SPI that are its slot in the SA table.
pub const SLOT_BITS: u32 = 18;

/// The slot of an inbound SPI.
fn slot_of(spi: u32) -> Option<usize> {
    usize::try_from(spi & ((1 << SLOT_BITS) - 1)).ok()
}

/// The receiving half of a CHILD SA.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) spi: u32,
    pub(crate) tunnel: u32,
    pub(crate) sa: InboundSa,
    pub(crate) selectors: Arc<Selectors>,
    pub(crate) child: Arc<Traffic>,
    pub(crate) tunnel_traffic: Arc<Traffic>,
    /// Highest sequence number accepted, for [`crate::SeenPath`].
    pub(crate) newest: Count,
}

impl Inbound {
    /// Counts what was authentic, for its SA and its tunnel.
    pub(crate) fn count(&self, packets: usize, bytes: usize) {
        self.child.inbound.add(packets, bytes);
        self.tunnel_traffic.inbound.add(packets, bytes);
    }
}

/// How a tunnel's packets are treated. A change replaces it.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) settings: TunnelSettings,
    pub(crate) limit_in: Option<RateLimit>,
    pub(crate) limit_out: Option<RateLimit>,
}

impl Policy {
    pub(crate) fn new(settings: TunnelSettings) -> Self {
        Self {
            settings,
            limit_in: settings.rate_limit.map(RateLimit::new),
            limit_out: settings.rate_limit.map(RateLimit::new),
        }
    }
}

/// The sending half of a CHILD SA.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) spi_in: u32,
    pub(crate) tunnel: u32,
    pub(crate) sa: OutboundSa,
    /// Who sends for the tunnel.
    pub(crate) lease: Arc<Lease>,
    pub(crate) selectors: Arc<Selectors>,
    pub(crate) child: Arc<Traffic>,
    pub(crate) tunnel_traffic: Arc<Traffic>,
}

impl Outbound {
    /// Counts what was sent, for its SA and its tunnel.
    pub(crate) fn count(&self, packets: usize, bytes: usize) {
        self.child.outbound.add(packets, bytes);
        self.tunnel_traffic.outbound.add(packets, bytes);
    }
}

/// A path, resolved to one of our outside addresses.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Index of the outside address.
    pub(crate) outside: usize,
    pub(crate) udp_encapsulation: bool,
    /// Where the peer's packets are expected to come from.
    pub(crate) remote: SocketAddr,
    /// Where packets go, as the socket takes it.
    pub(crate) to: SockAddr,
    /// The link that they leave by, if it is known.
    pub(crate) link: Option<OutsideLink>,
}

/// What decides by which link packets leave: the index of our outside address,
/// and the peer's.
pub(crate) type Ends = (usize, IpAddr);

/// A path with what depends on it and on the tunnel's policy.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) route: Route,
    pub(crate) policy: Arc<Policy>,
    /// The largest outer packet that goes whole, octets: the least of what the
    /// settings, the link and the route say.
    pub(crate) outside_mtu: usize,
    /// The largest inner packet whose outer packet is not fragmented, octets.
    pub(crate) mtu: usize,
}

impl Lane {
    pub(crate) fn new(route: Route, policy: Arc<Policy>, layout: Layout) -> Self {
        let family = Family::of(route.remote.ip());
        let link = route.link.as_ref().map_or(usize::MAX, |link| link.mtu);
        let outside_mtu = link.min(usize::from(policy.settings.link_mtu));
        let mtu = mtu_of(layout, route.udp_encapsulation, family, outside_mtu);
        Self {
            route,
            policy,
            outside_mtu,
            mtu,
        }
    }

    /// The largest size, octets, of a packet that must not be fragmented: of IPv4
    /// with DF and of IPv6, where such wishes are honored. None of any other packet,
    /// which may travel in outer fragments.
    ///
    /// IPv6 links carry 1,280 octets at least, if need be in fragments of their own,
    /// and senders need not heed who says less (RFC 8200 section 5, RFC 8201
    /// section 4).
    pub(crate) fn size_limit(&self, packet: &[u8]) -> Option<usize> {
        const DF: u8 = 0x40;
        const IPV6_MINIMUM: usize = 1280;
        if self.policy.settings.df == DfPolicy::Ignore {
            return None;
        }
        match packet {
            [first, _, _, _, _, _, flags, ..] if first >> 4 == 4 => {
                (flags & DF != 0).then_some(self.mtu)
            }
            _ => Some(self.mtu.max(IPV6_MINIMUM)),
        }
    }
}

impl Route {
    pub(crate) fn new(
        outside: usize,
        remote: SocketAddr,
        udp_encapsulation: bool,
        link: Option<OutsideLink>,
    ) -> Self {
        // A raw socket takes the port for a protocol number.
        let port = if udp_encapsulation { remote.port() } else { 0 };
        let remote = SocketAddr::new(remote.ip(), port);
        Self {
            outside,
            udp_encapsulation,
            remote,
            to: remote.into(),
            link,
        }
    }

    pub(crate) const fn ends(&self) -> Ends {
        (self.outside, self.remote.ip())
    }
}

/// An entry of the inbound SA table.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) lane: Lane,
}

/// A way out of a tunnel.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) lane: Lane,
    pub(crate) uncut: Uncut,
}

/// What the kernel has refused to cut from one message, where a link on the way is
/// smaller than was believed. It is tried anew with the next SA, path or policy.
#[derive(Debug, Default)]
pub(crate) struct Uncut(AtomicU16);

impl Uncut {
    /// Remembers that datagrams of this size were refused.
    pub(crate) fn refuse(&self, segment: u16) {
        let smaller = |known| (known == 0 || segment < known).then_some(segment);
        // An error says that a smaller one is known.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller);
    }

    /// Datagrams up to this size have not been refused, octets.
    pub(crate) fn limit(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => usize::MAX,
            refused => usize::from(refused - 1),
        }
    }
}

/// What leads to an inside prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The tunnel that packets to there leave by.
    pub carrier: u32,
    /// The other tunnel that packets from there may come by: the peer need not
    /// choose the one that we do.
    pub standby: Option<u32>,
}

impl From<u32> for NextHop {
    /// One tunnel and no other.
    fn from(carrier: u32) -> Self {
        Self {
            carrier,
            standby: None,
        }
    }
}

impl NextHop {
    const fn is_by(self, tunnel: u32) -> bool {
        if self.carrier == tunnel {
            return true;
        }
        matches!(self.standby, Some(standby) if standby == tunnel)
    }
}

/// A worker's own hold on the newest tables.
pub(crate) type TableCache<'a> = Cache<&'a ArcSwap<Tables>, Arc<Tables>>;

/// Whether a packet to this address is for whoever is on the link, so that on the TUN
/// link it can only be the host's own, also where all of the Internet is behind us.
/// IPv4's link-local addresses are not among them: tunnels have theirs inside.
const fn stays_on_link(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

/// Entries of a table as they are to be; None is to be no more, and what is not named
/// stays.
pub type Changes<K, V> = Vec<(K, Option<V>)>;

/// All that a worker needs to know.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    slots: Chunks<Option<Slot>>,
    /// By tunnel number; the newest SA first. What waits to be sent keeps its entry,
    /// whatever becomes of the tables.
    tunnels: Chunks<Vec<Arc<Egress>>>,
    fib: Arc<Table<NextHop>>,
    local: Arc<Table<()>>,
    /// What the kernel delivers to the host itself. While it is not known, that
    /// may be any local destination.
    host: Option<Arc<Table<()>>>,
    inside: Arc<Table<InsideAddress>>,
    services: Arc<HostServices>,
    site_to_site: bool,
}

/// Whose a destination of decrypted packets is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// That of a network behind us.
    Behind,
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

    /// Whose this destination is. A host that is open for everything is as if it
    /// stood behind us, but for the inside addresses.
    pub(crate) fn reach(&self, destination: IpAddr) -> Reach {
        if !self.is_local(destination) {
            return Reach::Elsewhere;
        }
        let host = || {
            let known = self.host.as_ref();
            known.is_none_or(|host| host.contains(destination)) || stays_on_link(destination)
        };
        let closed = *self.services != HostServices::All && host();
        if closed || self.inside.contains(destination) {
            Reach::Host
        } else {
            Reach::Behind
        }
    }

    /// Whether what came out of this tunnel for the host is delivered. Inside
    /// addresses are for their own connection.
    pub(crate) fn host_admits(&self, tunnel: u32, packet: &InnerPacket<'_>) -> bool {
        match self.inside.lookup(packet.destination()) {
            Some(inside) if !inside.tunnels.is_by(tunnel) => false,
            inside => {
                let own = inside.filter(|inside| inside.tunnels.carrier == tunnel);
                self.services.admit(packet, own)
            }
        }
    }

    /// Whether what this tunnel's peer sends may have this source: the reverse
    /// path to it leads through the tunnel or its standby (RFC 3704 section 2.3),
    /// and it is no address of ours. Whom a default route leads to may have any
    /// source but these.
    pub(crate) fn is_routed_to(&self, source: IpAddr, tunnel: u32) -> bool {
        let hop = self.fib.lookup(source);
        hop.is_some_and(|hop| hop.is_by(tunnel)) && !self.is_local(source)
    }

    /// What leads to an inside address.
    pub(crate) fn next_hop(&self, destination: IpAddr) -> Option<NextHop> {
        self.fib.lookup(destination).copied()
    }

    /// By which SA a packet leaves, or why it does not.
    pub(crate) fn way_out(&self, packet: &InnerPacket<'_>) -> Result<&Arc<Egress>, DropReason> {
        let destination = packet.destination();
        let Some(hop) = self.fib.lookup(destination) else {
            return Err(if stays_on_link(destination) {
                DropReason::LinkLocal
            } else {
                DropReason::NoRoute
            });
        };
        let ways = self.egresses(hop.carrier);
        if ways.is_empty() {
            return Err(DropReason::NoSa);
        }
        ways.iter()
            .find(|way| way.outbound.selectors.admit_outbound(packet))
            .ok_or(DropReason::OutsideSelectors)
    }

    fn egresses(&self, tunnel: u32) -> &[Arc<Egress>] {
        usize::try_from(tunnel)
            .ok()
            .and_then(|tunnel| self.tunnels.get(tunnel))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether what came out of one tunnel may go into another.
    pub(crate) const fn site_to_site(&self) -> bool {
        self.site_to_site
    }

    pub(crate) fn set_site_to_site(&mut self, allowed: bool) {
        self.site_to_site = allowed;
    }

    /// The largest inner packet that the tunnel carries unfragmented, if it has
    /// an SA to send with.
    pub(crate) fn mtu(&self, tunnel: u32) -> Option<usize> {
        self.egresses(tunnel).first().map(|way| way.lane.mtu)
    }

    /// The largest outer packet of the tunnel that goes whole, if it has an SA to
    /// send with.
    pub(crate) fn outside_mtu(&self, tunnel: u32) -> Option<usize> {
        let first = self.egresses(tunnel).first();
        first.map(|way| way.lane.outside_mtu)
    }

    /// Puts an SA into its slot. Gives back the SPI of the one that has it already.
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
    pub(crate) fn use_outbound(&mut self, tunnel: u32, egress: Egress) {
        if let Ok(tunnel) = usize::try_from(tunnel) {
            self.tunnels.grow_to(tunnel);
        }
        if let Some(ways) = self.ways_of(tunnel) {
            ways.retain(|way| way.outbound.selectors != egress.outbound.selectors);
            ways.insert(0, Arc::new(egress));
        }
    }

    /// Takes out both halves of the CHILD SA with this inbound SPI.
    pub(crate) fn remove_child(&mut self, tunnel: u32, spi_in: u32) {
        if self.inbound(spi_in).is_some()
            && let Some(slot) = slot_of(spi_in).and_then(|slot| self.slots.get_mut(slot))
        {
            *slot = None;
        }
        self.stop_outbound(tunnel, spi_in);
    }

    /// Takes out the sending half of the CHILD SA with this inbound SPI.
    pub(crate) fn stop_outbound(&mut self, tunnel: u32, spi_in: u32) {
        if let Some(ways) = self.ways_of(tunnel) {
            ways.retain(|way| way.outbound.spi_in != spi_in);
        }
    }

    /// Leads every SA of a tunnel along another route, or treats its packets by
    /// another policy.
    /// `spis` are the inbound SPIs of its SAs.
    pub(crate) fn set_lane(
        &mut self,
        tunnel: u32,
        spis: impl IntoIterator<Item = u32>,
        route: Option<&Route>,
        policy: &Arc<Policy>,
    ) {
        let lane = |old: &Lane, layout| {
            let route = route.unwrap_or(&old.route).clone();
            Lane::new(route, Arc::clone(policy), layout)
        };
        for index in spis.into_iter().filter_map(slot_of) {
            if let Some(Some(slot)) = self.slots.get_mut(index) {
                slot.lane = lane(&slot.lane, slot.inbound.sa.layout());
            }
        }
        for way in self.ways_of(tunnel).into_iter().flatten() {
            let lane = lane(&way.lane, way.outbound.sa.layout());
            let outbound = Arc::clone(&way.outbound);
            let uncut = Uncut::default();
            *way = Arc::new(Egress {
                outbound,
                lane,
                uncut,
            });
        }
    }

    /// Has the packets between these ends leave by other links.
    pub(crate) fn set_links(&mut self, links: &BTreeMap<Ends, OutsideLink>) {
        let affected = |lane: &Lane| links.contains_key(&lane.route.ends());
        let relinked = |lane: &Lane, layout| {
            let mut route = lane.route.clone();
            route.link = links.get(&route.ends()).cloned();
            Lane::new(route, Arc::clone(&lane.policy), layout)
        };
        // Looked for first, as what is only looked at is not copied.
        let slots = self.slots.iter().enumerate();
        let slots = slots.filter(|(_, slot)| slot.as_ref().is_some_and(|s| affected(&s.lane)));
        for index in slots.map(|(index, _)| index).collect::<Vec<_>>() {
            if let Some(Some(slot)) = self.slots.get_mut(index) {
                slot.lane = relinked(&slot.lane, slot.inbound.sa.layout());
            }
        }
        let tunnels = self.tunnels.iter().enumerate();
        let tunnels = tunnels.filter(|(_, ways)| ways.iter().any(|way| affected(&way.lane)));
        for index in tunnels.map(|(index, _)| index).collect::<Vec<_>>() {
            let ways = self.tunnels.get_mut(index).into_iter().flatten();
            for way in ways.filter(|way| affected(&way.lane)) {
                let lane = relinked(&way.lane, way.outbound.sa.layout());
                let outbound = Arc::clone(&way.outbound);
                let uncut = Uncut::default();
                *way = Arc::new(Egress {
                    outbound,
                    lane,
                    uncut,
                });
            }
        }
    }

    /// A tunnel's ways, to be changed, if it ever had any.
    fn ways_of(&mut self, tunnel: u32) -> Option<&mut Vec<Arc<Egress>>> {
        self.tunnels.get_mut(usize::try_from(tunnel).ok()?)
    }

    /// Replaces the forwarding table.
    pub(crate) fn set_forwarding(&mut self, routes: impl IntoIterator<Item = (IpNet, NextHop)>) {
        let mut fib = Table::default();
        for (prefix, hop) in routes {
            fib.insert(prefix.trunc(), hop);
        }
        self.fib = Arc::new(fib);
    }

    /// Replaces what the kernel delivers to the host itself.
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

/// The table is copied as a whole, which is cheap beside building it anew.
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
