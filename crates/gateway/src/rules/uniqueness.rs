//! What must differ between connections of one gateway.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Violations, field, item, network};
use crate::domain::{Connection, Gateway, Side, Tunnel};

/// Checks what two connections or two tunnels may not share.
pub(super) fn check(violations: &mut Violations, gateway: &Gateway) {
    ids(violations, &gateway.connections);
    routes(violations, gateway);
    tunnels(violations, gateway);
}

fn ids(violations: &mut Violations, connections: &[Connection]) {
    for (index, connection) in connections.iter().enumerate() {
        let mut earlier = connections.iter().take(index).enumerate();
        if let Some((at, _)) = earlier.find(|(_, other)| other.id == connection.id) {
            violations.clash(
                &field(&item("vpn_connection", index), "id"),
                &field(&item("vpn_connection", at), "id"),
                format!("{:?} again", connection.id),
                "a name of its own",
            );
        }
    }
}

/// Sites that share prefixes cannot all be reached (AWS: CloudHub sites must
/// not have overlapping ranges).
fn routes(violations: &mut Violations, gateway: &Gateway) {
    let name = match gateway.side {
        Side::VirtualPrivateGateway => "static_routes",
        Side::CustomerGateway => "vpc_cidrs",
    };
    let mut seen: Vec<(String, &str, IpNet)> = Vec::new();
    for (index, connection) in gateway.connections.iter().enumerate() {
        let place = field(&item("vpn_connection", index), name);
        let prefixes = gateway.remote_prefixes(connection);
        for (at, prefix) in prefixes.iter().enumerate() {
            let clash = seen
                .iter()
                .find(|(_, _, other)| network::overlap(prefix, other));
            if let Some((with, other, net)) = clash {
                violations.clash(
                    &item(&place, at),
                    with,
                    prefix.to_string(),
                    format!("no overlap with {net} of connection {other:?}"),
                );
            }
        }
        let these = prefixes.iter().enumerate();
        seen.extend(these.map(|(at, net)| (item(&place, at), connection.id.as_str(), *net)));
    }
}

/// A tunnel with its connection and its place in the configuration.
struct Placed<'a> {
    place: String,
    connection: &'a Connection,
    tunnel: &'a Tunnel,
}

fn tunnels(violations: &mut Violations, gateway: &Gateway) {
    let mut seen: Vec<Placed<'_>> = Vec::new();
    for (index, connection) in gateway.connections.iter().enumerate() {
        let parent = field(&item("vpn_connection", index), "tunnel");
        for (at, tunnel) in connection.tunnels.iter().enumerate() {
            let this = Placed {
                place: item(&parent, at),
                connection,
                tunnel,
            };
            for earlier in &seen {
                inside_cidr(violations, earlier, &this);
                peer(violations, gateway, earlier, &this);
            }
            seen.push(this);
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
    // A peer without an address may come from the other one's.
    let same_place = remote == other_remote || remote.is_none() || other_remote.is_none();
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

fn ends(gateway: &Gateway, placed: &Placed<'_>) -> (IpAddr, Option<IpAddr>) {
    (
        gateway.local_address(placed.connection, placed.tunnel),
        gateway.remote_address(placed.connection, placed.tunnel),
    )
}
