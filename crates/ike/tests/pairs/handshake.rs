//! IKE_SA_INIT and IKE_AUTH.

use std::time::Duration;

use vgw_crypto::{Encryption, Group, Integrity, Prf, Secret};
use vgw_ike::config::{OtherKey, PeerConfig, Psk};
use vgw_ike::event::{DownReason, Role};
use vgw_ike::identity::Identity;
use vgw_ike::wire::ExchangeType;
use vgw_sa::GatewayId;

use crate::rig::{A, B, DELAY, Load, PEER, Pair, address, config, seconds};

#[test]
fn either_side_initiates() {
    for initiator in [A, B] {
        let mut pair = Pair::new(1);
        pair.establish(initiator);
        assert_eq!(pair.sides[initiator].ike().1.role, Role::Initiator);
        assert_eq!(pair.log.len(), 4, "four messages");
        pair.flow();
        pair.run(seconds(1));
        assert_eq!(pair.lost, 0);
        assert!(pair.delivered > 300);
    }
}

#[test]
fn every_cipher_and_hash_is_negotiated_for_ike_and_esp() {
    for &encryption in Encryption::ALL {
        for &integrity in Integrity::ALL {
            let mut pair = Pair::with(2, |_, config| {
                config.ike.encryption = vec![encryption];
                config.ike.integrity = vec![integrity];
                config.ike.prf = vec![Prf::matching(integrity)];
                config.esp.encryption = vec![encryption];
                config.esp.integrity = vec![integrity];
            });
            pair.establish(A);
            let suite = pair.sides[A].ike().1.suite;
            assert_eq!(suite.encryption, encryption);
            assert_eq!(suite.integrity.is_none(), encryption.is_aead());
            assert_eq!(pair.sides[A].child().suite.encryption, encryption);
            pair.rekey_ike(B);
            pair.run(seconds(2));
            pair.rekey_child(A);
            pair.run(seconds(8));
            pair.assert_agreement(1);
        }
    }
}

#[test]
fn every_group_is_negotiated() {
    for &group in Group::ALL {
        let mut pair = Pair::with(3, |_, config| config.ike.groups = vec![group]);
        pair.establish(A);
        assert_eq!(pair.sides[B].ike().1.suite.group, group);
    }
}

#[test]
fn a_responder_that_wants_another_group_gets_it() {
    let mut pair = Pair::with(4, |side, config| {
        config.ike.groups = match side {
            A => vec![Group::Ecp256, Group::Ecp384, Group::Curve25519],
            _ => vec![Group::Curve25519],
        };
    });
    pair.establish(A);
    assert_eq!(pair.sides[A].ike().1.suite.group, Group::Curve25519);
    assert_eq!(pair.count(A, ExchangeType::IKE_SA_INIT, false), 2);
}

#[test]
fn the_responder_selects_by_its_own_preference() {
    let mut pair = Pair::with(5, |side, config| {
        config.ike.encryption = match side {
            A => vec![Encryption::AesGcm128, Encryption::AesGcm256],
            _ => vec![Encryption::AesGcm256, Encryption::AesGcm128],
        };
    });
    pair.establish(A);
    assert_eq!(
        pair.sides[A].ike().1.suite.encryption,
        Encryption::AesGcm256
    );
}

#[test]
fn without_a_common_proposal_both_sides_say_what_was_offered_and_expected() {
    let mut pair = Pair::with(6, |side, config| {
        config.ike.groups = vec![[Group::Ecp384, Group::Curve25519][side]];
    });
    pair.initiate(A);
    pair.run(seconds(30));
    let DownReason::Refused(why) = &pair.sides[A].failures[0] else {
        panic!("{:?}", pair.sides[A].failures);
    };
    assert!(
        why.contains("refused the IKE SA by NO_PROPOSAL_CHOSEN (does it expect us,")
            && why.ends_with("/PRF-SHA2-256/group 20"),
        "{why}"
    );
    assert_eq!(pair.sides[A].failures.len(), 1);
    assert_eq!(pair.sides[A].refusals.len(), 1, "said once");
    let why = &pair.sides[B].refusals[0];
    assert!(
        why.contains("20") && why.contains("31 (phase 1 of "),
        "{why}"
    );
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
}

