//! The responder's selection when there are several possible peers. Only IKE_AUTH shows which peer
//! it is, and the selection made before must suit it.

use std::cmp::Reverse;
use std::iter::once;

use vgw_crypto::{Encryption, Group, IkeSuite, Integrity, Prf};

use super::select::{Offer, usable};
use super::{IkeChoice, encryption, group, ike_spi, integrity, prf};
use crate::peer::config::IkeAlgorithms;
use crate::v2::wire::{Proposal, ProtocolId, TransformType};

/// The types of transform of an IKE SA, in the order in which they are chosen.
const KINDS: [TransformType; 4] = [
    TransformType::ENCRYPTION,
    TransformType::INTEGRITY,
    TransformType::PRF,
    TransformType::KEY_EXCHANGE,
];

/// A suite, and the bit of each of its transforms; 0 for integrity with an AEAD cipher.
#[derive(Clone, Copy)]
struct Combination {
    suite: IkeSuite,
    bits: [u32; KINDS.len()],
}

/// Selects the suite that most of `lists` accept, where each list has the weight beside it. Of
/// suites with equal weight, it takes the one that the first accepting list wants most. With one
/// list this is [`super::select_ike`].
pub(crate) fn select_for_several(
    offered: &[Proposal],
    lists: &[(&IkeAlgorithms, u64)],
) -> Option<IkeChoice> {
    let offers = usable(ProtocolId::IKE, offered, ike_spi);
    let candidates = combinations().filter_map(|combination| {
        let offer = offers.iter().find(|offer| holds(offer, combination.bits))?;
        Some((rating(lists, combination.suite)?, combination.suite, offer))
    });
    let (_, suite, offer) = candidates.min_by(|a, b| a.0.cmp(&b.0))?;
    Some(IkeChoice {
        suite,
        spi: offer.spi,
        answer: answer(suite, offer),
    })
}

/// Whether a list accepts a suite.
pub(crate) fn permits(list: &IkeAlgorithms, suite: IkeSuite) -> bool {
    ranks(list, suite).is_some()
}

/// The lower, the better: the weight that accepts the suite, the first list that does, and that
/// list's preference. None: no list accepts it.
fn rating(
    lists: &[(&IkeAlgorithms, u64)],
    suite: IkeSuite,
) -> Option<(Reverse<u64>, usize, [usize; KINDS.len()])> {
    let mut permitted = lists
        .iter()
        .enumerate()
        .filter_map(|(place, (list, counts))| Some((place, *counts, ranks(list, suite)?)));
    let (place, counts, ranks) = permitted.next()?;
    let all = permitted.fold(counts, |all, (_, counts, _)| all.saturating_add(counts));
    Some((Reverse(all), place, ranks))
}

/// The rank of each part of a suite in a list.
fn ranks(list: &IkeAlgorithms, suite: IkeSuite) -> Option<[usize; KINDS.len()]> {
    Some([
        place(&list.encryption, suite.encryption)?,
        match suite.integrity {
            Some(integrity) => place(&list.integrity, integrity)?,
            None => 0,
        },
        place(&list.prf, suite.prf)?,
        place(&list.groups, suite.group)?,
    ])
}

fn place<T: PartialEq>(list: &[T], item: T) -> Option<usize> {
    list.iter().position(|one| *one == item)
}

/// All combinations that we implement.
fn combinations() -> impl Iterator<Item = Combination> {
    bits(Encryption::ALL).flat_map(|(encryption_bit, encryption)| {
        integrities(encryption).flat_map(move |(integrity_bit, integrity)| {
            bits(Prf::ALL).flat_map(move |(prf_bit, prf)| {
                bits(Group::ALL).map(move |(group_bit, group)| Combination {
                    suite: IkeSuite {
                        encryption,
                        integrity,
                        prf,
                        group,
                    },
                    bits: [encryption_bit, integrity_bit, prf_bit, group_bit],
                })
            })
        })
    })
}

/// RFC 5282 section 8: there is no integrity transform with an AEAD cipher.
fn integrities(cipher: Encryption) -> impl Iterator<Item = (u32, Option<Integrity>)> {
    let none = once((0, None)).filter(move |_| cipher.is_aead());
    let each = bits(Integrity::ALL).map(|(bit, integrity)| (bit, Some(integrity)));
    none.chain(each.filter(move |_| !cipher.is_aead()))
}

/// Each value with its bit, as in [`super::select`].
fn bits<T: Copy>(all: &'static [T]) -> impl Iterator<Item = (u32, T)> {
    let place = |(place, item): (u32, &T)| (1 << place, *item);
    (0..u32::BITS).zip(all).map(place)
}

fn holds(offer: &Offer<'_, Option<u64>>, bits: [u32; KINDS.len()]) -> bool {
    KINDS.into_iter().zip(bits).all(|(kind, bit)| {
        let offered = offer.kind(kind);
        match bit {
            0 => offered.may_be_absent(),
            bit => offered.known & bit != 0,
        }
    })
}

fn answer(suite: IkeSuite, offer: &Offer<'_, Option<u64>>) -> Proposal {
    let integrity = match suite.integrity {
        Some(one) => Some(integrity(one)),
        None => offer.kind(TransformType::INTEGRITY).none,
    };
    let first = once(encryption(suite.encryption)).chain(integrity);
    Proposal {
        number: offer.proposal.number,
        protocol: offer.proposal.protocol,
        spi: Vec::new(),
        transforms: first.chain([prf(suite.prf), group(suite.group)]).collect(),
    }
}
