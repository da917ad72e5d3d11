use vgw_sa::TrafficSelector;

use super::*;
use crate::v2::messages::grammar::GrammarError;
use crate::v2::wire::{
    AuthMethod, ClearMessage, ExchangeType, Header, PayloadType, ProtocolId, Transform,
    TransformType,
};

fn sa(protocol: ProtocolId) -> Vec<Proposal> {
    let transform = Transform {
        kind: TransformType::PRF,
        id: 5,
        key_bits: None,
        unknown_attribute: false,
    };
    vec![Proposal {
        number: 1,
        protocol,
        spi: Vec::new(),
        transforms: vec![transform],
    }]
}

fn selectors(net: &str) -> Vec<TrafficSelector> {
    vec![net.parse::<ipnet::IpNet>().unwrap().into()]
}

fn notify(kind: NotifyType) -> Notify {
    Notify::new(kind, vec![1, 2, 3])
}

fn ike_offer() -> IkeOffer {
    IkeOffer {
        sa: sa(ProtocolId::IKE),
        ke: KeyExchange {
            group: 19,
            data: vec![9; 64],
        },
        nonce: vec![7; 32],
        notifies: Notifies(vec![
            notify(NotifyType::NAT_DETECTION_SOURCE_IP),
            notify(NotifyType::NAT_DETECTION_DESTINATION_IP),
        ]),
    }
}

fn child_offer() -> ChildOffer {
    ChildOffer {
        sa: sa(ProtocolId::ESP),
        nonce: vec![7; 32],
        ke: Some(KeyExchange {
            group: 19,
            data: vec![9; 64],
        }),
        ts_i: selectors("10.0.0.0/16"),
        ts_r: selectors("10.1.0.0/16"),
        notifies: Notifies(vec![notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED)]),
    }
}

fn id(name: &str) -> Id {
    Id {
        kind: 2,
        data: name.as_bytes().to_vec(),
    }
}

fn auth() -> Auth {
    Auth {
        method: AuthMethod::SHARED_KEY,
        data: vec![5; 32],
    }
}

fn in_clear(payloads: Vec<Payload>) -> ClearMessage {
    let header = Header {
        spi_i: 1,
        spi_r: 0,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: true,
        response: false,
        message_id: 0,
    };
    ClearMessage {
        header,
        payloads,
        sealed: None,
    }
}

#[test]
fn an_init_request_reads_back_with_and_without_cookie() {
    for cookie in [None, Some(vec![1; 20])] {
        let request = InitRequest {
            cookie,
            offer: ike_offer(),
        };
        let payloads = request.clone().into_payloads();
        assert_eq!(InitRequest::parse(in_clear(payloads)), Ok(request));
    }
}

#[test]
fn the_cookie_is_the_first_payload() {
    let request = InitRequest {
        cookie: Some(vec![1]),
        offer: ike_offer(),
    };
    assert_eq!(
        request.into_payloads().first(),
        Some(&Payload::Notify(Notify::new(NotifyType::COOKIE, vec![1])))
    );
}

#[test]
fn every_init_response_reads_back() {
    for response in [
        InitResponse::Accepted(ike_offer()),
        InitResponse::Cookie(vec![1; 20]),
        InitResponse::Refused(Notify::new(NotifyType::INVALID_KE_PAYLOAD, vec![0, 19])),
    ] {
        let payloads = response.clone().into_payloads();
        assert_eq!(InitResponse::parse(in_clear(payloads)), Ok(response));
    }
}

#[test]
fn an_encrypted_payload_in_ike_sa_init_is_refused() {
    let mut message = in_clear(
        InitRequest {
            cookie: None,
            offer: ike_offer(),
        }
        .into_payloads(),
    );
    message.sealed = Some(crate::v2::wire::Sealed {
        first: PayloadType::NONE,
        body: 0..0,
    });
    assert_eq!(
        InitRequest::parse(message).unwrap_err().to_string(),
        "IKE_SA_INIT request: number of SK payloads is 1, expected none"
    );
}

#[test]
fn an_auth_request_reads_back() {
    for id_r in [None, Some(id("vgw.example"))] {
        let request = AuthRequest {
            id_i: id("cgw.example"),
            id_r,
            auth: auth(),
            sa: sa(ProtocolId::ESP),
            ts_i: selectors("0.0.0.0/0"),
            ts_r: selectors("::/0"),
            notifies: Notifies(vec![notify(NotifyType::INITIAL_CONTACT)]),
        };
        let payloads = request.clone().into_payloads();
        assert_eq!(AuthRequest::parse(&[], payloads), Ok(request));
    }
}