/// A pair of which A uses the key that B has for another peer.
fn with_key_of_another(seed: u64) -> Pair {
    Pair::with(seed, |side, config| {
        let others = Psk(Secret::new(b"the key of another".to_vec()));
        match side {
            A => config.psk = others,
            _ => config.mistakable.push(OtherKey {
                of: "vpn-test/2".to_owned(),
                psk: others,
            }),
        }
    })
}

#[test]
fn a_peer_that_uses_the_key_of_another_is_told_no_more_and_the_responder_says_whose() {
    let key = "made with the pre-shared key of vpn-test/2, not with that of vpn-test/b: at the \
               peer the two keys are swapped, or the addresses that its tunnels go to";
    let mut pair = with_key_of_another(7);
    pair.initiate(A);
    pair.run(seconds(5));
    let why = &pair.sides[B].refusals[..];
    assert_eq!(why, [format!("fqdn:a.example: the peer's AUTH was {key}")]);
    let mut other = Pair::with(7, |side, config| {
        if side == A {
            config.psk = Psk(Secret::new(b"the key of another".to_vec()));
        }
    });
    other.initiate(A);
    other.run(seconds(5));
    let sent = |pair: &Pair| -> Vec<Vec<u8>> {
        let of_b = pair.log.iter().filter(|datagram| datagram.from == B);
        of_b.filter_map(|datagram| match &datagram.load {
            Load::Ike(message) => Some(message.clone()),
            Load::Esp { .. } => None,
        })
        .collect()
    };
    assert_eq!(sent(&pair), sent(&other), "the answers do not differ");
    assert!(pair.sides.iter().all(|side| side.ikes.is_empty()));

    pair.initiate(B);
    pair.run(seconds(5));
    let why = "the peer did not accept us, and its own AUTH was ";
    assert_eq!(
        pair.sides[B].failures,
        [DownReason::AuthenticationFailed(format!("{why}{key}"))]
    );
}

#[test]
fn a_key_of_another_that_was_put_right_is_not_mentioned_any_more() {
    let mut pair = with_key_of_another(7);
    pair.initiate(A);
    pair.run(seconds(5));
    let now = pair.now;
    pair.sides[A].endpoint.set_peer(now, PEER, config(A));
    pair.establish(A);
    let wrong = PeerConfig {
        psk: Psk(Secret::new(b"no key of anybody".to_vec())),
        ..config(A)
    };
    pair.sides[A].endpoint.set_peer(now, PEER, wrong);
    pair.run(seconds(5));
    pair.initiate(B);
    pair.run(seconds(5));
    let DownReason::AuthenticationFailed(why) = &pair.sides[B].failures[0] else {
        panic!("{:?}", pair.sides[B].failures);
    };
    assert!(why.contains("compare the pre-shared key"), "{why}");
}

#[test]
fn a_wrong_pre_shared_key_is_refused_by_name() {
    let mut pair = Pair::with(7, |side, config| {
        if side == A {
            config.psk = Psk(Secret::new(b"another key".to_vec()));
        }
    });
    pair.initiate(A);
    pair.run(seconds(5));
    assert!(
        matches!(
            &pair.sides[A].failures[..],
            [DownReason::AuthenticationFailed(why)]
                if why.contains("pre-shared key") && why.contains("asked for fqdn:b.example")
        ),
        "{:?}",
        pair.sides[A].failures
    );
    assert!(
        pair.sides[B].refusals[0].contains("a.example"),
        "{:?}",
        pair.sides[B].refusals
    );
    assert!(
        pair.sides
            .iter()
            .all(|side| side.ikes.is_empty() && side.children.is_empty())
    );
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
}

