//! A peer whose address behind its NAT changes, and somebody who makes it look so.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use vgw_ike::wire::ExchangeType;

use crate::nat::{PUBLIC, behind_nat};
use crate::rig::{A, B, DELAY, Load, Nat, PEER, Pair, fair, seconds};

fn third_party() -> SocketAddr {
    "203.0.113.66:4500".parse().unwrap()
}

/// Somebody sent an authentic packet of A on, from his address.
fn sent_on(pair: &mut Pair, from: SocketAddr) {
    let spi = pair.sides[B].outbound.unwrap();
    pair.call(B, |endpoint, now| endpoint.note_path(now, spi, from));
}

/// IKE messages that B sent to this address.
fn sent_to(pair: &Pair, to: SocketAddr) -> usize {
    let there = |datagram: &&crate::rig::Datagram| datagram.from == B && datagram.destination == to;
    pair.log.iter().filter(there).count()
}

fn remap(pair: &mut Pair, shift: u16) {
    pair.nats[A].as_mut().unwrap().shift = shift;
}

#[test]
fn a_packet_sent_on_from_a_third_party_brings_him_one_request_and_no_traffic() {
    let mut pair = behind_nat(1);
    pair.establish(A);
    pair.flow();
    let strayed = Rc::new(Cell::new(0));
    let count = Rc::clone(&strayed);
    pair.weather = Box::new(move |datagram| {
        let esp = matches!(datagram.load, Load::Esp { .. });
        if esp && datagram.destination == third_party() {
            count.set(count.get() + 1);
        }
        vec![DELAY]
    });
    sent_on(&mut pair, third_party());
    pair.run(seconds(60));
    assert_eq!(sent_to(&pair, third_party()), 1);
    assert_eq!((strayed.get(), pair.lost), (0, 0));
    assert_eq!(pair.sides[B].path_changes, 0);
    pair.assert_agreement(1);
}

#[test]
fn packets_sent_on_without_pause_neither_move_the_path_nor_stop_our_requests() {
    let mut pair = behind_nat(2);
    pair.establish(A);
    pair.flow();
    for n in 0..600_u16 {
        let port = 1 + n;
        sent_on(&mut pair, SocketAddr::new(third_party().ip(), port));
        if n % 100 == 0 {
            pair.rekey_child(B);
        }
        pair.run(Duration::from_millis(100));
    }
    let strayed = pair
        .log
        .iter()
        .filter(|d| d.destination.ip() == third_party().ip());
    let strayed = strayed.count();
    assert!((20..=90).contains(&strayed), "{strayed} requests in 60 s");
    assert_eq!(pair.sides[B].path_changes, 0);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).child_rekeys, 6);
    pair.run(seconds(10));
    pair.assert_agreement(1);
}

#[test]
fn an_answer_to_what_was_also_sent_on_the_path_proves_no_address() {
    let mut pair = behind_nat(3);
    pair.establish(A);
    sent_on(&mut pair, third_party());
    // The third party does not answer, so the request is repeated on the path;
    // the answer to that is sent on, too.
    let seen = pair.log.len();
    while !pair.log[seen..].iter().any(|d| d.from == A) {
        pair.run(Duration::from_millis(10));
    }
    let mut answer = pair.log.last().unwrap().clone();
    assert!(answer.is(A, ExchangeType::INFORMATIONAL, true));
    answer.source = third_party();
    let at = pair.now;
    pair.put_on_the_way(at, answer);
    pair.run(seconds(30));
    assert_eq!(pair.sides[B].path_changes, 0);
    pair.assert_agreement(1);
}

#[test]
fn an_answer_from_another_address_than_was_asked_moves_nothing() {
    let mut pair = behind_nat(9);
    pair.establish(A);
    sent_on(&mut pair, third_party());
    // He passes the request on to the peer, whose answer comes from where it always was.
    let mut request = pair.log.last().unwrap().clone();
    assert_eq!(request.destination, third_party());
    request.destination = pair.sides[B].child().path.remote;
    let at = pair.now;
    pair.put_on_the_way(at, request);
    pair.run(seconds(30));
    assert_eq!(pair.sides[B].path_changes, 0);
    pair.assert_agreement(1);
}

