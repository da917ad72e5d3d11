//! A datagram as anyone may send it, up to where keys are needed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vgw_ike::messages::{InitRequest, InitResponse};
use vgw_ike::wire::{decode_cleartext, encode_cleartext};

fuzz_target!(|datagram: &[u8]| {
    let Ok(message) = decode_cleartext(datagram) else {
        return;
    };
    if message.sealed.is_none() {
        let again = encode_cleartext(&message.header, &message.payloads);
        assert!(again.len() <= datagram.len());
    }
    if let Ok(request) = InitRequest::parse(message.clone()) {
        let _ = request.into_payloads();
    }
    if let Ok(response) = InitResponse::parse(message) {
        let _ = response.into_payloads();
    }
});
