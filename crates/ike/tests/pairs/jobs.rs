//! Key exchanges that are handed out, and what happens before their outputs come.

use vgw_ike::drop_reason::DropReason;
use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, Jobs, PEER, Pair, seconds};

const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
const AUTH: ExchangeType = ExchangeType::IKE_AUTH;

/// A pair whose jobs are run when the test says so, after A began.
fn begun() -> Pair {
    let mut pair = Pair::new(1);
    pair.jobs = Jobs::Held;
    pair.initiate(A);
    pair
}

/// The same, after IKE_SA_INIT arrived at B.
fn arrived() -> Pair {
    let mut pair = begun();
    pair.run_jobs(A);
    pair.run(DELAY);
    assert_eq!(pair.held_jobs(B), 1);
    pair
}

fn dropped(pair: &Pair, side: usize, reason: DropReason) -> u64 {
    pair.sides[side].endpoint.drops().get(reason)
}

#[test]
fn a_handshake_waits_for_three_computations_and_goes_on_after_each() {
    let mut pair = begun();
    assert_eq!(pair.count(A, INIT, false), 0);
    pair.run_jobs(A);
    assert_eq!(pair.count(A, INIT, false), 1);
    pair.run(DELAY);
    assert_eq!(pair.count(B, INIT, true), 0);
    pair.run_jobs(B);
    assert_eq!(pair.count(B, INIT, true), 1);
    pair.run(DELAY);
    assert_eq!(pair.count(A, AUTH, false), 0);
    pair.run_jobs(A);
    assert_eq!(pair.count(A, AUTH, false), 1);
    pair.run(seconds(1));
    pair.assert_agreement(1);
}

#[test]
fn a_request_repeated_while_its_answer_is_computed_is_answered_once() {
    let mut pair = arrived();
    pair.run(seconds(3));
    let repeated = pair.count(A, INIT, false) - 1;
    assert!(repeated >= 2);
    let ignored = dropped(&pair, B, DropReason::BeingAnswered);
    assert_eq!(pair.count(B, INIT, true), 0);
    assert!(ignored >= 2);
    pair.run_jobs(B);
    assert_eq!(pair.count(B, INIT, true), 1);
    assert_eq!(pair.held_jobs(B), 0);
    pair.jobs = Jobs::AtOnce;
    pair.run(seconds(2));
    pair.assert_agreement(1);
}

#[test]
fn a_half_open_sa_whose_answer_is_not_computed_expires_and_the_output_is_dropped() {
    let mut pair = arrived();
    pair.run(seconds(60));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    assert_eq!(dropped(&pair, B, DropReason::HalfOpenExpired), 1);
    assert_eq!(pair.sides[A].failures, [DownReason::PeerDead]);
    pair.run_jobs(B);
    assert_eq!(pair.count(B, INIT, true), 0);
}

#[test]
fn an_attempt_whose_key_exchange_is_not_computed_is_given_up_and_the_output_is_dropped() {
    for answered in [false, true] {
        let mut pair = if answered { arrived() } else { begun() };
        if answered {
            pair.run_jobs(B);
            pair.run(DELAY);
        }
        assert_eq!(pair.held_jobs(A), 1);
        let sent = pair.log.len();
        pair.run(seconds(60));
        let [DownReason::Refused(why)] = &pair.sides[A].failures[..] else {
            panic!("{:?}", pair.sides[A].failures);
        };
        assert_eq!(why, "the key exchange was not computed in time");
        pair.run_jobs(A);
        assert_eq!(pair.log.len(), sent, "nothing was repeated or sent");
        assert!(pair.sides[A].endpoint.is_quiet());
    }
}

#[test]
fn the_output_of_an_attempt_that_was_given_up_is_dropped_though_another_waits() {
    let mut pair = begun();
    pair.call(A, |endpoint, now| {
        let config = crate::rig::config(A);
        endpoint.remove_peer(now, PEER);
        endpoint.set_peer(now, PEER, config);
    });
    pair.initiate(A);
    assert_eq!(pair.held_jobs(A), 2);
    assert_eq!(pair.sides[A].failures, [DownReason::Requested]);
    pair.run_jobs(A);
    assert_eq!(pair.count(A, INIT, false), 1);
    pair.jobs = Jobs::AtOnce;
    pair.run(seconds(1));
    pair.assert_agreement(1);
}

#[test]
fn a_second_response_while_the_secret_is_computed_changes_nothing() {
    let mut pair = arrived();
    pair.weather = Box::new(|_| vec![DELAY, 2 * DELAY]);
    pair.run_jobs(B);
    pair.run(2 * DELAY);
    assert_eq!(pair.held_jobs(A), 1);
    assert_eq!(dropped(&pair, A, DropReason::NotAwaited), 1);
    pair.run_jobs(A);
    pair.run(seconds(1));
    pair.assert_agreement(1);
}

#[test]
fn a_job_that_nobody_has_taken_goes_with_its_ike_sa() {
    let mut pair = Pair::new(1);
    let endpoint = &mut pair.sides[A].endpoint;
    endpoint.initiate(pair.now, PEER).unwrap();
    endpoint.remove_peer(pair.now, PEER);
    assert!(endpoint.poll_job().is_none());
}
