//! The SPIs by which whoever sorts messages knows whose they are.

use vgw_ike::endpoint::SaClass;
use vgw_ike::wire::{PeekedHeader, peek_header};

use crate::rig::{A, B, DELAY, Datagram, Load, Pair, seconds};

/// Those of peers that are known.
fn spis(pair: &Pair, side: usize) -> Vec<u64> {
    pair.sides[side].endpoint.spis(SaClass::Known).collect()
}

fn half_open(pair: &Pair, side: usize) -> Vec<u64> {
    pair.sides[side].endpoint.spis(SaClass::HalfOpen).collect()
}

fn revisions(pair: &Pair, side: usize) -> [u64; 2] {
    let endpoint = &pair.sides[side].endpoint;
    [SaClass::HalfOpen, SaClass::Known].map(|standing| endpoint.spis_revision(standing))
}

#[test]
fn an_ike_sa_is_half_open_until_its_peer_authenticates_and_gone_when_it_ends() {
    let mut pair = Pair::new(1);
    // An SA that is rebuilt goes and comes.
    pair.rebuilds = false;
    let [_, none_known] = revisions(&pair, B);
    pair.initiate(A);
    // Who begins knows with whom.
    assert_eq!((half_open(&pair, A).len(), spis(&pair, A).len()), (0, 1));
    pair.run(DELAY);
    assert_eq!((half_open(&pair, B).len(), spis(&pair, B).len()), (1, 0));
    let [begun, known] = revisions(&pair, B);
    assert_eq!(
        known, none_known,
        "who is not authenticated changes nothing of these"
    );
    pair.run(seconds(1));
    assert_eq!((half_open(&pair, B).len(), spis(&pair, B).len()), (0, 1));
    let up = revisions(&pair, B);
    assert!(up[0] != begun && up[1] != known, "{up:?}");

    let before = spis(&pair, B);
    pair.run(seconds(60));
    assert_eq!(revisions(&pair, B), up, "nothing has changed");
    pair.rekey_ike(A);
    pair.run(seconds(10));
    let after = spis(&pair, B);
    assert!(
        after.len() == 1 && after != before,
        "{before:x?} {after:x?}"
    );

    let (sa, _) = pair.sides[A].ike();
    pair.call(A, |endpoint, now| endpoint.delete(now, sa));
    pair.run(seconds(1));
    assert!(spis(&pair, A).is_empty() && spis(&pair, B).is_empty());
}

#[test]
fn every_message_of_a_peer_but_its_first_names_one_of_them() {
    for initiator in [A, B] {
        let mut pair = Pair::new(2);
        pair.establish(initiator);
        pair.run(seconds(60));
        pair.rekey_ike(A);
        pair.run(seconds(60));
        let seen: Vec<_> = pair.log.iter().filter_map(seen).collect();
        let (first, later): (Vec<_>, Vec<_>) = seen.iter().partition(|(_, seen)| seen.begins);
        assert_eq!(first.len(), 1);
        assert!(later.iter().all(|(_, seen)| seen.our_spi != 0));
        // The last ones name an SA that is still there.
        let (_, last) = later.iter().rfind(|(from, _)| *from == A).unwrap();
        assert!(spis(&pair, B).contains(&last.our_spi));
    }
}

fn seen(datagram: &Datagram) -> Option<(usize, PeekedHeader)> {
    match &datagram.load {
        Load::Ike(message) => Some((datagram.from, peek_header(message).unwrap())),
        Load::Esp { .. } => None,
    }
}
