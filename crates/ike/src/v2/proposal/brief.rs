//! The algorithms that we offer and accept, short enough for a log line.

use vgw_crypto::{Encryption, EspSuite, IkeSuite};

use super::{encryption, group, integrity, names, prf};
use crate::peer::config::{EspAlgorithms, IkeAlgorithms};
use crate::v2::wire::TransformType;

/// Where the full list is shown, as in `none or others (…)`.
const ALL: &str = "or others (`algorithms` in `vgw status --json`)";

/// Our first choice for an IKE SA, and whether we accept others.
pub(crate) fn brief_ike(ours: &IkeAlgorithms) -> String {
    let suite = || {
        let encryption = *ours.encryption.first()?;
        Some(IkeSuite {
            encryption,
            integrity: used(encryption, &ours.integrity),
            prf: *ours.prf.first()?,
            group: *ours.groups.first()?,
        })
    };
    let first = suite().map(|suite| suite.to_string());
    let alone =
        only(&ours.encryption, &ours.integrity) && ours.prf.len() == 1 && ours.groups.len() == 1;
    brief(first, alone)
}

/// Our first choice for a CHILD SA, and whether we accept others. `with_groups` is false in
/// IKE_AUTH, which has no key exchange.
pub(crate) fn brief_esp(ours: &EspAlgorithms, with_groups: bool) -> String {
    let suite = || {
        let encryption = *ours.encryption.first()?;
        Some(EspSuite {
            encryption,
            integrity: used(encryption, &ours.integrity),
            esn: *ours.esn.first()?,
        })
    };
    let pfs = match (with_groups, ours.groups.first()) {
        (false, _) => String::new(),
        (true, Some(group)) => format!(" with PFS by group {group}"),
        (true, None) => " without PFS".to_owned(),
    };
    let first = suite().map(|suite| format!("{suite}{pfs}"));
    let alone = only(&ours.encryption, &ours.integrity)
        && ours.esn.len() == 1
        && (!with_groups || ours.groups.len() <= 1);
    brief(first, alone)
}

fn brief(first: Option<String>, alone: bool) -> String {
    let first = first.unwrap_or_else(|| "nothing".to_owned());
    match alone {
        true => first,
        false => format!("{first} {ALL}"),
    }
}

fn used<T: Copy>(cipher: Encryption, macs: &[T]) -> Option<T> {
    macs.first().copied().filter(|_| !cipher.is_aead())
}

/// Whether there is only one choice of cipher and integrity.
fn only<T>(ciphers: &[Encryption], macs: &[T]) -> bool {
    ciphers.len() == 1 && (macs.len() <= 1 || ciphers.iter().all(|cipher| cipher.is_aead()))
}

/// What a list accepts instead of those parts of a suite that it does not accept.
pub(crate) fn instead_of(suite: IkeSuite, list: &IkeAlgorithms) -> String {
    let mut kinds = Vec::new();
    let mut instead = |kind: TransformType, wanted: Vec<_>| {
        kinds.push(format!("{kind} {}", names::list(wanted)));
    };
    if !list.encryption.contains(&suite.encryption) {
        let wanted = list.encryption.iter().map(|&e| encryption(e));
        instead(TransformType::ENCRYPTION, wanted.collect());
    }
    if suite
        .integrity
        .is_some_and(|used| !list.integrity.contains(&used))
    {
        let wanted = list.integrity.iter().map(|&i| integrity(i));
        instead(TransformType::INTEGRITY, wanted.collect());
    }
    if !list.prf.contains(&suite.prf) {
        instead(
            TransformType::PRF,
            list.prf.iter().map(|&p| prf(p)).collect(),
        );
    }
    if !list.groups.contains(&suite.group) {
        let wanted = list.groups.iter().map(|&g| group(g));
        instead(TransformType::KEY_EXCHANGE, wanted.collect());
    }
    kinds.join(", ")
}
