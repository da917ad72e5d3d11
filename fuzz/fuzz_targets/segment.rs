#![no_main]

use vgw_dataplane::{Segments, VNET_HEADER_LEN, VnetHeader};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((header, packet)) = data.split_first_chunk::<VNET_HEADER_LEN>() else {
        return;
    };
    let mut packet = packet.to_vec();
    let Ok(segments) = Segments::new(VnetHeader::from_octets(*header), &mut packet) else {
        return;
    };
    let last = segments.count() - 1;
    let mut out = vec![0; segments.segment_len().max(segments.last_len())];
    for index in 0..=last {
        let len = if index == last {
            segments.last_len()
        } else {
            segments.segment_len()
        };
        assert!(segments.write(index, &mut out[..len]).is_some());
    }
});
