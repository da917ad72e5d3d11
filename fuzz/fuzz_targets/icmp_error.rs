#![no_main]

use vgw_dataplane::IcmpError;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for error in [IcmpError::parse_v4(data), IcmpError::parse_v6(data)] {
        if let Some(IcmpError { packet, .. }) = error {
            assert_eq!(packet.local.is_ipv4(), packet.remote.is_ipv4());
        }
    }
});
