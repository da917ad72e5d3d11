//! One end has lost its SAs: what it says of that in clear, and what the other end makes
//! of it (RFC 7296 sections 1.5 and 2.21.4, RFC 6290).

use std::time::Duration;

use vgw_crypto::Secret;
use vgw_ike::event::DownReason;
use vgw_ike::wire::{
    ClearMessage, ExchangeType, Header, Notify, NotifyType, Payload, decode_cleartext,
    encode_cleartext,
};

use crate::rig::{A, B, Datagram, Load, PEER, Pair, address, config, seconds};

const MILLISECOND: Duration = Duration::from_millis(1);

fn key(side: usize) -> Option<Secret> {
    Some(Secret::new(vec![u8::try_from(side).unwrap(); 32]))
}

fn give_key(pair: &mut Pair, side: usize) {
    pair.call(side, |endpoint, _| endpoint.set_token_key(key(side)));
}

/// A pair with an IKE and a CHILD SA, whose ends both make tokens.
fn up(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    give_key(&mut pair, A);
    give_key(&mut pair, B);
    pair.establish(A);
    pair
}

/// One end forgets everything but its configuration.
fn crash(pair: &mut Pair, side: usize) {
    pair.sides[side].restart(99);
    pair.call(side, |endpoint, now| {
        endpoint.set_peer(now, PEER, config(side))
    });
    pair.log.clear();
}

fn in_clear(datagram: &Datagram) -> Option<ClearMessage> {
    let Load::Ike(message) = &datagram.load else {
        return None;
    };
    let message = decode_cleartext(message).unwrap();
    message.sealed.is_none().then_some(message)
}

/// What one end said in clear since the log was last cleared.
fn said_in_clear(pair: &Pair, from: usize) -> Vec<ClearMessage> {
    let of_it = pair.log.iter().filter(|datagram| datagram.from == from);
    of_it.filter_map(in_clear).collect()
}

fn kinds(message: &ClearMessage) -> Vec<NotifyType> {
    let kinds = message.payloads.iter().map(|payload| match payload {
        Payload::Notify(notify) => notify.kind,
        other => panic!("{other:?}"),
    });
    kinds.collect()
}

/// The header of the answer of the peer at `from` that it has lost this SA.
fn disclaimer(pair: &Pair, from: usize) -> Header {
    let (_, details) = pair.sides[1 - from].ike();
    Header {
        spi_i: details.spi_i,
        spi_r: details.spi_r,
        exchange: ExchangeType::INFORMATIONAL,
        initiator: from == A,
        response: true,
        message_id: 7,
    }
}

fn disclaim(header: &Header, tokens: Vec<Vec<u8>>) -> Vec<u8> {
    let token = NotifyType::QUICK_CRASH_DETECTION;
    let mut payloads = vec![Payload::Notify(Notify::new(
        NotifyType::INVALID_IKE_SPI,
        Vec::new(),
    ))];
    let tokens = tokens.into_iter().map(|data| Notify::new(token, data));
    payloads.extend(tokens.map(Payload::Notify));
    encode_cleartext(header, &payloads)
}

/// The other bits of a message that B receives, sealed by A.
fn sealed(pair: &mut Pair) -> Vec<u8> {
    pair.log.clear();
    pair.rekey_child(A);
    pair.run(seconds(2));
    let request = pair.log.iter().find(|d| d.from == A).unwrap();
    let Load::Ike(message) = &request.load else {
        panic!("not IKE");
    };
    message.clone()
}

fn with_spis(message: &[u8], spi_i: u64, spi_r: u64, flags: u8) -> Vec<u8> {
    let mut message = message.to_vec();
    message[..8].copy_from_slice(&spi_i.to_be_bytes());
    message[8..16].copy_from_slice(&spi_r.to_be_bytes());
    message[19] = flags;
    message
}

const INITIATOR: u8 = 0x08;
const RESPONSE: u8 = 0x20;

#[test]
fn an_end_that_lost_everything_is_found_out_by_its_token_as_soon_as_a_packet_comes() {
    for side in [A, B] {
        let mut pair = up(1);
        crash(&mut pair, side);
        give_key(&mut pair, side);
        let other = 1 - side;
        pair.flow();
        pair.run(Duration::from_millis(200));
        assert_eq!(pair.sides[other].ends, [DownReason::PeerLostIt]);
        assert_eq!(pair.sides[other].child_ends, [DownReason::PeerLostIt]);
        pair.traffic = None;
        assert!(
            pair.sides[side].unknown_sas >= 2,
            "the packet and the question"
        );
        pair.establish(other);
    }
}

