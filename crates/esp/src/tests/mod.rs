//! Tests of the transform as a whole.

mod burst;
mod inbound;
mod outbound;
mod properties;
mod vectors;

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};

use crate::{InboundSa, OutboundSa};

pub(crate) const SPI: u32 = 0x0000_8765;

/// Every combination of cipher, integrity algorithm and sequence number length.
pub(crate) fn suites() -> Vec<EspSuite> {
    let mut suites = Vec::new();
    for &encryption in Encryption::ALL {
        let integrities: Vec<_> = if encryption.is_aead() {
            vec![None]
        } else {
            Integrity::ALL.iter().copied().map(Some).collect()
        };
        for integrity in integrities {
            for esn in [false, true] {
                suites.push(EspSuite {
                    encryption,
                    integrity,
                    esn,
                });
            }
        }
    }
    suites
}

pub(crate) fn keys(suite: EspSuite) -> DirectionKeys {
    let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
    DirectionKeys {
        encryption: Secret::new(vec![0x11; suite.encryption.keymat_len()]),
        integrity: Secret::new(vec![0x22; integrity_len]),
    }
}

pub(crate) fn pair(suite: EspSuite) -> (OutboundSa, InboundSa) {
    let keys = keys(suite);
    (
        OutboundSa::new(SPI, suite, &keys, [0x33; 32]).unwrap(),
        InboundSa::new(SPI, suite, &keys, 64).unwrap(),
    )
}

/// An inner packet of `len` octets whose version is IPv4.
pub(crate) fn ipv4(len: usize) -> Vec<u8> {
    let mut packet = vec![0x45; len];
    for (octet, value) in packet.iter_mut().skip(1).zip((0..=u8::MAX).cycle()) {
        *octet = value;
    }
    packet
}

/// Seals `inner` under the next number.
pub(crate) fn seal(sa: &OutboundSa, inner: &[u8], next_header: u8) -> Vec<u8> {
    let sequence = sa.reserve(1).unwrap();
    seal_as(sa, sequence, inner, next_header)
}

pub(crate) fn seal_as(sa: &OutboundSa, sequence: u64, inner: &[u8], next_header: u8) -> Vec<u8> {
    let header_len = sa.layout().header_len;
    let mut buf = vec![0; sa.sealed_len(inner.len())];
    buf[header_len..header_len + inner.len()].copy_from_slice(inner);
    sa.seal(sequence, &mut buf, inner.len(), next_header)
        .unwrap();
    buf
}

pub(crate) fn gcm(esn: bool) -> EspSuite {
    EspSuite {
        encryption: Encryption::AesGcm128,
        integrity: None,
        esn,
    }
}

pub(crate) fn cbc(esn: bool) -> EspSuite {
    EspSuite {
        encryption: Encryption::AesCbc128,
        integrity: Some(Integrity::HmacSha1_96),
        esn,
    }
}
