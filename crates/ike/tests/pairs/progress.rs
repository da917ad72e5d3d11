//! How far handshakes come: what came last, and what came or went in vain.

use std::net::SocketAddr;
use std::time::Duration;

use vgw_ike::config::Encapsulation;
use vgw_ike::drop_reason::DropReason;
use vgw_ike::progress::{Progress, ReceivedKind};
use vgw_ike::wire::ExchangeType;
use vgw_sa::GatewayId;

use crate::rig::{A, B, DELAY, Datagram, Jobs, PEER, Pair, address, config, seconds};

/// The message of a peer that speaks IKEv1: cookies, SA payload next, version 1.0,
/// main mode, and a length of 28 octets (RFC 2408 section 3.1).
pub const IKE_V1: [u8; 28] = [
    1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 28,
];

fn progress(pair: &Pair, side: usize) -> Progress {
    pair.sides[side].endpoint.progress(PEER).unwrap()
}

fn last(pair: &Pair, side: usize) -> Option<ReceivedKind> {
    progress(pair, side).last.map(|last| last.what)
}

/// A pair whose handshakes go to port 4500 for IKE_AUTH, where datagrams are lost if so.
fn floating(lost: impl Fn(&Datagram) -> bool + 'static) -> Pair {
    let mut pair = Pair::with(1, |_, config| config.encapsulation = Encapsulation::Udp);
    pair.jobs = Jobs::AtOnce;
    pair.weather = Box::new(move |datagram| match lost(datagram) {
        true => Vec::new(),
        false => vec![DELAY],
    });
    pair
}

fn is_4500(datagram: &Datagram) -> bool {
    datagram.destination.port() == 4500
}

/// A makes attempts, one after the other.
fn attempts(pair: &mut Pair, number: u32) {
    for _ in 0..number {
        pair.initiate(A);
        pair.run(seconds(25));
    }
}

#[test]
fn where_port_4500_is_dropped_both_ends_note_that_ike_auth_is_what_does_not_come() {
    let mut pair = floating(is_4500);
    let begun_at = pair.now + DELAY;
    attempts(&mut pair, 3);
    let theirs = progress(&pair, B).begun.unwrap();
    assert_eq!((theirs.handshakes.count, theirs.repeated), (3, 0));
    assert_eq!(theirs.handshakes.first, begun_at);
    assert_eq!(theirs.handshakes.last, begun_at + seconds(50));
    assert_eq!(theirs.remote, SocketAddr::new(address(A), 500));
    assert_eq!(last(&pair, B), Some(ReceivedKind::InitRequest));

    let ours = progress(&pair, A);
    let sent = pair.count(A, ExchangeType::IKE_AUTH, false);
    let unanswered = ours.auth_unanswered.unwrap();
    assert_eq!(usize::try_from(unanswered.count).unwrap(), sent);
    assert_eq!(unanswered.first, begun_at + DELAY);
    assert_eq!((ours.init_unanswered, ours.auth_floated), (None, true));
    assert_eq!(last(&pair, A), Some(ReceivedKind::InitResponse));

    pair.weather = crate::rig::fair();
    pair.establish(A);
    let [ours, theirs] = [A, B].map(|side| progress(&pair, side));
    assert_eq!((ours.auth_unanswered, theirs.begun), (None, None));
    assert_eq!(last(&pair, A), Some(ReceivedKind::AuthResponse));
    assert_eq!(last(&pair, B), Some(ReceivedKind::AuthRequest));
}

#[test]
fn where_answers_are_lost_the_same_handshake_is_seen_to_be_begun_again() {
    let mut pair = floating(|datagram| datagram.from == B);
    attempts(&mut pair, 1);
    let theirs = progress(&pair, B).begun.unwrap();
    let sent = pair.count(A, ExchangeType::IKE_SA_INIT, false);
    assert_eq!(theirs.handshakes.count, 1);
    assert_eq!(usize::try_from(theirs.repeated).unwrap(), sent - 1);
    let ours = progress(&pair, A);
    let unanswered = ours.init_unanswered.unwrap();
    assert_eq!(usize::try_from(unanswered.count).unwrap(), sent);
    assert!(sent > 3);
    assert_eq!((ours.last, ours.auth_unanswered), (None, None));
}

