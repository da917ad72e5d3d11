//! What status says of a tunnel that does not come up: who is awaited, what came last,
//! and what would explain it. A fault on the way each.

use std::net::SocketAddr;

use vgw_gateway::domain::{Connection, StartupAction};
use vgw_gateway::why_not_up::{Finding, WaitsFor, WhyNotUp};
use vgw_ike::config::Encapsulation;
use vgw_ike::progress::ReceivedKind;
use vgw_sim::network::Packet;
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{CGW, VGW, both_up, seconds, tunnel, world};

/// Handshakes float to UDP 4500, as behind a NAT.
fn in_udp(_: usize, connection: &mut Connection) {
    for tunnel in &mut connection.tunnels {
        tunnel.encapsulation = Encapsulation::Udp;
    }
}

fn waiting(_: usize, connection: &mut Connection) {
    for tunnel in &mut connection.tunnels {
        tunnel.startup_action = StartupAction::Add;
    }
}

/// A world in which only the customer begins where `change` does not say otherwise, and
/// the network drops some packets.
fn faulty(change: impl Fn(usize, &mut Connection), drops: fn(&Packet) -> bool) -> World {
    let mut world = world(1, change);
    for end in [VGW, CGW] {
        world.nodes[end].config.initiate_to_recover = false;
    }
    world.network.drops = Some(drops);
    world.start_all();
    world
}

fn awaited(world: &World, end: usize, number: u8) -> WhyNotUp {
    tunnel(world, end, number).why_not_up.unwrap()
}

fn sentence(awaited: &WhyNotUp) -> String {
    awaited.sentence().unwrap()
}

fn vgw_to_cgw(packet: &Packet) -> bool {
    packet.destination.ip() == setup::customer_address(1)
}

#[test]
fn port_4500_dropped_is_named_at_both_ends() {
    let mut world = faulty(in_udp, |packet| packet.destination.port() == 4500);
    world.run(seconds(100));
    let at_vgw = awaited(&world, VGW, 1);
    assert_eq!(at_vgw.what, WaitsFor::Peer);
    assert_eq!(at_vgw.from, Some(setup::customer_address(1)));
    assert_eq!(at_vgw.finding(), Finding::NoAuth);
    let text = sentence(&at_vgw);
    assert!(
        text.contains("handshakes begun by 198.51.100.1 since 1m"),
        "{text}"
    );
    assert!(
        text.ends_with("and no IKE_AUTH came: is UDP 4500 let through, both ways?"),
        "{text}"
    );
    let at_cgw = awaited(&world, CGW, 1);
    assert_eq!(at_cgw.finding(), Finding::AuthUnanswered);
    let text = sentence(&at_cgw);
    assert!(
        text.starts_with("203.0.1.1 answered IKE_SA_INIT, and none of"),
        "{text}"
    );
    assert!(
        text.ends_with("is UDP 4500 let through, both ways?"),
        "{text}"
    );
    // Once it is let through, nothing is said.
    world.network.drops = None;
    assert!(world.run_until(seconds(60), both_up));
    for end in [VGW, CGW] {
        assert_eq!(tunnel(&world, end, 1).why_not_up, None);
    }
}

#[test]
fn port_4500_dropped_is_named_though_both_ends_begin() {
    let begin = |end, connection: &mut Connection| {
        in_udp(end, connection);
        *connection = setup::initiating(connection.clone());
    };
    let mut world = faulty(begin, |packet| packet.destination.port() == 4500);
    world.run(seconds(10));
    for _ in 0..100 {
        world.run(seconds(1));
        for end in [VGW, CGW] {
            let text = sentence(&awaited(&world, end, 1));
            assert!(
                text.ends_with("is UDP 4500 let through, both ways?"),
                "{text}"
            );
        }
    }
}

