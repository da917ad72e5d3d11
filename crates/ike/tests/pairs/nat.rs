//! NAT detection, floating to port 4500, and a NAT that changes its mind.

use vgw_ike::config::Encapsulation;
use vgw_ike::event::DownReason;

use crate::rig::{A, B, Nat, Pair, address, seconds};

pub const PUBLIC: &str = "203.0.113.9";

pub fn behind_nat(seed: u64) -> Pair {
    let mut pair = Pair::with(seed, |side, config| {
        if side == B {
            config.remote = None;
        }
    });
    pair.nats[A] = Some(Nat {
        public: PUBLIC.parse().unwrap(),
        shift: 10_000,
    });
    pair
}

#[test]
fn without_a_nat_everything_stays_on_port_500_and_esp_is_native() {
    let mut pair = Pair::new(1);
    pair.establish(A);
    assert!(
        pair.log
            .iter()
            .all(|d| d.source.port() == 500 && d.destination.port() == 500)
    );
    assert!(!pair.sides[A].child().path.udp_encapsulation);
}

#[test]
fn behind_a_nat_the_initiator_floats_and_both_sides_encapsulate() {
    let mut pair = behind_nat(2);
    pair.establish(A);
    let ports: Vec<_> = pair.log.iter().map(|d| d.destination.port()).collect();
    assert_eq!(ports, [500, 10_500, 4_500, 14_500]);
    let (_, details) = pair.sides[A].ike();
    assert!(details.nat.local && !details.nat.remote);
    let (_, details) = pair.sides[B].ike();
    assert!(!details.nat.local && details.nat.remote);
    assert!(
        pair.sides
            .iter()
            .all(|side| side.child().path.udp_encapsulation)
    );
    pair.flow();
    pair.run(seconds(1));
    assert!(pair.lost == 0 && pair.delivered > 300);
}

#[test]
fn who_is_behind_the_nat_sends_keepalives() {
    let mut pair = behind_nat(3);
    pair.establish(A);
    pair.run(seconds(100));
    assert_eq!(pair.sides[A].keepalives, 5);
    assert_eq!(pair.sides[B].keepalives, 0);
    pair.rekey_ike(B);
    pair.run(seconds(100));
    assert_eq!(pair.sides[A].keepalives, 10, "also after a rekey");
}

#[test]
fn traffic_from_a_new_mapping_moves_the_path() {
    let mut pair = behind_nat(4);
    pair.establish(A);
    pair.flow();
    pair.run(seconds(1));
    pair.nats[A].as_mut().unwrap().shift = 20_000;
    let before = pair.delivered;
    pair.run(seconds(1));
    assert_eq!(pair.sides[B].path_changes, 1);
    assert_eq!(pair.sides[B].child().path.remote.port(), 24_500);
    assert!(
        pair.delivered - before > 350,
        "the old mapping is left at once"
    );
    pair.rekey_ike(B);
    pair.run(seconds(3));
    pair.rekey_child(B);
    pair.run(seconds(8));
    pair.assert_agreement(1);
}

#[test]
fn an_ike_message_from_a_new_mapping_moves_the_path() {
    let mut pair = behind_nat(5);
    pair.establish(A);
    pair.nats[A].as_mut().unwrap().shift = 30_000;
    pair.rekey_child(A);
    pair.run(seconds(8));
    pair.assert_agreement(1);
    assert_eq!(pair.sides[B].path_changes, 1);
    assert_eq!(
        pair.sides[B].ike().1.path.remote.port(),
        14_500,
        "as it came up"
    );
}

#[test]
fn a_replayed_message_from_elsewhere_moves_nothing() {
    let mut pair = behind_nat(6);
    pair.establish(A);
    pair.rekey_child(A);
    pair.run(seconds(8));
    let elsewhere = "203.0.113.66:4500".parse().unwrap();
    for mut datagram in pair.log.clone() {
        if datagram.from == A {
            datagram.source = elsewhere;
            let at = pair.now;
            pair.put_on_the_way(at, datagram);
        }
    }
    pair.run(seconds(2));
    assert_eq!(pair.sides[B].path_changes, 0);
}

#[test]
fn without_a_nat_an_address_change_is_not_followed() {
    let mut pair = Pair::up(7);
    let spi = pair.sides[B].child().spi_in;
    let elsewhere = "203.0.113.66:4500".parse().unwrap();
    pair.call(B, |endpoint, now| endpoint.note_path(now, spi, elsewhere));
    assert_eq!(pair.sides[B].path_changes, 0);
}

#[test]
fn forced_encapsulation_on_one_side_makes_both_encapsulate() {
    for (forcing, initiator) in [(A, A), (A, B), (B, A), (B, B)] {
        let mut pair = Pair::with(8, |side, config| {
            if side == forcing {
                config.encapsulation = Encapsulation::Udp;
            }
        });
        pair.establish(initiator);
        assert!(
            pair.sides
                .iter()
                .all(|side| side.child().path.udp_encapsulation)
        );
        assert_eq!(pair.log[2].destination.port(), 4_500);
    }
}

#[test]
fn native_encapsulation_refuses_a_nat_and_says_so() {
    for native in [A, B] {
        let mut pair = Pair::with(9, |side, config| {
            if side == B {
                config.remote = None;
            }
            if side == native {
                config.encapsulation = Encapsulation::Native;
            }
        });
        pair.nats[A] = Some(Nat {
            public: PUBLIC.parse().unwrap(),
            shift: 10_000,
        });
        pair.initiate(A);
        pair.run(seconds(30));
        assert!(pair.sides.iter().all(|side| side.ikes.is_empty()));
        let why = &pair.sides[native].refusals[0];
        assert!(why.contains("NAT") && why.contains("native"), "{why}");
        assert!(matches!(
            pair.sides[A].failures[..],
            [DownReason::Refused(_)]
        ));
    }
}

#[test]
fn native_encapsulation_works_where_there_is_no_nat() {
    let mut pair = Pair::with(10, |_, config| config.encapsulation = Encapsulation::Native);
    pair.establish(B);
    assert_eq!(pair.sides[A].child().path.remote.ip(), address(B));
    assert!(!pair.sides[A].child().path.udp_encapsulation);
}
