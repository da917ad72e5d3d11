#![no_main]

use vgw_admin::request::{Request, parse_request};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(Request::Order(_, tunnel)) = parse_request(data) {
        assert!(matches!(tunnel.number, 1 | 2));
        assert!(!tunnel.connection.is_empty());
    }
});
