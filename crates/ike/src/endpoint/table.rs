//! The IKE SAs by id, by peer and by the peer's address, so that handling one peer does not take
//! longer where there are more peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vgw_sa::TunnelId;

use super::sa::Sa;
use crate::core::event::SaId;

const FIRST: SaId = SaId(0);
const LAST: SaId = SaId(u64::MAX);

/// An SA is taken out, changed, and put back, so that the indexes are always up to date.
#[derive(Default)]
pub(super) struct Table {
    all: BTreeMap<SaId, Sa>,
    by_peer: BTreeSet<(TunnelId, SaId)>,
    by_address: BTreeSet<(IpAddr, SaId)>,
}

impl Table {
    pub(super) fn get(&self, id: SaId) -> Option<&Sa> {
        self.all.get(&id)
    }

    pub(super) fn insert(&mut self, sa: Sa) {
        let id = sa.id();
        if let Some(peer) = sa.peer() {
            self.by_peer.insert((peer, id));
        }
        if let Some(address) = address_of(&sa) {
            self.by_address.insert((address, id));
        }
        self.all.insert(id, sa);
    }

    pub(super) fn remove(&mut self, id: SaId) -> Option<Sa> {
        let sa = self.all.remove(&id)?;
        if let Some(peer) = sa.peer() {
            self.by_peer.remove(&(peer, id));
        }
        if let Some(address) = address_of(&sa) {
            self.by_address.remove(&(address, id));
        }
        Some(sa)
    }

    /// The SAs and attempts with this peer, oldest first. A half-open SA has no peer yet.
    pub(super) fn of_peer(&self, peer: TunnelId) -> impl Iterator<Item = &Sa> {
        let ids = self.by_peer.range((peer, FIRST)..=(peer, LAST));
        ids.filter_map(|(_, id)| self.get(*id))
    }

    /// The established SAs whose peer is at this address, oldest first.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Sa> {
        let ids = (address, FIRST)..=(address, LAST);
        let ids = self.by_address.range(ids);
        ids.filter_map(|(_, id)| self.get(*id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sa> {
        self.all.values()
    }

    /// The indexes as they are, and as they should be.
    #[cfg(test)]
    pub(super) fn found_by(&self) -> [Vec<(String, SaId)>; 2] {
        let peers = self
            .by_peer
            .iter()
            .map(|(peer, id)| (format!("{peer:?}"), *id));
        let addresses = self.by_address.iter().map(|(at, id)| (at.to_string(), *id));
        let should = |of: fn(&Sa) -> Option<String>| {
            let mut ids: Vec<_> = self
                .iter()
                .filter_map(|sa| Some((of(sa)?, sa.id())))
                .collect();
            ids.sort_unstable();
            ids
        };
        let by_peer = should(|sa| Some(format!("{:?}", sa.peer()?)));
        let by_address = should(|sa| Some(address_of(sa)?.to_string()));
        let mut is: Vec<_> = peers.chain(addresses).collect();
        is.sort_unstable();
        let mut should: Vec<_> = by_peer.into_iter().chain(by_address).collect();
        should.sort_unstable();
        [is, should]
    }
}

fn address_of(sa: &Sa) -> Option<IpAddr> {
    match sa {
        Sa::Established(sa) => Some(sa.remote().ip()),
        Sa::Initiating(_) | Sa::HalfOpen(_) => None,
    }
}
