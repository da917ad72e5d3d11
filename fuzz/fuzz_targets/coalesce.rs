#![no_main]

use vgw_dataplane::{Coalesce, Coalescer, Segments, VNET_HEADER_LEN, VnetHeader, WriteOutcome};

// Packets one after another, each behind two octets of its length.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut coalescer = Coalescer::new(Coalesce {
        tcp: true,
        udp: true,
    });
    let mut buffer = data.to_vec();
    let mut at = 0;
    let mut pushed = 0;
    while let Some(len) = buffer.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        let end = at + 2 + usize::from(u16::from_be_bytes(*len));
        if end > buffer.len() {
            break;
        }
        coalescer.push(&buffer, at + 2..end);
        at = end;
        pushed += 1;
    }
    // Of every second joined packet the parts are wanted.
    let (mut cut, mut apart) = (0, false);
    coalescer.flush(&mut buffer, |joined| {
        if joined.kind.is_some() {
            apart = !apart;
            if apart {
                return WriteOutcome::Singly;
            }
        }
        let (vnet, packet) = joined.parts.split_first().unwrap();
        let header = vnet.first_chunk::<VNET_HEADER_LEN>().unwrap();
        let header = VnetHeader::from_octets(*header);
        let mut packet: Vec<u8> = packet.iter().flat_map(|s| s.to_vec()).collect();
        let count = Segments::new(header, &mut packet).unwrap().count();
        assert_eq!(count, joined.packets);
        cut += count;
        WriteOutcome::Done
    });
    assert_eq!(cut, pushed);
});
