//! What must differ between connections of one gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use vgw_ike::identity::Identity;

use super::{Violations, field, item};
use crate::domain::{Connection, Gateway, Side, Tunnel};

/// Checks what two connections or two tunnels may not share.
pub(super) fn check(violations: &mut Violations, gateway: &Gateway) {
    ids(violations, &gateway.connections);
    routes(violations, gateway);
    tunnels(violations, gateway);
}

fn ids(violations: &mut Violations, connections: &[Connection]) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, connection) in connections.iter().enumerate() {
        let at = *seen.entry(&connection.id).or_insert(index);
        if at != index {
            violations.clash(
                &field(&item("vpn_connection", index), "id"),
                &field(&item("vpn_connection", at), "id"),
                format!("{:?} again", connection.id),
                "a name of its own",
            );
        }
    }
}

/// A prefix, where it stands and whose it is.
struct Routed<'a> {
    place: String,
    connection: &'a str,
    net: IpNet,
}

/// Sites that share prefixes cannot all be reached (AWS: CloudHub sites must
/// not have overlapping ranges).
fn routes(violations: &mut Violations, gateway: &Gateway) {
    let name = match gateway.side {
        Side::VirtualPrivateGateway => "static_routes",
        Side::CustomerGateway => "vpc_cidrs",
    };
    let mut seen: Vec<Routed<'_>> = Vec::new();
    let mut first_with: BTreeMap<IpNet, usize> = BTreeMap::new();
    for (index, connection) in gateway.connections.iter().enumerate() {
        let place = field(&item("vpn_connection", index), name);
        let prefixes = gateway.remote_prefixes(connection);
        for (at, prefix) in prefixes.iter().enumerate() {
            let clash = first_overlap(&first_with, prefix).and_then(|first| seen.get(first));
            if let Some(other) = clash {
                violations.clash(
                    &item(&place, at),
                    &other.place,
                    prefix.to_string(),
                    format!(
                        "no overlap with {} of connection {:?}",
                        other.net, other.connection
                    ),
                );
            }
        }
        for (at, net) in prefixes.iter().enumerate() {
            first_with.entry(net.trunc()).or_insert(seen.len());
            seen.push(Routed {
                place: item(&place, at),
                connection: &connection.id,
                net: *net,
            });
        }
    }
}

/// The least number that stands beside a prefix which overlaps with this one: either
/// holds it, or lies within it.
fn first_overlap(numbers: &BTreeMap<IpNet, usize>, prefix: &IpNet) -> Option<usize> {
    let holding = std::iter::successors(Some(prefix.trunc()), IpNet::supernet);
    let holding = holding.filter_map(|net| numbers.get(&net));
    let last = IpNet::from(prefix.broadcast());
    let within = numbers
        .range(prefix.trunc()..=last)
        .map(|(_, number)| number);
    holding.chain(within).min().copied()
}

/// A tunnel with its connection and its place in the configuration.
struct Placed<'a> {
    place: String,
    connection: &'a Connection,
    tunnel: &'a Tunnel,
}

/// Numbers of tunnels, by where their peer is.
type ByRemote = BTreeMap<Option<IpAddr>, Vec<usize>>;

/// Earlier tunnels, by what a later one may clash about.
#[derive(Default)]
struct Earlier<'a> {
    all: Vec<Placed<'a>>,
    by_inside_cidr: BTreeMap<Ipv4Net, Vec<usize>>,
    by_peer: BTreeMap<(IpAddr, &'a Identity), ByRemote>,
}

impl<'a> Earlier<'a> {
    /// Those that may clash with this one, in the order of the file.
    fn candidates(&self, gateway: &Gateway, this: &Placed<'_>) -> BTreeSet<usize> {
        let (local, remote) = ends(gateway, this);
        let (_, identity) = gateway.identities(this.connection, this.tunnel);
        let inside = self.by_inside_cidr.get(&this.tunnel.inside_cidr.trunc());
        let peers = self.by_peer.get(&(local, identity)).into_iter().flatten();
        let peers = peers.filter(|(other, _)| same_place(remote, **other));
        let peers = peers.flat_map(|(_, earlier)| earlier);
        inside.into_iter().flatten().chain(peers).copied().collect()
    }

    fn push(&mut self, gateway: &Gateway, this: Placed<'a>) {
        let number = self.all.len();
        let (local, remote) = ends(gateway, &this);
        let (_, identity) = gateway.identities(this.connection, this.tunnel);
        let inside = this.tunnel.inside_cidr.trunc();
        self.by_inside_cidr.entry(inside).or_default().push(number);
        let alike = self.by_peer.entry((local, identity)).or_default();
        alike.entry(remote).or_default().push(number);
        self.all.push(this);
    }
}

fn tunnels(violations: &mut Violations, gateway: &Gateway) {
    let mut seen = Earlier::default();
    for (index, connection) in gateway.connections.iter().enumerate() {
        let parent = field(&item("vpn_connection", index), "tunnel");
        for (at, tunnel) in connection.tunnels.iter().enumerate() {
            let this = Placed {
                place: item(&parent, at),
                connection,
                tunnel,
            };
            let candidates = seen.candidates(gateway, &this).into_iter();
            for earlier in candidates.filter_map(|number| seen.all.get(number)) {
                inside_cidr(violations, earlier, &this);
                peer(violations, gateway, earlier, &this);
            }
            seen.push(gateway, this);
        }
    }
}

fn inside_cidr(violations: &mut Violations, earlier: &Placed<'_>, this: &Placed<'_>) {
    let cidr = this.tunnel.inside_cidr;
    if cidr.trunc() != earlier.tunnel.inside_cidr.trunc() {
        return;
    }
    violations.clash(
        &field(&this.place, "tunnel_inside_cidr"),
        &field(&earlier.place, "tunnel_inside_cidr"),
        format!("{cidr} again"),
        "a /30 of its own for each tunnel of the gateway",
    );
}

/// IKE finds the tunnel by both ends' addresses and the peer's identity, so
/// these may not all be the same.
fn peer(violations: &mut Violations, gateway: &Gateway, earlier: &Placed<'_>, this: &Placed<'_>) {
    let (local, remote) = ends(gateway, this);
    let (other_local, other_remote) = ends(gateway, earlier);
    let (_, identity) = gateway.identities(this.connection, this.tunnel);
    let (_, other_identity) = gateway.identities(earlier.connection, earlier.tunnel);
    let same_place = same_place(remote, other_remote);
    if local != other_local || !same_place || identity != other_identity {
        return;
    }
    violations.clash(
        &field(&this.place, "outside_address"),
        &field(&earlier.place, "outside_address"),
        format!("{local} with a peer called {identity}"),
        format!(
            "another outside address, or a peer with another identity, than {} has, \
             which could not be told apart from it",
            earlier.place
        ),
    );
}

/// A peer without an address may come from the other one's.
fn same_place(remote: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    remote == other || remote.is_none() || other.is_none()
}

fn ends(gateway: &Gateway, placed: &Placed<'_>) -> (IpAddr, Option<IpAddr>) {
    (
        gateway.local_address(placed.connection, placed.tunnel),
        gateway.remote_address(placed.connection, placed.tunnel),
    )
}
