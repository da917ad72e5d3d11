#![no_main]

use vgw_dataplane::InnerPacket;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = InnerPacket::parse(data) {
        assert!(packet.octets().len() <= data.len());
        let _ = packet.upper_layer();
    }
});
