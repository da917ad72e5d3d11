//! Dead peer detection, retransmission, cached answers.

use vgw_ike::config::Liveness;
use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, PEER, Pair, seconds};

#[test]
fn an_idle_peer_is_asked_and_lives() {
    let mut pair = Pair::up(1);
    pair.run(seconds(600));
    pair.assert_agreement(1);
    let asked = pair.count(A, ExchangeType::INFORMATIONAL, false)
        + pair.count(B, ExchangeType::INFORMATIONAL, false);
    assert!((50..=65).contains(&asked), "asked {asked} times in 600 s");
    assert!(pair.sides.iter().any(|side| side.alive > 20));
}

#[test]
fn traffic_makes_the_question_needless() {
    let mut pair = Pair::up(2);
    pair.traffic = Some(seconds(1));
    pair.run(seconds(600));
    assert_eq!(pair.count(A, ExchangeType::INFORMATIONAL, false), 0);
    assert_eq!(pair.count(B, ExchangeType::INFORMATIONAL, false), 0);
}

#[test]
fn a_silent_peer_is_dead_when_the_timeout_has_passed_since_its_last_packet() {
    for (idle, timeout) in [(10, 30), (1, 3), (5, 30)] {
        let mut pair = Pair::with(3, |_, config| {
            config.liveness = Some(Liveness {
                idle: seconds(idle),
                timeout: seconds(timeout),
            });
        });
        pair.establish(A);
        pair.flow();
        pair.run(seconds(5));
        pair.weather = Box::new(|_| vec![]);
        let silent_since = pair.now + DELAY;
        pair.run(silent_since - pair.now);
        pair.run(seconds(timeout) - DELAY);
        assert!(
            pair.sides.iter().all(|side| side.ikes.len() == 1),
            "too early"
        );
        pair.run(DELAY * 2);
        for side in &pair.sides {
            assert_eq!(side.ends, [DownReason::PeerDead]);
            assert_eq!(side.child_ends, [DownReason::PeerDead]);
        }
        let sent = pair.sides[A].endpoint.counters(PEER).retransmissions;
        assert!((1..=10).contains(&sent), "{sent} retransmissions");
    }
}

#[test]
fn a_short_loss_does_not_kill_a_peer() {
    let mut pair = Pair::up(4);
    pair.run(seconds(9));
    pair.weather = Box::new(|_| vec![]);
    pair.run(seconds(18));
    pair.weather = crate::rig::fair();
    pair.run(seconds(30));
    pair.assert_agreement(1);
}

#[test]
fn without_liveness_nobody_asks_but_a_request_without_answer_ends_the_sa() {
    let mut pair = Pair::with(5, |_, config| config.liveness = None);
    pair.establish(A);
    pair.weather = Box::new(|_| vec![]);
    pair.run(seconds(1_000));
    assert_eq!(pair.sides[A].ikes.len(), 1);
    pair.rekey_child(A);
    pair.run(seconds(60));
    assert_eq!(pair.sides[A].ends, [DownReason::PeerDead]);
}

#[test]
fn traffic_of_a_peer_that_never_answers_does_not_keep_a_request_alive_forever() {
    let mut pair = Pair::up(6);
    pair.traffic = Some(seconds(1));
    pair.weather = Box::new(|datagram| match datagram.header() {
        Some(_) if datagram.from == B => vec![],
        _ => vec![DELAY],
    });
    pair.rekey_child(A);
    pair.run(seconds(120));
    assert_eq!(pair.sides[A].ends, [DownReason::PeerDead]);
    let sent = pair.sides[A].endpoint.counters(PEER).retransmissions;
    assert!((3..=12).contains(&sent), "{sent} retransmissions");
}

#[test]
fn a_repeated_request_is_answered_from_memory_and_done_once() {
    let mut pair = Pair::up(7);
    pair.weather = Box::new(|_| vec![DELAY, DELAY * 2, DELAY * 3]);
    pair.rekey_child(A);
    pair.run(seconds(10));
    pair.assert_agreement(1);
    let answers: Vec<_> = pair
        .log
        .iter()
        .filter(|datagram| datagram.is(B, ExchangeType::CREATE_CHILD_SA, true))
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(pair.sides[B].endpoint.counters(PEER).duplicates >= 2);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).child_rekeys, 1);
}
