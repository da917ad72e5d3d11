//! Probes: what is known of a peer within a fraction of a second.

use std::net::SocketAddr;
use std::time::Duration;

use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::nat::behind_nat;
use crate::rig::{A, B, DELAY, Load, Pair, fair, seconds};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn probe(pair: &mut Pair) {
    probe_by(pair, A);
}

fn probe_by(pair: &mut Pair, side: usize) {
    let (sa, _) = pair.sides[side].ike();
    pair.call(side, |endpoint, now| endpoint.probe(now, sa));
}

fn check_liveness(pair: &mut Pair) {
    let (sa, _) = pair.sides[A].ike();
    pair.call(A, |endpoint, now| endpoint.check_liveness(now, sa));
}

fn asked(pair: &Pair) -> usize {
    pair.count(A, ExchangeType::INFORMATIONAL, false)
}

#[test]
fn a_peer_that_is_there_answers_a_probe_in_one_round_trip() {
    let mut pair = Pair::up(1);
    probe(&mut pair);
    pair.run(2 * DELAY);
    let side = &pair.sides[A];
    assert_eq!((side.alive, side.unanswered), (1, 0));
    assert_eq!(side.round_trip, Some(2 * DELAY));
    pair.run(seconds(1));
    assert_eq!(asked(&pair), 1);
}

#[test]
fn a_peer_that_does_not_answer_is_found_after_three_questions_and_lives_on() {
    let mut pair = Pair::up(2);
    pair.weather = Box::new(|_| vec![]);
    probe(&mut pair);
    pair.run(ms(149));
    assert_eq!((asked(&pair), pair.sides[A].unanswered), (3, 0));
    pair.run(ms(2));
    assert_eq!(pair.sides[A].unanswered, 1);
    pair.run(seconds(5));
    assert_eq!(pair.sides[A].unanswered, 1, "said once");
    assert!(asked(&pair) <= 8, "sent {} times", asked(&pair));
    assert_eq!(pair.sides[A].ikes.len(), 1);
}