#[test]
fn an_ike_v1_peer_is_named() {
    let mut world = faulty(waiting, |_| false);
    let mut message = [0; 28];
    message[0] = 1;
    message[17] = 0x10;
    message[27] = 28;
    let (ours, theirs) = (setup::outside(1, 1), setup::customer_address(1));
    world.operate(VGW, |supervisor, now| {
        let at = |ip| SocketAddr::new(ip, 500);
        supervisor.handle_datagram(now, at(ours), at(theirs), &message);
    });
    world.run(seconds(3));
    let told = awaited(&world, VGW, 1);
    assert_eq!(told.last.unwrap().what, ReceivedKind::IkeV1);
    assert_eq!(
        sentence(&told),
        "last came IKEv1 from 198.51.100.1, 3s ago; it gets no answer: set the peer to IKEv2"
    );
    let trouble = tunnel(&world, VGW, 1).last_error.unwrap().text;
    assert!(trouble.contains("IKEv1"), "{trouble}");
    assert_eq!(awaited(&world, VGW, 2).finding(), Finding::NothingCame);
}

#[test]
fn both_ends_waiting_is_asked_about() {
    let mut world = faulty(waiting, |_| false);
    world.run(seconds(423));
    for (end, peer, ours) in [
        (VGW, "198.51.100.1", "203.0.1.1"),
        (CGW, "203.0.1.1", "198.51.100.1"),
    ] {
        let told = awaited(&world, end, 1);
        assert_eq!(
            (told.what, told.finding()),
            (WaitsFor::Peer, Finding::NothingCame)
        );
        let expected = format!(
            "nothing came from {peer} in 7m03s; we wait for it to begin (startup_action = \
             \"add\"): does it begin, or wait as well? is UDP 500 let through to {ours}?"
        );
        assert_eq!(sentence(&told), expected);
    }
}

#[test]
fn answers_of_the_second_address_that_leave_by_the_wrong_interface_are_asked_about() {
    let mut world = faulty(
        |_, _| {},
        |packet| vgw_to_cgw(packet) && packet.source.ip() == setup::outside(1, 2),
    );
    world.run(seconds(100));
    assert_eq!(tunnel(&world, VGW, 1).why_not_up, None);
    let at_vgw = awaited(&world, VGW, 2);
    assert_eq!(at_vgw.finding(), Finding::AnswersLost);
    let text = sentence(&at_vgw);
    assert!(text.contains("although we answer it"), "{text}");
    assert!(
        text.contains("do our answers leave by the right interface?"),
        "{text}"
    );
    assert_eq!(awaited(&world, CGW, 2).finding(), Finding::InitUnanswered);
}

#[test]
fn a_route_over_the_peer_is_not_said_to_be_the_peers_silence() {
    // What we send goes into the tunnel instead. Where the peer begins, its messages tell.
    let mut world = faulty(|_, _| {}, vgw_to_cgw);
    world.run(seconds(100));
    assert_eq!(awaited(&world, VGW, 1).finding(), Finding::AnswersLost);
    // Where we begin, nothing does: what is so is said, and the rest asked.
    let mut world = faulty(
        |end, connection| {
            waiting(end, connection);
            if end == VGW {
                *connection = setup::initiating(connection.clone());
            }
        },
        vgw_to_cgw,
    );
    world.run(seconds(10));
    let told = awaited(&world, VGW, 1);
    assert_eq!(told.finding(), Finding::InitUnanswered);
    let text = sentence(&told);
    let (so, asked) = text.split_once(": ").unwrap();
    assert!(
        so.ends_with("; nothing came from 198.51.100.1 in 10s"),
        "{so}"
    );
    assert!(
        asked
            .split("? ")
            .all(|question| question.starts_with("is ")),
        "{asked}"
    );
}

#[test]
fn a_peer_at_another_address_than_is_configured_is_pointed_to_until_that_is_put_right() {
    let mut world = faulty(
        |end, connection| {
            if end == VGW {
                connection.customer_gateway.ip_address = Some("198.51.100.77".parse().unwrap());
            }
        },
        |_| false,
    );
    world.run(seconds(100));
    for number in [1, 2] {
        let told = awaited(&world, VGW, number);
        assert_eq!(told.finding(), Finding::UnknownAsks);
        let text = sentence(&told);
        let so = "nothing came from 198.51.100.77 in 1m40s, but 198.51.100.1, which is not \
                  configured, asked ";
        assert!(text.starts_with(so), "{text}");
        assert!(
            text.ends_with(" ago: is that its address instead?"),
            "{text}"
        );
    }
    let mut config = world.nodes[VGW].config.clone();
    config.connections[0].customer_gateway.ip_address = Some(setup::customer_address(1));
    world.reload(VGW, config);
    assert!(world.run_until(seconds(60), both_up));
}
