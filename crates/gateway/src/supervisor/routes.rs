//! The forwarding tables, the kernel's routes and the tunnels' policies: they follow from the
//! configuration and from which tunnels carry.
//!
//! A prefix keeps leading to its connection's carrier, and the kernel keeps
//! leading it to the TUN device, while both tunnels are down. Its packets are
//! then dropped and counted; they never leave in clear by another route. (AWS
//! does not withdraw a propagated static route on a failure either.)

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use vgw_sa::{GatewayId, HostService, Inside, InsideAddress, NextHop, TunnelId, TunnelPolicy};

use super::selection::TunnelIndex;
use super::tracked_map::TrackedMap;
use crate::domain::{Connection, Gateway, Tunnel};

/// A connection with its tunnels' ids and the tunnel that carries.
#[derive(Clone, Copy)]
pub(super) struct RoutedConnection<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) connection: &'a Connection,
    pub(super) tunnels: [TunnelId; 2],
    pub(super) carrier: TunnelIndex,
}

impl RoutedConnection<'_> {
    fn hop(self) -> NextHop {
        next_hop(self.tunnels, self.carrier)
    }

    /// Its tunnels with their index and id.
    fn each(&self) -> impl Iterator<Item = (TunnelIndex, TunnelId, &Tunnel)> {
        TunnelIndex::BOTH.into_iter().map(|which| {
            let tunnel = which.of(&self.connection.tunnels);
            (which, *which.of(&self.tunnels), tunnel)
        })
    }
}

/// What leads to the networks behind the peer.
pub(super) const fn next_hop(tunnels: [TunnelId; 2], carrier: TunnelIndex) -> NextHop {
    NextHop {
        carrier: *carrier.of(&tunnels),
        standby: Some(*carrier.other().of(&tunnels)),
    }
}

/// The tables as the data plane and the kernel are to have them. The rules give no two
/// connections of a gateway an entry in common, but by a change one may take over what
/// another had: so removed entries are taken out before new ones are put in.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// How the packets of each tunnel are treated.
    pub(super) policies: TrackedMap<TunnelId, TunnelPolicy>,
    pub(super) services: TrackedMap<GatewayId, Vec<HostService>>,
    /// Our inside addresses, each with its tunnel and its other end.
    pub(super) inside: TrackedMap<Inside<IpAddr>, InsideAddress>,
    pub(super) cloudhub: TrackedMap<GatewayId, bool>,
    /// Our inside addresses, with the length of their /30.
    pub(super) inside_addresses: TrackedMap<Inside<(IpAddr, u8)>, ()>,
    /// Where decrypted packets may go: behind us, or to an inside address of ours.
    pub(super) local_prefixes: TrackedMap<Inside<IpNet>, ()>,
    /// The networks behind the peer by the carrier, and each peer's inside address by
    /// its own tunnel, whether that carries or not.
    pub(super) forwarding: TrackedMap<Inside<IpNet>, NextHop>,
    /// What lies behind any peer.
    pub(super) kernel_routes: TrackedMap<Inside<IpNet>, ()>,
}

impl Tables {
    /// Takes over the gateway's own options.
    pub(super) fn set_gateway(&mut self, old: &Gateway, new: &Gateway) {
        self.services.set(new.id, new.host_services.clone());
        self.cloudhub.set(new.id, new.cloudhub);
        for cidr in &old.cidrs {
            self.local_prefixes.remove(&old.id.inside(cidr.trunc()));
        }
        for cidr in &new.cidrs {
            self.local_prefixes.set(new.id.inside(cidr.trunc()), ());
        }
    }

    /// Adds a connection's entries.
    pub(super) fn add(&mut self, one: RoutedConnection<'_>) {
        let RoutedConnection {
            gateway,
            connection,
            tunnels,
            ..
        } = one;
        for (which, id, tunnel) in one.each() {
            let (ours, peer) = gateway.inside_addresses(tunnel);
            let [ours, peer] = [ours, peer].map(IpAddr::V4);
            let inside = InsideAddress {
                ours,
                peer,
                tunnels: next_hop(tunnels, which),
            };
            let length = Ipv4Net::prefix_len(&tunnel.inside_cidr);
            self.policies.set(id, policy(gateway, connection, tunnel));
            self.inside.set(gateway.id.inside(ours), inside);
            let with_length = gateway.id.inside((ours, length));
            self.inside_addresses.set(with_length, ());
            self.local_prefixes.set(gateway.id.inside(ours.into()), ());
            let hop = NextHop {
                carrier: id,
                standby: None,
            };
            self.forwarding.set(gateway.id.inside(peer.into()), hop);
        }
        for prefix in gateway.remote_prefixes(connection) {
            let prefix = gateway.id.inside(prefix.trunc());
            self.forwarding.set(prefix, one.hop());
            self.kernel_routes.set(prefix, ());
        }
    }

