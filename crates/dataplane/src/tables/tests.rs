use std::sync::Arc;

use ipnet::IpNet;
use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Secret};
use vgw_esp::{InboundSa, Layout, OutboundSa};
use vgw_sa::{GatewayId, NextHop, TunnelId, TunnelPolicy};

use super::{
    DestinationOwner, Egress, GatewayTables, Inbound, Outbound, Policy, ResolvedPath, Slot, Tables,
    TunnelPath,
};
use crate::packet::inner::InnerPacket;
use crate::packet::inner::tests::ipv4;
use crate::tables::counters::{Count, DropReason};
use crate::tables::egress::GsoLimit;
use crate::tables::host_firewall::HostServices;
use crate::tables::traffic_selectors::Selectors;

const GATEWAY: GatewayId = GatewayId(0);

const SUITE: EspSuite = EspSuite {
    encryption: Encryption::AesGcm128,
    integrity: None,
    esn: false,
};

fn keys() -> DirectionKeys {
    DirectionKeys {
        encryption: Secret::new(vec![1; SUITE.encryption.keymat_len()]),
        integrity: Secret::default(),
    }
}

fn selectors(remote: &str) -> Arc<Selectors> {
    let selector = |prefix: &str| prefix.parse::<ipnet::IpNet>().unwrap().into();
    Arc::new(Selectors::new(
        vec![selector("10.0.0.0/8")],
        vec![selector(remote)],
    ))
}

fn path(port: u16) -> ResolvedPath {
    ResolvedPath::new(0, ([192, 0, 2, 1], port).into(), true, None)
}

fn tunnel_path(port: u16) -> TunnelPath {
    TunnelPath::new(path(port), Arc::default(), Layout::of(SUITE))
}

fn slot(spi: u32, tunnel: u32) -> Slot {
    Slot {
        inbound: Arc::new(Inbound {
            spi,
            tunnel: GATEWAY.tunnel(tunnel),
            sa: InboundSa::new(spi, SUITE, &keys(), 64).unwrap(),
            selectors: selectors("10.0.0.0/8"),
            child: Arc::default(),
            tunnel_traffic: Arc::default(),
            newest: Count::default(),
        }),
        tunnel_path: tunnel_path(4500),
    }
}

fn egress(tunnel: TunnelId, spi_in: u32, remote: &str) -> Egress {
    let outbound = Outbound {
        spi_in,
        tunnel,
        lease: Arc::default(),
        sa: OutboundSa::new(spi_in, SUITE, &keys(), [0; 32]).unwrap(),
        selectors: selectors(remote),
        child: Arc::default(),
        tunnel_traffic: Arc::default(),
    };
    Egress::new(Arc::new(outbound), tunnel_path(4500))
}

fn route(tables: &mut Tables, net: &str, tunnel: TunnelId) {
    let net = net.parse().unwrap();
    tables.change_gateway(tunnel.gateway, |of| of.set_route(net, Some(tunnel.into())));
}

/// The inbound SPI of the SA by which a packet leaves.
fn forward(tables: &Tables, destination: [u8; 4]) -> Result<u32, DropReason> {
    let octets = ipv4([10, 0, 0, 1], destination, 17, &[0; 8]);
    let egress = tables.egress_for(GATEWAY, &InnerPacket::parse(&octets).unwrap())?;
    Ok(egress.outbound.spi_in)
}

#[test]
fn an_sa_is_found_by_its_whole_spi_and_not_by_its_slot_alone() {
    let mut tables = Tables::default();
    tables.insert_inbound(slot(0x0010_0003, 0)).unwrap();
    assert!(tables.inbound(0x0010_0003).is_some());
    assert!(tables.inbound(0x0014_0003).is_none());
    assert!(tables.inbound(0x0010_0002).is_none());
    assert!(tables.inbound(0x0010_0004).is_none());
    assert!(tables.inbound(u32::MAX).is_none());
}

#[test]
fn a_slot_takes_another_sa_only_after_the_first_is_removed() {
    let mut tables = Tables::default();
    tables.insert_inbound(slot(0x0010_0003, 0)).unwrap();
    assert_eq!(
        tables.insert_inbound(slot(0x0014_0003, 0)),
        Err(0x0010_0003)
    );
    tables.remove_child(GATEWAY.tunnel(0), 0x0010_0003);
    assert!(tables.inbound(0x0010_0003).is_none());
    tables.insert_inbound(slot(0x0014_0003, 0)).unwrap();
    // A late removal of the first does not touch its successor.
    tables.remove_child(GATEWAY.tunnel(0), 0x0010_0003);
    assert!(tables.inbound(0x0014_0003).is_some());
}

