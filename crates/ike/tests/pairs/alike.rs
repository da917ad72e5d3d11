//! Peers that IKE_SA_INIT cannot tell apart, and what is chosen until IKE_AUTH can.

use vgw_crypto::{Encryption, Group};
use vgw_ike::config::{Encapsulation, PeerConfig};
use vgw_ike::event::DownReason;
use vgw_ike::identity::Identity;
use vgw_sa::{GatewayId, TunnelId};

use crate::rig::{A, B, PEER, Pair, address, config, seconds};

/// The peers that B knows, by number; A is one of them.
const NAMES: [&str; 2] = ["first.example", "second.example"];

fn id(number: usize) -> TunnelId {
    GatewayId(0).tunnel(u32::try_from(number).unwrap())
}

/// B with two peers without an address, and A as that of this number. `change` is for
/// both ends of a connection.
fn two_peers(seed: u64, number: usize, change: impl Fn(usize, &mut PeerConfig)) -> Pair {
    let mut pair = Pair::with(seed, |side, config| {
        if side == A {
            config.local_id = Identity::Fqdn(NAMES[number].to_owned());
            change(number, config);
        }
    });
    let now = pair.now;
    pair.sides[B].endpoint.remove_peer(now, PEER);
    for (number, name) in NAMES.iter().enumerate() {
        let mut peer = config(B);
        peer.name = format!("vpn-{name}/1");
        peer.remote = None;
        peer.remote_id = Identity::Fqdn((*name).to_owned());
        change(number, &mut peer);
        pair.sides[B].endpoint.set_peer(now, id(number), peer);
    }
    pair
}

/// What A offers, whatever is configured for it at B.
fn offer(pair: &mut Pair, number: usize, change: impl Fn(&mut PeerConfig)) {
    let mut offering = config(A);
    offering.local_id = Identity::Fqdn(NAMES[number].to_owned());
    change(&mut offering);
    let now = pair.now;
    pair.sides[A].endpoint.set_peer(now, PEER, offering);
}

const BOTH: [Encryption; 3] = [
    Encryption::AesGcm256,
    Encryption::AesGcm128,
    Encryption::AesCbc256,
];

#[test]
fn peers_with_nothing_in_common_come_up_each_with_what_it_offers() {
    for number in [0, 1] {
        let groups = [Group::Curve25519, Group::Ecp384];
        let mut pair = two_peers(1, number, |number, config| {
            config.ike.groups = vec![groups[number]];
        });
        pair.establish(A);
        let suite = pair.sides[B].ike().1.suite;
        assert_eq!(suite.group, groups[number]);
        let counters = pair.sides[B].endpoint.counters(id(number));
        assert_eq!(counters.ike_established, 1);
    }
}

#[test]
fn what_both_permit_is_chosen_though_the_first_wants_something_else() {
    for number in [0, 1] {
        let lists = [
            vec![Encryption::AesGcm256, Encryption::AesGcm128],
            vec![Encryption::AesCbc256, Encryption::AesGcm128],
        ];
        let mut pair = two_peers(2, number, |number, config| {
            config.ike.encryption.clone_from(&lists[number]);
        });
        offer(&mut pair, number, |config| {
            config.ike.encryption = BOTH.to_vec();
        });
        pair.establish(A);
        let suite = pair.sides[B].ike().1.suite;
        assert_eq!(suite.encryption, Encryption::AesGcm128);
        let counters = pair.sides[B].endpoint.counters(id(number));
        assert_eq!(counters.ike_established, 1);
    }
}

