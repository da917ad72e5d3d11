//! Key exchanges that are handed out, and what happens before their outputs come.

use vgw_crypto::Group;
use vgw_ike::config::Lifetime;
use vgw_ike::drop_reason::DropReason;
use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, Jobs, PEER, Pair, Side, lifetime, seconds};

const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
const AUTH: ExchangeType = ExchangeType::IKE_AUTH;
const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;

/// What is asked for in CREATE_CHILD_SA.
const REKEYS: [fn(&mut Pair, usize); 2] = [Pair::rekey_child, Pair::rekey_ike];

/// A pair that is up, of which A rekeys; its jobs are run when the test says so.
fn preparing(rekey: fn(&mut Pair, usize)) -> Pair {
    let mut pair = Pair::up(3);
    pair.jobs = Jobs::Held;
    rekey(&mut pair, A);
    assert_eq!(pair.held_jobs(A), 1);
    pair
}

/// The same, after the request arrived at B.
fn answering(rekey: fn(&mut Pair, usize)) -> Pair {
    let mut pair = preparing(rekey);
    pair.run_jobs(A);
    pair.run(DELAY);
    assert_eq!(pair.held_jobs(B), 1);
    pair
}

/// The same, after the response arrived at A.
fn concluding(rekey: fn(&mut Pair, usize)) -> Pair {
    let mut pair = answering(rekey);
    pair.run_jobs(B);
    pair.run(DELAY);
    assert_eq!(pair.held_jobs(A), 1);
    pair
}

/// Deletes the IKE SA that was first.
fn delete(pair: &mut Pair, side: usize) {
    let sa = *pair.sides[side].ikes.keys().next().unwrap();
    pair.call(side, |endpoint, now| endpoint.delete(now, sa));
}

fn is_alive(pair: &mut Pair, side: usize) -> bool {
    let sa = *pair.sides[side].ikes.keys().next().unwrap();
    let before = pair.sides[side].alive;
    pair.call(side, |endpoint, now| endpoint.check_liveness(now, sa));
    pair.run(2 * DELAY);
    pair.sides[side].alive == before + 1
}

fn assert_nothing_left(pair: &mut Pair) {
    pair.run(seconds(90));
    let sent = pair.log.len();
    for side in [A, B] {
        pair.run_jobs(side);
        let Side {
            ikes,
            children,
            endpoint,
            ..
        } = &pair.sides[side];
        assert!(ikes.is_empty() && children.is_empty());
        assert!(endpoint.is_quiet());
    }
    assert_eq!(
        pair.log.len(),
        sent,
        "output for what is no more is dropped"
    );
}

/// Runs jobs at once from now on, those that are held too, and waits for the end.
fn finish(pair: &mut Pair) {
    pair.jobs = Jobs::AtOnce;
    pair.run_jobs(A);
    pair.run_jobs(B);
    pair.run(seconds(10));
    pair.assert_agreement(1);
    assert_eq!(pair.lost, 0);
}

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

#[test]
fn a_rekey_waits_for_three_computations_and_goes_on_after_each() {
    for rekey in REKEYS {
        let mut pair = preparing(rekey);
        pair.flow();
        pair.run(seconds(1));
        assert_eq!(pair.count(A, CREATE, false), 0);
        pair.run_jobs(A);
        assert_eq!(pair.count(A, CREATE, false), 1);
        pair.run(DELAY);
        assert_eq!(pair.count(B, CREATE, true), 0);
        pair.run_jobs(B);
        assert_eq!(pair.count(B, CREATE, true), 1);
        pair.run(DELAY);
        let counted = |pair: &Pair| pair.sides[A].endpoint.counters(PEER);
        let rekeys = |pair: &Pair| counted(pair).child_rekeys + counted(pair).ike_rekeys;
        assert_eq!(rekeys(&pair), 0);
        pair.run_jobs(A);
        assert_eq!(rekeys(&pair), 1);
        finish(&mut pair);
    }
}