#[test]
fn an_sa_that_sends_no_more_still_receives() {
    let mut tables = Tables::default();
    route(&mut tables, "10.1.0.0/16", GATEWAY.tunnel(0));
    tables.insert_inbound(slot(0x0010_0003, 0)).unwrap();
    tables.use_outbound(egress(GATEWAY.tunnel(0), 0x0010_0003, "10.1.0.0/16"));
    tables.stop_outbound(GATEWAY.tunnel(0), 0x0010_0003);
    assert_eq!(forward(&tables, [10, 1, 1, 1]), Err(DropReason::NoSa));
    assert!(tables.inbound(0x0010_0003).is_some());
}

#[test]
fn the_longest_prefix_leads_to_the_tunnel() {
    let mut tables = Tables::default();
    for (net, tunnel) in [("10.1.0.0/16", 0), ("10.1.2.0/24", 1), ("fd00::/8", 2)] {
        route(&mut tables, net, GATEWAY.tunnel(tunnel));
    }
    for tunnel in [0, 1] {
        tables.use_outbound(egress(GATEWAY.tunnel(tunnel), tunnel, "10.1.0.0/16"));
    }
    assert_eq!(forward(&tables, [10, 1, 1, 1]), Ok(0));
    assert_eq!(forward(&tables, [10, 1, 2, 1]), Ok(1));
    assert_eq!(forward(&tables, [10, 2, 0, 1]), Err(DropReason::NoRoute));
}

#[test]
fn a_source_is_routed_to_both_tunnels_of_its_connection_and_to_no_other() {
    let mut tables = GatewayTables::new(GATEWAY);
    let hop = |carrier, standby: Option<u32>| NextHop {
        carrier: GATEWAY.tunnel(carrier),
        standby: standby.map(|number| GATEWAY.tunnel(number)),
    };
    let routes = [
        ("0.0.0.0/0", hop(0, Some(1))),
        ("10.1.0.0/16", hop(3, Some(2))),
        ("169.254.10.2/32", hop(2, None)),
        ("fd01::/16", hop(3, Some(2))),
    ];
    tables.set_forwarding(routes.map(|(net, hop)| (net.parse().unwrap(), hop)));
    let ours = ["10.0.0.0/16", "169.254.10.1/32"];
    tables.set_local_prefixes(ours.map(|net| net.parse().unwrap()));
    let tunnels = |source: &str| {
        let source = source.parse().unwrap();
        let may = |tunnel: &u32| tables.is_routed_to(source, GATEWAY.tunnel(*tunnel));
        (0..5).filter(may).collect::<Vec<_>>()
    };
    assert_eq!(tunnels("10.1.2.3"), [2, 3]);
    assert_eq!(tunnels("fd01::1"), [2, 3]);
    assert_eq!(tunnels("8.8.8.8"), [0, 1], "by the default route");
    assert_eq!(tunnels("fd02::1"), [0; 0], "nothing leads there");
    assert_eq!(tunnels("169.254.10.2"), [2], "of that tunnel alone");
    for ours in ["10.0.0.5", "169.254.10.1"] {
        assert_eq!(tunnels(ours), [0; 0], "{ours} is ours");
    }
}

