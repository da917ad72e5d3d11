//! The keys of the conversation, derived anew, and its messages opened with them.

use vgw_crypto::{Encryption, EspSuite, Group, IkeSuite, Prf, Secret};

use super::{keys, octets};
use crate::core::event::Role;
use crate::peer::config::{KeyLog, Psk};
use crate::v2::channel::keys::{AuthKeys, ChildKeys, IkeKeys, Nonces, SkeySeed, SpiPair};
use crate::v2::handshake::auth::Signed;
use crate::v2::messages::{
    AuthRequest, AuthResponse, CreateChildRequest, CreateChildResponse, InitRequest, InitResponse,
};
use crate::v2::wire::{Payload, decode_cleartext, decode_payloads};

const SUITE: IkeSuite = IkeSuite {
    encryption: Encryption::AesGcm256,
    integrity: None,
    prf: Prf::HmacSha256,
    group: Group::Ecp256,
};

const CHILD: EspSuite = EspSuite {
    encryption: Encryption::AesGcm128,
    integrity: None,
    esn: false,
};

fn secret(hex: &str) -> Secret {
    Secret::from(octets(hex).as_slice())
}

/// Ours alone: no peer sees it, so none has a vector of it.
fn iv_key() -> Secret {
    Secret::new(vec![0; 32])
}

fn init_nonces() -> Nonces {
    let request = decode_cleartext(&octets(super::INIT_REQUEST)).unwrap();
    let response = decode_cleartext(&octets(super::INIT_RESPONSE)).unwrap();
    let InitResponse::Accepted(answer) = InitResponse::parse(response).unwrap() else {
        panic!("accepted")
    };
    Nonces {
        initiator: InitRequest::parse(request).unwrap().offer.nonce,
        responder: answer.nonce,
    }
}

/// Keys of the first IKE SA, for one of its ends.
fn first_keys(role: Role) -> (IkeKeys, AuthKeys) {
    let header = decode_cleartext(&octets(super::INIT_RESPONSE))
        .unwrap()
        .header;
    let spis = SpiPair {
        initiator: header.spi_i,
        responder: header.spi_r,
    };
    let nonces = init_nonces();
    SkeySeed::first(SUITE.prf, &nonces, &secret(keys::SHARED))
        .expand(SUITE, &nonces, spis, role, &iv_key(), KeyLog::On)
        .unwrap()
}

/// Opens a message by the keys of whoever received it.
fn open(keys: &IkeKeys, datagram: &str) -> (Vec<u8>, Vec<Payload>) {
    let datagram = octets(datagram);
    let sealed = decode_cleartext(&datagram).unwrap().sealed.unwrap();
    let plaintext = keys.open.open(&datagram, &sealed).unwrap();
    let payloads = decode_payloads(sealed.first, &plaintext).unwrap();
    (plaintext, payloads)
}

#[test]
fn the_keys_of_the_ike_sa_are_those_of_strongswan() {
    let (keys, auth) = first_keys(Role::Initiator);
    let log = keys.log.unwrap();
    assert_eq!(log.sk_ei.expose(), octets(keys::SK_EI));
    assert_eq!(log.sk_er.expose(), octets(keys::SK_ER));
    assert_eq!(auth.initiator.expose(), octets(keys::SK_PI));
    assert_eq!(auth.responder.expose(), octets(keys::SK_PR));
}

#[test]
fn messages_of_strongswan_open_to_what_it_sealed() {
    let ((left, _), (right, _)) = (first_keys(Role::Initiator), first_keys(Role::Responder));
    for (receiver, datagram, plaintext) in [
        (&right, super::AUTH_REQUEST, super::AUTH_REQUEST_PLAIN),
        (&left, super::AUTH_RESPONSE, super::AUTH_RESPONSE_PLAIN),
        (
            &right,
            super::REKEY_CHILD_REQUEST,
            super::REKEY_CHILD_REQUEST_PLAIN,
        ),
        (
            &left,
            super::REKEY_CHILD_RESPONSE,
            super::REKEY_CHILD_RESPONSE_PLAIN,
        ),
        (
            &right,
            super::DELETE_CHILD_REQUEST,
            super::DELETE_CHILD_REQUEST_PLAIN,
        ),
        (
            &left,
            super::REKEY_IKE_REQUEST,
            super::REKEY_IKE_REQUEST_PLAIN,
        ),
        (
            &right,
            super::REKEY_IKE_RESPONSE,
            super::REKEY_IKE_RESPONSE_PLAIN,
        ),
    ] {
        assert_eq!(open(receiver, datagram).0, octets(plaintext));
    }
}

