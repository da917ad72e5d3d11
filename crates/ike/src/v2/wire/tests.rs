use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use vgw_sa::TrafficSelector;

use super::*;

mod malformed;

fn header() -> impl Strategy<Value = Header> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u8>(), any::<u32>());
    (numbers, any::<bool>(), any::<bool>()).prop_map(
        |((spi_i, spi_r, exchange, message_id), initiator, response)| Header {
            spi_i,
            spi_r,
            exchange: ExchangeType(exchange),
            initiator,
            response,
            message_id,
        },
    )
}

fn octets(size: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), size)
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), any::<Option<u16>>()).prop_map(|(kind, id, key_bits)| Transform {
        kind: TransformType(kind),
        id,
        key_bits,
        unknown_attribute: false,
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (
        any::<u8>(),
        any::<u8>(),
        octets(0..=8),
        vec(transform(), 0..12),
    )
        .prop_map(|(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        })
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    let v4 = any::<(u32, u32)>().prop_map(|(a, b)| {
        let address = |bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits));
        (address(a.min(b)), address(a.max(b)))
    });
    let v6 = any::<(u128, u128)>().prop_map(|(a, b)| {
        let address = |bits| IpAddr::from(std::net::Ipv6Addr::from_bits(bits));
        (address(a.min(b)), address(a.max(b)))
    });
    let opaque = Just((u16::MAX, 0));
    let ports = prop_oneof![
        any::<(u16, u16)>().prop_map(|(a, b)| (a.min(b), a.max(b))),
        opaque
    ];
    (any::<u8>(), ports, prop_oneof![v4, v6]).prop_map(|(protocol, ports, (first, last))| {
        TrafficSelector {
            protocol,
            first_port: ports.0,
            last_port: ports.1,
            first,
            last,
        }
    })
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), octets(0..=8), any::<u16>(), octets(0..64)).prop_map(
        |(protocol, spi, kind, data)| Notify {
            protocol: ProtocolId(protocol),
            spi,
            kind: NotifyType(kind),
            data,
        },
    )
}

fn id() -> impl Strategy<Value = Id> {
    (any::<u8>(), octets(0..40)).prop_map(|(kind, data)| Id { kind, data })
}

/// Types that decode to [`Payload::Other`].
fn other_kind() -> impl Strategy<Value = PayloadType> {
    any::<u8>()
        .prop_map(PayloadType)
        .prop_filter("decoded otherwise", |kind| {
            let uninterpreted = [
                PayloadType::CERT,
                PayloadType::CERTREQ,
                PayloadType::CP,
                PayloadType::EAP,
            ];
            uninterpreted.contains(kind)
                || *kind == PayloadType::ENCRYPTED_FRAGMENT
                || kind.name().is_none()
        })
}

