//! Messages that a peer should not send, before and after it authenticated.

use std::collections::BTreeSet;
use std::time::Duration;

use vgw_crypto::AeadKey;
use vgw_ike::event::{DownReason, Role};
use vgw_ike::identity::Identity;
use vgw_ike::wire::{
    Delete, ExchangeType, Header, KeyExchange, Notify, NotifyType, Payload, PayloadType, Proposal,
    ProtocolId, Transform, TransformType, begin_sealed, encode_cleartext, encode_payloads,
};
use vgw_sa::TrafficSelector;

use crate::rig::{A, B, DELAY, Datagram, Jobs, Load, PEER, Pair, fair, seconds};

/// A message of side `from`'s IKE SA with any content, sealed with its keys.
fn seal(
    pair: &Pair,
    from: usize,
    exchange: ExchangeType,
    id: u32,
    payloads: &[Payload],
) -> Vec<u8> {
    seal_as(pair, from, (exchange, false), id, payloads)
}

fn seal_as(
    pair: &Pair,
    from: usize,
    (exchange, response): (ExchangeType, bool),
    id: u32,
    payloads: &[Payload],
) -> Vec<u8> {
    let (sa, details) = pair.sides[from].ike();
    let keys = &pair.sides[from].keys[&sa];
    let initiator = details.role == Role::Initiator;
    let header = Header {
        spi_i: details.spi_i,
        spi_r: details.spi_r,
        exchange,
        initiator,
        response,
        message_id: id,
    };
    let key = if initiator { &keys.sk_ei } else { &keys.sk_er };
    let key = AeadKey::new(details.suite.encryption, key.expose()).unwrap();
    let (first, mut body) = encode_payloads(payloads);
    body.push(0);
    let mut message = begin_sealed(&header, first, 8 + body.len() + 16);
    let iv = u64::MAX.to_be_bytes();
    let icv = key.seal_in_place(iv, &message, &mut body);
    message.extend_from_slice(&iv);
    message.extend_from_slice(&body);
    message.extend_from_slice(&icv);
    message
}

fn in_clear(spis: (u64, u64), exchange: ExchangeType, initiator: bool, response: bool) -> Vec<u8> {
    let header = Header {
        spi_i: spis.0,
        spi_r: spis.1,
        exchange,
        initiator,
        response,
        message_id: 0,
    };
    let payloads = [
        Payload::Delete(Delete::Ike),
        Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new())),
    ];
    encode_cleartext(&header, &payloads)
}

#[test]
fn nothing_but_the_awaited_message_has_an_effect_before_authentication() {
    for after in 1..=3 {
        let mut pair = Pair::new(1);
        pair.initiate(A);
        while pair.log.len() < after {
            pair.run(Duration::from_millis(5));
        }
        let header = pair.log.last().unwrap().header().unwrap();
        let spis = (header.spi_i, header.spi_r);
        for exchange in [34, 35, 36, 37, 38, 200].map(ExchangeType) {
            for to in [A, B] {
                for (initiator, response) in
                    [(true, false), (true, true), (false, false), (false, true)]
                {
                    pair.inject(1 - to, in_clear(spis, exchange, initiator, response));
                }
            }
        }
        for side in &pair.sides {
            assert!(side.ikes.is_empty() && side.children.is_empty() && side.failures.is_empty());
        }
        pair.run(seconds(3));
        pair.assert_agreement(1);
    }
}

#[test]
fn messages_in_clear_do_nothing_to_an_established_sa() {
    let mut pair = Pair::up(2);
    let (_, details) = pair.sides[A].ike();
    let spis = (details.spi_i, details.spi_r);
    let sent = pair.log.len();
    for exchange in [34, 35, 36, 37].map(ExchangeType) {
        for response in [false, true] {
            pair.inject(A, in_clear(spis, exchange, true, response));
            pair.inject(B, in_clear(spis, exchange, false, response));
        }
    }
    pair.assert_agreement(1);
    assert_eq!(pair.log.len(), sent, "and are not answered");
    assert!(pair.sides[B].endpoint.counters(PEER).dropped.total() > 0);
}