#[test]
fn both_auth_payloads_prove_the_pre_shared_key() {
    let (left, auth_keys) = first_keys(Role::Initiator);
    let (right, _) = first_keys(Role::Responder);
    let nonces = init_nonces();
    let psk = Psk(secret(keys::PSK));
    let wrong = Psk(Secret::from(&b"correct horse batterz"[..]));

    let request = AuthRequest::parse(&[], open(&right, super::AUTH_REQUEST).1).unwrap();
    let message = octets(super::INIT_REQUEST);
    let signed = Signed {
        prf: SUITE.prf,
        message: &message,
        nonce: &nonces.responder,
        sk_p: &auth_keys.initiator,
        id: &request.id_i,
    };
    assert_eq!(signed.sign(&psk), request.auth);
    signed.verify(&psk, &request.auth).unwrap();
    signed.verify(&wrong, &request.auth).unwrap_err();

    let response = AuthResponse::parse(&[], open(&left, super::AUTH_RESPONSE).1).unwrap();
    let AuthResponse::Accepted { id_r, auth, .. } = response else {
        panic!("accepted")
    };
    let message = octets(super::INIT_RESPONSE);
    let signed = Signed {
        prf: SUITE.prf,
        message: &message,
        nonce: &nonces.initiator,
        sk_p: &auth_keys.responder,
        id: &id_r,
    };
    assert_eq!(signed.sign(&psk), auth);
}

fn assert_child(keys: &ChildKeys, from_initiator: &str, from_responder: &str) {
    assert_eq!(
        keys.from_initiator.encryption.expose(),
        octets(from_initiator)
    );
    assert_eq!(
        keys.from_responder.encryption.expose(),
        octets(from_responder)
    );
}

#[test]
fn the_keys_of_both_child_sas_are_those_of_strongswan() {
    let ((left, _), (right, _)) = (first_keys(Role::Initiator), first_keys(Role::Responder));
    let first = left.child_keys(CHILD, &init_nonces(), None).unwrap();
    assert_child(&first, keys::CHILD_I, keys::CHILD_R);

    let request =
        CreateChildRequest::parse(&[], open(&right, super::REKEY_CHILD_REQUEST).1).unwrap();
    let response =
        CreateChildResponse::parse(&[], open(&left, super::REKEY_CHILD_RESPONSE).1).unwrap();
    let CreateChildRequest::RekeyChild { offer, .. } = request else {
        panic!("a rekey")
    };
    let CreateChildResponse::Child(answer) = response else {
        panic!("accepted")
    };
    let nonces = Nonces {
        initiator: offer.nonce,
        responder: answer.nonce,
    };
    let second = left.child_keys(CHILD, &nonces, None).unwrap();
    assert_child(&second, keys::REKEYED_CHILD_I, keys::REKEYED_CHILD_R);
}

#[test]
fn the_keys_of_the_rekeyed_ike_sa_are_those_of_strongswan_and_open_its_delete() {
    let ((left, _), (right, _)) = (first_keys(Role::Initiator), first_keys(Role::Responder));
    let request = CreateChildRequest::parse(&[], open(&left, super::REKEY_IKE_REQUEST).1).unwrap();
    let response =
        CreateChildResponse::parse(&[], open(&right, super::REKEY_IKE_RESPONSE).1).unwrap();
    let CreateChildRequest::RekeyIke(offer) = request else {
        panic!("a rekey of the IKE SA")
    };
    let CreateChildResponse::Ike(answer) = response else {
        panic!("accepted")
    };
    let nonces = Nonces {
        initiator: offer.nonce,
        responder: answer.nonce,
    };
    let header = decode_cleartext(&octets(super::DELETE_IKE_REQUEST))
        .unwrap()
        .header;
    let spis = SpiPair {
        initiator: header.spi_i,
        responder: header.spi_r,
    };

    // Right asked for the rekey, so it is the initiator of the new SA.
    let (keys, _) = SkeySeed::rekeyed(
        right.source.as_ref().unwrap(),
        &nonces,
        &secret(keys::REKEYED_SHARED),
    )
    .expand(SUITE, &nonces, spis, Role::Initiator, &iv_key(), KeyLog::On)
    .unwrap();
    let log = keys.log.as_ref().unwrap();
    assert_eq!(log.sk_ei.expose(), octets(keys::REKEYED_SK_EI));
    assert_eq!(log.sk_er.expose(), octets(keys::REKEYED_SK_ER));
    let (plaintext, _) = open(&keys, super::DELETE_IKE_REQUEST);
    assert_eq!(plaintext, octets(super::DELETE_IKE_REQUEST_PLAIN));
}
