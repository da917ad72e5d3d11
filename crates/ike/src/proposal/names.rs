//! Names of transforms for people, those included that we do not implement.

use std::collections::BTreeSet;

use vgw_crypto::{Encryption, Integrity, Prf};

use super::NONE;
use crate::wire::{Proposal, Transform, TransformType};
use crate::words::few;

/// The name of one transform: `AES256`, `3DES`, `SHA2-256`, `14`.
pub(super) fn transform(transform: &Transform) -> String {
    let id = transform.id;
    let known = match transform.kind {
        TransformType::ENCRYPTION => return encryption(id, transform.key_bits),
        TransformType::INTEGRITY => Integrity::from_iana(id)
            .map(Integrity::name)
            .or_else(|| integrity(id)),
        TransformType::PRF => Prf::from_iana(id).map(Prf::name).or_else(|| prf(id)),
        TransformType::KEY_EXCHANGE if id == NONE => Some("none"),
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
        5 => "IDEA".to_owned(),
        6 => "CAST".to_owned(),
        7 => format!("Blowfish{bits}"),
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
        28 => "CHACHA20-POLY1305".to_owned(),
        _ => format!("encryption {id}"),
    }
}

const fn integrity(id: u16) -> Option<&'static str> {
    Some(match id {
        NONE => "none",
        1 => "MD5",
        3 => "DES-MAC",
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
        _ => return None,
    })
}

const fn esn(id: u16) -> Option<&'static str> {
    Some(match id {
        0 => "no",
        1 => "yes",
        _ => return None,
    })
}

/// Each once, in order, and only the first few; `none` for an empty list.
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
        // Only a cipher's name tells the length of its key.
        let bits = transform.key_bits;
        let bits = bits.filter(|_| transform.kind == TransformType::ENCRYPTION);
        seen.insert((transform.kind, transform.id, bits))
    });
    few(&unique, unique.len(), ", ", name)
}

/// Whole proposals, the first few of them: `1: IKE AES256, SHA1, PRF-SHA1, group 2`.
pub(super) fn proposals(proposals: &[Proposal]) -> String {
    if proposals.is_empty() {
        return "no proposal".to_owned();
    }
    few(proposals, proposals.len(), "; ", proposal)
}

fn proposal(proposal: &Proposal) -> String {
    let name = |t: &Transform| match t.kind {
        TransformType::KEY_EXCHANGE => format!("group {}", transform(t)),
        TransformType::ESN => format!("ESN {}", transform(t)),
        _ if t.kind.name().is_none() => format!("transform type {} ID {}", t.kind, t.id),
        _ => transform(t),
    };
    let transforms = proposal.transforms.iter().copied();
    format!(
        "{}: {} {}",
        proposal.number,
        proposal.protocol,
        named(transforms, name)
    )
}
