//! The packet path does not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};
use vgw_esp::{InboundSa, NEXT_HEADER_IPV4, OutboundSa, Plain};

/// The system's allocator, which counts what the current thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn neither_sealing_nor_opening_allocates() {
    let cbc = |integrity| (Encryption::AesCbc256, Some(integrity));
    let suites = [
        (Encryption::AesGcm128, None),
        (Encryption::AesGcm256, None),
        cbc(Integrity::HmacSha1_96),
        cbc(Integrity::HmacSha256_128),
        cbc(Integrity::HmacSha384_192),
        cbc(Integrity::HmacSha512_256),
    ];
    for (encryption, integrity) in suites {
        let suite = EspSuite {
            encryption,
            integrity,
            esn: true,
        };
        let keys = DirectionKeys {
            encryption: Secret::new(vec![1; encryption.keymat_len()]),
            integrity: Secret::new(vec![2; integrity.map_or(0, Integrity::key_len)]),
        };
        let outbound = OutboundSa::new(1, suite, &keys, [3; 32]).unwrap();
        let inbound = InboundSa::new(1, suite, &keys, 1024).unwrap();
        let len = outbound.sealed_len(1400);
        // More than one group, of which the last is not full.
        let count = 44;
        let mut buffer = vec![0x45; len * count];
        let plains: Vec<_> = (0..count)
            .map(|i| Plain {
                at: i * len,
                inner_len: 1400,
                next_header: NEXT_HEADER_IPV4,
            })
            .collect();
        let places: Vec<_> = (0..count).map(|i| i * len..(i + 1) * len).collect();
        let mut opened = Vec::with_capacity(count);
        let mut single = vec![0x45; len];

        let before = allocations();
        let first = outbound.reserve(44).unwrap();
        outbound.seal_burst(first, &mut buffer, &plains).unwrap();
        inbound
            .opener()
            .open_burst(&mut buffer, &places, &mut opened);
        let next = outbound.reserve(1).unwrap();
        outbound
            .seal(next, &mut single, 1400, NEXT_HEADER_IPV4)
            .unwrap();
        let last = inbound.opener().open(&mut single).unwrap();
        assert_eq!(allocations(), before, "{suite}");
        assert!(opened.iter().all(Result::is_ok), "{suite}");
        assert_eq!(last.inner.len(), 1400);
    }
    let before = allocations();
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert_eq!(allocations(), before + 1, "the counter counts");
}
