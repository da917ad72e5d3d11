//! Rekeys without collision: nothing that the network carried is lost.

use vgw_crypto::{Encryption, Group};
use vgw_ike::config::Lifetime;
use vgw_ike::event::DownReason;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, Jobs, PEER, Pair, lifetime, seconds};

/// Only rekeys, on both sides.
fn assert_smooth(pair: &Pair) {
    assert_eq!(pair.lost, 0, "packets without an SA");
    for side in &pair.sides {
        assert!(
            side.child_ends
                .iter()
                .all(|end| *end == DownReason::Rekeyed)
        );
        assert!(side.ends.iter().all(|end| *end == DownReason::Rekeyed));
        assert!(side.refusals.is_empty(), "{:?}", side.refusals);
    }
}

#[test]
fn either_side_rekeys_the_child_sa_without_losing_a_packet() {
    for noted in [false, true] {
        for side in [A, B] {
            let mut pair = Pair::up(1);
            pair.noted = noted;
            let before = pair.sides[A].child().spi_in;
            pair.flow();
            pair.run(seconds(1));
            pair.rekey_child(side);
            pair.run(seconds(10));
            pair.assert_agreement(1);
            assert_ne!(pair.sides[A].child().spi_in, before);
            assert_smooth(&pair);
            assert_eq!(pair.sides[A].endpoint.counters(PEER).child_rekeys, 1);
            assert_eq!(pair.sides[B].endpoint.counters(PEER).child_rekeys, 1);
        }
    }
}

#[test]
fn the_old_inbound_sa_lingers_for_packets_on_the_way() {
    let mut pair = Pair::up(2);
    pair.rekey_child(A);
    pair.run(seconds(1));
    assert!(pair.sides.iter().all(|side| side.children.len() == 2));
    pair.run(seconds(5));
    pair.assert_agreement(1);
}

#[test]
fn a_child_sa_that_is_due_before_it_is_sent_with_is_rekeyed_once_it_is() {
    let mut pair = Pair::up(11);
    pair.jobs = Jobs::AtOnce;
    pair.noted = false;
    pair.rekey_child(A);
    // B has answered, and waits for the DELETE of the old one.
    pair.run(DELAY);
    let mut spis = pair.sides[B].children.keys().copied();
    let new = spis.find(|spi| Some(*spi) != pair.sides[B].outbound);
    pair.call(B, |endpoint, now| endpoint.rekey_child(now, new.unwrap()));
    pair.run(seconds(10));
    pair.assert_agreement(1);
    assert_smooth(&pair);
    assert_eq!(pair.sides[B].endpoint.counters(PEER).child_rekeys, 2);
}

#[test]
fn the_children_of_an_ike_sa_that_expires_have_not_expired_themselves() {
    let mut pair = Pair::with(12, |_, config| {
        config.ike_lifetime = Lifetime {
            time: seconds(1_000),
            margin: seconds(0),
            fuzz_percent: 0,
        };
    });
    pair.establish(A);
    pair.run(seconds(1_000));
    // B has had it for a little longer.
    let [a, b] = &pair.sides;
    assert_eq!(
        (&a.ends[..], &b.ends[..]),
        (&[DownReason::PeerDeleted][..], &[DownReason::Expired][..])
    );
    assert_eq!(a.child_ends, [DownReason::PeerDeleted]);
    assert_eq!(b.child_ends, [DownReason::IkeExpired]);
}

#[test]
fn either_side_rekeys_the_ike_sa_and_the_child_stays() {
    for side in [A, B] {
        let mut pair = Pair::up(3);
        let spi = pair.sides[A].child().spi_in;
        let before = pair.sides[A].ike().1.spi_i;
        pair.flow();
        pair.rekey_ike(side);
        pair.run(seconds(2));
        pair.assert_agreement(1);
        assert_eq!(pair.sides[A].child().spi_in, spi);
        assert_ne!(pair.sides[A].ike().1.spi_i, before);
        pair.rekey_child(1 - side);
        pair.run(seconds(8));
        pair.rekey_ike(1 - side);
        pair.run(seconds(2));
        pair.assert_agreement(1);
        assert_smooth(&pair);
        assert_eq!(pair.sides[A].endpoint.counters(PEER).ike_rekeys, 2);
    }
}

#[test]
fn a_rekey_survives_the_loss_of_each_message() {
    for ike in [false, true] {
        for nth in 0..4 {
            let mut pair = Pair::up(4);
            pair.flow();
            let mut sent = 0;
            pair.weather = Box::new(move |datagram| {
                sent += usize::from(datagram.header().is_some());
                let lost = datagram.header().is_some() && sent == nth + 1;
                if lost { vec![] } else { vec![DELAY] }
            });
            if ike {
                pair.rekey_ike(A);
            } else {
                pair.rekey_child(A);
            }
            pair.run(seconds(12));
            pair.assert_agreement(1);
            assert_smooth(&pair);
        }
    }
}

#[test]
fn every_group_serves_for_pfs_and_for_the_rekey_of_the_ike_sa() {
    for &group in Group::ALL {
        let mut pair = Pair::with(5, |_, config| {
            config.ike.groups = vec![group];
            config.esp.groups = vec![group];
        });
        pair.establish(A);
        pair.rekey_child(B);
        pair.run(seconds(8));
        pair.rekey_ike(A);
        pair.run(seconds(2));
        pair.assert_agreement(1);
        assert_smooth(&pair);
    }
}