#[test]
fn every_flipped_octet_of_every_message_is_harmless() {
    let mut pair = Pair::up(3);
    pair.rekey_child(A);
    pair.run(seconds(8));
    for datagram in pair.log.clone() {
        let Load::Ike(message) = &datagram.load else {
            continue;
        };
        for at in 0..message.len() {
            let mut message = message.clone();
            message[at] ^= 0x41;
            pair.inject(datagram.from, message);
        }
        for len in 0..message.len() {
            pair.inject(datagram.from, message[..len].to_vec());
        }
    }
    pair.assert_agreement(1);
    pair.run(seconds(60));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    pair.assert_agreement(1);
}

#[test]
fn an_authenticated_malformed_message_is_answered_and_ends_only_this_sa() {
    let unknown = Payload::Other {
        kind: PayloadType::CP,
        critical: false,
        data: vec![1],
    };
    for payloads in [
        vec![Payload::Nonce(vec![0; 32])],
        vec![Payload::Nonce(vec![0; 32]), Payload::Nonce(vec![0; 32])],
        vec![unknown],
    ] {
        let mut pair = Pair::up(7);
        let message = seal(&pair, A, ExchangeType::CREATE_CHILD_SA, 2, &payloads);
        let sent = pair.log.len();
        pair.inject(A, message);
        assert_eq!(pair.log.len(), sent + 1, "answered");
        assert!(
            matches!(&pair.sides[B].ends[..], [DownReason::Refused(why)] if why.contains("malformed"))
        );
        assert!(pair.sides[B].children.is_empty());
    }
}

#[test]
fn a_critical_payload_that_we_do_not_know_is_refused_and_the_sa_stays() {
    let mut pair = Pair::up(8);
    let unknown = Payload::Other {
        kind: PayloadType(200),
        critical: true,
        data: vec![1, 2, 3],
    };
    let message = seal(&pair, A, ExchangeType::INFORMATIONAL, 2, &[unknown]);
    let sent = pair.log.len();
    pair.inject(A, message);
    assert_eq!(pair.log.len(), sent + 1);
    pair.assert_agreement(1);
}

#[test]
fn a_message_out_of_the_window_is_not_answered() {
    for id in [0, 1, 3, 4, u32::MAX] {
        let mut pair = Pair::up(9);
        let message = seal(&pair, A, ExchangeType::INFORMATIONAL, id, &[]);
        let sent = pair.log.len();
        pair.inject(A, message);
        assert_eq!(pair.log.len(), sent);
        assert_eq!(pair.sides[B].endpoint.counters(PEER).dropped.total(), 1);
    }
}

#[test]
fn a_delete_of_several_spis_is_answered_with_our_half_of_those_that_exist() {
    let mut pair = Pair::up(10);
    let ours = pair.sides[A].child().spi_in;
    let delete = |protocol| {
        Payload::Delete(Delete::Child {
            protocol,
            spis: vec![1, ours, 0xdead_beef, ours],
        })
    };
    let message = seal(
        &pair,
        A,
        ExchangeType::INFORMATIONAL,
        2,
        &[delete(ProtocolId::AH)],
    );
    pair.inject(A, message);
    pair.assert_agreement(1);
    let message = seal(
        &pair,
        A,
        ExchangeType::INFORMATIONAL,
        3,
        &[delete(ProtocolId::ESP)],
    );
    pair.inject(A, message);
    assert_eq!(pair.sides[B].child_ends, [DownReason::PeerDeleted]);
    assert_eq!(pair.sides[B].ikes.len(), 1, "the IKE SA stays");
}

