//! Peers that are to get no answer.

use vgw_crypto::Group;
use vgw_ike::drop_reason::DropReason;
use vgw_ike::event::DownReason;
use vgw_ike::identity::Identity;
use vgw_ike::wire::ExchangeType;
use vgw_sa::{GatewayId, TunnelId};

use crate::rig::{A, B, PEER, Pair, config, seconds};

const OTHER: TunnelId = GatewayId(0).tunnel(8);

/// Has B leave its peer without an answer.
fn silence(pair: &mut Pair, anywhere: bool) {
    pair.call(B, |endpoint, now| {
        let mut peer = config(B);
        if anywhere {
            peer.remote = None;
        }
        endpoint.silence_peer(now, PEER, &peer);
    });
}

fn silent(pair: &Pair) -> u64 {
    pair.sides[B].endpoint.drops().get(DropReason::TakenDown)
}

#[test]
fn a_silenced_peer_is_told_that_its_sas_end_and_nothing_after_that() {
    let mut pair = Pair::up(1);
    silence(&mut pair, false);
    pair.run(seconds(2));
    assert_eq!(pair.sides[A].ends, [DownReason::PeerDeleted]);
    pair.log.clear();
    pair.initiate(A);
    pair.run(seconds(30));
    assert_eq!(pair.sides[A].failures, [DownReason::PeerDead]);
    assert!(pair.log.iter().all(|datagram| datagram.from == A));
    assert!(silent(&pair) > 3);
    pair.call(B, |endpoint, now| endpoint.set_peer(now, PEER, config(B)));
    pair.establish(A);
}

#[test]
fn a_silenced_peer_that_only_its_identity_shows_gets_no_answer_to_it() {
    let mut pair = Pair::new(1);
    silence(&mut pair, true);
    pair.call(B, |endpoint, now| {
        let mut other = config(B);
        other.remote = None;
        other.remote_id = Identity::Fqdn("c.example".to_owned());
        endpoint.set_peer(now, OTHER, other);
    });
    pair.initiate(A);
    pair.run(seconds(30));
    assert_eq!(pair.count(B, ExchangeType::IKE_SA_INIT, true), 1);
    assert_eq!(pair.count(B, ExchangeType::IKE_AUTH, true), 0);
    assert_eq!(pair.sides[A].failures, [DownReason::PeerDead]);
    assert!(silent(&pair) > 3);
    assert_eq!(pair.sides[B].refusals, Vec::<String>::new());
}

#[test]
fn a_silenced_peer_is_not_refused_for_what_another_wants_who_may_be_meant_too() {
    let mut pair = Pair::new(1);
    silence(&mut pair, true);
    pair.call(B, |endpoint, now| {
        let mut other = config(B);
        other.remote = None;
        other.remote_id = Identity::Fqdn("c.example".to_owned());
        other.ike.groups = vec![Group::Ecp384];
        endpoint.set_peer(now, OTHER, other);
    });
    pair.initiate(A);
    pair.run(seconds(30));
    assert!(pair.log.iter().all(|datagram| datagram.from == A));
    assert_eq!(pair.sides[A].failures, [DownReason::PeerDead]);
    assert!(silent(&pair) > 3);
}

#[test]
fn who_has_the_address_is_served_though_another_who_may_be_anywhere_is_silenced() {
    let mut pair = Pair::new(1);
    pair.call(B, |endpoint, now| {
        let mut other = config(B);
        other.remote = None;
        other.remote_id = Identity::Fqdn("c.example".to_owned());
        endpoint.silence_peer(now, OTHER, &other);
    });
    pair.establish(A);
    assert_eq!(silent(&pair), 0);
}
