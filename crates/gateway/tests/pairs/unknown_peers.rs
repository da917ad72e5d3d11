//! What strangers can bring into log and status.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::Level;
use vgw_gateway::domain::Gateway;
use vgw_gateway::supervisor::{Supervisor, peer_config};
use vgw_ike::drop_reason::DropReason;
use vgw_ike::identity::Identity;
use vgw_ike::wire::{ExchangeType, Header, encode_cleartext};
use vgw_sim::dice::Dice;
use vgw_sim::error_log::{ErrorLog, Line};
use vgw_sim::setup;

use crate::rig::{initiate, name};

/// A gateway with so many customers, all of whom may come from anywhere.
fn gateway(customers: u8) -> Gateway {
    let mut gateway = setup::gateway(1);
    for number in 1..=customers {
        let mut connection = setup::connection(1, number);
        connection.customer_gateway.ip_address = None;
        connection.customer_gateway.identity = Identity::Fqdn(format!("site-{number}.example"));
        gateway.connections.push(connection);
    }
    gateway
}

/// One attempt by somebody who says that it is this.
fn attempt(now: Instant, supervisor: &mut Supervisor, from: SocketAddr, identity: &str, seed: u64) {
    let connection = setup::connection(1, 1);
    let customer = setup::customer(1);
    let tunnel = &connection.tunnels[0];
    let mut peer = peer_config(&customer, &connection, tunnel, &name(1));
    peer.local = from.ip();
    peer.local_id = identity.parse().unwrap();
    peer.psk.0 = vgw_crypto::Secret::new(b"not the key of anybody".to_vec());
    initiate(now, supervisor, peer, seed);
}

#[test]
fn a_stranger_has_a_place_of_its_own_and_lines_of_bounded_length_and_number() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(now, setup::checked(gateway(200)), Dice::new(1).sources());
    let from = "192.0.2.9:500".parse().unwrap();
    let log = ErrorLog::up_to(Level::WARN);
    log.watch(None, || {
        for seed in 1..=50 {
            attempt(now, &mut supervisor, from, "fqdn:nobody.example", seed);
        }
    });
    let lines = log.take();
    // What was refused, and that others were not looked at.
    assert_eq!(lines.len(), 5 + 1, "{lines:?}");
    assert!(
        lines[5].message.contains("too many IKE_AUTH failed"),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| line.message.len() < 500),
        "{lines:?}"
    );
    let named = |line: &Line| line.message.contains("192.0.2.9:500");
    assert!(lines.iter().all(named), "{lines:?}");
    let status = supervisor.status(now);
    for connection in &status.connections {
        for tunnel in &connection.tunnels {
            assert_eq!(tunnel.last_error, None, "{}", tunnel.name);
        }
    }
    let [stranger] = status.unknown_peers.as_slice() else {
        panic!("{:?}", status.unknown_peers);
    };
    assert_eq!(stranger.remote, from);
    let text = &stranger.refused.text;
    assert!(text.contains("says it is fqdn:nobody.example"), "{text}");
    assert!(text.contains("site-1.example (vpn-1-1/1) or"), "{text}");
    assert!(text.ends_with("and 194 more"), "{text}");
}

#[test]
fn a_wrong_key_shows_at_the_tunnel_whose_identity_it_came_with_and_from_where() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(now, setup::checked(gateway(3)), Dice::new(2).sources());
    let from = "192.0.2.9:500".parse().unwrap();
    attempt(now, &mut supervisor, from, "fqdn:site-2.example", 7);
    let status = supervisor.status(now);
    assert!(status.unknown_peers.is_empty());
    let blamed: Vec<_> = status
        .connections
        .iter()
        .flat_map(|connection| &connection.tunnels)
        .filter_map(|tunnel| Some((tunnel.name.to_string(), tunnel.last_error.clone()?.text)))
        .collect();
    let [(tunnel, why)] = blamed.as_slice() else {
        panic!("{blamed:?}");
    };
    assert_eq!(tunnel, "vpn-1-2/1");
    assert!(why.contains("does not match our pre-shared key"), "{why}");
    assert!(why.ends_with("(from 192.0.2.9:500)"), "{why}");
}

/// Main mode's first message, as far as it is looked at.
fn ikev1() -> Vec<u8> {
    let header = Header {
        spi_i: 7,
        spi_r: 0,
        exchange: ExchangeType(2),
        initiator: false,
        response: false,
        message_id: 0,
    };
    let mut message = encode_cleartext(&header, &[]);
    message[17] = 0x10;
    message
}