#[test]
fn an_initiator_with_another_identity_is_refused() {
    let mut pair = Pair::with(8, |side, config| {
        if side == A {
            config.local_id = Identity::Email("mallory@example.net".to_owned());
        }
    });
    pair.initiate(A);
    pair.run(seconds(5));
    let why = &pair.sides[B].refusals[0];
    assert!(
        why.contains("mallory") && why.contains("a.example"),
        "{why}"
    );
    assert!(matches!(
        pair.sides[A].failures[0],
        DownReason::AuthenticationFailed(_)
    ));
}

#[test]
fn a_responder_with_another_identity_is_refused_and_told() {
    let mut pair = Pair::with(9, |side, config| {
        if side == B {
            config.local_id = Identity::Address(address(B));
        }
    });
    pair.initiate(A);
    pair.run(seconds(5));
    let DownReason::AuthenticationFailed(why) = &pair.sides[A].failures[0] else {
        panic!("{:?}", pair.sides[A].failures);
    };
    assert!(
        why.contains("198.51.100.1") && why.contains("b.example"),
        "{why}"
    );
    assert!(pair.sides[A].ikes.is_empty());
    let [DownReason::AuthenticationFailed(why)] = &pair.sides[B].ends[..] else {
        panic!("{:?}", pair.sides[B].ends);
    };
    assert!(
        why.contains("asked for fqdn:b.example, we said we are 198.51.100.1"),
        "{why}"
    );
    assert!(pair.sides[B].children.is_empty());
}

#[test]
fn traffic_selectors_are_narrowed_to_what_both_sides_allow() {
    let mut pair = Pair::with(10, |side, config| {
        if side == A {
            config.local_selectors = vec!["0.0.0.0/0".parse().unwrap()];
            config.remote_selectors = vec!["10.2.3.0/24".parse().unwrap()];
        }
    });
    pair.establish(A);
    let child = pair.sides[A].child();
    assert_eq!(child.local_selectors[0].to_string(), "10.1.0.0/16");
    assert_eq!(child.remote_selectors[0].to_string(), "10.2.3.0/24");
}

#[test]
fn unacceptable_selectors_leave_the_ike_sa_up_and_the_child_is_asked_for_again() {
    let mut pair = Pair::with(11, |side, config| {
        if side == B {
            config.remote_selectors = vec!["172.16.0.0/12".parse().unwrap()];
        }
    });
    pair.initiate(A);
    pair.run(seconds(5));
    pair.assert_agreement(0);
    assert!(
        pair.sides[A].refusals[0].contains("TS_UNACCEPTABLE"),
        "{:?}",
        pair.sides[A].refusals
    );
    let why = &pair.sides[B].refusals[0];
    assert!(
        why.contains("10.1.0.0/16") && why.contains("172.16.0.0/12"),
        "{why}"
    );
    pair.run(seconds(60));
    let asked = pair.count(A, ExchangeType::CREATE_CHILD_SA, false);
    assert!((1..=4).contains(&asked), "asked {asked} times");
}

#[test]
fn a_child_without_common_algorithms_leaves_the_ike_sa_up() {
    let mut pair = Pair::with(12, |side, config| {
        config.esp.encryption = vec![[Encryption::AesGcm128, Encryption::AesGcm256][side]];
    });
    pair.initiate(A);
    pair.run(seconds(5));
    pair.assert_agreement(0);
    let why = &pair.sides[A].refusals[0];
    assert!(why.contains("NO_PROPOSAL_CHOSEN"), "{why}");
    assert!(
        why.contains(
            "(is its phase 2 as ours? could its kernel take the SA?): we offered AES128-GCM-16"
        ),
        "{why}"
    );
    let why = &pair.sides[B].refusals[0];
    assert!(
        why.contains("AES128-GCM-16") && why.contains("AES256-GCM-16"),
        "{why}"
    );
}

#[test]
fn extended_sequence_numbers_are_used_where_both_sides_want_them() {
    for (a, b, expected) in [
        (vec![true, false], vec![true, false], true),
        (vec![true, false], vec![false], false),
        (vec![false], vec![true, false], false),
        (vec![true], vec![false, true], true),
    ] {
        let mut pair = Pair::with(13, |side, config| {
            config.esp.esn = [a.clone(), b.clone()][side].clone();
        });
        pair.establish(A);
        assert_eq!(pair.sides[B].child().suite.esn, expected);
    }
}

