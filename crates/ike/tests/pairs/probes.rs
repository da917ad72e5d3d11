//! Probes: what is known of a peer within a fraction of a second.

use std::time::Duration;

use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, Pair, fair, seconds};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn probe(pair: &mut Pair) {
    let (sa, _) = pair.sides[A].ike();
    pair.call(A, |endpoint, now| endpoint.probe(now, sa));
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
    let (sa, _) = pair.sides[A].ike();
    pair.call(A, |endpoint, now| endpoint.check_liveness(now, sa));
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