#[test]
fn the_token_of_a_rekeyed_ike_sa_is_known_too_whoever_rekeyed_it() {
    for (rekeys, crashes) in [(A, A), (A, B), (B, A), (B, B)] {
        let mut pair = up(2);
        for _ in 0..2 {
            pair.rekey_ike(rekeys);
            pair.run(seconds(2));
        }
        pair.assert_agreement(1);
        crash(&mut pair, crashes);
        give_key(&mut pair, crashes);
        let other = 1 - crashes;
        pair.sides[other].ends.clear();
        pair.flow();
        pair.run(Duration::from_millis(200));
        let ends = &pair.sides[other].ends;
        assert_eq!(*ends, [DownReason::PeerLostIt], "{rekeys} {crashes}");
    }
}

#[test]
fn without_its_token_an_end_that_lost_everything_is_asked_and_given_up_in_its_time() {
    for foreign in [false, true] {
        let mut pair = up(3);
        crash(&mut pair, B);
        if foreign {
            pair.call(B, |endpoint, _| endpoint.set_token_key(key(7)));
        }
        pair.flow();
        pair.run(seconds(25));
        assert_eq!(pair.sides[A].ends, []);
        assert!(!said_in_clear(&pair, B).is_empty());
        let asked = pair.count(A, ExchangeType::INFORMATIONAL, false);
        let again = pair.sides[A].endpoint.counters(PEER).retransmissions;
        assert_eq!(u64::try_from(asked).unwrap(), 1 + again, "one question");
        pair.run(seconds(20));
        assert_eq!(pair.sides[A].ends, [DownReason::PeerDead]);
    }
}

#[test]
fn what_anybody_says_in_clear_of_an_sa_leads_to_a_question_now_and_then_and_no_more() {
    let mut pair = up(4);
    pair.run(MILLISECOND);
    let header = disclaimer(&pair, B);
    let (wrong, long) = (vec![7; 32], vec![7; 129]);
    for tokens in [vec![], vec![wrong; 4], vec![Vec::new()], vec![long]] {
        for _ in 0..100 {
            pair.inject(B, disclaim(&header, tokens.clone()));
        }
    }
    pair.run(seconds(5));
    assert_eq!(pair.sides[A].alive, 1);
    for _ in 0..200 {
        pair.inject(B, disclaim(&header, vec![]));
        pair.run(seconds(1) / 10);
    }
    assert!(
        (2..=4).contains(&pair.sides[A].alive),
        "{}",
        pair.sides[A].alive
    );
    pair.assert_agreement(1);
}

#[test]
fn a_token_among_others_and_from_any_address_is_taken_but_not_for_another_sa() {
    let mut pair = up(5);
    let header = disclaimer(&pair, B);
    // A restarted B shows what its token is.
    let mut twin = up(5);
    crash(&mut twin, B);
    give_key(&mut twin, B);
    twin.flow();
    twin.run(Duration::from_millis(200));
    let shown = said_in_clear(&twin, B);
    let tokens: Vec<Vec<u8>> = shown
        .iter()
        .flat_map(|message| &message.payloads)
        .filter_map(|payload| match payload {
            Payload::Notify(n) if n.kind == NotifyType::QUICK_CRASH_DETECTION => {
                Some(n.data.clone())
            }
            _ => None,
        })
        .collect();
    let token = tokens[0].clone();
    // Of a prefix and of one octet more nothing comes.
    let mut more = token.clone();
    more.push(0);
    let prefix = token[..31].to_vec();
    pair.inject(B, disclaim(&header, vec![prefix, more]));
    let request = Header {
        response: false,
        ..header
    };
    pair.inject(B, disclaim(&request, vec![token.clone()]));
    let other = Header {
        spi_r: header.spi_r ^ 1,
        ..header
    };
    pair.inject(B, disclaim(&other, vec![token.clone()]));
    pair.assert_agreement(1);
    let tokens = vec![vec![1; 32], vec![2; 16], vec![3; 128], token];
    let datagram = Datagram {
        from: B,
        source: ([203, 0, 113, 77], 12_345).into(),
        destination: (address(A), 500).into(),
        load: Load::Ike(disclaim(&header, tokens)),
    };
    let now = pair.now;
    pair.put_on_the_way(now, datagram);
    pair.run(Duration::ZERO);
    assert_eq!(pair.sides[A].ends, [DownReason::PeerLostIt]);
}

#[test]
fn no_token_of_an_sa_that_exists_can_be_had_in_clear() {
    let mut pair = up(6);
    let message = sealed(&mut pair);
    let (_, details) = pair.sides[B].ike();
    let (one, other) = (details.spi_i, details.spi_r);
    pair.log.clear();
    for (spi_i, spi_r) in [(one, other), (other, one)] {
        for flags in [0, INITIATOR, RESPONSE, INITIATOR | RESPONSE] {
            for (from, to) in [(A, B), (B, A)] {
                pair.inject(from, with_spis(&message, spi_i, spi_r, flags));
                assert_eq!(said_in_clear(&pair, to), []);
            }
        }
    }
    pair.run(seconds(8));
    pair.assert_agreement(1);
}