#[test]
fn another_child_sa_waits_for_computations_as_a_rekey_does() {
    let mut pair = Pair::with(3, |side, config| {
        if side == A {
            config.child_lifetime = Lifetime {
                time: seconds(100),
                margin: seconds(0),
                fuzz_percent: 0,
            };
        }
    });
    pair.establish(A);
    pair.jobs = Jobs::Held;
    // The CHILD SA ends, and A makes another.
    pair.run(seconds(100));
    assert!(pair.sides.iter().all(|side| side.children.is_empty()));
    for side in [A, B, A] {
        assert_eq!(pair.held_jobs(side), 1);
        pair.run_jobs(side);
        pair.run(DELAY);
    }
    pair.assert_agreement(1);
}

#[test]
fn liveness_is_checked_and_answered_whatever_computation_an_ike_sa_waits_for() {
    for rekey in REKEYS {
        let mut pair = preparing(rekey);
        assert!(is_alive(&mut pair, A) && is_alive(&mut pair, B));
        let mut pair = answering(rekey);
        assert!(is_alive(&mut pair, B), "A's own check waits for the answer");
    }
    // B has answered the rekey of the IKE SA, and its new one is not known to A yet.
    let mut pair = concluding(Pair::rekey_child);
    assert!(is_alive(&mut pair, B), "A's own check waits for the secret");
    finish(&mut pair);
}

#[test]
fn a_rekey_repeated_while_its_answer_is_computed_is_answered_once() {
    for rekey in REKEYS {
        let mut pair = answering(rekey);
        pair.run(seconds(3));
        let repeated = pair.count(A, CREATE, false) - 1;
        assert!(repeated >= 2);
        assert_eq!(pair.count(B, CREATE, true), 0);
        let ignored = pair.sides[B].endpoint.counters(PEER).dropped;
        let ignored = ignored.get(DropReason::BeingAnswered);
        assert!(ignored >= 2);
        assert_eq!(pair.held_jobs(B), 1);
        pair.run_jobs(B);
        assert_eq!(pair.count(B, CREATE, true), 1);
        finish(&mut pair);
    }
}

#[test]
fn an_answer_that_was_computed_and_lost_is_repeated_from_memory() {
    for rekey in REKEYS {
        let mut pair = answering(rekey);
        pair.weather = Box::new(|_| vec![]);
        pair.run_jobs(B);
        pair.weather = crate::rig::fair();
        pair.run(seconds(3));
        assert!(pair.count(B, CREATE, true) >= 2);
        assert_eq!(pair.held_jobs(B), 0);
        finish(&mut pair);
    }
}

#[test]
fn a_delete_while_a_key_pair_is_made_leaves_nothing() {
    for rekey in REKEYS {
        for side in [A, B] {
            let mut pair = preparing(rekey);
            delete(&mut pair, side);
            pair.run(seconds(1));
            pair.run_jobs(A);
            assert_eq!(pair.count(A, CREATE, false), 0);
            assert_nothing_left(&mut pair);
        }
    }
}

#[test]
fn a_delete_while_an_answer_is_computed_leaves_nothing() {
    for rekey in REKEYS {
        // The answerer's DELETE goes out at once, and ends the SA that it would have answered in.
        let mut pair = answering(rekey);
        delete(&mut pair, B);
        assert_eq!(pair.count(B, INFORMATIONAL, false), 1);
        pair.run(seconds(1));
        pair.run_jobs(B);
        assert_eq!(pair.count(B, CREATE, true), 0);
        assert_nothing_left(&mut pair);
        // The other's waits for the answer.
        let mut pair = answering(rekey);
        delete(&mut pair, A);
        assert_eq!(pair.count(A, INFORMATIONAL, false), 0);
        pair.run_jobs(B);
        pair.jobs = Jobs::AtOnce;
        pair.run(seconds(1));
        assert!(pair.count(A, INFORMATIONAL, false) > 0);
        assert_nothing_left(&mut pair);
    }
}

#[test]
fn an_answer_computed_after_a_delete_was_sent_is_a_refusal() {
    for rekey in REKEYS {
        let mut pair = answering(rekey);
        delete(&mut pair, B);
        pair.run_jobs(B);
        assert_eq!(pair.count(B, CREATE, true), 1);
        pair.run(seconds(1));
        assert_nothing_left(&mut pair);
    }
}