#[test]
fn what_is_for_the_link_alone_is_not_missed_for_want_of_a_route() {
    let mut tables = Tables::default();
    for group in [[224, 0, 0, 22], [239, 255, 255, 250], [255; 4]] {
        assert_eq!(forward(&tables, group), Err(DropReason::LinkLocal));
    }
    // A tunnel's inside address that has no tunnel is missed.
    assert_eq!(
        forward(&tables, [169, 254, 10, 2]),
        Err(DropReason::NoRoute)
    );
    route(&mut tables, "224.0.0.0/4", GATEWAY.tunnel(0));
    assert_eq!(forward(&tables, [224, 0, 0, 22]), Err(DropReason::NoSa));

    // As the kernel sends them to a link that comes up: a multicast listener report
    // and a router solicitation.
    for last in [0x16, 0x02] {
        let mut report = vec![0x60, 0, 0, 0, 0, 8, 58, 255];
        report.extend([0; 16]);
        report.extend([0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        report.extend([143, 0, 0, 0, 0, 0, 0, 0]);
        let report = InnerPacket::parse(&report).unwrap();
        assert!(matches!(
            tables.egress_for(GATEWAY, &report),
            Err(DropReason::LinkLocal)
        ));
    }
}

#[test]
fn until_the_host_s_addresses_are_known_every_local_destination_is_taken_for_one() {
    let mut tables = GatewayTables::new(GATEWAY);
    tables.set_local_prefixes(["10.0.0.0/16".parse().unwrap()]);
    let owner = |tables: &GatewayTables, to: &str| tables.owner_of(to.parse().unwrap());
    assert_eq!(owner(&tables, "10.0.0.5"), DestinationOwner::Host);
    assert_eq!(owner(&tables, "10.1.0.5"), DestinationOwner::Elsewhere);
    tables.set_host_addresses(["10.0.0.5/32".parse().unwrap()]);
    assert_eq!(owner(&tables, "10.0.0.5"), DestinationOwner::Host);
    assert_eq!(owner(&tables, "10.0.0.6"), DestinationOwner::BehindUs);
    tables.set_host_services(HostServices::All);
    assert_eq!(owner(&tables, "10.0.0.5"), DestinationOwner::BehindUs);
}

#[test]
fn where_all_of_the_internet_is_behind_us_what_stays_on_a_link_is_the_hosts() {
    let mut tables = GatewayTables::new(GATEWAY);
    tables.set_local_prefixes(["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap()));
    tables.set_host_addresses([]);
    for (to, owner) in [
        ("198.51.100.1", DestinationOwner::BehindUs),
        ("255.255.255.255", DestinationOwner::Host),
        ("224.0.0.1", DestinationOwner::Host),
        ("ff02::1", DestinationOwner::Host),
        ("fe80::1", DestinationOwner::Host),
    ] {
        assert_eq!(tables.owner_of(to.parse().unwrap()), owner, "{to}");
    }
}

#[test]
fn a_packet_takes_the_first_sa_whose_selectors_admit_it() {
    let mut tables = Tables::default();
    route(&mut tables, "10.0.0.0/8", GATEWAY.tunnel(3));
    assert_eq!(forward(&tables, [10, 1, 1, 1]), Err(DropReason::NoSa));
    tables.use_outbound(egress(GATEWAY.tunnel(3), 1, "10.1.0.0/16"));
    tables.use_outbound(egress(GATEWAY.tunnel(3), 2, "10.2.0.0/16"));
    assert_eq!(forward(&tables, [10, 2, 1, 1]), Ok(2));
    assert_eq!(forward(&tables, [10, 1, 1, 1]), Ok(1));
    assert_eq!(
        forward(&tables, [10, 3, 1, 1]),
        Err(DropReason::OutsideSelectors)
    );
}

#[test]
fn a_number_that_another_gateway_s_tunnel_got_leads_nobody_there() {
    let mut tables = Tables::default();
    let (old, new) = (GATEWAY.tunnel(3), GatewayId(1).tunnel(3));
    route(&mut tables, "10.1.0.0/16", old);
    tables.use_outbound(egress(old, 1, "10.1.0.0/16"));
    assert_eq!(forward(&tables, [10, 1, 1, 1]), Ok(1));
    tables.use_outbound(egress(new, 2, "10.1.0.0/16"));
    assert_eq!(forward(&tables, [10, 1, 1, 1]), Err(DropReason::NoSa));
    tables.set_path(old, [], Some(&path(60000)), &Arc::default());
    let ports = tables.egresses(new).iter();
    let ports: Vec<_> = ports
        .map(|egress| egress.tunnel_path.path.remote.port())
        .collect();
    assert_eq!(ports, [4500]);
    assert_eq!((tables.mtu(old), tables.mtu(new)), (None, Some(1438)));
}

#[test]
fn a_rekeyed_sa_replaces_the_one_of_the_same_selectors_only() {
    let mut tables = Tables::default();
    tables.use_outbound(egress(GATEWAY.tunnel(0), 1, "10.1.0.0/16"));
    tables.use_outbound(egress(GATEWAY.tunnel(0), 2, "10.2.0.0/16"));
    tables.use_outbound(egress(GATEWAY.tunnel(0), 3, "10.1.0.0/16"));
    let names = |tables: &Tables| -> Vec<u32> {
        tables
            .egresses(GATEWAY.tunnel(0))
            .iter()
            .map(|egress| egress.outbound.spi_in)
            .collect()
    };
    assert_eq!(names(&tables), [3, 2]);
    tables.remove_child(GATEWAY.tunnel(0), 1);
    assert_eq!(names(&tables), [3, 2]);
    tables.remove_child(GATEWAY.tunnel(0), 3);
    assert_eq!(names(&tables), [2]);
}

#[test]
fn a_new_route_leads_the_sas_of_its_tunnel_and_no_others() {
    let mut tables = Tables::default();
    tables.insert_inbound(slot(0x0010_0000, 0)).unwrap();
    tables.insert_inbound(slot(0x0010_0001, 1)).unwrap();
    tables.use_outbound(egress(GATEWAY.tunnel(0), 0x0010_0000, "10.0.0.0/8"));
    tables.set_path(
        GATEWAY.tunnel(0),
        [0x0010_0000],
        Some(&path(60000)),
        &Arc::default(),
    );
    let inbound_port = |spi| tables.inbound(spi).unwrap().tunnel_path.path.remote.port();
    assert_eq!(inbound_port(0x0010_0000), 60000);
    assert_eq!(inbound_port(0x0010_0001), 4500);
    let [egress] = tables.egresses(GATEWAY.tunnel(0)) else {
        panic!()
    };
    assert_eq!(egress.tunnel_path.path.remote.port(), 60000);
}

#[test]
fn a_smaller_link_makes_the_mtu_of_its_tunnel_smaller() {
    let mut tables = Tables::default();
    tables.insert_inbound(slot(0x0010_0000, 0)).unwrap();
    tables.use_outbound(egress(GATEWAY.tunnel(0), 0x0010_0000, "10.0.0.0/8"));
    // AES-GCM in UDP over IPv4: the row of AWS's table.
    assert_eq!(tables.mtu(GATEWAY.tunnel(0)), Some(1438));
    assert_eq!(tables.inbound(0x0010_0000).unwrap().tunnel_path.mtu, 1438);
    let policy = TunnelPolicy {
        outside_mtu: 1400,
        ..TunnelPolicy::default()
    };
    tables.set_path(
        GATEWAY.tunnel(0),
        [0x0010_0000],
        None,
        &Arc::new(Policy::new(policy)),
    );
    assert_eq!(tables.mtu(GATEWAY.tunnel(0)), Some(1338));
    assert_eq!(tables.mtu(GATEWAY.tunnel(1)), None);
}

#[test]
fn only_local_prefixes_take_decrypted_packets() {
    let mut tables = GatewayTables::new(GATEWAY);
    tables.set_local_prefixes(["10.0.0.5/16", "fd00::1/128"].map(|net| net.parse().unwrap()));
    assert!(tables.is_local([10, 0, 200, 1].into()));
    assert!(!tables.is_local([10, 1, 0, 1].into()));
    assert!(tables.is_local("fd00::1".parse().unwrap()));
    assert!(!tables.is_local("fd00::2".parse().unwrap()));
}

#[test]
fn a_native_route_has_no_port_for_the_raw_socket_takes_it_as_a_protocol() {
    let path = ResolvedPath::new(0, ([192, 0, 2, 1], 4500).into(), false, None);
    assert_eq!(path.remote.port(), 0);
    assert_eq!(path.to.as_socket().unwrap().port(), 0);
}

#[test]
fn the_smallest_datagram_that_was_refused_in_a_batch_is_remembered() {
    let gso_limit = GsoLimit::default();
    assert_eq!(gso_limit.limit(), usize::MAX);
    gso_limit.refuse(1400);
    gso_limit.refuse(1452);
    assert_eq!(gso_limit.limit(), 1399);
    gso_limit.refuse(1300);
    assert_eq!(gso_limit.limit(), 1299);
}

#[test]
fn a_table_that_was_changed_by_entries_is_as_one_that_was_made_whole() {
    let net = |number: u32| -> IpNet {
        let length = u8::try_from(16 + number % 9).unwrap();
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + (number << 9));
        IpNet::new(address.into(), length).unwrap().trunc()
    };
    let mut should = std::collections::BTreeMap::new();
    let mut tables = GatewayTables::new(GATEWAY);
    for step in 0..2_000_u32 {
        let number = step.wrapping_mul(2_654_435_761) >> 24;
        let hop = (step % 3 > 0).then(|| NextHop::from(GATEWAY.tunnel(step)));
        match hop {
            Some(hop) => drop(should.insert(net(number), hop)),
            None => drop(should.remove(&net(number))),
        }
        // Workers may still look into it.
        let before = tables.clone();
        let found = before.next_hop(net(number).addr());
        tables.set_route(net(number), hop);
        assert_eq!(before.next_hop(net(number).addr()), found);
    }
    let mut whole = GatewayTables::new(GATEWAY);
    whole.set_forwarding(should.clone());
    assert!(should.len() > 50, "{}", should.len());
    for number in 0..256 {
        for host in [net(number).addr(), net(number).broadcast()] {
            assert_eq!(tables.next_hop(host), whole.next_hop(host), "{host}");
        }
    }
}
