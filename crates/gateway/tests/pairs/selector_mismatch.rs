//! Tunnels that are up, and whose traffic selectors are not the configured networks.

use std::time::Instant;

use ipnet::IpNet;
use tracing::Level;
use vgw_gateway::domain::Connection;
use vgw_gateway::status::State;
use vgw_gateway::supervisor::{Supervisor, peer_config};
use vgw_sim::dice::Dice;
use vgw_sim::error_log::ErrorLog;
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{CGW, VGW, both_up, initiate, name, seconds, tunnel, up, world};

fn nets(text: &str) -> Vec<IpNet> {
    text.split(' ').map(|net| net.parse().unwrap()).collect()
}

/// The customer gateway has another network behind it than we route there.
fn elsewhere(end: usize, connection: &mut Connection) {
    if end == CGW {
        connection.local_network_cidrs = nets("192.168.5.0/24");
    }
}

/// What status says of the first tunnel at both ends, cut at the advice.
fn said(world: &World) -> [String; 2] {
    [VGW, CGW].map(|end| {
        let said = tunnel(world, end, 1).mismatches;
        let facts = said.iter().map(|text| text.split(';').next().unwrap());
        facts.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn another_network_at_the_peer_than_is_routed_there_shows_at_both_ends_and_is_logged_once() {
    let log = ErrorLog::up_to(Level::WARN);
    let mut world = world(1, elsewhere);
    log.watch(None, || {
        world.start_all();
        assert!(world.run_until(seconds(5), both_up));
        // With two rekeys.
        world.run(seconds(2 * 3600));
    });
    let ours = "the peer's networks are 192.168.5.0/24 by its traffic selectors, and 172.16.1.0/24 \
                by static_routes: what is sent to 172.16.1.0/24 is dropped (outside_selectors), \
                what comes from 192.168.5.0/24 is dropped (source_not_routed)";
    let theirs = "our networks are 192.168.5.0/24 by the peer's traffic selectors, and \
                  172.16.1.0/24 by on_premises.cidrs: what comes for 192.168.5.0/24 is dropped \
                  (unknown_destination)";
    assert_eq!(said(&world), [ours, theirs]);
    let lines = log.take().into_iter();
    let mut lines: Vec<String> = lines
        .filter_map(|line| line.message.split(';').next().map(str::to_owned))
        .collect();
    lines.sort();
    let advice = |end| tunnel(&world, end, 1).mismatches[0].clone();
    let here = "; set static_routes = [\"192.168.5.0/24\"] here, or 172.16.1.0/24 at the peer as its \
                local networks";
    assert!(advice(VGW).ends_with(here), "{}", advice(VGW));
    let there = "; set 172.16.1.0/24 at the peer as its remote networks, or on_premises.cidrs = \
                 [\"192.168.5.0/24\"] here";
    assert!(advice(CGW).ends_with(there), "{}", advice(CGW));
    let line = |number: u8, said: &str| format!("vpn-1-1/{number}: {said}");
    let expected = [
        line(1, theirs),
        line(1, ours),
        line(2, theirs),
        line(2, ours),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_is_routed_and_not_selected_is_named_and_no_more() {
    let world = up(|end, connection| {
        if end == CGW {
            connection.local_network_cidrs = nets("172.16.1.0/25");
        }
    });
    let [ours, _] = said(&world);
    let lost = ": what is sent to 172.16.1.128/25 is dropped (outside_selectors)";
    assert!(ours.ends_with(lost), "{ours}");
}

#[test]
fn a_peer_that_wants_less_of_us_is_said_until_it_is_configured() {
    let narrow = |end: usize, connection: &mut Connection| {
        if end == CGW {
            connection.remote_network_cidrs = nets("10.1.5.0/24");
        }
    };
    let world = up(narrow);
    let [ours, theirs] = said(&world);
    let advice = "; if it is to reach no more, remote_ipv4_network_cidr = \"10.1.5.0/24\" here";
    let whole = &tunnel(&world, VGW, 1).mismatches[0];
    assert!(whole.ends_with(advice), "{whole}");
    let lost = "10.1.0.0-10.1.4.255, 10.1.6.0-10.1.255.255";
    assert!(
        ours.starts_with("our networks are 10.1.5.0/24 by"),
        "{ours}"
    );
    let sent = format!("what {lost} sends is dropped (outside_selectors)");
    assert!(ours.ends_with(&sent), "{ours}");
    let lost = format!("by vpc_cidrs: what is sent to {lost} is dropped (outside_selectors)");
    assert!(theirs.ends_with(&lost), "{theirs}");
    let world = up(|_, connection| narrow(CGW, connection));
    assert_eq!(said(&world)[0], "");
}

#[test]
fn nothing_is_said_of_selectors_for_everything_and_of_inside_addresses() {
    let world = up(|_, _| {});
    assert_eq!(said(&world), ["", ""]);
    // A customer gateway of ours may not say so, but others may.
    let mut connection = setup::connection(1, 1);
    let mut gateway = setup::gateway(1);
    gateway.connections.push(connection.clone());
    let (now, random) = (Instant::now(), Dice::new(1).sources());
    let mut supervisor = Supervisor::new(now, setup::checked(gateway), random);
    connection.local_network_cidrs = nets("172.16.1.0/24 169.254.1.8/30 169.254.1.12/30");
    connection.remote_network_cidrs = nets("10.1.0.0/16 169.254.1.8/30");
    let first = &connection.tunnels[0];
    let peer = peer_config(&setup::customer(1), &connection, first, &name(1));
    initiate(now, &mut supervisor, peer, 2);
    let tunnel = supervisor.status(now).connections[0].tunnels[0].clone();
    assert_eq!(tunnel.state, State::Up);
    assert_eq!(tunnel.mismatches, [""; 0]);
}

#[test]
fn without_a_check_of_sources_answers_go_astray_and_a_reload_mends_it() {
    let mut world = up(|end, connection| {
        elsewhere(end, connection);
        connection.source_check = false;
    });
    let [ours, _] = said(&world);
    let astray = "answers to 192.168.5.0/24 do not enter the tunnel";
    assert!(ours.ends_with(astray), "{ours}");
    let before = tunnel(&world, VGW, 1).since;
    let mut config = world.nodes[VGW].config.clone();
    config.connections[0].static_routes = nets("192.168.5.0/24");
    world.reload(VGW, config);
    world.run(seconds(10));
    assert_eq!(said(&world)[0], "");
    assert!(tunnel(&world, VGW, 1).since > before, "it stayed up");
}

#[test]
fn a_network_that_a_peer_wants_is_looked_for_behind_other_peers_whenever_those_change() {
    let strange = "what comes for 192.168.9.0/24 is dropped (unknown_destination)";
    let mut world = world(2, |end, connection| {
        if end == CGW && connection.id == "vpn-1-1" {
            connection.remote_network_cidrs = nets("10.1.0.0/16 192.168.9.0/24");
        }
    });
    world.nodes[VGW].config.cloudhub = true;
    world.start_all();
    assert!(world.run_until(seconds(5), both_up));
    world.run(seconds(10));
    assert!(said(&world)[0].ends_with(strange), "{}", said(&world)[0]);
    let alone = "172.16.2.0/24";
    // As it is, as part of another, in parts that are all of it, in parts that are not, and
    // where others are asked no more.
    for (behind_other, cloudhub, all) in [
        ("192.168.9.0/24", true, true),
        (alone, true, false),
        ("192.168.0.0/16", true, true),
        ("192.168.9.0/25", true, false),
        ("192.168.9.0/25 192.168.9.128/25", true, true),
        ("192.0.0.0/2", true, true),
        ("192.0.0.0/2", false, false),
        ("192.0.0.0/2", true, true),
        (alone, true, false),
    ] {
        let mut config = world.nodes[VGW].config.clone();
        config.cloudhub = cloudhub;
        config.connections[1].static_routes = nets(behind_other);
        world.reload(VGW, config);
        world.run(seconds(10));
        let said = said(&world)[0].clone();
        assert_eq!(said.is_empty(), all, "{behind_other}: {said}");
    }
}

/// The customer gateway's networks and what we permit have nothing in common.
fn apart(end: usize, connection: &mut Connection) {
    elsewhere(end, connection);
    if end == VGW {
        connection.local_network_cidrs = nets("172.16.0.0/16");
    }
}

/// What is said of the first tunnel, which has no CHILD SA, at both ends.
fn refused(world: &mut World) -> [String; 2] {
    world.start_all();
    world.run(seconds(5));
    [VGW, CGW].map(|end| tunnel(world, end, 1).last_error.unwrap().text)
}

#[test]
fn what_to_set_is_said_where_no_traffic_is_common() {
    let mut world = world(1, apart);
    world.nodes[VGW].config.initiate_to_recover = false;
    let [ours, theirs] = refused(&mut world);
    let expected = "CHILD SA (phase 2): traffic selectors of the peer's side: no common traffic: \
                    peer offers 192.168.5.0/24; we accept 172.16.0.0/16; set 172.16.0.0/16 \
                    (local_ipv4_network_cidr) at the peer as its local networks and 10.1.0.0/16 \
                    (vpc.cidrs) as its remote networks";
    assert_eq!(ours, expected);
    let expected = "the peer refused the CHILD SA by TS_UNACCEPTABLE: we offered 192.168.5.0/24 \
                    to 0.0.0.0/0; set 10.1.0.0/16 (vpc_cidrs) at the peer as its local networks \
                    and 192.168.5.0/24 (local_ipv4_network_cidr) as its remote networks; if it \
                    has them, its log says what it lacks";
    assert_eq!(theirs, expected);
}

#[test]
fn that_the_peer_began_anew_does_not_hide_why_there_is_no_child_sa() {
    // Both begin, and one IKE SA takes the place of the other.
    for text in refused(&mut world(1, apart)) {
        assert!(text.contains("at the peer as its local networks"), "{text}");
    }
}

#[test]
fn what_to_set_follows_a_reload() {
    let mut world = world(1, apart);
    world.nodes[VGW].config.initiate_to_recover = false;
    refused(&mut world);
    let mut config = world.nodes[VGW].config.clone();
    config.cidrs = nets("10.1.0.0/16 10.3.0.0/16");
    assert_eq!(world.reload(VGW, config).unwrap().len(), 1);
    // By then a CHILD SA was asked for again.
    world.run(seconds(60));
    let text = tunnel(&world, VGW, 1).last_error.unwrap().text;
    let ours = "10.1.0.0/16, 10.3.0.0/16 (vpc.cidrs) as its remote networks";
    assert!(text.ends_with(ours), "{text}");
}