#[test]
fn a_delete_while_a_secret_is_computed_leaves_nothing() {
    for (rekey, waits) in REKEYS.into_iter().zip([false, true]) {
        let mut pair = concluding(rekey);
        delete(&mut pair, A);
        // The new IKE SA has to be deleted as well.
        assert_eq!(pair.count(A, INFORMATIONAL, false) == 0, waits);
        pair.run(DELAY);
        pair.run_jobs(A);
        assert_nothing_left(&mut pair);
        let mut pair = concluding(rekey);
        let newest = *pair.sides[B].ikes.keys().next_back().unwrap();
        pair.call(B, |endpoint, now| endpoint.delete(now, newest));
        pair.run(DELAY);
        pair.run_jobs(A);
        assert_nothing_left(&mut pair);
    }
}

#[test]
fn a_peer_that_dies_meanwhile_is_found_dead_and_the_output_is_dropped() {
    for rekey in REKEYS {
        for stage in [preparing, answering] {
            let mut pair = stage(rekey);
            pair.weather = Box::new(|_| vec![]);
            pair.run(seconds(60));
            for side in &pair.sides {
                assert_eq!(side.ends, [DownReason::PeerDead]);
            }
            assert_nothing_left(&mut pair);
        }
    }
}

#[test]
fn an_ike_sa_that_expires_meanwhile_ends_and_the_output_is_dropped() {
    let stages: [fn(_) -> _; 2] = [preparing, concluding];
    for stage in stages {
        let mut pair = stage(Pair::rekey_child);
        let mut config = crate::rig::config(A);
        config.ike_lifetime = lifetime(1_000);
        pair.call(A, |endpoint, now| endpoint.retime_peer(now, PEER, &config));
        pair.run(seconds(1_000));
        assert_eq!(pair.sides[A].ends, [DownReason::Expired]);
        assert_nothing_left(&mut pair);
    }
}

#[test]
fn rekeys_from_both_sides_meet_whatever_computation_is_late() {
    for first in REKEYS {
        for second in REKEYS {
            for meets in [preparing, answering, concluding] {
                for next in [A, B] {
                    let mut pair = meets(first);
                    pair.rebuilds = next == A;
                    pair.flow();
                    second(&mut pair, B);
                    for step in 0..8 {
                        pair.run_jobs((next + step) % 2);
                        pair.run(DELAY);
                    }
                    finish(&mut pair);
                    let smooth = |end: &DownReason| *end == DownReason::Rekeyed;
                    for side in &pair.sides {
                        assert!(side.ends.iter().all(smooth), "{:?}", side.ends);
                        assert!(side.child_ends.iter().all(smooth), "{:?}", side.child_ends);
                    }
                }
            }
        }
    }
}

#[test]
fn what_an_ike_sa_waits_for_is_handed_out_again_when_it_is_built_again() {
    for rekey in REKEYS {
        let mut pair = preparing(rekey);
        for side in [A, B, A] {
            pair.rebuild_without_jobs(side);
            assert_eq!(pair.held_jobs(side), 1);
            pair.run_jobs(side);
            pair.run(DELAY);
        }
        finish(&mut pair);
    }
}

#[test]
fn a_key_pair_of_the_group_that_the_peer_demands_is_waited_for_as_well() {
    let mut pair = Pair::with(3, |side, config| {
        if side == A {
            config.esp.groups.insert(0, Group::Ecp256);
        }
    });
    pair.establish(A);
    pair.jobs = Jobs::Held;
    pair.rekey_child(A);
    pair.run_jobs(A);
    // B demands its group without a computation.
    pair.run(2 * DELAY);
    assert_eq!(pair.count(B, CREATE, true), 1);
    for side in [A, B, A] {
        assert_eq!(pair.held_jobs(side), 1);
        assert!(is_alive(&mut pair, B));
        pair.run_jobs(side);
        pair.run(DELAY);
    }
    assert_eq!(pair.count(A, CREATE, false), 2);
    finish(&mut pair);
}
