//! What must differ between connections of one gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use vgw_ike::identity::Identity;

use super::options::repeated_id;
use super::{Code, Field, Findings, Refusal, Subject, Violation};
use crate::domain::{Connection, Gateway, Side, Tunnel, TunnelName};

/// Names what two connections or two tunnels share and may not.
pub(super) fn check(gateway: &Gateway) -> Vec<Violation> {
    let mut violations = ids(&gateway.connections);
    violations.extend(routes(gateway));
    violations.extend(tunnels(gateway));
    violations
}

fn ids(connections: &[Connection]) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let mut violations = Vec::new();
    for Connection { id, .. } in connections {
        if !seen.insert(id) {
            let mut findings = Findings::about(Subject::VpnConnection(id.clone()));
            let Refusal { found, expected } = repeated_id(id);
            findings.refuse(Code::DuplicateId, "id", found, expected);
            violations.extend(findings.violations);
        }
    }
    violations
}

/// A prefix, and which of a connection's prefixes it is.
struct Routed<'a> {
    connection: &'a str,
    field: Field,
    net: IpNet,
}

/// Sites that share prefixes cannot all be reached (AWS: CloudHub sites must
/// not have overlapping ranges).
fn routes(gateway: &Gateway) -> Vec<Violation> {
    let name = match gateway.side {
        Side::VirtualPrivateGateway => "static_routes",
        Side::CustomerGateway => "vpc_cidrs",
    };
    let mut violations = Vec::new();
    let mut seen: Vec<Routed<'_>> = Vec::new();
    let mut first_with: BTreeMap<IpNet, usize> = BTreeMap::new();
    for connection in &gateway.connections {
        let mut findings = Findings::about(Subject::VpnConnection(connection.id.clone()));
        let prefixes = gateway.remote_prefixes(connection);
        for (at, prefix) in prefixes.iter().enumerate() {
            let clash = first_overlap(&first_with, prefix).and_then(|first| seen.get(first));
            if let Some(other) = clash {
                let expected = format!(
                    "no overlap with {} of connection {:?}",
                    other.net, other.connection
                );
                let subject = Subject::VpnConnection(other.connection.to_owned());
                findings.clash(
                    Code::PrefixOverlap,
                    Field::item(name, at),
                    (&subject, other.field),
                    Refusal::new(prefix.to_string(), expected),
                );
            }
        }
        violations.extend(findings.violations);
        for (at, net) in prefixes.iter().enumerate() {
            first_with.entry(net.trunc()).or_insert(seen.len());
            seen.push(Routed {
                connection: &connection.id,
                field: Field::item(name, at),
                net: *net,
            });
        }
    }
    violations
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

/// A tunnel with its connection.
struct Placed<'a> {
    name: TunnelName,
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

fn tunnels(gateway: &Gateway) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut seen = Earlier::default();
    for connection in &gateway.connections {
        for (number, tunnel) in (1..).zip(&connection.tunnels) {
            let this = Placed {
                name: TunnelName::of(connection, number),
                connection,
                tunnel,
            };
            let mut findings = Findings::about(Subject::Tunnel(this.name.clone()));
            let candidates = seen.candidates(gateway, &this).into_iter();
            for earlier in candidates.filter_map(|number| seen.all.get(number)) {
                inside_cidr(&mut findings, earlier, &this);
                peer(&mut findings, gateway, earlier, &this);
            }
            violations.extend(findings.violations);
            seen.push(gateway, this);
        }
    }
    violations
}

fn inside_cidr(findings: &mut Findings, earlier: &Placed<'_>, this: &Placed<'_>) {
    const NAME: &str = "tunnel_inside_cidr";
    let cidr = this.tunnel.inside_cidr;
    if cidr.trunc() != earlier.tunnel.inside_cidr.trunc() {
        return;
    }
    let expected = "a /30 of its own for each tunnel of the gateway";
    findings.clash(
        Code::InvalidCidrInUse,
        NAME,
        (&Subject::Tunnel(earlier.name.clone()), NAME),
        Refusal::new(format!("{cidr} again"), expected),
    );
}

/// IKE finds the tunnel by both ends' addresses and the peer's identity, so
/// these may not all be the same.
fn peer(findings: &mut Findings, gateway: &Gateway, earlier: &Placed<'_>, this: &Placed<'_>) {
    const NAME: &str = "outside_address";
    let (local, remote) = ends(gateway, this);
    let (other_local, other_remote) = ends(gateway, earlier);
    let (_, identity) = gateway.identities(this.connection, this.tunnel);
    let (_, other_identity) = gateway.identities(earlier.connection, earlier.tunnel);
    let same_place = same_place(remote, other_remote);
    if local != other_local || !same_place || identity != other_identity {
        return;
    }
    let expected = format!(
        "another outside address, or a peer with another identity, than {} has, \
         which could not be told apart from it",
        earlier.name
    );
    findings.clash(
        Code::IndistinguishablePeers,
        NAME,
        (&Subject::Tunnel(earlier.name.clone()), NAME),
        Refusal::new(format!("{local} with a peer called {identity}"), expected),
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