    /// Removes a connection's entries; it must be as it was when they were added.
    pub(super) fn remove(&mut self, one: RoutedConnection<'_>) {
        let gateway = one.gateway;
        for (_, id, tunnel) in one.each() {
            let (ours, peer) = gateway.inside_addresses(tunnel);
            let [ours, peer] = [ours, peer].map(IpAddr::V4);
            let length = Ipv4Net::prefix_len(&tunnel.inside_cidr);
            self.policies.remove(&id);
            self.inside.remove(&gateway.id.inside(ours));
            let with_length = gateway.id.inside((ours, length));
            self.inside_addresses.remove(&with_length);
            self.local_prefixes.remove(&gateway.id.inside(ours.into()));
            self.forwarding.remove(&gateway.id.inside(peer.into()));
        }
        for prefix in gateway.remote_prefixes(one.connection) {
            let prefix = gateway.id.inside(prefix.trunc());
            self.forwarding.remove(&prefix);
            self.kernel_routes.remove(&prefix);
        }
    }

    /// The networks behind a gateway's peers that have an address between these two of one
    /// family, each with what leads there. How many there are elsewhere does not matter.
    pub(super) fn between(
        &self,
        gateway: GatewayId,
        first: IpAddr,
        last: IpAddr,
    ) -> impl Iterator<Item = (IpNet, NextHop)> {
        let one = IpNet::from(first);
        let around = (0..one.max_prefix_len()).filter_map(move |length| {
            let net = IpNet::new(first, length).ok()?.trunc();
            // Prefixes that begin at `first` are found by the range below.
            (net.addr() != first).then_some(net)
        });
        let around = around.map(move |net| gateway.inside(net));
        let around = around.filter(|net| self.kernel_routes.get(net).is_some());
        let from = IpNet::new(first, 0).unwrap_or(one);
        let within = gateway.inside(from)..=gateway.inside(last.into());
        let within = self.kernel_routes.range(within);
        let nets = around.chain(within.map(|(net, ())| *net));
        nets.filter_map(|net| Some((net.at, *self.forwarding.get(&net)?)))
    }

    /// Leads these prefixes of its gateway to another next hop.
    pub(super) fn lead(&mut self, prefixes: &[IpNet], hop: NextHop) {
        let gateway = hop.carrier.gateway;
        for prefix in prefixes {
            self.forwarding.set(gateway.inside(prefix.trunc()), hop);
        }
    }
}

fn policy(gateway: &Gateway, connection: &Connection, tunnel: &Tunnel) -> TunnelPolicy {
    const BITS_PER_MEGABIT: u64 = 1_000_000;
    let limit = tunnel.bandwidth_limit_mbps.map(u64::from);
    TunnelPolicy {
        outside_mtu: gateway.outside_mtu,
        df_policy: tunnel.df_policy,
        copy_dscp: tunnel.copy_dscp,
        bandwidth_limit: limit.map(|mbps| mbps * BITS_PER_MEGABIT),
        source_check: connection.source_check,
    }
}

#[cfg(test)]
mod tests {
    use vgw_sa::{GatewayId, NextHop};

    use super::Tables;

    #[test]
    fn a_prefix_of_two_gateways_leads_each_to_its_own_tunnel() {
        let mut tables = Tables::default();
        let [one, other] = [GatewayId(0), GatewayId(1)];
        let hops = [one, other].map(|gateway| NextHop::from(gateway.tunnel(gateway.0.into())));
        let net = "10.1.0.0/16".parse().unwrap();
        for hop in hops {
            tables.lead(&[net], hop);
            tables
                .kernel_routes
                .set(hop.carrier.gateway.inside(net), ());
        }
        let behind = |gateway| {
            let [first, last] = ["10.1.2.0", "10.9.0.0"].map(|at| at.parse().unwrap());
            tables.between(gateway, first, last).collect::<Vec<_>>()
        };
        assert_eq!([one, other].map(behind), hops.map(|hop| vec![(net, hop)]));
        assert_eq!(behind(GatewayId(2)), []);
    }
}