#[test]
fn a_peer_behind_no_nat_is_not_followed() {
    let mut pair = Pair::with(10, |side, config| {
        if side == B {
            config.remote = None;
        }
    });
    pair.establish(A);
    for _ in 0..3 {
        sent_on(&mut pair, third_party());
        pair.run(seconds(2));
    }
    assert_eq!(sent_to(&pair, third_party()), 0);
    assert_eq!(pair.sides[B].path_changes, 0);
    pair.assert_agreement(1);
}

#[test]
fn a_peer_whose_address_is_configured_may_change_its_port_alone() {
    let public = PUBLIC.parse().unwrap();
    let mut pair = Pair::with(4, |side, config| {
        if side == B {
            config.remote = Some(public);
        }
    });
    pair.nats[A] = Some(Nat {
        public,
        shift: 10_000,
    });
    pair.establish(A);
    pair.flow();
    for _ in 0..3 {
        sent_on(&mut pair, third_party());
        pair.run(seconds(2));
    }
    assert_eq!(sent_to(&pair, third_party()), 0);
    assert_eq!(pair.sides[B].path_changes, 0);
    let [why] = &pair.sides[B].refusals[..] else {
        panic!("said once, not {:?}", pair.sides[B].refusals);
    };
    assert!(
        why.contains("203.0.113.66") && why.contains(PUBLIC),
        "{why}"
    );

    remap(&mut pair, 20_000);
    pair.run(seconds(1));
    assert_eq!(pair.sides[B].child().path.remote.port(), 24_500);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).path_changes, 1);
}

#[test]
fn a_new_mapping_is_followed_though_the_request_that_asks_it_is_lost() {
    let mut pair = behind_nat(5);
    pair.establish(A);
    pair.flow();
    pair.run(seconds(1));
    remap(&mut pair, 20_000);
    let lost = Cell::new(false);
    pair.weather = Box::new(move |datagram| {
        let asks = matches!(datagram.load, Load::Ike(_)) && datagram.from == B;
        if asks && !lost.replace(true) {
            return vec![];
        }
        vec![DELAY]
    });
    pair.run(seconds(1));
    assert_eq!(pair.sides[B].child().path.remote.port(), 24_500);
    pair.assert_agreement(1);
}

#[test]
fn a_new_mapping_is_followed_over_a_slow_network() {
    let mut pair = behind_nat(6);
    pair.establish(A);
    pair.flow();
    pair.weather = Box::new(|_| vec![Duration::from_millis(400)]);
    pair.run(seconds(1));
    remap(&mut pair, 20_000);
    pair.run(seconds(2));
    assert_eq!(pair.sides[B].child().path.remote.port(), 24_500);
    assert_eq!(pair.sides[B].path_changes, 1);
}

#[test]
fn a_request_that_went_to_the_old_mapping_finds_the_peer_at_the_new_one() {
    let mut pair = behind_nat(7);
    pair.establish(A);
    pair.flow();
    pair.run(seconds(1));
    remap(&mut pair, 20_000);
    // Before a packet of A came from there.
    pair.rekey_child(B);
    pair.run(seconds(2));
    assert_eq!(pair.sides[B].path_changes, 1);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).child_rekeys, 1);
    pair.run(seconds(10));
    pair.assert_agreement(1);
    assert_eq!(pair.sides[B].child().path.remote.port(), 24_500);
}

#[test]
fn a_mapping_that_changes_twice_is_followed_to_the_last() {
    let mut pair = behind_nat(8);
    pair.establish(A);
    pair.flow();
    for shift in [20_000, 21_000, 22_000] {
        remap(&mut pair, shift);
        pair.run(Duration::from_millis(200));
    }
    pair.weather = fair();
    pair.run(seconds(3));
    assert_eq!(pair.sides[B].child().path.remote.port(), 26_500);
    assert!(pair.sides[B].path_changes <= 3);
    pair.assert_agreement(1);
}