#[test]
fn every_auth_response_reads_back() {
    let accepted = AuthChild::Accepted {
        sa: sa(ProtocolId::ESP),
        ts_i: selectors("10.0.0.0/16"),
        ts_r: selectors("10.1.0.0/16"),
    };
    let refused = AuthChild::Refused(notify(NotifyType::TS_UNACCEPTABLE));
    let with = |child| AuthResponse::Accepted {
        id_r: id("vgw.example"),
        auth: auth(),
        child,
        notifies: Notifies(vec![notify(NotifyType::MOBIKE_SUPPORTED)]),
    };
    let failed = AuthResponse::Refused(notify(NotifyType::AUTHENTICATION_FAILED));
    for response in [with(accepted), with(refused), failed] {
        let payloads = response.clone().into_payloads();
        assert_eq!(AuthResponse::parse(&[], payloads), Ok(response));
    }
}

#[test]
fn every_create_child_request_reads_back() {
    for request in [
        CreateChildRequest::New(child_offer()),
        CreateChildRequest::New(ChildOffer {
            ke: None,
            ..child_offer()
        }),
        CreateChildRequest::RekeyChild {
            spi: 0x1234,
            offer: child_offer(),
        },
        CreateChildRequest::RekeyIke(ike_offer()),
    ] {
        let payloads = request.clone().into_payloads();
        assert_eq!(CreateChildRequest::parse(&[], payloads), Ok(request));
    }
}

#[test]
fn every_create_child_response_reads_back() {
    for response in [
        CreateChildResponse::Child(child_offer()),
        CreateChildResponse::Ike(ike_offer()),
        CreateChildResponse::Refused(notify(NotifyType::TEMPORARY_FAILURE)),
    ] {
        let payloads = response.clone().into_payloads();
        assert_eq!(CreateChildResponse::parse(&[], payloads), Ok(response));
    }
}

#[test]
fn an_informational_message_reads_back_and_may_be_empty() {
    let full = Informational {
        deletes: vec![
            Delete::Child {
                protocol: ProtocolId::ESP,
                spis: vec![1, 2],
            },
            Delete::Ike,
        ],
        notifies: Notifies(vec![notify(NotifyType::AUTHENTICATION_FAILED)]),
    };
    for message in [Informational::default(), full] {
        let payloads = message.clone().into_payloads();
        assert_eq!(Informational::parse(&[], payloads), Ok(message));
    }
}

#[test]
fn a_rekey_of_what_is_no_esp_sa_is_refused() {
    let mut payloads = CreateChildRequest::New(child_offer()).into_payloads();
    payloads.push(Payload::Notify(Notify {
        protocol: ProtocolId::AH,
        ..Notify::child(NotifyType::REKEY_SA, 7)
    }));
    assert_eq!(
        CreateChildRequest::parse(&[], payloads)
            .unwrap_err()
            .to_string(),
        "CREATE_CHILD_SA request for a CHILD SA: \
         REKEY_SA names an SA of AH by 4 octets, expected ESP and 4"
    );
}

#[test]
fn a_refusal_without_error_notification_is_refused() {
    let payloads = vec![Payload::Notify(notify(NotifyType::MOBIKE_SUPPORTED))];
    assert_eq!(
        AuthResponse::parse(&[], payloads.clone())
            .unwrap_err()
            .to_string(),
        "IKE_AUTH response without AUTH payload: found no error notification, expected one"
    );
    assert!(CreateChildResponse::parse(&[], payloads.clone()).is_err());
    assert!(InitResponse::parse(in_clear(payloads)).is_err());
}

#[test]
fn vendor_ids_and_certificates_do_not_reach_the_message() {
    let request = CreateChildRequest::New(child_offer());
    let mut payloads = request.clone().into_payloads();
    payloads.insert(0, Payload::VendorId(vec![1; 16]));
    assert_eq!(CreateChildRequest::parse(&[], payloads), Ok(request));
}

#[test]
fn an_authentication_without_a_child_sa_is_refused_by_its_name() {
    let id = Id {
        kind: 2,
        data: b"a.example".to_vec(),
    };
    let auth = Auth {
        method: AuthMethod::SHARED_KEY,
        data: vec![0; 32],
    };
    let childless = vec![Payload::IdI(id.clone()), Payload::Auth(auth)];
    let error = AuthRequest::parse(&[], childless).unwrap_err();
    assert_eq!(error, GrammarError::Childless);
    assert_eq!(error.notify().kind, NotifyType::INVALID_SYNTAX);
    // EAP is refused with its own error.
    let error = AuthRequest::parse(&[], vec![Payload::IdI(id)]).unwrap_err();
    assert_ne!(error, GrammarError::Childless);
}