#[test]
fn requests_replayed_after_a_rekey_of_the_ike_sa_do_nothing() {
    let mut pair = Pair::up(11);
    pair.rekey_child(A);
    pair.run(seconds(8));
    pair.rekey_ike(B);
    pair.run(DELAY * 20);
    pair.run(seconds(60));
    let before: Vec<_> = pair.sides[B].children.keys().copied().collect();
    for datagram in pair.log.clone() {
        let at = pair.now;
        pair.put_on_the_way(at, datagram);
    }
    pair.run(seconds(60));
    pair.assert_agreement(1);
    let after: Vec<_> = pair.sides[B].children.keys().copied().collect();
    assert_eq!(before, after);
}

#[test]
fn an_initiator_that_does_not_accept_our_auth_needs_no_delete_to_end_the_sa() {
    let mut pair = Pair::up(12);
    let notify = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
    let payloads = [Payload::Notify(notify)];
    let message = seal(&pair, A, ExchangeType::INFORMATIONAL, 2, &payloads);
    let sent = pair.log.len();
    pair.inject(A, message);
    assert_eq!(pair.log.len(), sent + 1, "answered");
    assert!(matches!(
        pair.sides[B].ends[..],
        [DownReason::AuthenticationFailed(_)]
    ));
    assert!(pair.sides[B].children.is_empty());
}

#[test]
fn the_errors_that_a_peer_reports_in_one_message_are_one_short_remark() {
    let mut pair = Pair::up(20);
    let error = |n: u16| Payload::Notify(Notify::new(NotifyType(8192 + n), vec![0; 8]));
    let payloads: Vec<_> = (0..60).map(error).collect();
    for id in 2..12 {
        let message = seal(&pair, A, ExchangeType::INFORMATIONAL, id, &payloads);
        pair.inject(A, message);
    }
    let said: Vec<_> = pair.sides[B]
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = "the peer reports 8192, 8193, 8194, 8195 and 56 more errors";
    assert_eq!(said.len(), 10, "{said:?}");
    assert!(said.iter().all(|said| said == expected), "{}", said[0]);
}

#[test]
fn rekeying_without_deleting_comes_to_an_end() {
    let mut pair = Pair::up(13);
    pair.jobs = Jobs::AtOnce;
    let mut old = pair.sides[A].child().spi_in;
    for (id, spi) in (2..1_000).zip(0x1000_u32..) {
        let payloads = rekey_request(old, spi);
        let message = seal(&pair, A, ExchangeType::CREATE_CHILD_SA, id, &payloads);
        pair.inject(A, message);
        old = spi;
    }
    assert_eq!(pair.sides[B].children.len(), 64);
    assert!(pair.sides[B].refusals[0].contains("delete"));
}

#[test]
fn a_child_sa_that_was_replaced_is_not_replaced_again() {
    let mut pair = Pair::up(21);
    let old = pair.sides[A].child().spi_in;
    for (id, spi) in (2..6).zip(0x1000_u32..) {
        let payloads = rekey_request(old, spi);
        let message = seal(&pair, A, ExchangeType::CREATE_CHILD_SA, id, &payloads);
        pair.inject(A, message);
    }
    assert_eq!(pair.sides[B].children.len(), 2);
}

/// For the CHILD SA that A receives with `old`, by one that it is to receive with `new`.
fn rekey_request(old: u32, new: u32) -> [Payload; 6] {
    [
        Payload::Notify(Notify::child(NotifyType::REKEY_SA, old)),
        Payload::Sa(vec![esp_proposal(new)]),
        Payload::Nonce(vec![7; 32]),
        Payload::Ke(curve25519()),
        Payload::TsI(selectors("10.1.0.0/16")),
        Payload::TsR(selectors("10.2.0.0/16")),
    ]
}

/// What the rig's configuration selects.
fn esp_proposal(spi: u32) -> Proposal {
    let transform = |kind, id, key_bits| Transform {
        kind,
        id,
        key_bits,
        unknown_attribute: false,
    };
    Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: spi.to_be_bytes().to_vec(),
        transforms: vec![
            transform(TransformType::ENCRYPTION, 20, Some(128)),
            transform(TransformType::KEY_EXCHANGE, 31, None),
            transform(TransformType::ESN, 1, None),
        ],
    }
}