#[test]
fn the_handshake_survives_the_loss_of_each_message() {
    for nth in 0..4 {
        let mut pair = Pair::new(14);
        let mut sent = 0;
        pair.weather = Box::new(move |_| {
            sent += 1;
            if sent == nth + 1 { vec![] } else { vec![DELAY] }
        });
        pair.establish(A);
    }
}

#[test]
fn the_handshake_survives_duplication_and_reordering() {
    for seed in 0..20 {
        let mut pair = Pair::new(seed);
        let mut n = seed;
        pair.weather = Box::new(move |_| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let delay = |shift: u32| Duration::from_millis((n >> shift) % 300);
            vec![delay(20), delay(40)]
        });
        pair.initiate(A);
        pair.run(seconds(40));
        pair.assert_agreement(1);
        assert_eq!(
            pair.sides[B].endpoint.half_open(),
            0,
            "half-open ones are forgotten"
        );
    }
}

#[test]
fn a_silent_peer_is_given_up_after_a_bounded_number_of_retransmissions() {
    let mut pair = Pair::new(15);
    pair.weather = Box::new(|_| vec![]);
    pair.initiate(A);
    pair.run(seconds(60));
    assert_eq!(pair.sides[A].failures, [DownReason::PeerDead]);
    assert!(
        (5..=10).contains(&pair.log.len()),
        "{} datagrams",
        pair.log.len()
    );
    assert_eq!(pair.sides[A].endpoint.poll_timeout(), None);
}

#[test]
fn a_peer_known_by_identity_only_is_told_apart_by_it() {
    let mut pair = Pair::with(16, |side, config| {
        if side == B {
            config.remote = None;
            config.remote_id = Identity::Fqdn("somebody-else".to_owned());
        }
    });
    let mut real = config(B);
    real.remote = None;
    real.name = "vpn-real/1".to_owned();
    let now = pair.now;
    pair.sides[B]
        .endpoint
        .set_peer(now, GatewayId(0).tunnel(9), real);
    pair.establish(A);
    assert_eq!(
        pair.sides[B]
            .endpoint
            .counters(GatewayId(0).tunnel(9))
            .ike_established,
        1
    );
    assert_eq!(pair.sides[B].endpoint.counters(PEER).ike_established, 0);
}

#[test]
fn both_sides_initiating_at_once_end_up_with_one_ike_sa() {
    for seed in 0..30 {
        let mut pair = Pair::new(seed);
        let mut n = seed;
        pair.weather = Box::new(move |_| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            vec![Duration::from_millis(10 + (n >> 33) % 50)]
        });
        pair.initiate(A);
        pair.initiate(B);
        pair.run(seconds(10));
        pair.assert_agreement(1);
        pair.flow();
        pair.run(seconds(1));
        assert_eq!(pair.lost, 0);
    }
}

#[test]
fn a_peer_that_restarts_replaces_its_old_sas_at_once() {
    let mut pair = Pair::up(18);
    pair.sides[A].restart(99);
    let now = pair.now;
    pair.sides[A].endpoint.set_peer(now, PEER, config(A));
    pair.initiate(A);
    pair.run(seconds(2));
    assert_eq!(pair.sides[B].ends, [DownReason::Superseded]);
    pair.assert_agreement(1);
}

#[test]
fn an_unchanged_configuration_touches_nothing_and_a_changed_one_deletes_first() {
    let mut pair = Pair::up(19);
    pair.call(A, |endpoint, now| endpoint.set_peer(now, PEER, config(A)));
    pair.run(seconds(1));
    pair.assert_agreement(1);
    let mut changed = config(A);
    changed.esp.groups = vec![Group::Ecp256];
    pair.call(A, |endpoint, now| endpoint.set_peer(now, PEER, changed));
    assert_eq!(pair.sides[A].ends, [DownReason::Requested]);
    pair.run(seconds(1));
    assert_eq!(pair.sides[B].ends, [DownReason::PeerDeleted]);
}