#[test]
fn what_was_chosen_for_another_is_refused_once_the_identity_is_known_and_names_both() {
    let lists = [Encryption::AesGcm256, Encryption::AesCbc256];
    let mut pair = two_peers(3, 1, |number, config| {
        config.ike.encryption = vec![lists[number]];
    });
    offer(&mut pair, 1, |config| {
        config.ike.encryption = BOTH.to_vec();
    });
    pair.initiate(A);
    pair.run(seconds(5));
    let [DownReason::Refused(why)] = &pair.sides[A].failures[..] else {
        panic!("{:?}", pair.sides[A].failures);
    };
    // Who is refused in IKE_AUTH agreed on phase 1 before.
    assert!(
        why.contains("refused IKE_AUTH by NO_PROPOSAL_CHOSEN"),
        "{why}"
    );
    assert!(
        why.contains("could its kernel take the SA?): we offered AES128-GCM-16"),
        "{why}"
    );
    assert!(!why.contains("PRF"), "{why}");
    let why = &pair.sides[B].refusals[0];
    for word in [
        "chosen was AES256-GCM-16",
        "expected encryption AES256;",
        "vpn-first.example/1",
        "vpn-second.example/1",
    ] {
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn who_has_its_address_configured_counts_more_than_all_that_may_be_anywhere() {
    let mut pair = two_peers(4, 0, |number, config| {
        let lists = [Encryption::AesCbc256, Encryption::AesGcm256];
        config.ike.encryption = vec![lists[number]];
    });
    let now = pair.now;
    for more in 2..9 {
        let mut other = config(B);
        other.remote = None;
        other.remote_id = Identity::Fqdn(format!("other-{more}.example"));
        other.ike.encryption = vec![Encryption::AesGcm256];
        pair.sides[B].endpoint.set_peer(now, id(more), other);
    }
    let mut known = config(B);
    known.remote = Some(address(A));
    known.remote_id = Identity::Fqdn(NAMES[0].to_owned());
    known.ike.encryption = vec![Encryption::AesCbc256];
    pair.sides[B].endpoint.set_peer(now, id(0), known);
    offer(&mut pair, 0, |config| config.ike.encryption = BOTH.to_vec());
    pair.establish(A);
    let suite = pair.sides[B].ike().1.suite;
    assert_eq!(suite.encryption, Encryption::AesCbc256);
}

#[test]
fn esp_goes_in_udp_for_all_where_one_wants_it_and_nobody_forbids_it() {
    for number in [0, 1] {
        let mut pair = two_peers(5, number, |_, _| {});
        let now = pair.now;
        let mut first = config(B);
        first.remote = None;
        first.remote_id = Identity::Fqdn(NAMES[0].to_owned());
        first.encapsulation = Encapsulation::Udp;
        pair.sides[B].endpoint.set_peer(now, id(0), first);
        pair.establish(A);
        assert!(
            pair.sides
                .iter()
                .all(|side| side.child().path.udp_encapsulation)
        );
    }
}

#[test]
fn who_forbids_udp_where_another_wants_it_is_refused_and_both_are_named() {
    let mut pair = two_peers(6, 1, |_, _| {});
    let now = pair.now;
    for (number, encapsulation) in [Encapsulation::Udp, Encapsulation::Native]
        .into_iter()
        .enumerate()
    {
        let mut peer = config(B);
        peer.name = format!("vpn-{}/1", NAMES[number]);
        peer.remote = None;
        peer.remote_id = Identity::Fqdn(NAMES[number].to_owned());
        peer.encapsulation = encapsulation;
        pair.sides[B].endpoint.set_peer(now, id(number), peer);
    }
    pair.initiate(A);
    pair.run(seconds(5));
    let why = &pair.sides[B].refusals[0];
    for word in ["native", "vpn-first.example/1", "vpn-second.example/1"] {
        assert!(why.contains(word), "{why}");
    }
    assert!(pair.sides.iter().all(|side| side.ikes.is_empty()));
}

#[test]
fn esp_goes_natively_where_more_forbid_udp_than_want_it() {
    let mut pair = two_peers(7, 1, |_, _| {});
    let now = pair.now;
    let wishes = [
        (NAMES[0], Encapsulation::Udp),
        (NAMES[1], Encapsulation::Native),
        ("third.example", Encapsulation::Native),
    ];
    for (number, (name, encapsulation)) in wishes.into_iter().enumerate() {
        let mut peer = config(B);
        peer.remote = None;
        peer.remote_id = Identity::Fqdn(name.to_owned());
        peer.encapsulation = encapsulation;
        pair.sides[B].endpoint.set_peer(now, id(number), peer);
    }
    pair.establish(A);
    let paths = pair.sides.iter().map(|side| side.child().path);
    assert!(paths.into_iter().all(|path| !path.udp_encapsulation));
}