/// A public value that somebody may have: the base point.
fn curve25519() -> KeyExchange {
    let mut data = vec![0; 32];
    data[0] = 9;
    KeyExchange { group: 31, data }
}

#[test]
fn after_a_selection_that_was_not_offered_a_child_sa_is_asked_for_again() {
    let elsewhere = "10.9.0.0/16".parse().unwrap();
    let mut pair = Pair::with(14, |side, config| {
        if side == B {
            config.remote_selectors = vec![elsewhere];
        }
    });
    // IKE_AUTH makes none, so A asks by CREATE_CHILD_SA.
    pair.initiate(A);
    pair.run(seconds(1));
    pair.weather = Box::new(|datagram| {
        let answer = datagram.is(B, ExchangeType::CREATE_CHILD_SA, true);
        if answer { vec![] } else { vec![DELAY] }
    });
    let asked = |pair: &Pair| {
        let request = |d: &&Datagram| d.is(A, ExchangeType::CREATE_CHILD_SA, false);
        let ids = pair.log.iter().filter(request).filter_map(Datagram::header);
        ids.map(|header| header.message_id).collect::<BTreeSet<_>>()
    };
    pair.run(seconds(31));
    let id = *asked(&pair).first().unwrap();
    let payloads = [
        Payload::Sa(vec![Proposal {
            number: 9,
            ..esp_proposal(0x1000)
        }]),
        Payload::Nonce(vec![7; 32]),
        Payload::Ke(curve25519()),
        Payload::TsI(selectors("10.1.0.0/16")),
        Payload::TsR(selectors("10.2.0.0/16")),
    ];
    let exchange = (ExchangeType::CREATE_CHILD_SA, true);
    let message = seal_as(&pair, B, exchange, id, &payloads);
    pair.inject(B, message);
    pair.weather = fair();
    pair.run(seconds(60));
    assert!(asked(&pair).len() > 1);
}

fn selectors(net: &str) -> Vec<TrafficSelector> {
    vec![net.parse::<ipnet::IpNet>().unwrap().into()]
}

#[test]
fn a_peer_that_sets_up_ike_sas_again_and_again_keeps_a_few() {
    let mut pair = Pair::up(17);
    for _ in 0..10 {
        // It knows of the others, so it does not say INITIAL_CONTACT.
        pair.initiate(A);
        pair.run(seconds(1));
    }
    assert!(pair.sides.iter().all(|side| side.ikes.len() <= 4));
    assert!(pair.sides.iter().all(|side| side.children.len() <= 4));
    let newest = pair.sides[B].ikes.keys().next_back();
    assert!(newest.is_some() && pair.sides[B].outbound.is_some());
}

#[test]
fn ike_sas_that_are_rekeyed_and_never_deleted_are_forgotten() {
    let mut pair = Pair::up(19);
    pair.weather = Box::new(|datagram| {
        let delete = datagram.is(A, ExchangeType::INFORMATIONAL, false);
        if delete { vec![] } else { vec![DELAY] }
    });
    for _ in 0..100 {
        pair.rekey_ike(A);
        pair.run(DELAY * 3);
    }
    assert_eq!(pair.sides[B].endpoint.counters(PEER).ike_rekeys, 100);
    assert!(
        pair.sides[B].ikes.len() <= 34,
        "{}",
        pair.sides[B].ikes.len()
    );
    pair.weather = fair();
    pair.run(seconds(60));
    pair.assert_agreement(1);
}

#[test]
fn an_unproven_identity_does_not_fill_the_log() {
    let mut pair = Pair::with(18, |side, config| {
        if side == A {
            config.local_id = Identity::KeyId(vec![7; 20_000]);
        }
    });
    pair.initiate(A);
    pair.run(seconds(1));
    let why = &pair.sides[B].refusals[0];
    assert!(why.len() < 1_000 && why.contains("0707"), "{}", why.len());
}
