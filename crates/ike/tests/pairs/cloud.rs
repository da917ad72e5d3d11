//! Side B behind a NAT that has one address for it alone, as machines in a cloud are.

use std::net::{IpAddr, SocketAddr};

use vgw_ike::event::Diagnostic;

use crate::nat::PUBLIC;
use crate::rig::{A, B, DELAY, Load, Nat, PEER, Pair, seconds};

const CLOUD: &str = "203.0.113.77";

/// The peer's mapping, and what it becomes.
const BEFORE: u16 = 10_000;
const AFTER: u16 = 20_000;

fn cloud() -> IpAddr {
    CLOUD.parse().unwrap()
}

/// A reaches B by its public address only; B knows that address or does not.
fn in_a_cloud(seed: u64, known: bool) -> Pair {
    let mut pair = Pair::with(seed, |side, config| {
        if side == A {
            config.remote = Some(cloud());
        } else {
            config.public = known.then(cloud);
        }
    });
    pair.nats[B] = Some(Nat {
        public: cloud(),
        shift: 0,
    });
    pair
}

/// As [`in_a_cloud`], and A is behind a NAT whose mappings change.
fn with_a_roaming_peer(seed: u64, known: bool) -> Pair {
    let mut pair = in_a_cloud(seed, known);
    pair.nats[A] = Some(Nat {
        public: PUBLIC.parse().unwrap(),
        shift: BEFORE,
    });
    let now = pair.now;
    let mut config = crate::rig::config(B);
    config.public = known.then(cloud);
    config.remote = None;
    pair.sides[B].endpoint.set_peer(now, PEER, config);
    pair.establish(A);
    pair.flow();
    pair.run(seconds(1));
    pair
}

fn remap(pair: &mut Pair) {
    pair.nats[A].as_mut().unwrap().shift = AFTER;
}

fn doubts(pair: &Pair) -> usize {
    let doubt = |d: &&Diagnostic| matches!(d, Diagnostic::AddressInDoubt { .. });
    pair.sides[B].diagnostics.iter().filter(doubt).count()
}

#[test]
fn who_is_behind_its_own_nat_initiates_and_goes_to_port_4500() {
    for known in [true, false] {
        let mut pair = in_a_cloud(1, known);
        pair.establish(B);
        let ports: Vec<_> = pair.log.iter().map(|d| d.destination.port()).collect();
        assert_eq!(ports, [500, 500, 4_500, 4_500]);
        let (_, details) = pair.sides[B].ike();
        assert!(details.nat.local && !details.nat.remote);
        assert!(
            pair.sides
                .iter()
                .all(|side| side.child().path.udp_encapsulation)
        );
        pair.flow();
        pair.run(seconds(50));
        assert_eq!(pair.lost, 0);
        assert_eq!(pair.sides[B].keepalives, 2, "its cloud may forget it, too");
    }
}

#[test]
fn behind_the_nat_that_is_configured_a_peer_is_followed_to_its_new_port_at_once() {
    let mut pair = with_a_roaming_peer(2, true);
    remap(&mut pair);
    let before = pair.delivered;
    pair.run(seconds(1));
    assert_eq!(pair.sides[B].child().path.remote.port(), 4_500 + AFTER);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).path_changes, 1);
    assert!(pair.delivered - before > 350, "left at once");
    assert_eq!(doubts(&pair), 0);
}

#[test]
fn behind_another_nat_the_old_address_is_asked_first_and_the_peer_found_at_its_new_one() {
    let mut pair = with_a_roaming_peer(3, false);
    remap(&mut pair);
    pair.run(seconds(2));
    assert_eq!(pair.sides[B].child().path.remote.port(), 4_500 + AFTER);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).path_changes, 1);
    assert_eq!(doubts(&pair), 1, "and a word about it");
    let before = pair.delivered;
    pair.run(seconds(1));
    assert!(pair.delivered - before > 350, "both ways again");
    pair.assert_agreement(1);
}

#[test]
fn behind_another_nat_packets_sent_on_bring_nobody_a_request() {
    let mut pair = with_a_roaming_peer(4, false);
    let third_party = SocketAddr::new("203.0.113.66".parse().unwrap(), 4500);
    let spi = pair.sides[B].outbound.unwrap();
    let asked = pair.log.len();
    for _ in 0..100 {
        pair.call(B, |endpoint, now| endpoint.note_path(now, spi, third_party));
        pair.run(DELAY * 5);
    }
    let log = &pair.log[asked..];
    assert!(log.iter().all(|d| d.destination != third_party));
    let requests = log.iter().filter(|d| d.from == B).count();
    assert!((5..=11).contains(&requests), "{requests} in 10 s");
    assert_eq!(pair.sides[B].path_changes, 0);
    assert!(log.iter().all(|d| matches!(d.load, Load::Ike(_))));
}

#[test]
fn another_nat_than_the_configured_one_is_said_once() {
    for (public, said) in [(CLOUD, 0), ("203.0.113.78", 1)] {
        let mut pair = in_a_cloud(5, true);
        let mut config = crate::rig::config(B);
        config.public = Some(public.parse().unwrap());
        let now = pair.now;
        pair.sides[B].endpoint.set_peer(now, PEER, config);
        pair.establish(B);
        pair.rekey_ike(B);
        pair.run(seconds(3));
        let other = |d: &&Diagnostic| matches!(d, Diagnostic::OtherNat(_));
        let diagnostics = &pair.sides[B].diagnostics;
        assert_eq!(diagnostics.iter().filter(other).count(), said, "{public}");
    }
}
