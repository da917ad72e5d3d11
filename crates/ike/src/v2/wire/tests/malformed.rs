//! One malformed message for each rule of the wire format.

use super::*;

const HEADER: Header = Header {
    spi_i: 0x1122_3344_5566_7788,
    spi_r: 0,
    exchange: ExchangeType::IKE_SA_INIT,
    initiator: true,
    response: false,
    message_id: 0,
};

/// The error of a chain with one payload.
fn error_of(kind: PayloadType, body: &[u8]) -> String {
    let mut plaintext = vec![0, 0];
    let length = u16::try_from(body.len() + 4).unwrap();
    plaintext.extend_from_slice(&length.to_be_bytes());
    plaintext.extend_from_slice(body);
    decode_payloads(kind, &plaintext).unwrap_err().to_string()
}

#[test]
fn a_datagram_shorter_than_a_header_is_refused() {
    let datagram = encode_cleartext(&HEADER, &[]);
    assert_eq!(
        decode_header(&datagram[..27]).unwrap_err().to_string(),
        "header's length at octet 24: found 3 octets, expected at least 4 octets"
    );
    assert!(decode_header(&[]).is_err());
}

#[test]
fn a_datagram_whose_length_is_not_the_headers_is_refused() {
    let mut datagram = encode_cleartext(&HEADER, &[]);
    datagram.push(0);
    assert_eq!(
        decode_cleartext(&datagram).unwrap_err().to_string(),
        "header's length at octet 24: found 28, expected the datagram's 29 octets"
    );
}

#[test]
fn another_major_version_is_told_with_the_header_that_an_answer_needs() {
    let mut datagram = encode_cleartext(&HEADER, &[]);
    datagram[17] = 0x30;
    assert_eq!(
        decode_cleartext(&datagram),
        Err(DecodeError::MajorVersion {
            major: 3,
            header: HEADER
        })
    );
    datagram[17] = 0x10;
    assert_eq!(
        decode_header(&datagram).unwrap_err().to_string(),
        "IKE major version 1, expected 2"
    );
}

#[test]
fn the_minor_version_and_reserved_flags_are_ignored() {
    let mut datagram = encode_cleartext(&HEADER, &[]);
    datagram[17] = 0x2f;
    datagram[19] |= 0xd7;
    assert_eq!(decode_header(&datagram), Ok(HEADER));
}

#[test]
fn nothing_may_follow_the_encrypted_payload() {
    let mut datagram = begin_sealed(&HEADER, PayloadType::NONE, 0);
    datagram.extend([0; 4]);
    datagram[27] = 36;
    assert_eq!(
        decode_cleartext(&datagram).unwrap_err().to_string(),
        "message at octet 32: found 4 octets, expected its end"
    );
}

#[test]
fn an_encrypted_payload_within_another_is_refused() {
    assert_eq!(
        error_of(PayloadType::ENCRYPTED, &[1, 2, 3]),
        "SK payload at octet 4: found one within another, expected none"
    );
}

#[test]
fn a_payload_shorter_than_its_own_header_is_refused() {
    assert_eq!(
        decode_payloads(PayloadType::NOTIFY, &[0, 0, 0, 3])
            .unwrap_err()
            .to_string(),
        "payload at octet 4: found length 3, expected a length of at least 4"
    );
}

#[test]
fn a_payload_longer_than_the_message_is_refused() {
    assert_eq!(
        decode_payloads(PayloadType::VENDOR_ID, &[0, 0, 0, 9, 1])
            .unwrap_err()
            .to_string(),
        "payload at octet 4: found 1 octets, expected at least 5 octets"
    );
}

#[test]
fn more_payloads_than_the_limit_are_refused() {
    let vendor = Payload::VendorId(Vec::new());
    let (first, most) = encode_payloads(&vec![vendor.clone(); MAX_PAYLOADS]);
    assert!(decode_payloads(first, &most).is_ok());
    let (first, too_many) = encode_payloads(&vec![vendor; MAX_PAYLOADS + 1]);
    assert_eq!(
        decode_payloads(first, &too_many).unwrap_err().to_string(),
        "payloads at octet 256: found more than 64, expected at most 64"
    );
}

#[test]
fn more_proposals_or_transforms_than_the_limit_are_refused() {
    let transform = Transform {
        kind: TransformType::PRF,
        id: 5,
        key_bits: None,
        unknown_attribute: false,
    };
    let with = |proposals: usize, transforms: usize| {
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::IKE,
            spi: Vec::new(),
            transforms: vec![transform; transforms],
        };
        let (first, plaintext) = encode_payloads(&[Payload::Sa(vec![proposal; proposals])]);
        decode_payloads(first, &plaintext)
    };
    assert!(with(MAX_PROPOSALS, 1).is_ok());
    assert!(with(MAX_PROPOSALS + 1, 1).is_err());
    assert!(with(1, MAX_TRANSFORMS).is_ok());
    assert!(with(1, MAX_TRANSFORMS + 1).is_err());
}