#[test]
fn a_failed_probe_changes_nothing_about_dead_peer_detection() {
    let mut ends = [false, true].map(|probed| {
        let mut pair = Pair::up(3);
        pair.run(seconds(3));
        pair.weather = Box::new(|_| vec![]);
        let cut = pair.now;
        if probed {
            probe(&mut pair);
        }
        while pair.sides[A].ends.is_empty() {
            pair.run(ms(100));
        }
        assert_eq!(pair.sides[A].ends, [DownReason::PeerDead]);
        pair.now - cut
    });
    ends.sort();
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn two_lost_messages_do_not_fail_a_probe() {
    let mut pair = Pair::up(4);
    let mut passed = 0;
    pair.weather = Box::new(move |_| {
        passed += 1;
        if passed < 3 { vec![] } else { vec![DELAY] }
    });
    probe(&mut pair);
    pair.run(ms(149));
    let side = &pair.sides[A];
    assert_eq!((side.alive, side.unanswered), (1, 0));
    assert_eq!(side.round_trip, None, "which one was answered is not known");
}

#[test]
fn a_request_that_is_under_way_is_the_probe() {
    let mut pair = Pair::up(5);
    pair.weather = Box::new(|_| vec![]);
    pair.rekey_child(A);
    pair.run(ms(200));
    assert_eq!(pair.count(A, ExchangeType::CREATE_CHILD_SA, false), 1);
    probe(&mut pair);
    pair.run(ms(40));
    assert_eq!(pair.count(A, ExchangeType::CREATE_CHILD_SA, false), 2);
    assert_eq!(asked(&pair), 0);
    pair.weather = fair();
    // The peer is given time for its key exchange.
    pair.run(seconds(2));
    assert_eq!(pair.sides[A].alive, 1);
    assert_eq!(pair.sides[A].unanswered, 0);
}

#[test]
fn an_answer_that_comes_too_late_is_reported_as_well() {
    let mut pair = Pair::up(6);
    pair.weather = Box::new(|_| vec![ms(200)]);
    probe(&mut pair);
    pair.run(ms(500));
    let side = &pair.sides[A];
    assert_eq!((side.unanswered, side.alive), (1, 1));
}

#[test]
fn a_peer_that_is_far_away_is_given_time() {
    let mut pair = Pair::up(7);
    pair.weather = Box::new(|_| vec![ms(100)]);
    check_liveness(&mut pair);
    pair.run(seconds(1));
    assert_eq!(pair.sides[A].round_trip, Some(ms(200)));
    for _ in 0..10 {
        probe(&mut pair);
        pair.run(seconds(1));
    }
    let side = &pair.sides[A];
    assert_eq!((side.alive, side.unanswered), (11, 0));
    assert_eq!(asked(&pair), 11, "each once");
}

#[test]
fn answers_that_do_not_arrive_show_at_the_end_that_gives_them() {
    let mut pair = Pair::up(9);
    pair.weather = Box::new(|datagram| {
        if datagram.from == A {
            vec![DELAY]
        } else {
            vec![]
        }
    });
    probe(&mut pair);
    pair.run(ms(150));
    assert_eq!(pair.sides[B].repeated, 2);
    assert_eq!(pair.sides[A].repeated, 0);
}

#[test]
fn a_peer_that_did_not_answer_can_be_asked_anew() {
    let mut pair = Pair::up(8);
    pair.weather = Box::new(|_| vec![]);
    for failed in 1..=3 {
        let before = asked(&pair);
        probe(&mut pair);
        // It is under way, so another one adds nothing.
        probe(&mut pair);
        pair.run(ms(151));
        assert_eq!(pair.sides[A].unanswered, failed);
        assert!((3..=4).contains(&(asked(&pair) - before)));
    }
}

#[test]
fn a_path_that_has_become_longer_is_known_after_one_request_that_was_not_repeated() {
    let mut pair = Pair::up(10);
    check_liveness(&mut pair);
    pair.run(seconds(1));
    pair.weather = Box::new(|_| vec![ms(200)]);
    probe(&mut pair);
    pair.run(seconds(1));
    let side = &pair.sides[A];
    assert_eq!((side.unanswered, side.round_trip), (1, None));
    check_liveness(&mut pair);
    pair.run(seconds(1));
    for _ in 0..10 {
        probe(&mut pair);
        pair.run(seconds(1));
    }
    assert_eq!(pair.sides[A].unanswered, 1);
}

#[test]
fn a_peer_whose_packets_come_may_leave_a_probe_unanswered() {
    let mut pair = Pair::up(11);
    pair.traffic = Some(seconds(1));
    pair.weather = Box::new(|datagram| match datagram.load {
        Load::Ike(_) => vec![],
        Load::Esp { .. } => vec![DELAY],
    });
    probe(&mut pair);
    pair.run(seconds(600));
    assert_eq!(pair.sides[A].unanswered, 1);
    assert_eq!(pair.sides[A].ikes.len(), 1);
    // What else is to be asked does not wait forever.
    pair.rekey_child(A);
    pair.run(seconds(29));
    assert_eq!(pair.sides[A].ikes.len(), 1);
    pair.run(seconds(2));
    assert_eq!(pair.sides[A].ends, [DownReason::PeerDead]);
}

#[test]
fn a_peer_that_left_a_probe_unanswered_is_dead_once_its_packets_cease() {
    let mut pair = Pair::up(12);
    pair.traffic = Some(seconds(1));
    pair.weather = Box::new(|datagram| match datagram.load {
        Load::Ike(_) => vec![],
        Load::Esp { .. } => vec![DELAY],
    });
    probe(&mut pair);
    pair.run(seconds(100));
    pair.traffic = None;
    pair.run(seconds(29));
    assert_eq!(pair.sides[A].ikes.len(), 1);
    pair.run(seconds(2));
    assert_eq!(pair.sides[A].ends, [DownReason::PeerDead]);
}

/// B hears of a packet of its peer from another port.
fn come_from(pair: &mut Pair, port: u16) -> SocketAddr {
    let elsewhere = SocketAddr::new(pair.sides[B].child().path.remote.ip(), port);
    let spi = pair.sides[B].outbound.unwrap();
    pair.call(B, |endpoint, now| endpoint.note_path(now, spi, elsewhere));
    elsewhere
}

#[test]
fn a_probe_asks_on_the_path_though_a_new_address_is_being_asked() {
    for (seed, question_first) in [(13, false), (14, true)] {
        let mut pair = behind_nat(seed);
        pair.establish(A);
        let path = pair.sides[B].child().path.remote;
        if question_first {
            probe_by(&mut pair, B);
        }
        let elsewhere = come_from(&mut pair, 1);
        if !question_first {
            assert_eq!(pair.log.last().unwrap().destination, elsewhere);
            pair.run(ms(1));
            probe_by(&mut pair, B);
        }
        pair.run(ms(150));
        let asked = |to| {
            pair.log
                .iter()
                .filter(|d| d.from == B && d.destination == to)
                .count()
        };
        assert!(asked(path) > 0, "{question_first}");
        let side = &pair.sides[B];
        assert_eq!((side.alive, side.unanswered), (1, 0), "{question_first}");
    }
}

#[test]
fn a_peer_that_has_come_to_another_address_is_followed_though_it_is_probed_meanwhile() {
    for seed in [15, 16] {
        let mut pair = behind_nat(seed);
        pair.establish(A);
        pair.flow();
        pair.nats[A].as_mut().unwrap().shift += 1;
        for _ in 0..20 {
            pair.run(ms(100));
            probe_by(&mut pair, B);
        }
        assert_eq!(pair.sides[B].path_changes, 1);
        pair.run(seconds(10));
        pair.assert_agreement(1);
    }
}
