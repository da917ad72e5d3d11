use std::time::{Duration, Instant};

use vgw_sa::{GatewayId, Sign};

use super::{FailureDetection, PATIENCE, Place, Standing};
use crate::domain::Side;
use crate::supervisor::questions::Purpose;
use crate::test_time::epoch;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A peer that was found to be near.
fn near() -> FailureDetection {
    let mut watch = FailureDetection::default();
    watch.note_answer(epoch(), Some(ms(20)));
    watch
}

fn place(since: Instant) -> Place {
    Place {
        purpose: Purpose::Doubt,
        since,
        of: GatewayId(0).tunnel(1),
    }
}

fn ask_now(watch: &mut FailureDetection, now: Instant) {
    watch.await_turn(place(now));
    assert!(watch.take_turn(now, place(now)));
}

/// Asks when it is time, and gives when that was.
fn ask(watch: &mut FailureDetection) -> Instant {
    let at = watch.deadline().unwrap();
    assert!(watch.take_question(at));
    ask_now(watch, at);
    assert_eq!(watch.standing(), Standing::Suspect(at));
    at
}

#[test]
fn a_silence_is_followed_by_a_question_after_a_tenth_of_a_second() {
    let (mut watch, since) = (near(), epoch());
    watch.note_silence(since + PATIENCE, since);
    assert!(watch.take_question(since + PATIENCE));
}

#[test]
fn a_peer_that_is_far_away_is_given_four_round_trips() {
    let (mut watch, since) = (near(), epoch());
    watch.note_answer(since, Some(ms(80)));
    watch.note_silence(since + PATIENCE, since);
    assert_eq!(watch.deadline(), Some(since + ms(320)));
    assert!(!watch.take_question(since + ms(319)));
}

#[test]
fn a_peer_of_which_it_is_not_known_how_far_it_is_is_given_a_second() {
    let (mut watch, since) = (FailureDetection::default(), epoch());
    watch.note_silence(since + PATIENCE, since);
    assert_eq!(watch.round_trip().measure_at(), Some(since + PATIENCE));
    assert!(!watch.take_question(since + ms(999)));
    assert!(watch.take_question(since + ms(1000)));
}

#[test]
fn what_comes_back_before_the_question_makes_it_needless() {
    let (mut watch, since) = (near(), epoch());
    watch.note_silence(since + PATIENCE, since);
    assert!(watch.note_heard(since + PATIENCE));
    assert_eq!(watch.deadline(), None);
    assert_eq!(watch.standing(), Standing::Well);
}

#[test]
fn what_comes_after_the_question_makes_the_answer_needless() {
    let (mut watch, since) = (near(), epoch());
    watch.note_silence(since + PATIENCE, since);
    let asked = ask(&mut watch);
    watch.note_heard(asked + ms(40));
    assert!(!watch.note_no_answer(asked + ms(150)));
    assert_eq!(watch.standing(), Standing::Well);
}

#[test]
fn a_stream_that_goes_one_way_by_nature_is_asked_about_every_ten_seconds() {
    let (mut watch, start) = (near(), epoch());
    let mut asked = Vec::new();
    for tick in 1..=60 {
        let now = start + ms(1000) * tick;
        watch.note_silence(now, start);
        if watch.take_question(now) {
            ask_now(&mut watch, now);
            watch.note_answer(now, Some(ms(10)));
            asked.push(tick);
        }
    }
    assert_eq!(asked, [1, 3, 7, 15, 25, 35, 45, 55]);
}

