//! DELETE of CHILD and IKE SAs, and what crosses it.

use std::time::Duration;

use vgw_ike::config::Lifetime;
use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, PEER, Pair, seconds};

fn assert_nothing_left(pair: &Pair) {
    for side in &pair.sides {
        assert!(side.ikes.is_empty() && side.children.is_empty());
    }
}

#[test]
fn a_deleted_ike_sa_takes_its_children_along_on_both_sides() {
    for side in [A, B] {
        let mut pair = Pair::up(1);
        let (sa, _) = pair.sides[side].ike();
        pair.call(side, |endpoint, now| endpoint.delete(now, sa));
        assert_eq!(pair.sides[side].ends, [DownReason::Requested]);
        pair.run(seconds(1));
        assert_eq!(pair.sides[1 - side].ends, [DownReason::PeerDeleted]);
        assert_eq!(pair.sides[1 - side].child_ends, [DownReason::PeerDeleted]);
        assert_nothing_left(&pair);
        pair.run(seconds(60));
        assert!(
            pair.sides
                .iter()
                .all(|side| side.endpoint.poll_timeout().is_none())
        );
    }
}

#[test]
fn deletes_that_cross_are_both_answered() {
    let mut pair = Pair::up(2);
    for side in [A, B] {
        let (sa, _) = pair.sides[side].ike();
        pair.call(side, |endpoint, now| endpoint.delete(now, sa));
    }
    let before = pair.log.len();
    pair.run(seconds(60));
    assert_eq!(
        pair.log.len(),
        before + 2,
        "an answer each, no retransmission"
    );
    assert_nothing_left(&pair);
}

#[test]
fn a_lost_answer_to_a_delete_is_repeated() {
    let mut pair = Pair::up(3);
    let mut answers = 0;
    pair.weather = Box::new(move |datagram| {
        answers += usize::from(datagram.from == B);
        if datagram.from == B && answers < 3 {
            vec![]
        } else {
            vec![DELAY]
        }
    });
    let (sa, _) = pair.sides[A].ike();
    let before = pair.log.len();
    pair.call(A, |endpoint, now| endpoint.delete(now, sa));
    pair.run(seconds(60));
    assert_eq!(pair.log.len(), before + 6, "asked and answered three times");
    assert_nothing_left(&pair);
}

#[test]
fn a_delete_waits_for_the_request_that_is_under_way() {
    for ike in [false, true] {
        for offset in [0, 10, 30] {
            let mut pair = Pair::up(4);
            let (sa, _) = pair.sides[A].ike();
            if ike {
                pair.rekey_ike(A);
            } else {
                pair.rekey_child(A);
            }
            pair.run(Duration::from_millis(offset));
            pair.call(A, |endpoint, now| endpoint.delete(now, sa));
            pair.run(seconds(90));
            assert_nothing_left(&pair);
        }
    }
}

#[test]
fn a_delete_that_crosses_a_rekey_of_the_peer_leaves_nothing() {
    for ike in [false, true] {
        for offset in [0, 10, 30, 50] {
            let mut pair = Pair::up(5);
            let (sa, _) = pair.sides[A].ike();
            if ike {
                pair.rekey_ike(B);
            } else {
                pair.rekey_child(B);
            }
            pair.run(Duration::from_millis(offset));
            // Once the rekey is done, `sa` names the old one and nothing happens.
            let still = pair.sides[A].ikes.keys().next_back().copied();
            pair.call(A, |endpoint, now| endpoint.delete(now, still.unwrap_or(sa)));
            pair.run(seconds(90));
            assert_nothing_left(&pair);
        }
    }
}

#[test]
fn a_removed_peer_is_told_and_unknown_afterwards() {
    let mut pair = Pair::up(6);
    pair.call(A, |endpoint, now| endpoint.remove_peer(now, PEER));
    pair.run(seconds(1));
    assert_nothing_left(&pair);
    let now = pair.now;
    assert_eq!(pair.sides[A].endpoint.initiate(now, PEER), None);
}

#[test]
fn an_ike_sa_left_without_a_child_gets_another_whoever_began_it() {
    // RFC 7296 section 1.3.1: either end may ask; the initiator is first.
    for (initiator, deletes) in [(A, A), (A, B), (B, A), (B, B)] {
        let mut pair = Pair::with(7, |side, config| {
            if side == deletes {
                config.child_lifetime = Lifetime {
                    time: seconds(100),
                    margin: seconds(0),
                    fuzz_percent: 0,
                };
            }
        });
        pair.establish(initiator);
        let spi = pair.sides[deletes].child().spi_in;
        pair.run(seconds(110));
        pair.assert_agreement(1);
        assert_ne!(pair.sides[deletes].child().spi_in, spi);
        let [asked, other] = [initiator, 1 - initiator]
            .map(|side| pair.count(side, ExchangeType::CREATE_CHILD_SA, false));
        assert_eq!((asked, other), (1, 0));
    }
}

#[test]
fn of_two_child_sas_that_are_asked_for_at_once_one_is_made() {
    let mut pair = Pair::with(8, |_, config| {
        config.child_lifetime = Lifetime {
            time: seconds(100),
            margin: seconds(0),
            fuzz_percent: 0,
        };
    });
    pair.establish(A);
    // What A asks takes longer than B waits: that of B crosses it.
    pair.weather = Box::new(|datagram| {
        let from_a = datagram.is(A, ExchangeType::CREATE_CHILD_SA, false);
        if from_a {
            vec![seconds(5)]
        } else {
            vec![DELAY]
        }
    });
    pair.run(seconds(115));
    pair.assert_agreement(1);
}
