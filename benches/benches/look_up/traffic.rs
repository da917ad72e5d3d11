//! Prefixes, selectors for them, and packets that go there.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, PrefixLenError};
use rand_core::Rng;
use vgw_dataplane::Family;
use vgw_sa::TrafficSelector;

/// Different prefixes of private networks, of lengths that sites have.
pub fn prefixes(
    family: Family,
    count: u32,
    random: &mut impl Rng,
) -> Result<Vec<IpNet>, PrefixLenError> {
    let mut prefixes = BTreeSet::new();
    while prefixes.len() < usize::try_from(count).unwrap_or(usize::MAX) {
        let [a, b, c, d, len, ..] = random.next_u64().to_be_bytes();
        let prefix = match family {
            Family::V4 => IpNet::new(Ipv4Addr::new(10, a, b, c).into(), 17 + len % 12)?,
            Family::V6 => {
                let low = u16::from_be_bytes([c, d]);
                let high = u16::from_be_bytes([a, b]);
                let address = Ipv6Addr::new(0xfd00, 0, high, low, 0, 0, 0, 0);
                IpNet::new(address.into(), 48 + len % 17)?
            }
        };
        prefixes.insert(prefix.trunc());
    }
    Ok(prefixes.into_iter().collect())
}

/// Packets to hosts of these prefixes, in no order.
pub fn packets_to(prefixes: &[IpNet], count: usize, random: &mut impl Rng) -> Vec<Vec<u8>> {
    let mut any = || usize::try_from(random.next_u32()).unwrap_or_default();
    let picks: Vec<usize> = (0..count).map(|_| any() % prefixes.len().max(1)).collect();
    let picked = picks.into_iter().filter_map(|pick| prefixes.get(pick));
    picked.map(|prefix| packet_to(prefix.broadcast())).collect()
}

fn packet_to(destination: IpAddr) -> Vec<u8> {
    match destination {
        IpAddr::V4(to) => {
            let header = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
            [&header[..], &[10, 0, 0, 1], &to.octets()].concat()
        }
        IpAddr::V6(to) => {
            let from = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
            let header = [0x60, 0, 0, 0, 0, 0, 59, 64];
            [&header[..], &from.octets(), &to.octets()].concat()
        }
    }
}

/// Our side's traffic selectors, and the peer's.
pub type Selectors = [Vec<TrafficSelector>; 2];

/// Selectors that admit what goes to one of these, and the same many of ours.
pub fn selectors(prefixes: &[IpNet]) -> Selectors {
    let remote = prefixes.iter().copied().map(TrafficSelector::from);
    let ours = (0..prefixes.len()).rev().filter_map(|third| {
        let network = Ipv4Addr::new(10, 0, u8::try_from(third).ok()?, 0);
        Some(IpNet::new_assert(network.into(), 24).into())
    });
    [ours.collect(), remote.collect()]
}

/// Selectors of a site that asks for everything.
pub fn everything() -> Selectors {
    let any = || {
        let networks = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        networks.map(|network| IpNet::new_assert(network, 0).into())
    };
    [any().into(), any().into()]
}