#[test]
fn a_nonce_has_16_to_256_octets() {
    assert_eq!(
        error_of(PayloadType::NONCE, &[0; 15]),
        "nonce at octet 4: found 15 octets, expected 16 to 256 octets"
    );
    error_of(PayloadType::NONCE, &[0; 257]);
}

#[test]
fn an_sa_payload_without_proposal_is_refused() {
    assert_eq!(
        error_of(PayloadType::SA, &[]),
        "proposal at octet 4: found 0 octets, expected at least 1 octets"
    );
}

#[test]
fn a_proposal_whose_transform_count_is_wrong_is_refused() {
    let transform = [0, 0, 0, 8, 2, 0, 0, 5];
    let proposal = |count| [[0, 0, 0, 16, 1, 1, 0, count].as_slice(), &transform].concat();
    assert_eq!(
        error_of(PayloadType::SA, &proposal(0)),
        "proposal at octet 12: found 8 octets, expected its end"
    );
    assert_eq!(
        error_of(PayloadType::SA, &proposal(2)),
        "transform at octet 12: found the last, expected 1 more"
    );
}

#[test]
fn a_last_substructure_octet_of_another_kind_is_refused() {
    assert_eq!(
        error_of(PayloadType::SA, &[3, 0, 0, 8, 1, 1, 0, 0]),
        "proposal at octet 4: found last substructure 3, expected 0 or 2"
    );
}

#[test]
fn an_attribute_we_do_not_know_marks_its_transform() {
    let long = [0, 0, 0, 16, 1, 0, 0, 12, 0, 99, 0, 4, 1, 2, 3, 4];
    let twice = [0, 0, 0, 16, 1, 0, 0, 12, 0x80, 14, 0, 128, 0x80, 14, 1, 0];
    for transform in [long, twice] {
        let mut plaintext = vec![0, 0, 0, 28, 0, 0, 0, 24, 1, 1, 0, 1];
        plaintext.extend_from_slice(&transform);
        let payloads = decode_payloads(PayloadType::SA, &plaintext).unwrap();
        let [Payload::Sa(proposals)] = payloads.as_slice() else {
            panic!("one SA payload")
        };
        assert!(proposals[0].transforms[0].unknown_attribute);
    }
}

#[test]
fn a_delete_payload_has_spis_of_its_protocols_size() {
    assert_eq!(
        error_of(PayloadType::DELETE, &[1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
        "Delete payload's SPI size at octet 4: found 8, expected 0"
    );
    assert_eq!(
        error_of(PayloadType::DELETE, &[1, 0, 0, 1]),
        "Delete payload's number of SPIs at octet 4: found 1, expected 0"
    );
    assert_eq!(
        error_of(PayloadType::DELETE, &[3, 4, 0, 2, 0, 0, 0, 1]),
        "Delete payload's SPIs at octet 8: found 4 octets, expected at least 8 octets"
    );
}

#[test]
fn a_traffic_selector_ends_after_it_begins() {
    let selector = |ports: [u8; 4], first: u8, last: u8| {
        let head = [1, 0, 0, 0, 7, 0, 0, 16];
        [
            head.as_slice(),
            &ports,
            &[10, 0, 0, first],
            &[10, 0, 0, last],
        ]
        .concat()
    };
    assert_eq!(
        error_of(PayloadType::TS_I, &selector([0, 0, 255, 255], 9, 3)),
        "traffic selector's addresses at octet 8: found 10.0.0.9 to 10.0.0.3, expected first <= last"
    );
    assert_eq!(
        error_of(PayloadType::TS_R, &selector([0, 80, 0, 79], 3, 9)),
        "traffic selector's ports at octet 8: found 80 to 79, expected first <= last"
    );
}

#[test]
fn a_traffic_selector_payload_without_selectors_is_refused() {
    assert_eq!(
        error_of(PayloadType::TS_I, &[0, 0, 0, 0]),
        "number of traffic selectors at octet 4: found 0, expected 1 to 255"
    );
}

#[test]
fn a_traffic_selector_of_unknown_type_is_left_out() {
    let body = [
        2, 0, 0, 0, 9, 0, 0, 6, 1, 2, 7, 0, 0, 16, 0, 0, 255, 255, 10, 0, 0, 0, 10, 0, 0, 255,
    ];
    let plaintext = [[0, 0, 0, 30].as_slice(), &body].concat();
    let net: ipnet::IpNet = "10.0.0.0/24".parse().unwrap();
    assert_eq!(
        decode_payloads(PayloadType::TS_I, &plaintext),
        Ok(vec![Payload::TsI(vec![net.into()])])
    );
}
