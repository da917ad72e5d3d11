//! Messages that come to nothing: each has a name, is counted, and is said where an
//! operator can do something about it.

use vgw_ike::drop_reason::DropReason;
use vgw_ike::wire::{ExchangeType, Header, Payload, PayloadType, encode_cleartext};

use crate::rig::{A, B, DELAY, Jobs, PEER, Pair, seconds};

/// The first fragment of a request of A's (RFC 7383 section 2.5), which names what the
/// whole message begins with.
fn fragment(pair: &Pair, exchange: ExchangeType, message_id: u32) -> Vec<u8> {
    let last = pair.log.last().unwrap().header().unwrap();
    let header = Header {
        exchange,
        initiator: true,
        response: false,
        message_id,
        ..last
    };
    let payload = Payload::Other {
        kind: PayloadType::ENCRYPTED_FRAGMENT,
        critical: false,
        data: vec![0, 1, 0, 2, 7, 7, 7, 7],
    };
    let mut message = encode_cleartext(&header, &[payload]);
    message[28] = PayloadType::ID_I.0;
    message
}

fn denied(pair: &Pair, side: usize, reason: DropReason) -> u64 {
    pair.sides[side].endpoint.drops().get(reason)
}

#[test]
fn ikev1_is_named_and_not_answered() {
    let mut pair = Pair::new(1);
    let mut message = encode_cleartext(
        &Header {
            spi_i: 7,
            spi_r: 0,
            exchange: ExchangeType(2),
            initiator: false,
            response: false,
            message_id: 0,
        },
        &[],
    );
    message[17] = 0x10;
    pair.inject(A, message.clone());
    message[17] = 0x30;
    pair.inject(A, message);
    assert_eq!(
        pair.sides[B].dropped,
        [DropReason::IkeV1, DropReason::OtherVersion]
    );
    assert_eq!(denied(&pair, B, DropReason::IkeV1), 1);
    assert!(pair.log.is_empty());
}

#[test]
fn a_fragment_is_named_in_a_handshake_and_in_an_sa() {
    let mut pair = Pair::new(2);
    pair.jobs = Jobs::AtOnce;
    pair.initiate(A);
    pair.run(DELAY);
    let message = fragment(&pair, ExchangeType::IKE_AUTH, 1);
    pair.inject(A, message);
    assert_eq!(pair.sides[B].dropped, [DropReason::Fragment]);
    assert_eq!(denied(&pair, B, DropReason::Fragment), 1);
    pair.run(seconds(2));
    pair.assert_agreement(1);
    let message = fragment(&pair, ExchangeType::INFORMATIONAL, 2);
    pair.inject(A, message);
    let dropped = pair.sides[B].endpoint.counters(PEER).dropped;
    assert_eq!((dropped.get(DropReason::Fragment), dropped.total()), (1, 1));
}

#[test]
fn a_handshake_that_does_not_go_on_is_said_when_its_time_is_over() {
    let mut pair = Pair::new(3);
    pair.weather = Box::new(
        |datagram| match datagram.is(A, ExchangeType::IKE_AUTH, false) {
            true => Vec::new(),
            false => vec![DELAY],
        },
    );
    pair.initiate(A);
    pair.run(seconds(40));
    assert_eq!(pair.sides[B].dropped, [DropReason::HalfOpenExpired]);
}

#[test]
fn a_request_in_an_sa_that_is_lost_is_said() {
    let mut pair = Pair::up(4);
    pair.sides[B].restart(5);
    pair.run(seconds(15));
    assert!(denied(&pair, B, DropReason::UnknownSa) > 0);
    assert!(pair.sides[B].dropped.contains(&DropReason::UnknownSa));
}

#[test]
fn what_comes_twice_on_the_way_is_counted_and_not_said() {
    let mut pair = Pair::new(6);
    pair.weather = Box::new(|_| vec![DELAY, DELAY * 2]);
    pair.establish(A);
    pair.rekey_child(A);
    pair.run(seconds(2));
    pair.rekey_ike(B);
    pair.run(seconds(20));
    pair.assert_agreement(1);
    for side in &pair.sides {
        assert_eq!(side.dropped, []);
    }
    assert!(denied(&pair, A, DropReason::NotAwaited) > 2);
}
