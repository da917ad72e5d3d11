//! Opening an ESP packet is total, whatever arrives, and never accepts a forgery.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};
use vgw_esp::InboundSa;

const SPI: u32 = 0x1234_5678;

static SAS: LazyLock<Vec<InboundSa>> = LazyLock::new(|| {
    let mut sas = Vec::new();
    for &encryption in Encryption::ALL {
        for esn in [false, true] {
            let integrity = (!encryption.is_aead()).then_some(Integrity::HmacSha256_128);
            let suite = EspSuite {
                encryption,
                integrity,
                esn,
            };
            let keys = DirectionKeys {
                encryption: Secret::new(vec![1; encryption.keymat_len()]),
                integrity: Secret::new(vec![2; integrity.map_or(0, Integrity::key_len)]),
            };
            sas.push(InboundSa::new(SPI, suite, &keys, 64).expect("the keys fit the suite"));
        }
    }
    sas
});

// The first octet chooses whether the SPI is the SA's, so that the rest of the
// opener is reached often.
fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    for sa in SAS.iter() {
        let mut packet = data.to_vec();
        if choice % 2 == 0
            && let Some(spi) = packet.first_chunk_mut::<4>()
        {
            *spi = SPI.to_be_bytes();
        }
        assert!(sa.opener().open(&mut packet).is_err(), "accepted a forgery");
    }
});
