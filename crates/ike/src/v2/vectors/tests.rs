use vgw_crypto::{Encryption, Group, Integrity, Prf};

use super::*;
use crate::peer::config::{EspAlgorithms, IkeAlgorithms};
use crate::peer::identity::Identity;
use crate::v2::messages::{
    AuthChild, AuthRequest, AuthResponse, CreateChildRequest, CreateChildResponse, Informational,
    InitRequest, InitResponse,
};
use crate::v2::proposal::{accept_esp, accept_ike, select_esp, select_ike};
use crate::v2::wire::{
    AuthMethod, Delete, NotifyType, Payload, ProtocolId, decode_cleartext, decode_payloads,
    encode_cleartext, encode_payloads,
};

/// The payloads of a sealed message, whose type of the first stands in the datagram.
fn payloads(datagram: &str, plaintext: &str) -> Vec<Payload> {
    let message = decode_cleartext(&octets(datagram)).unwrap();
    assert_eq!(message.payloads, []);
    let first = message.sealed.unwrap().first;
    let plaintext = octets(plaintext);
    let payloads = decode_payloads(first, &plaintext).unwrap();
    assert_eq!(
        encode_payloads(&payloads),
        (first, plaintext),
        "written as it was read"
    );
    payloads
}

fn ike() -> IkeAlgorithms {
    IkeAlgorithms {
        encryption: vec![Encryption::AesGcm256],
        integrity: vec![],
        prf: vec![Prf::HmacSha256],
        groups: vec![Group::Ecp256],
    }
}

fn esp() -> EspAlgorithms {
    EspAlgorithms {
        encryption: vec![Encryption::AesGcm128],
        integrity: vec![],
        groups: vec![],
        esn: vec![true, false],
    }
}

fn selectors(net: &str) -> Vec<vgw_sa::TrafficSelector> {
    vec![net.parse::<ipnet::IpNet>().unwrap().into()]
}

#[test]
fn the_messages_in_clear_are_written_as_they_were_read() {
    for datagram in [INIT_REQUEST, INIT_RESPONSE].map(octets) {
        let message = decode_cleartext(&datagram).unwrap();
        assert_eq!(
            encode_cleartext(&message.header, &message.payloads),
            datagram
        );
    }
}

#[test]
fn ike_sa_init_agrees_on_the_suite_that_strongswan_chose() {
    let request = InitRequest::parse(decode_cleartext(&octets(INIT_REQUEST)).unwrap()).unwrap();
    assert_eq!(request.cookie, None);
    assert_eq!(request.offer.nonce.len(), 32);
    assert!(
        request
            .offer
            .notifies
            .has(NotifyType::NAT_DETECTION_SOURCE_IP)
    );
    assert!(
        request
            .offer
            .notifies
            .has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)
    );
    let choice = select_ike(&ike(), &request.offer.sa).unwrap();
    assert_eq!(
        choice.suite.to_string(),
        "AES256-GCM-16/PRF-SHA2-256/group 19"
    );
    assert_eq!(request.offer.ke.group, choice.suite.group.iana());

    let message = decode_cleartext(&octets(INIT_RESPONSE)).unwrap();
    let InitResponse::Accepted(answer) = InitResponse::parse(message).unwrap() else {
        panic!("accepted")
    };
    assert_eq!(
        answer.sa,
        std::slice::from_ref(&choice.answer),
        "as we would answer"
    );
    assert_eq!(
        accept_ike(&request.offer.sa, &answer.sa).unwrap().suite,
        choice.suite
    );
}

#[test]
fn strongswans_offer_without_a_common_value_is_refused_by_name() {
    let request = InitRequest::parse(decode_cleartext(&octets(INIT_REQUEST)).unwrap()).unwrap();
    let refuse = |ours: IkeAlgorithms| {
        select_ike(&ours, &request.offer.sa)
            .unwrap_err()
            .to_string()
    };
    let cbc256 = IkeAlgorithms {
        encryption: vec![Encryption::AesCbc256],
        integrity: vec![Integrity::HmacSha256_128],
        ..ike()
    };
    assert_eq!(
        refuse(cbc256),
        "no common encryption: peer offers AES256-GCM-16, AES128; we accept AES256"
    );
    assert_eq!(
        refuse(IkeAlgorithms {
            groups: vec![Group::Curve25519],
            ..ike()
        }),
        "no common key exchange group: peer offers 19, 14; we accept 31"
    );
}