#[test]
fn a_peer_that_answers_after_all_is_well_but_traffic_returns_to_it_later() {
    let (mut watch, start) = (near(), epoch());
    let mut holds = Vec::new();
    let mut now = start;
    for _ in 0..8 {
        watch.note_silence(now + PATIENCE, now);
        now = ask(&mut watch) + ms(150);
        assert!(watch.note_no_answer(now));
        assert!(!watch.note_no_answer(now + ms(1)));
        assert_eq!(watch.standing(), Standing::Unanswering(now));
        now += ms(500);
        watch.note_answer(now, None);
        assert_eq!(watch.standing(), Standing::Well);
        let until = watch.recovers_until().unwrap();
        holds.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(holds, [10, 20, 40, 80, 160, 320, 600, 600]);
}

#[test]
fn a_peer_that_repeats_a_request_is_asked_and_given_up_if_it_goes_on_without_an_answer() {
    let (mut watch, now) = (near(), epoch());
    assert!(!watch.note_repetition(now, 1));
    assert_eq!(ask(&mut watch), now);
    assert!(watch.note_repetition(now + ms(50), 2));

    let (mut watch, now) = (near(), epoch());
    assert!(!watch.note_repetition(now, 1));
    ask(&mut watch);
    watch.note_answer(now + ms(20), Some(ms(20)));
    for times in 2..10 {
        assert!(!watch.note_repetition(now + ms(50), times));
    }
    assert_eq!(watch.deadline(), None, "it has just answered");
}

#[test]
fn a_conversation_with_pauses_is_asked_about_every_two_seconds_at_most() {
    let (mut watch, start) = (near(), epoch());
    let mut asked = Vec::new();
    for tenth in 0..100 {
        let now = start + ms(100) * tenth;
        if tenth % 5 == 0 {
            watch.note_heard(now);
        }
        watch.note_silence(now + ms(100), now);
        if watch.take_question(now + ms(100)) {
            ask_now(&mut watch, now + ms(100));
            watch.note_answer(now + ms(120), Some(ms(20)));
            asked.push(tenth);
        }
    }
    assert_eq!(asked, [0, 20, 40, 60, 80]);
}

#[test]
fn what_comes_from_a_peer_that_repeats_a_request_does_not_show_that_it_hears_us() {
    let (mut watch, now) = (near(), epoch());
    watch.note_repetition(now, 1);
    ask(&mut watch);
    assert!(!watch.note_heard(now + ms(10)));
    assert_eq!(watch.standing(), Standing::Suspect(now));
}

#[test]
fn a_peer_that_moves_to_the_other_tunnel_is_followed_but_not_to_and_fro() {
    let side = Side::VirtualPrivateGateway;
    let (mut watch, start) = (near(), epoch());
    assert!(!watch.note_moved(start, side), "it never sent by this one");
    watch.note_heard(start);
    assert!(
        !watch.note_moved(start + ms(249), side),
        "it may send by both"
    );
    assert!(watch.note_moved(start + ms(250), side));
    assert_eq!(watch.standing(), Standing::Moved(start + ms(250)));
    assert!(watch.note_heard(start + ms(500)));
    assert_eq!(watch.standing(), Standing::Well);
    assert!(
        !watch.note_moved(start + ms(800), side),
        "followed a moment ago"
    );
    assert!(watch.note_moved(start + ms(1300), side));
    watch.note_heard(start + ms(1400));
    assert!(!watch.note_moved(start + ms(12_000), side), "long ago");
}

#[test]
fn while_it_does_not_answer_it_is_asked_again_every_five_seconds() {
    let (mut watch, start) = (near(), epoch());
    watch.note_silence(start + PATIENCE, start);
    let asked = ask(&mut watch);
    watch.note_no_answer(asked + ms(150));
    let mut again = Vec::new();
    for second in 1..=20 {
        let now = asked + ms(1000) * second;
        watch.note_silence(now, start);
        if watch.take_question(now) {
            ask_now(&mut watch, now);
            again.push(second);
        }
        assert!(matches!(watch.standing(), Standing::Unanswering(_)));
    }
    assert_eq!(again, [5, 10, 15, 20]);
}

fn link_down() -> Sign {
    Sign::LinkDown("line-a".into())
}

#[test]
fn a_hint_is_followed_by_a_question_at_once_and_packets_that_come_do_not_refute_it() {
    let (mut watch, now) = (near(), epoch());
    watch.note_hint(now, &link_down());
    assert_eq!(watch.standing(), Standing::Well);
    assert_eq!(ask(&mut watch), now);
    assert_eq!(watch.sign(), Some(&link_down()));
    assert!(!watch.note_heard(now + ms(5)));
    assert_eq!(watch.standing(), Standing::Suspect(now));
    watch.note_answer(now + ms(20), Some(ms(20)));
    assert_eq!((watch.standing(), watch.sign()), (Standing::Well, None));
}

#[test]
fn hints_that_prove_false_cost_a_question_every_two_seconds_however_many_they_are() {
    let (mut watch, start) = (near(), epoch());
    let mut asked = Vec::new();
    for tenth in 0..100 {
        let now = start + ms(100) * tenth;
        watch.note_hint(now, &link_down());
        if watch.take_question(now) {
            ask_now(&mut watch, now);
            watch.note_answer(now + ms(20), Some(ms(20)));
            asked.push(tenth);
        }
    }
    assert_eq!(asked, [0, 20, 40, 60, 80]);
}

#[test]
fn a_false_hint_puts_off_no_question_about_a_silence() {
    let (mut watch, start) = (near(), epoch());
    for second in (0..20).step_by(2) {
        watch.note_hint(start + ms(1000) * second, &link_down());
        let asked = ask(&mut watch);
        watch.note_answer(asked + ms(20), Some(ms(20)));
    }
    let since = start + ms(18_030);
    watch.note_silence(since + PATIENCE, since);
    assert_eq!(ask(&mut watch), since + PATIENCE);
}

#[test]
fn repetitions_count_once_a_minute_though_a_hint_is_forged_before_each() {
    let (mut watch, start) = (near(), epoch());
    let counted = |second: &u32| {
        let now = start + ms(1000) * *second;
        watch.note_hint(now, &link_down());
        if watch.take_question(now) {
            ask_now(&mut watch, now);
        }
        let lost = watch.note_repetition(now + ms(10), 2);
        if lost {
            watch.note_no_answer(now + ms(10));
        }
        watch.note_answer(now + ms(20), Some(ms(20)));
        lost
    };
    let counted: Vec<u32> = (0..60).step_by(3).filter(counted).collect();
    assert_eq!(counted, [0]);
}

#[test]
fn a_repair_has_a_peer_that_does_not_answer_asked_at_once_and_no_other() {
    let (mut watch, start) = (near(), epoch());
    watch.note_repair(start);
    assert_eq!(watch.deadline(), None);
    watch.note_hint(start, &link_down());
    let asked = ask(&mut watch);
    watch.note_no_answer(asked + ms(150));
    watch.note_repair(asked + ms(500));
    assert_eq!(watch.deadline(), Some(asked + ms(2000)));
    assert!(watch.take_question(asked + ms(2000)));
    watch.note_repair(asked + ms(3000));
    assert_eq!(watch.deadline(), Some(asked + ms(3000)));
}

#[test]
fn a_peer_whose_question_waits_for_its_turn_is_in_doubt_until_it_answers() {
    let (mut watch, now) = (near(), epoch());
    watch.note_repetition(now, 1);
    assert!(watch.take_question(now));
    watch.await_turn(place(now));
    assert!(watch.awaits_turn() && !watch.standing().admits());
    assert!(
        !watch.note_repetition(now + ms(600), 2),
        "it was not asked yet"
    );
    assert!(!watch.take_turn(now + ms(699), place(now + ms(1))));
    assert!(watch.take_turn(now + ms(700), place(now)));
    watch.note_answer(now + ms(720), Some(ms(20)));
    assert!(watch.standing().admits());
    assert_eq!(watch.deadline(), None);
}

#[test]
fn a_question_that_packets_make_needless_before_its_turn_is_not_asked_again_soon() {
    let (mut watch, since) = (near(), epoch());
    watch.note_silence(since + PATIENCE, since);
    let lined_up = since + PATIENCE;
    assert!(watch.take_question(lined_up));
    watch.await_turn(place(lined_up));
    let heard = lined_up + ms(30);
    assert!(watch.note_heard(heard));
    assert!(!watch.take_turn(lined_up + ms(40), place(lined_up)));
    watch.note_silence(heard + ms(300), heard + ms(200));
    assert_eq!(watch.deadline(), Some(heard + ms(2000)));
}

#[test]
fn where_answers_come_by_the_other_tunnel_their_end_is_a_silence() {
    let (mut watch, start) = (near(), epoch());
    let mut asked = Vec::new();
    for tenth in 0..300 {
        let now = start + ms(100) * tenth;
        if tenth % 10 == 0 {
            watch.note_silence(now, start);
        }
        if tenth < 280 {
            watch.note_heard_by_other(now);
        }
        if watch.take_question(now) {
            ask_now(&mut watch, now);
            watch.note_answer(now, Some(ms(20)));
            asked.push(tenth);
        }
    }
    // As a stream that goes one way by nature; and three tenths after the last answer.
    assert_eq!(asked, [1, 21, 61, 141, 241, 282]);
}

#[test]
fn a_tunnel_that_is_asked_whether_traffic_can_move_there_must_answer() {
    let (mut watch, now) = (near(), epoch());
    ask_now(&mut watch, now);
    assert!(!watch.note_heard(now + ms(10)));
    assert!(!watch.standing().admits());
    watch.note_answer(now + ms(20), Some(ms(20)));
    assert!(watch.standing().admits());
}

#[test]
fn packets_that_come_refute_what_anyone_can_forge() {
    let (mut watch, now) = (near(), epoch());
    let by = [192, 0, 2, 1].into();
    let says = "host unreachable";
    watch.note_hint(now, &Sign::Icmp { says, by });
    ask(&mut watch);
    assert!(watch.note_no_answer(now + ms(150)));
    assert!(watch.note_heard(now + ms(155)));
    assert!(watch.standing().admits());
}

/// When the peer of a tunnel that is asked at `now` is asked by the other one.
fn other_asked(watch: &mut FailureDetection, now: Instant, other: Option<u64>) -> Instant {
    watch.await_turn(place(now));
    watch.ask_other(now, other.map(ms));
    assert!(watch.take_turn(now, place(now)));
    let at = watch.deadline().unwrap();
    assert!(!watch.take_other_question(at - ms(1)) && watch.take_other_question(at));
    at
}

#[test]
fn the_other_tunnel_is_asked_later_if_that_is_soon_enough() {
    for (own, other, later) in [
        (20, Some(20), 50),
        (80, Some(80), 160),
        (80, Some(161), 0),
        (20, None, 0),
    ] {
        let (mut watch, now) = (near(), epoch());
        watch.note_answer(now, Some(ms(own)));
        watch.note_silence(now, now);
        watch.take_question(now + ms(400));
        assert_eq!(other_asked(&mut watch, now, other), now + ms(later));
    }
}

#[test]
fn the_other_tunnel_is_not_asked_about_a_peer_that_answers() {
    let (mut watch, now) = (near(), epoch());
    watch.note_silence(now, now);
    ask(&mut watch);
    watch.ask_other(now + PATIENCE, Some(ms(20)));
    watch.note_answer(now + PATIENCE + ms(20), Some(ms(20)));
    assert_eq!(watch.deadline(), None);
}
