//! Names of transforms for logs, including transforms that we do not implement: all of the registry
//! "Internet Key Exchange Version 2 (IKEv2) Parameters". A transform without a name there is shown
//! by its number.

use std::collections::BTreeSet;

use vgw_crypto::{Encryption, Integrity, Prf};

use super::NONE;
use crate::core::bounded_text::few;
use crate::v2::wire::{Proposal, Transform, TransformType};

/// The name of one transform: `AES256`, `3DES`, `SHA2-256`, `14`, `ML-KEM-768 (36)`.
pub(super) fn transform(transform: &Transform) -> String {
    let id = transform.id;
    let known = match transform.kind {
        TransformType::ENCRYPTION => return encryption(id, transform.key_bits),
        kind if kind.is_key_exchange() => return key_exchange(id),
        TransformType::INTEGRITY => Integrity::from_iana(id)
            .map(Integrity::name)
            .or_else(|| integrity(id)),
        TransformType::PRF => Prf::from_iana(id).map(Prf::name).or_else(|| prf(id)),
        TransformType::ESN => esn(id),
        _ => None,
    };
    known.map_or_else(|| id.to_string(), str::to_owned)
}

fn encryption(id: u16, key_bits: Option<u16>) -> String {
    if let Some(known) = Encryption::from_iana(id, key_bits) {
        return known.name().to_owned();
    }
    let bits = key_bits.map(|bits| bits.to_string()).unwrap_or_default();
    match id {
        1 => "DES-IV64".to_owned(),
        2 => "DES".to_owned(),
        3 => "3DES".to_owned(),
        4 => format!("RC5-{bits}"),
        5 => "IDEA".to_owned(),
        6 => format!("CAST{bits}"),
        7 => format!("Blowfish{bits}"),
        8 => "3IDEA".to_owned(),
        9 => "DES-IV32".to_owned(),
        11 => "NULL".to_owned(),
        12 => format!("AES{bits}"),
        13 => format!("AES{bits}-CTR"),
        14 => format!("AES{bits}-CCM-8"),
        15 => format!("AES{bits}-CCM-12"),
        16 => format!("AES{bits}-CCM-16"),
        18 => format!("AES{bits}-GCM-8"),
        19 => format!("AES{bits}-GCM-12"),
        20 => format!("AES{bits}-GCM-16"),
        21 => format!("AES{bits}-GMAC"),
        23 => format!("CAMELLIA{bits}"),
        24 => format!("CAMELLIA{bits}-CTR"),
        25 => format!("CAMELLIA{bits}-CCM-8"),
        26 => format!("CAMELLIA{bits}-CCM-12"),
        27 => format!("CAMELLIA{bits}-CCM-16"),
        28 => "CHACHA20-POLY1305".to_owned(),
        29 => format!("AES{bits}-CCM-8-IIV"),
        30 => format!("AES{bits}-GCM-16-IIV"),
        31 => "CHACHA20-POLY1305-IIV".to_owned(),
        32 => "KUZNYECHIK-MGM-KTREE".to_owned(),
        33 => "MAGMA-MGM-KTREE".to_owned(),
        34 => "KUZNYECHIK-MGM-MAC-KTREE".to_owned(),
        35 => "MAGMA-MGM-MAC-KTREE".to_owned(),
        _ => format!("encryption {id}"),
    }
}

const fn integrity(id: u16) -> Option<&'static str> {
    Some(match id {
        NONE => "none",
        1 => "MD5",
        3 => "DES-MAC",
        4 => "KPDK-MD5",
        5 => "AES-XCBC",
        6 => "MD5-128",
        7 => "SHA1-160",
        8 => "AES-CMAC",
        9 => "AES128-GMAC",
        10 => "AES192-GMAC",
        11 => "AES256-GMAC",
        _ => return None,
    })
}

const fn prf(id: u16) -> Option<&'static str> {
    Some(match id {
        1 => "PRF-MD5",
        3 => "PRF-TIGER",
        4 => "PRF-AES128-XCBC",
        8 => "PRF-AES128-CMAC",
        9 => "PRF-STREEBOG-512",
        _ => return None,
    })
}

/// Groups are known by their numbers. Less common ones are shown with a name as well.
pub(super) fn key_exchange(id: u16) -> String {
    let name = match id {
        NONE => return "none".to_owned(),
        1 => "MODP-768",
        22 => "MODP-1024 with a subgroup of 160 bits",
        23 => "MODP-2048 with a subgroup of 224 bits",
        24 => "MODP-2048 with a subgroup of 256 bits",
        25 => "P-192",
        26 => "P-224",
        27 => "brainpoolP224r1",
        28 => "brainpoolP256r1",
        29 => "brainpoolP384r1",
        30 => "brainpoolP512r1",
        32 => "Curve448",
        33 => "GOST3410-2012-256",
        34 => "GOST3410-2012-512",
        // draft-ietf-ipsecme-ikev2-mlkem.
        35 => "ML-KEM-512",
        36 => "ML-KEM-768",
        37 => "ML-KEM-1024",
        _ => return id.to_string(),
    };
    format!("{name} ({id})")
}

/// RFC 9827 names value 2.
const fn esn(id: u16) -> Option<&'static str> {
    Some(match id {
        0 => "no",
        1 => "yes",
        2 => "unspecified 32-bit numbers",
        _ => return None,
    })
}

/// Each name once, in order, and only the first few; `none` for an empty list.
pub(super) fn list(transforms: impl IntoIterator<Item = Transform>) -> String {
    named(transforms, transform)
}

fn named(
    transforms: impl IntoIterator<Item = Transform>,
    name: impl Fn(&Transform) -> String,
) -> String {
    let mut seen = BTreeSet::new();
    let mut unique: Vec<Transform> = transforms.into_iter().collect();
    unique.retain(|transform| {
        // Only the name of a cipher tells its key length.
        let bits = transform.key_bits;
        let bits = bits.filter(|_| transform.kind == TransformType::ENCRYPTION);
        seen.insert((transform.kind, transform.id, bits))
    });
    few(&unique, unique.len(), ", ", name)
}

/// The first few proposals in full: `1: IKE AES256, SHA1, PRF-SHA1, group 2`.
pub(super) fn proposals(proposals: &[Proposal]) -> String {
    if proposals.is_empty() {
        return "no proposal".to_owned();
    }
    few(proposals, proposals.len(), "; ", proposal)
}

fn proposal(proposal: &Proposal) -> String {
    let transforms = proposal.transforms.iter().copied();
    format!(
        "{}: {} {}",
        proposal.number,
        proposal.protocol,
        named(transforms, with_kind)
    )
}

/// The name, with the type if the name alone does not show it.
fn with_kind(t: &Transform) -> String {
    match t.kind {
        TransformType::ENCRYPTION | TransformType::INTEGRITY | TransformType::PRF => transform(t),
        TransformType::KEY_EXCHANGE => format!("group {}", transform(t)),
        TransformType::ESN => format!("ESN {}", transform(t)),
        kind if kind.name().is_some() => format!("{kind} {}", transform(t)),
        kind => format!("transform type {kind} ID {}", t.id),
    }
}

/// The key exchanges that a proposal demands after the first (RFC 9370).
pub(super) fn further_exchanges(proposal: &Proposal) -> String {
    let transforms = proposal.transforms.iter().copied();
    let further = transforms.filter(|t| t.kind.is_additional_key_exchange());
    named(further, with_kind)
}
