//! Both sides ask at once: every order of events that an offset and the loss of
//! any one or two messages can bring about (RFC 7296 sections 2.8.1, 2.8.2, 2.25).

use std::time::Duration;

use vgw_ike::event::DownReason;

use crate::rig::{A, B, DELAY, Pair, seconds};

/// What one side does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    RekeyChild,
    RekeyIke,
}

impl Act {
    fn on(self, pair: &mut Pair, side: usize) {
        match self {
            Self::RekeyChild => pair.rekey_child(side),
            Self::RekeyIke => pair.rekey_ike(side),
        }
    }
}

/// Offsets between the two, around the 20 ms that a message takes.
const OFFSETS: [u64; 5] = [0, 10, 19, 30, 50];
/// Both acts take eight messages at most when nothing is lost, and a few more if not.
const MESSAGES: usize = 9;

fn collide(seed: u64, acts: [Act; 2], offset: u64, lost: [usize; 2], noted: bool) {
    let context =
        format!("{acts:?}, seed {seed}, offset {offset} ms, lost {lost:?}, noted {noted}");
    let mut pair = Pair::up(seed);
    pair.noted = noted;
    pair.flow();
    let mut sent = 0;
    pair.weather = Box::new(move |datagram| {
        if datagram.header().is_none() {
            return vec![DELAY];
        }
        sent += 1;
        if lost.contains(&sent) {
            vec![]
        } else {
            vec![DELAY]
        }
    });
    acts[0].on(&mut pair, A);
    pair.run(Duration::from_millis(offset));
    acts[1].on(&mut pair, B);
    pair.run(seconds(15));
    assert_eq!(pair.lost, 0, "packets without an SA: {context}");
    for side in &pair.sides {
        let smooth = |end: &DownReason| *end == DownReason::Rekeyed;
        assert!(side.ends.iter().all(smooth), "{:?}: {context}", side.ends);
        assert!(
            side.child_ends.iter().all(smooth),
            "{:?}: {context}",
            side.child_ends
        );
        assert!(side.refusals.is_empty(), "{:?}: {context}", side.refusals);
        assert_eq!(side.ikes.len(), 1, "IKE SAs: {context}");
        assert_eq!(side.children.len(), 1, "CHILD SAs: {context}");
    }
    pair.assert_agreement(1);
    // What is left works, both ways.
    pair.weather = crate::rig::fair();
    pair.rekey_child(A);
    pair.run(seconds(6));
    pair.rekey_ike(B);
    pair.run(seconds(6));
    pair.rekey_child(B);
    pair.run(seconds(6));
    pair.assert_agreement(1);
    assert_eq!(pair.lost, 0, "packets without an SA afterwards: {context}");
}

fn all_single_losses(acts: [Act; 2]) {
    for (seed, offset) in OFFSETS.into_iter().flat_map(|o| [(1, o), (2, o), (3, o)]) {
        for lost in 0..=MESSAGES {
            collide(seed, acts, offset, [lost, 0], lost % 2 == 0);
        }
    }
}

fn all_double_losses(acts: [Act; 2]) {
    for seed in [4, 5] {
        for first in 1..=MESSAGES {
            for second in first + 1..=MESSAGES {
                collide(seed, acts, 5, [first, second], second % 2 == 0);
            }
        }
    }
}

#[test]
fn both_rekey_the_child_sa_and_any_message_is_lost() {
    all_single_losses([Act::RekeyChild, Act::RekeyChild]);
}

#[test]
fn both_rekey_the_child_sa_and_any_two_messages_are_lost() {
    all_double_losses([Act::RekeyChild, Act::RekeyChild]);
}

#[test]
fn both_rekey_the_ike_sa_and_any_message_is_lost() {
    all_single_losses([Act::RekeyIke, Act::RekeyIke]);
}

#[test]
fn both_rekey_the_ike_sa_and_any_two_messages_are_lost() {
    all_double_losses([Act::RekeyIke, Act::RekeyIke]);
}

#[test]
fn one_rekeys_the_child_sa_while_the_other_rekeys_the_ike_sa_and_any_message_is_lost() {
    all_single_losses([Act::RekeyChild, Act::RekeyIke]);
    all_single_losses([Act::RekeyIke, Act::RekeyChild]);
}

#[test]
fn one_rekeys_the_child_sa_while_the_other_rekeys_the_ike_sa_and_any_two_messages_are_lost() {
    all_double_losses([Act::RekeyChild, Act::RekeyIke]);
}

#[test]
fn rekeys_from_both_sides_survive_loss_duplication_and_reordering() {
    for seed in 0..12 {
        let mut pair = Pair::up(seed);
        pair.flow();
        let mut n = seed;
        pair.weather = Box::new(move |datagram| {
            if datagram.header().is_none() {
                return vec![DELAY];
            }
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let delay = |shift: u32| Duration::from_millis(5 + (n >> shift) % 120);
            match n >> 60 {
                0..=2 => vec![],
                3..=5 => vec![delay(20), delay(30)],
                _ => vec![delay(20)],
            }
        });
        for round in 0..10 {
            let acts = [Act::RekeyChild, Act::RekeyIke];
            acts[round % 2].on(&mut pair, A);
            pair.run(Duration::from_millis(7 * u64::try_from(round).unwrap()));
            acts[(round / 2) % 2].on(&mut pair, B);
            // Long enough for TEMPORARY_FAILURE's pause and for retransmissions.
            pair.run(seconds(25));
            assert_eq!(pair.lost, 0, "seed {seed}, round {round}");
            let [a, b] = &pair.sides;
            assert!(
                a.ikes.len() <= 2 && b.ikes.len() <= 2,
                "seed {seed}, round {round}"
            );
            assert!(
                a.children.len() <= 3 && b.children.len() <= 3,
                "seed {seed}, round {round}"
            );
            if a.ikes.len() != 1 || b.ikes.len() != 1 {
                pair.run(seconds(25));
            }
        }
        pair.weather = crate::rig::fair();
        pair.run(seconds(60));
        pair.assert_agreement(1);
    }
}