#[test]
fn a_rekey_moves_to_the_group_that_the_peer_wants() {
    let mut pair = Pair::with(6, |side, config| {
        if side == A {
            config.esp.groups = vec![Group::Ecp256, Group::Curve25519];
            config.ike.groups = vec![Group::Ecp256, Group::Curve25519];
        }
    });
    pair.establish(A);
    pair.rekey_child(A);
    pair.run(seconds(8));
    assert_eq!(pair.count(A, ExchangeType::CREATE_CHILD_SA, false), 2);
    pair.rekey_ike(A);
    pair.run(seconds(2));
    assert_eq!(
        pair.count(A, ExchangeType::CREATE_CHILD_SA, false),
        3,
        "the group is known"
    );
    pair.assert_agreement(1);
    assert_smooth(&pair);
}

#[test]
fn a_mismatch_of_pfs_is_named_and_the_old_child_goes_on_until_its_end() {
    let mut pair = Pair::with(7, |side, config| {
        config.esp.groups = vec![[Group::Ecp384, Group::Curve25519][side]];
        config.child_lifetime = lifetime(3_600);
    });
    pair.establish(A);
    pair.flow();
    pair.rekey_child(A);
    pair.run(seconds(10));
    let why = &pair.sides[A].refusals[0];
    assert!(why.contains("PFS") && why.contains("20"), "{why}");
    let why = &pair.sides[B].refusals[0];
    assert!(why.contains("20") && why.contains("31"), "{why}");
    pair.assert_agreement(1);
    assert_eq!(pair.lost, 0);
    pair.run(seconds(300));
    let tries = pair.count(A, ExchangeType::CREATE_CHILD_SA, false);
    assert!((2..=10).contains(&tries), "tried {tries} times");
    for side in &pair.sides {
        assert!(side.endpoint.counters(PEER).rekeys_refused >= 2);
    }
}

#[test]
fn without_groups_at_either_end_either_side_rekeys_without_pfs() {
    let mut pair = Pair::with(13, |_, config| config.esp.groups.clear());
    pair.establish(A);
    pair.flow();
    for side in [A, B, A, B] {
        pair.rekey_child(side);
        pair.run(seconds(10));
    }
    pair.assert_agreement(1);
    assert_smooth(&pair);
    assert_eq!(pair.sides[A].endpoint.counters(PEER).child_rekeys, 4);
}

#[test]
fn groups_at_one_end_only_are_refused_and_the_old_child_goes_on() {
    for (bare, rekeys) in [(A, A), (A, B), (B, A), (B, B)] {
        let mut pair = Pair::with(14, |side, config| {
            if side == bare {
                config.esp.groups.clear();
            }
        });
        pair.establish(A);
        pair.flow();
        pair.rekey_child(rekeys);
        pair.run(seconds(10));
        pair.assert_agreement(1);
        assert_eq!(pair.lost, 0);
        for side in &pair.sides {
            assert!(side.refusals[0].contains("PFS"), "{:?}", side.refusals);
        }
    }
}

#[test]
fn an_ike_sa_whose_child_cannot_be_replaced_is_closed() {
    for initiator in [A, B] {
        let mut pair = Pair::with(15, |side, config| {
            config.child_lifetime = lifetime(600);
            if side == A {
                config.esp.groups.clear();
            }
        });
        pair.establish(initiator);
        pair.run(seconds(610));
        for side in &pair.sides {
            assert!(side.ikes.is_empty() && side.children.is_empty());
            let refused = side
                .ends
                .iter()
                .filter(|end| matches!(end, DownReason::Refused(_)));
            assert!(refused.count() + side.ends.len() >= 1);
        }
        let asked = [A, B].map(|side| pair.sides[side].ends.clone()).concat();
        assert!(
            asked.contains(&DownReason::PeerDeleted),
            "the other is told: {asked:?}"
        );
    }
}

#[test]
fn lifetimes_rekey_before_they_end() {
    let mut pair = Pair::with(8, |_, config| {
        config.child_lifetime = Lifetime {
            time: seconds(600),
            margin: seconds(60),
            fuzz_percent: 100,
        };
        config.ike_lifetime = lifetime(3_600);
    });
    pair.establish(A);
    pair.traffic = Some(seconds(1));
    pair.run(seconds(24 * 3_600));
    assert_smooth(&pair);
    let counters = pair.sides[A].endpoint.counters(PEER);
    assert!((150..=200).contains(&counters.child_rekeys), "{counters:?}");
    assert!((24..=36).contains(&counters.ike_rekeys), "{counters:?}");
    pair.run(seconds(10));
    let [a, b] = &pair.sides;
    assert_eq!(a.children.len(), b.children.len());
}

#[test]
fn a_year_of_rekeys_leaves_one_ike_and_one_child_sa() {
    let mut pair = Pair::with(9, |_, config| config.liveness = None);
    pair.establish(A);
    pair.run(seconds(365 * 86_400));
    assert_smooth(&pair);
    let counters = pair.sides[A].endpoint.counters(PEER);
    assert!(counters.child_rekeys > 8_760, "{counters:?}");
    assert!(counters.ike_rekeys > 1_095, "{counters:?}");
    pair.rekey_ike(A);
    pair.run(seconds(40));
    pair.assert_agreement(pair.sides[A].children.len());
    assert!(pair.sides[A].children.len() <= 2);
}

#[test]
fn both_sides_may_use_other_suites_after_a_change_of_preference() {
    let mut pair = Pair::with(10, |_, config| {
        config.esp.encryption = vec![Encryption::AesGcm256, Encryption::AesCbc128];
    });
    pair.establish(B);
    pair.rekey_child(A);
    pair.run(seconds(8));
    pair.assert_agreement(1);
    assert_eq!(
        pair.sides[A].child().suite.encryption,
        Encryption::AesGcm256
    );
}
