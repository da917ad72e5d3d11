//! Two gateways with the same prefixes, in one engine: what is of one never reaches the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use vgw_sa::{ChildSa, GatewayId, HostService, NATT_PORT, Path, TunnelId};

use super::forward::{RecentLookups, admit};
use super::state::tests::child;
use super::{Arrival, Engine, EspPacket};
use crate::packet::inner::tests::ipv4;
use crate::tables::counters::DropReason;

const BOTH: [GatewayId; 2] = [GatewayId(2), GatewayId(40)];

const VPC: &str = "10.0.0.0/16";
const VPC_HOST: [u8; 4] = [10, 0, 0, 9];
/// Behind the first tunnel of either gateway, and behind its second.
const SITES: [&str; 2] = ["10.1.0.0/16", "10.2.0.0/16"];
const SITE_HOSTS: [[u8; 4]; 2] = [[10, 1, 0, 9], [10, 2, 0, 9]];
/// Behind the first tunnel of the first gateway, and nowhere else.
const ONLY_SITE: &str = "10.3.0.0/16";
const ONLY_SITE_HOST: [u8; 4] = [10, 3, 0, 9];

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEERS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// The tunnels of a gateway. No two of all have the same number.
fn tunnels(gateway: GatewayId) -> [TunnelId; 2] {
    let first = 2 * u32::from(gateway.0);
    [first, first + 1].map(|number| gateway.tunnel(number))
}