#[test]
fn ike_auth_reads_as_strongswan_meant_it() {
    let request = AuthRequest::parse(&[], payloads(AUTH_REQUEST, AUTH_REQUEST_PLAIN)).unwrap();
    assert_eq!(
        request.id_i.identity(),
        Some(Identity::Fqdn("left.example".into()))
    );
    assert_eq!(
        request.id_r.and_then(|id| id.identity()),
        Some(Identity::Fqdn("right.example".into()))
    );
    assert_eq!(request.auth.method, AuthMethod::SHARED_KEY);
    assert!(request.notifies.has(NotifyType::INITIAL_CONTACT));
    assert_eq!(request.ts_i, selectors("10.1.0.0/16"));
    assert_eq!(request.ts_r, selectors("10.2.0.0/16"));
    let choice = select_esp(&esp(), &request.sa, false).unwrap();
    assert_eq!(choice.suite.to_string(), "AES128-GCM-16");

    let response = AuthResponse::parse(&[], payloads(AUTH_RESPONSE, AUTH_RESPONSE_PLAIN)).unwrap();
    let AuthResponse::Accepted {
        child: AuthChild::Accepted { sa, ts_i, ts_r },
        ..
    } = response
    else {
        panic!("accepted")
    };
    assert_eq!(accept_esp(&request.sa, &sa).unwrap().suite, choice.suite);
    assert_eq!((ts_i, ts_r), (request.ts_i, request.ts_r));
}

#[test]
fn a_rekey_of_a_child_sa_names_the_old_one_and_is_followed_by_its_delete() {
    let sealed = payloads(REKEY_CHILD_REQUEST, REKEY_CHILD_REQUEST_PLAIN);
    let request = CreateChildRequest::parse(&[], sealed).unwrap();
    let CreateChildRequest::RekeyChild { spi, offer } = request else {
        panic!("a rekey")
    };
    assert_eq!(spi, 0xc7fb_3ed6);
    assert_eq!(offer.ke, None);

    let sealed = payloads(REKEY_CHILD_RESPONSE, REKEY_CHILD_RESPONSE_PLAIN);
    let response = CreateChildResponse::parse(&[], sealed).unwrap();
    let CreateChildResponse::Child(answer) = response else {
        panic!("accepted")
    };
    assert!(!accept_esp(&offer.sa, &answer.sa).unwrap().suite.esn);

    let sealed = payloads(DELETE_CHILD_REQUEST, DELETE_CHILD_REQUEST_PLAIN);
    let delete = Delete::Child {
        protocol: ProtocolId::ESP,
        spis: vec![spi],
    };
    assert_eq!(Informational::parse(&[], sealed).unwrap().deletes, [delete]);
}

#[test]
fn a_rekey_of_the_ike_sa_carries_its_new_spis() {
    let sealed = payloads(REKEY_IKE_REQUEST, REKEY_IKE_REQUEST_PLAIN);
    let request = CreateChildRequest::parse(&[], sealed).unwrap();
    let CreateChildRequest::RekeyIke(offer) = request else {
        panic!("a rekey of the IKE SA")
    };
    let choice = select_ike(&ike(), &offer.sa).unwrap();
    assert_eq!(choice.spi, Some(0x43ca_81c7_ee23_e75b));

    let sealed = payloads(REKEY_IKE_RESPONSE, REKEY_IKE_RESPONSE_PLAIN);
    let response = CreateChildResponse::parse(&[], sealed).unwrap();
    let CreateChildResponse::Ike(answer) = response else {
        panic!("accepted")
    };
    let accepted = accept_ike(&offer.sa, &answer.sa).unwrap();
    assert_eq!(accepted.spi, Some(0x40c6_2640_4001_60e9));
    assert_eq!(accepted.suite, choice.suite);

    let sealed = payloads(DELETE_IKE_REQUEST, DELETE_IKE_REQUEST_PLAIN);
    assert_eq!(
        Informational::parse(&[], sealed).unwrap().deletes,
        [Delete::Ike]
    );
}