#[test]
fn ikev1_shows_at_the_tunnel_of_its_address_or_else_as_a_strangers_and_is_one_line() {
    let now = Instant::now();
    let mut gateway = setup::gateway(1);
    gateway.initiate_to_recover = false;
    gateway.connections.push(setup::connection(1, 1));
    let mut supervisor = Supervisor::new(now, setup::checked(gateway), Dice::new(1).sources());
    let local = (setup::outside(1, 1), 500).into();
    let peer = SocketAddr::new(setup::customer_address(1), 500);
    let stranger = "192.0.2.9:500".parse().unwrap();
    for from in [peer, stranger] {
        let log = ErrorLog::up_to(Level::WARN);
        log.watch(None, || {
            for _ in 0..1_000 {
                supervisor.handle_datagram(now, local, from, &ikev1());
                supervisor.note_unread(now, local, from, DropReason::IkeV1);
            }
        });
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let said =
            "message dropped (ike_v1): the peer speaks IKEv1: this gateway speaks IKEv2 only";
        let message = &lines[0].message;
        assert!(
            message.contains(said) && message.contains(&from.to_string()),
            "{message}"
        );
    }
    let status = supervisor.status(now);
    assert_eq!(status.denied.get(DropReason::IkeV1), 2_000);
    let trouble = status.connections[0].tunnels[0].last_error.clone().unwrap();
    assert!(
        trouble.text.contains("set the peer to IKEv2"),
        "{trouble:?}"
    );
    let [refused] = status.unknown_peers.as_slice() else {
        panic!("{:?}", status.unknown_peers);
    };
    assert_eq!(refused.remote, stranger);
    assert!(refused.refused.text.contains("set the peer to IKEv2"));
}

#[test]
fn that_a_message_was_dropped_does_not_hide_why_the_peer_was_refused_just_before() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(now, setup::checked(gateway(1)), Dice::new(2).sources());
    let from = "192.0.2.9:500".parse().unwrap();
    attempt(now, &mut supervisor, from, "fqdn:nobody.example", 7);
    let local = (setup::outside(1, 1), 500).into();
    let refused = |supervisor: &Supervisor| {
        let status = supervisor.status(now);
        status.unknown_peers[0].refused.text.clone()
    };
    let before = refused(&supervisor);
    supervisor.note_unread(now, local, from, DropReason::Malformed);
    assert_eq!(refused(&supervisor), before);
    let later = now + Duration::from_secs(60);
    supervisor.note_unread(later, local, from, DropReason::Malformed);
    assert!(refused(&supervisor).contains("message dropped"));
}

/// A gateway that waits for so many customers.
fn waiting(customers: u8) -> Gateway {
    let mut gateway = setup::gateway(1);
    gateway.initiate_to_recover = false;
    let connections = (1..=customers).map(|number| setup::connection(1, number));
    gateway.connections.extend(connections);
    gateway
}

/// To which tunnels status points, where a stranger asks at the first outside address:
/// after the first time, after the second, and long after that.
fn pointed_to(config: Gateway, stranger: SocketAddr) -> [Vec<String>; 3] {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(now, setup::checked(config), Dice::new(1).sources());
    [(0, true), (30, true), (200, false)].map(|(second, asks)| {
        let now = now + Duration::from_secs(second);
        if asks {
            let identity = "fqdn:nobody.example";
            attempt(now, &mut supervisor, stranger, identity, second);
        }
        let connections = supervisor.status(now).connections;
        let tunnels = connections
            .iter()
            .flat_map(|connection| &connection.tunnels);
        let pointed = tunnels.filter(|tunnel| {
            let unknown = tunnel
                .why_not_up
                .as_ref()
                .and_then(|awaited| awaited.possible_peer);
            unknown.is_some_and(|unknown| unknown.remote == stranger.ip())
        });
        pointed.map(|tunnel| tunnel.name.to_string()).collect()
    })
}

#[test]
fn a_stranger_may_be_a_peer_if_it_asks_again_where_few_are_awaited_and_until_it_ceases() {
    let stranger = "192.0.2.9:500".parse().unwrap();
    let nobody = Vec::<String>::new;
    let two = ["vpn-1-1/1", "vpn-1-2/1"].map(str::to_owned).to_vec();
    assert_eq!(pointed_to(waiting(2), stranger), [nobody(), two, nobody()]);
    let never = [nobody(), nobody(), nobody()];
    assert_eq!(pointed_to(waiting(4), stranger), never);
    // Who is configured at another of our addresses comes to the wrong one.
    let mut config = waiting(2);
    config.outside_addresses.push(setup::outside(1, 3).into());
    for (tunnel, ours) in config.connections[0].tunnels.iter_mut().zip([2, 3]) {
        tunnel.outside_address = setup::outside(1, ours);
    }
    let known = (setup::customer_address(1), 500).into();
    assert_eq!(pointed_to(config, known), never);
}