/// The SPI of a tunnel's SA, for either direction.
fn spi(tunnel: TunnelId) -> u32 {
    0x0100_0000 | tunnel.number
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Adds the tunnel's SA, from this address of ours.
fn connect(engine: &Engine, tunnel: TunnelId, local: IpAddr, remote: IpAddr) {
    let child = ChildSa {
        path: Path {
            local: SocketAddr::new(local, NATT_PORT),
            remote: SocketAddr::new(remote, NATT_PORT),
            udp_encapsulation: true,
        },
        ..child(spi(tunnel), "0.0.0.0/0")
    };
    let installed = engine.install_child(tunnel, child, 64, None, &[0; 32]);
    installed.unwrap();
    engine.use_outbound(tunnel, spi(tunnel)).unwrap();
}

fn gateways() -> Engine {
    let engine = Engine::new(vec![OURS]);
    for gateway in BOTH {
        for tunnel in tunnels(gateway) {
            connect(&engine, tunnel, OURS, PEERS);
        }
        let routes = SITES.map(net).into_iter().zip(tunnels(gateway));
        let routes = routes.map(|(site, tunnel)| (gateway.inside(site), Some(tunnel.into())));
        engine.change_forwarding(routes.collect());
        engine.change_local_prefixes(vec![(gateway.inside(net(VPC)), Some(()))]);
        engine.set_host_addresses(gateway, Vec::new());
        engine.set_site_to_site(gateway, true);
    }
    let [first, _] = tunnels(BOTH[0]);
    engine.change_forwarding(vec![(BOTH[0].inside(net(ONLY_SITE)), Some(first.into()))]);
    engine
}

/// A packet as the peer of this tunnel sends it: the first of its SA.
fn sealed(tunnel: TunnelId, source: [u8; 4], destination: [u8; 4]) -> EspPacket {
    let peer = Engine::new(vec![PEERS]);
    connect(&peer, tunnel, PEERS, OURS);
    let everything = (net("0.0.0.0/0"), tunnel.into());
    peer.set_forwarding(tunnel.gateway, vec![everything]);
    let mut inner = ipv4(source, destination, 17, &[0; 8]);
    let sent = peer.send(tunnel.gateway, Duration::ZERO, &mut inner);
    EspPacket {
        local: OURS,
        remote: SocketAddr::new(PEERS, NATT_PORT),
        ..sent.unwrap()
    }
}

/// Where a packet that comes by this tunnel goes.
#[derive(Debug, PartialEq)]
enum Goes {
    ToTheVpc,
    OutWith(u32),
}

fn forwarded(
    engine: &Engine,
    tunnel: TunnelId,
    source: [u8; 4],
    destination: [u8; 4],
) -> Result<Goes, DropReason> {
    let packet = sealed(tunnel, source, destination);
    match engine.receive(Duration::ZERO, packet) {
        Ok(Arrival::Inside(_)) => Ok(Goes::ToTheVpc),
        Ok(Arrival::Relayed(packet)) => Ok(Goes::OutWith(spi_of(&packet))),
        Err(dropped) => Err(dropped.reason),
    }
}

fn spi_of(packet: &EspPacket) -> u32 {
    u32::from_be_bytes(*packet.octets.first_chunk().unwrap())
}

#[test]
fn a_packet_of_a_vpc_leaves_by_its_own_gateway_s_tunnel() {
    let engine = gateways();
    let send = |gateway, destination| {
        let mut packet = ipv4(VPC_HOST, destination, 17, &[0; 8]);
        let sent = engine.send(gateway, Duration::ZERO, &mut packet);
        sent.map(|packet| spi_of(&packet))
            .map_err(|dropped| dropped.reason)
    };
    for gateway in BOTH {
        for (tunnel, host) in tunnels(gateway).into_iter().zip(SITE_HOSTS) {
            assert_eq!(send(gateway, host), Ok(spi(tunnel)));
        }
    }
    let only = tunnels(BOTH[0])[0];
    assert_eq!(send(BOTH[0], ONLY_SITE_HOST), Ok(spi(only)));
    assert_eq!(send(BOTH[1], ONLY_SITE_HOST), Err(DropReason::NoRoute));
    let unknown = GatewayId(3);
    assert_eq!(send(unknown, SITE_HOSTS[0]), Err(DropReason::NoRoute));
}

#[test]
fn a_packet_of_a_site_reaches_the_sites_of_its_own_gateway() {
    let engine = gateways();
    for gateway in BOTH {
        let [first, second] = tunnels(gateway);
        let relayed = forwarded(&engine, first, SITE_HOSTS[0], SITE_HOSTS[1]);
        assert_eq!(relayed, Ok(Goes::OutWith(spi(second))));
    }
    let [_, second] = tunnels(BOTH[1]);
    let strange = forwarded(&engine, second, SITE_HOSTS[1], ONLY_SITE_HOST);
    assert_eq!(strange, Err(DropReason::UnknownDestination));
}

#[test]
fn cloudhub_of_one_gateway_is_not_the_other_s() {
    let engine = gateways();
    engine.set_site_to_site(BOTH[1], false);
    let [one, other] = BOTH.map(|gateway| {
        let [first, _] = tunnels(gateway);
        forwarded(&engine, first, SITE_HOSTS[0], SITE_HOSTS[1])
    });
    assert_eq!(one, Ok(Goes::OutWith(spi(tunnels(BOTH[0])[1]))));
    assert_eq!(other, Err(DropReason::UnknownDestination));
}

#[test]
fn a_source_is_judged_by_the_routes_of_its_tunnel_s_gateway() {
    let engine = gateways();
    let [first, second] = BOTH.map(|gateway| tunnels(gateway)[0]);
    let by = |tunnel| forwarded(&engine, tunnel, ONLY_SITE_HOST, VPC_HOST);
    assert_eq!(by(first), Ok(Goes::ToTheVpc));
    assert_eq!(by(second), Err(DropReason::SourceNotRouted));
}

#[test]
fn what_is_behind_one_gateway_is_not_behind_the_other() {
    let engine = gateways();
    engine.change_local_prefixes(vec![(BOTH[1].inside(net(VPC)), None)]);
    let to_vpc = |gateway| forwarded(&engine, tunnels(gateway)[0], SITE_HOSTS[0], VPC_HOST);
    let expected = [Ok(Goes::ToTheVpc), Err(DropReason::UnknownDestination)];
    assert_eq!(BOTH.map(to_vpc), expected);
}

#[test]
fn a_service_of_the_host_that_is_open_in_one_vpc_is_not_open_in_the_other() {
    let engine = gateways();
    for gateway in BOTH {
        engine.set_host_addresses(gateway, vec![IpAddr::from(VPC_HOST).into()]);
    }
    engine.set_host_services(BOTH[0], vec![HostService::All]);
    let to_host = |gateway| forwarded(&engine, tunnels(gateway)[0], SITE_HOSTS[0], VPC_HOST);
    let expected = [Ok(Goes::ToTheVpc), Err(DropReason::HostClosed)];
    assert_eq!(BOTH.map(to_host), expected);
}

#[test]
fn what_was_looked_up_for_one_gateway_is_not_taken_for_the_other() {
    let engine = gateways();
    engine.change_local_prefixes(vec![(BOTH[1].inside(net(VPC)), None)]);
    let tables = engine.tables.load();
    let mut recent = RecentLookups::default();
    let mut admits = |gateway| {
        let [first, _] = tunnels(gateway);
        let slot = tables.inbound(spi(first)).unwrap();
        let mut inner = ipv4(SITE_HOSTS[0], VPC_HOST, 17, &[0; 8]);
        let admitted = admit(&tables, slot, 0, &mut inner, usize::MAX, &mut recent);
        admitted.unwrap().local
    };
    assert!(admits(BOTH[0]));
    assert!(!admits(BOTH[1]), "it is for a site there, if for anybody");
}
