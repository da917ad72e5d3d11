//! What the workers know of one gateway: everything that depends on its VPC. Another gateway
//! may have the same prefixes and addresses.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ts_bart::RoutingTable;
use vgw_sa::{GatewayId, InsideAddress, NextHop, TunnelId};

use super::prefix_trie::Table;
use crate::packet::inner::InnerPacket;
use crate::tables::host_firewall::HostServices;

/// Whether a packet to this address stays on its link. On the TUN link it can then only
/// be the host's own, even where all of the Internet is behind us. IPv4's link-local
/// addresses are not among them, as they are the inside addresses of tunnels.
pub(super) const fn stays_on_link(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

/// The tunnels that lead to a prefix, by number: no route leads to another gateway's.
#[derive(Clone, Copy)]
struct Hop {
    carrier: u32,
    standby: Option<u32>,
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

/// The tables of one gateway.
#[derive(Clone)]
pub(crate) struct GatewayTables {
    id: GatewayId,
    fib: Arc<Table<Hop>>,
    local: Arc<Table<()>>,
    /// The prefixes that the kernel delivers to the host itself. While they are
    /// not known, any local destination may be the host's.
    host: Option<Arc<Table<()>>>,
    inside: Arc<Table<InsideAddress>>,
    services: Arc<HostServices>,
    site_to_site: bool,
}

impl GatewayTables {
    /// Those of a gateway of which nothing is known.
    pub(super) fn new(id: GatewayId) -> Self {
        Self {
            id,
            fib: Arc::default(),
            local: Arc::default(),
            host: None,
            inside: Arc::default(),
            services: Arc::default(),
            site_to_site: false,
        }
    }

    /// Whether decrypted packets may go to this address.
    pub(super) fn is_local(&self, destination: IpAddr) -> bool {
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
        let hop = self.next_hop(source);
        hop.is_some_and(|hop| hop.is_by(tunnel)) && !self.is_local(source)
    }

    /// The tunnels that lead to an inside address.
    pub(crate) fn next_hop(&self, destination: IpAddr) -> Option<NextHop> {
        let Hop { carrier, standby } = *self.fib.lookup(destination)?;
        Some(NextHop {
            carrier: self.id.tunnel(carrier),
            standby: standby.map(|standby| self.id.tunnel(standby)),
        })
    }

    /// Whether packets may go from one tunnel into another.
    pub(crate) const fn site_to_site(&self) -> bool {
        self.site_to_site
    }

    pub(crate) fn set_site_to_site(&mut self, allowed: bool) {
        self.site_to_site = allowed;
    }

    /// Replaces the forwarding table.
    pub(crate) fn set_forwarding(&mut self, routes: impl IntoIterator<Item = (IpNet, NextHop)>) {
        self.fib = Arc::default();
        for (prefix, hop) in routes {
            self.set_route(prefix, Some(hop));
        }
    }

    /// Changes an entry of the forwarding table.
    pub(crate) fn set_route(&mut self, prefix: IpNet, hop: Option<NextHop>) {
        let hop = hop.map(|NextHop { carrier, standby }| Hop {
            carrier: carrier.number,
            standby: standby.map(|standby| standby.number),
        });
        set(&mut self.fib, prefix, hop);
    }

    /// Replaces the prefixes that the kernel delivers to the host itself.
    pub(crate) fn set_host_addresses(&mut self, prefixes: impl IntoIterator<Item = IpNet>) {
        self.host = Some(set_of(prefixes));
    }

    /// Replaces the services that the host has open.
    pub(crate) fn set_host_services(&mut self, services: HostServices) {
        self.services = Arc::new(services);
    }

    /// Changes one of our inside addresses.
    pub(crate) fn set_inside_address(&mut self, ours: IpAddr, entry: Option<InsideAddress>) {
        set(&mut self.inside, ours.into(), entry);
    }

    /// Changes one of the prefixes that decrypted packets may go to.
    pub(crate) fn set_local_prefix(&mut self, prefix: IpNet, entry: Option<()>) {
        set(&mut self.local, prefix, entry);
    }

    /// Replaces the prefixes that decrypted packets may go to.
    pub(crate) fn set_local_prefixes(&mut self, prefixes: impl IntoIterator<Item = IpNet>) {
        self.local = set_of(prefixes);
    }
}

/// Changes an entry of our copy of a table; the copies that others have stay as they are.
fn set<T: Clone + 'static>(table: &mut Arc<Table<T>>, prefix: IpNet, entry: Option<T>) {
    let table = Arc::make_mut(table);
    match entry {
        Some(entry) => drop(table.insert(prefix.trunc(), entry)),
        None => drop(table.remove(prefix.trunc())),
    }
}

fn set_of(prefixes: impl IntoIterator<Item = IpNet>) -> Arc<Table<()>> {
    let mut table = Arc::default();
    for prefix in prefixes {
        set(&mut table, prefix, Some(()));
    }
    table
}