#[test]
fn only_a_protected_request_for_an_unknown_ike_sa_is_answered_and_with_its_own_header() {
    let mut pair = up(7);
    let message = sealed(&mut pair);
    pair.log.clear();
    let silent = |pair: &mut Pair, message: Vec<u8>| {
        pair.inject(A, message);
        assert_eq!(said_in_clear(pair, B), []);
    };
    for flags in [RESPONSE, RESPONSE | INITIATOR] {
        silent(&mut pair, with_spis(&message, 1, 2, flags));
    }
    for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::IKE_AUTH] {
        let header = Header {
            spi_i: 1,
            spi_r: 2,
            exchange,
            initiator: true,
            response: false,
            message_id: 3,
        };
        silent(&mut pair, encode_cleartext(&header, &[]));
        silent(&mut pair, disclaim(&header, vec![]));
    }
    for (flags, initiator) in [(0, true), (INITIATOR, false)] {
        pair.log.clear();
        pair.run(seconds(1));
        let request = with_spis(&message, 1, 2, flags);
        pair.inject(A, request.clone());
        let answers = said_in_clear(&pair, B);
        let asked = decode_cleartext(&request).unwrap().header;
        assert_eq!(answers.len(), 1);
        let expected = Header {
            initiator,
            response: true,
            ..asked
        };
        assert_eq!(answers[0].header, expected);
        assert_eq!(
            kinds(&answers[0]),
            [
                NotifyType::INVALID_IKE_SPI,
                NotifyType::QUICK_CRASH_DETECTION
            ]
        );
    }
}

#[test]
fn answers_to_what_anybody_sends_are_few() {
    let mut pair = up(8);
    let message = sealed(&mut pair);
    pair.log.clear();
    for spi in 1..1000 {
        pair.inject(A, with_spis(&message, spi, 2, INITIATOR));
    }
    let answers = said_in_clear(&pair, B).len();
    assert!((1..=4).contains(&answers), "{answers}");
}

#[test]
fn a_packet_with_an_unknown_spi_is_reported_in_clear_where_there_is_no_ike_sa() {
    let mut pair = Pair::new(9);
    let ports = [
        (0, 0, 500, 500),
        (4500, 4500, 4500, 4500),
        (4500, 777, 4500, 777),
    ];
    for (ours, theirs, from, to) in ports {
        pair.log.clear();
        pair.run(seconds(1));
        pair.call(B, |endpoint, now| {
            let (local, remote) = ((address(B), ours).into(), (address(A), theirs).into());
            endpoint.note_unknown_spi(now, local, remote, 0xC0FF_EE01);
        });
        assert_eq!(pair.log.len(), 1);
        let sent = &pair.log[0];
        assert_eq!(sent.source, (address(B), from).into());
        assert_eq!(sent.destination, (address(A), to).into());
        let message = in_clear(sent).unwrap();
        let expected = Header {
            spi_i: 0,
            spi_r: 0,
            exchange: ExchangeType::INFORMATIONAL,
            initiator: true,
            response: false,
            message_id: 0,
        };
        assert_eq!(message.header, expected);
        let notify = Notify::invalid_spi(0xC0FF_EE01);
        assert_eq!(message.payloads, [Payload::Notify(notify)]);
    }
    pair.run(seconds(1));
    assert_eq!(said_in_clear(&pair, A), [], "it is never answered");
}

#[test]
fn a_packet_with_an_unknown_spi_is_reported_within_the_ike_sa_where_there_is_one() {
    let mut pair = up(10);
    pair.run(MILLISECOND);
    pair.log.clear();
    for _ in 0..100 {
        pair.call(B, |endpoint, now| {
            let (local, remote) = ((address(B), 0).into(), (address(A), 0).into());
            endpoint.note_unknown_spi(now, local, remote, 0xC0FF_EE01);
        });
    }
    pair.run(seconds(5));
    assert_eq!(said_in_clear(&pair, B), []);
    assert_eq!(pair.count(B, ExchangeType::INFORMATIONAL, false), 1);
    let said = format!("{:?}", pair.sides[A].diagnostics);
    assert!(said.contains("PeerErrors"), "{said}");
    pair.assert_agreement(1);
}

#[test]
fn an_invalid_spi_in_clear_that_we_do_not_send_with_is_not_even_a_hint() {
    let mut pair = up(11);
    pair.run(MILLISECOND);
    pair.log.clear();
    let header = Header {
        spi_i: 0,
        spi_r: 0,
        exchange: ExchangeType::INFORMATIONAL,
        initiator: true,
        response: false,
        message_id: 0,
    };
    let hint = |spi| encode_cleartext(&header, &[Payload::Notify(Notify::invalid_spi(spi))]);
    let spi_out = pair.sides[A].child().spi_out;
    pair.inject(B, hint(spi_out ^ 1));
    pair.run(seconds(5));
    assert_eq!(pair.sides[A].alive, 0);
    for _ in 0..100 {
        pair.inject(B, hint(spi_out));
    }
    pair.run(seconds(2));
    assert_eq!(pair.sides[A].alive, 1);
    pair.assert_agreement(1);
}
