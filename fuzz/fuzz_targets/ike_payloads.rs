//! What an Encrypted payload held, as an authenticated peer may send it: the
//! first octet is the first payload's type.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vgw_crypto::{Encryption, Group, Integrity, Prf};
use vgw_ike::config::{EspAlgorithms, IkeAlgorithms};
use vgw_ike::messages::{
    AuthRequest, AuthResponse, CreateChildRequest, CreateChildResponse, Informational,
};
use vgw_ike::proposal::{accept_esp, accept_ike, offer_esp, offer_ike, select_esp, select_ike};
use vgw_ike::selector::{check_narrowed, narrow};
use vgw_ike::wire::{Payload, PayloadType, decode_payloads};

fuzz_target!(|input: &[u8]| {
    let Some((&first, plaintext)) = input.split_first() else {
        return;
    };
    let Ok(payloads) = decode_payloads(PayloadType(first), plaintext) else {
        return;
    };
    negotiate(&payloads);
    let _ = AuthRequest::parse(&[], payloads.clone()).map(AuthRequest::into_payloads);
    let _ = AuthResponse::parse(&[], payloads.clone()).map(AuthResponse::into_payloads);
    let _ = CreateChildRequest::parse(&[], payloads.clone()).map(CreateChildRequest::into_payloads);
    let _ =
        CreateChildResponse::parse(&[], payloads.clone()).map(CreateChildResponse::into_payloads);
    let _ = Informational::parse(&[], payloads).map(Informational::into_payloads);
});

fn negotiate(payloads: &[Payload]) {
    let ike = IkeAlgorithms {
        encryption: Encryption::ALL.to_vec(),
        integrity: Integrity::ALL.to_vec(),
        prf: Prf::ALL.to_vec(),
        groups: Group::ALL.to_vec(),
    };
    let esp = EspAlgorithms {
        encryption: Encryption::ALL.to_vec(),
        integrity: Integrity::ALL.to_vec(),
        groups: Group::ALL.to_vec(),
        esn: vec![true, false],
    };
    for payload in payloads {
        match payload {
            Payload::Sa(proposals) => {
                let _ = select_ike(&ike, proposals).map_err(|e| e.to_string());
                let _ = select_esp(&esp, proposals, true).map_err(|e| e.to_string());
                let _ = accept_ike(&offer_ike(&ike, None), proposals).map_err(|e| e.to_string());
                let _ =
                    accept_esp(&offer_esp(&esp, 256, true), proposals).map_err(|e| e.to_string());
            }
            Payload::TsI(selectors) | Payload::TsR(selectors) => {
                let any = [
                    "0.0.0.0/0".parse().unwrap(),
                    "2001:db8::/32".parse().unwrap(),
                ];
                if let Ok(narrowed) = narrow(selectors, &any) {
                    check_narrowed(selectors, &narrowed).unwrap();
                }
            }
            Payload::IdI(id) | Payload::IdR(id) => {
                let _ = id.identity().map(|identity| identity.to_string());
            }
            _ => {}
        }
    }
}