fn payload() -> impl Strategy<Value = Payload> {
    let child = (any::<u8>(), vec(any::<u32>(), 0..6))
        .prop_filter("IKE has no SPIs", |(protocol, _)| {
            *protocol != ProtocolId::IKE.0
        })
        .prop_map(|(protocol, spis)| Delete::Child {
            protocol: ProtocolId(protocol),
            spis,
        });
    prop_oneof![
        vec(proposal(), 1..5).prop_map(Payload::Sa),
        (any::<u16>(), octets(0..100))
            .prop_map(|(group, data)| Payload::Ke(KeyExchange { group, data })),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        (any::<u8>(), octets(0..64)).prop_map(|(method, data)| Payload::Auth(Auth {
            method: AuthMethod(method),
            data
        })),
        octets(16..=256).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        Just(Payload::Delete(Delete::Ike)),
        child.prop_map(Payload::Delete),
        octets(0..40).prop_map(Payload::VendorId),
        vec(selector(), 1..5).prop_map(Payload::TsI),
        vec(selector(), 1..5).prop_map(Payload::TsR),
        (other_kind(), any::<bool>(), octets(0..40)).prop_map(|(kind, critical, data)| {
            Payload::Other {
                kind,
                critical,
                data,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn a_message_in_clear_reads_back(header in header(), payloads in vec(payload(), 0..8)) {
        let datagram = encode_cleartext(&header, &payloads);
        let expected = ClearMessage { header, payloads, sealed: None };
        prop_assert_eq!(decode_cleartext(&datagram), Ok(expected));
    }

    #[test]
    fn nonce_and_cookie_are_found_among_any_payloads(
        header in header(),
        before in vec(payload(), 0..4),
        after in vec(payload(), 0..4),
        cookie in octets(1..64),
    ) {
        let other = |payload: &Payload| match payload {
            Payload::Notify(notify) => notify.kind != NotifyType::COOKIE,
            payload => payload.kind() != PayloadType::NONCE,
        };
        let nonce = vec![7; 32];
        let mut payloads = vec![Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.clone()))];
        payloads.extend(before.into_iter().filter(other));
        payloads.push(Payload::Nonce(nonce.clone()));
        payloads.extend(after.into_iter().filter(other));
        let datagram = encode_cleartext(&header, &payloads);
        let proof = Proof { nonce: &nonce, cookie: Some(&cookie) };
        prop_assert_eq!(read_proof(&datagram), Ok(proof));
    }

    #[test]
    fn looking_for_nonce_and_cookie_is_total(datagram in octets(0..200)) {
        let _ = read_proof(&datagram);
    }

    #[test]
    fn the_content_of_an_encrypted_payload_reads_back(payloads in vec(payload(), 0..8)) {
        let (first, plaintext) = encode_payloads(&payloads);
        prop_assert_eq!(decode_payloads(first, &plaintext), Ok(payloads));
    }

    #[test]
    fn a_sealed_message_shows_where_its_body_lies(header in header(), first: u8, body in octets(0..200)) {
        let first = PayloadType(first);
        let mut datagram = begin_sealed(&header, first, body.len());
        let associated = datagram.len();
        datagram.extend_from_slice(&body);
        let message = decode_cleartext(&datagram).unwrap();
        let sealed = Sealed { first, body: associated..datagram.len() };
        prop_assert_eq!(message, ClearMessage { header, payloads: vec![], sealed: Some(sealed) });
    }

    #[test]
    fn a_glance_sees_what_the_header_says(header in header(), other in 0..60_usize, at: prop::sample::Index, value: u8) {
        let mut datagram = begin_sealed(&header, PayloadType::NONE, 0);
        datagram.resize(datagram.len() + other.saturating_sub(56), 0);
        let at = at.index(datagram.len());
        datagram[at] = value;
        let seen = peek_header(&datagram);
        let read = decode_header(&datagram).ok();
        let expected = read.map(|header| PeekedHeader {
            our_spi: if header.initiator { header.spi_r } else { header.spi_i },
            begins: header.exchange == ExchangeType::IKE_SA_INIT && !header.response,
        });
        prop_assert_eq!(seen.ok(), expected);
    }

    #[test]
    fn a_glance_at_any_octets_sees_a_header_where_one_is(datagram in octets(0..60)) {
        prop_assert_eq!(peek_header(&datagram).is_ok(), decode_header(&datagram).is_ok());
    }

    #[test]
    fn any_octets_are_read_or_refused(datagram in octets(0..400), first: u8) {
        let _ = decode_cleartext(&datagram);
        let _ = decode_payloads(PayloadType(first), &datagram);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        payloads in vec(payload(), 1..6), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (first, mut plaintext) = encode_payloads(&payloads);
        for (at, value) in damage {
            let at = at.index(plaintext.len());
            plaintext[at] = value;
        }
        if let Ok(payloads) = decode_payloads(first, &plaintext) {
            // Whatever can be read can be written and read again.
            let (first, again) = encode_payloads(&payloads);
            prop_assert!(again.len() <= plaintext.len());
            let _ = decode_payloads(first, &again);
        }
    }

    #[test]
    fn a_truncated_message_is_refused(payloads in vec(payload(), 1..6), cut: prop::sample::Index) {
        let (first, plaintext) = encode_payloads(&payloads);
        let short = &plaintext[..cut.index(plaintext.len())];
        // The exception is a message that was cut within its last payload, a fragment.
        if let Ok(whole) = decode_payloads(first, short) {
            let last = whole.last().map(Payload::kind);
            prop_assert_eq!(last, Some(PayloadType::ENCRYPTED_FRAGMENT));
        }
    }
}
