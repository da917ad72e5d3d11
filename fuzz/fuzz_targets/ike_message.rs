//! A datagram as anyone may send it, up to where keys are needed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vgw_ike::messages::{InitRequest, InitResponse};
use vgw_ike::wire::{decode_cleartext, encode_cleartext, read_proof};

fuzz_target!(|datagram: &[u8]| {
    let proof = read_proof(datagram);
    let Ok(message) = decode_cleartext(datagram) else {
        return;
    };
    if message.sealed.is_none() {
        let again = encode_cleartext(&message.header, &message.payloads);
        assert!(again.len() <= datagram.len());
    }
    if let Ok(request) = InitRequest::parse(message.clone()) {
        // What is read before the address is proved is what is read afterwards.
        let proof = proof.expect("a nonce");
        assert_eq!(proof.nonce, request.offer.nonce);
        assert_eq!(proof.cookie, request.cookie.as_deref());
        let _ = request.into_payloads();
    }
    if let Ok(response) = InitResponse::parse(message) {
        let _ = response.into_payloads();
    }
});