#[test]
fn a_handshake_that_we_have_given_up_and_that_is_begun_again_is_the_same() {
    let mut pair = floating(|datagram| datagram.from == B);
    pair.initiate(A);
    pair.run(seconds(1));
    let (Some(request), later) = (pair.log.first().cloned(), pair.now + seconds(60)) else {
        panic!("nothing was sent");
    };
    pair.put_on_the_way(later, request);
    let before = progress(&pair, B).begun.unwrap();
    pair.run(seconds(61));
    let after = progress(&pair, B).begun.unwrap();
    assert_eq!(after.handshakes.count, 1);
    assert!(after.repeated > before.repeated);
    assert_eq!(after.handshakes.last, later);
}

#[test]
fn what_is_lost_on_the_way_to_us_leaves_nothing_to_note() {
    let mut pair = floating(|datagram| datagram.from == A);
    let configured = pair.now;
    attempts(&mut pair, 1);
    let theirs = progress(&pair, B);
    assert_eq!((theirs.last, theirs.begun), (None, None));
    assert_eq!(theirs.noted_since, configured);
    let ours = progress(&pair, A).init_unanswered.unwrap();
    assert_eq!(ours.first, configured);
    // With the configuration, the notes begin anew.
    pair.run(seconds(10));
    pair.call(A, |endpoint, now| {
        let mut other = config(A);
        other.liveness = None;
        endpoint.set_peer(now, PEER, other);
    });
    let ours = progress(&pair, A);
    assert_eq!((ours.noted_since, ours.init_unanswered), (pair.now, None));
}

#[test]
fn a_refusal_is_an_answer() {
    let mut pair = Pair::with(1, |side, config| {
        if side == B {
            config.ike.groups = vec![vgw_crypto::Group::Ecp256];
        }
    });
    attempts(&mut pair, 1);
    let ours = progress(&pair, A);
    assert_eq!((ours.init_unanswered, ours.auth_unanswered), (None, None));
    assert_eq!(last(&pair, A), Some(ReceivedKind::InitResponse));
    assert_eq!(progress(&pair, B).begun, None);
}

#[test]
fn ike_v1_is_noted_counted_and_refused_by_name_without_an_answer() {
    let mut pair = Pair::new(1);
    pair.inject(A, IKE_V1.to_vec());
    assert_eq!(last(&pair, B), Some(ReceivedKind::IkeV1));
    let denials = pair.sides[B].endpoint.drops();
    assert_eq!(denials.get(DropReason::IkeV1), 1);
    assert_eq!(denials.get(DropReason::Malformed), 0);
    assert_eq!(pair.sides[B].dropped, [DropReason::IkeV1]);
    assert!(pair.log.is_empty());
    pair.inject(A, b"not IKE".to_vec());
    assert_eq!(last(&pair, B), Some(ReceivedKind::NotIke));
}

#[test]
fn who_may_be_anywhere_is_noted_of_strangers_and_not_of_those_whose_address_is_known() {
    for anywhere in [false, true] {
        let mut pair = floating(is_4500);
        let roaming = GatewayId(0).tunnel(8);
        pair.call(B, |endpoint, now| {
            let mut other = config(B);
            other.remote = None;
            other.remote_id = "fqdn:c.example".parse().unwrap();
            endpoint.set_peer(now, roaming, other);
            if anywhere {
                endpoint.remove_peer(now, PEER);
            }
        });
        attempts(&mut pair, 2);
        let noted = pair.sides[B].endpoint.progress(roaming).unwrap();
        let begun = noted.begun.map(|begun| begun.handshakes.count);
        assert_eq!(begun, anywhere.then_some(2));
        assert_eq!(noted.last.is_some(), anywhere);
    }
}

#[test]
fn handshakes_of_strangers_make_no_notes_where_every_address_is_configured() {
    let mut pair = Pair::new(1);
    let sent = {
        pair.initiate(A);
        pair.log.first().cloned().unwrap()
    };
    pair.weather = Box::new(|_| Vec::new());
    pair.run(seconds(1));
    let before = progress(&pair, B);
    for stranger in 1..=200 {
        let mut datagram = sent.clone();
        datagram.source = SocketAddr::new([192, 0, 2, stranger].into(), 500);
        if datagram.source.ip() != address(A) {
            pair.put_on_the_way(pair.now + Duration::from_millis(1), datagram);
        }
    }
    pair.run(seconds(1));
    assert_eq!(progress(&pair, B), before);
}
