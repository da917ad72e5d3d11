//! The configured peers, found by address, identity or id without a scan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use vgw_sa::TunnelId;

use crate::core::progress::ReceivedNotes;
use crate::dos_protection::source::Source;
use crate::peer::config::{Encapsulation, IkeAlgorithms, PeerConfig};
use crate::peer::identity::Identity;

/// Peers that IKE_SA_INIT cannot tell apart and that accept the same algorithms. Most connections
/// share one list of algorithms, so there are few such groups.
pub(crate) struct AlikePeers {
    pub ike: IkeAlgorithms,
    pub encapsulation: Encapsulation,
    members: BTreeSet<TunnelId>,
}

/// The peers of one pair of addresses, the one with the lowest id first.
#[derive(Default)]
struct PeerGroup {
    alike: Vec<AlikePeers>,
    received: ReceivedNotes,
}

impl PeerGroup {
    fn len(&self) -> usize {
        self.alike.iter().map(|alike| alike.members.len()).sum()
    }

    fn insert(&mut self, peer: TunnelId, config: &PeerConfig) {
        let same = |alike: &&mut AlikePeers| {
            alike.encapsulation == config.encapsulation && alike.ike == config.ike
        };
        if let Some(alike) = self.alike.iter_mut().find(same) {
            alike.members.insert(peer);
        } else {
            self.alike.push(AlikePeers {
                ike: config.ike.clone(),
                encapsulation: config.encapsulation,
                members: BTreeSet::from([peer]),
            });
        }
        self.alike.sort_by_key(AlikePeers::first);
    }

    fn remove(&mut self, peer: TunnelId) {
        for alike in &mut self.alike {
            alike.members.remove(&peer);
        }
        self.alike.retain(|alike| !alike.members.is_empty());
        self.alike.sort_by_key(AlikePeers::first);
    }
}

impl AlikePeers {
    fn first(&self) -> Option<TunnelId> {
        self.members.first().copied()
    }
}

/// The weight of a peer with a configured address: more than of all peers that may be anywhere.
const AT_ITS_ADDRESS: u64 = 1 << 32;

/// The configured peers.
#[derive(Default)]
pub(crate) struct Peers {
    all: BTreeMap<TunnelId, Arc<PeerConfig>>,
    /// Peers with a configured address, by our address and theirs.
    at: BTreeMap<(IpAddr, IpAddr), PeerGroup>,
    /// Peers that may be anywhere, by our address.
    anywhere: BTreeMap<IpAddr, PeerGroup>,
    /// Peers by our address and their identity.
    named: BTreeMap<(IpAddr, Identity), BTreeSet<TunnelId>>,
    /// Where peers without a configured address last authenticated.
    seen: BTreeMap<TunnelId, IpAddr>,
    /// How many peers are known at each address, by configuration or authentication.
    known: BTreeMap<IpAddr, u32>,
    /// The peers that we do not answer.
    silenced: Silenced,
}

/// Our address and the peer's; None: the peer may be anywhere.
type ConfiguredEnds = (IpAddr, Option<IpAddr>);

/// Peers that we do not answer.
#[derive(Default)]
struct Silenced {
    all: BTreeMap<TunnelId, (ConfiguredEnds, Identity)>,
    at: BTreeMap<ConfiguredEnds, BTreeSet<(Identity, TunnelId)>>,
}

impl Silenced {
    fn insert(&mut self, peer: TunnelId, ends: ConfiguredEnds, identity: Identity) {
        let named = (identity.clone(), peer);
        self.at.entry(ends).or_default().insert(named);
        self.all.insert(peer, (ends, identity));
    }

    fn remove(&mut self, peer: TunnelId) {
        let Some((ends, identity)) = self.all.remove(&peer) else {
            return;
        };
        if let Some(peers) = self.at.get_mut(&ends) {
            peers.remove(&(identity, peer));
            if peers.is_empty() {
                self.at.remove(&ends);
            }
        }
    }

    /// The possible peers between these addresses: first those with this remote address, then those
    /// that may be anywhere.
    fn between(
        &self,
        local: IpAddr,
        remote: IpAddr,
    ) -> impl Iterator<Item = &BTreeSet<(Identity, TunnelId)>> {
        let ends = [(local, Some(remote)), (local, None)];
        ends.into_iter().filter_map(|ends| self.at.get(&ends))
    }

    /// One of the possible peers between these addresses, and whether it is the only one.
    fn first(&self, local: IpAddr, remote: IpAddr) -> Option<(TunnelId, bool)> {
        let mut peers = self.between(local, remote).flatten();
        let (_, first) = peers.next()?;
        Some((*first, peers.next().is_none()))
    }

    fn has_name(&self, local: IpAddr, remote: IpAddr, identity: &Identity) -> bool {
        let from = (identity.clone(), TunnelId::MIN);
        let to = (identity.clone(), TunnelId::MAX);
        let mut peers = self.between(local, remote);
        peers.any(|peers| peers.range(&from..=&to).next().is_some())
    }
}

impl Peers {
    pub(crate) fn get(&self, peer: TunnelId) -> Option<&Arc<PeerConfig>> {
        self.all.get(&peer)
    }

    /// Adds a new peer.
    pub(crate) fn insert(&mut self, peer: TunnelId, config: PeerConfig) {
        self.group(&config).insert(peer, &config);
        let name = (config.local, config.remote_id.clone());
        self.named.entry(name).or_default().insert(peer);
        if let Some(remote) = config.remote {
            *self.known.entry(remote).or_default() += 1;
        }
        self.all.insert(peer, Arc::new(config));
    }

    /// Changes those settings of an existing peer that need no new SAs, see
    /// [`PeerConfig::negotiates_as`].
    pub(crate) fn retime(
        &mut self,
        peer: TunnelId,
        config: PeerConfig,
    ) -> Option<&Arc<PeerConfig>> {
        let known = self.all.get_mut(&peer)?;
        *known = Arc::new(config);
        Some(known)
    }

    /// Changes the encapsulation of later IKE SAs with a peer.
    pub(crate) fn set_encapsulation(&mut self, peer: TunnelId, encapsulation: Encapsulation) {
        let Some(mut config) = self.all.get(&peer).map(|config| (**config).clone()) else {
            return;
        };
        self.group(&config).remove(peer);
        config.encapsulation = encapsulation;
        self.group(&config).insert(peer, &config);
        self.all.insert(peer, Arc::new(config));
    }

    /// Adds a new peer that we do not answer.
    pub(crate) fn silence(&mut self, peer: TunnelId, config: &PeerConfig) {
        let ends = (config.local, config.remote);
        self.silenced.insert(peer, ends, config.remote_id.clone());
    }

    /// Removes a peer; returns its address if no other peer has it.
    pub(crate) fn remove(&mut self, peer: TunnelId) -> Option<IpAddr> {
        self.silenced.remove(peer);
        let config = self.all.remove(&peer)?;
        let group = self.group(&config);
        group.remove(peer);
        if group.alike.is_empty() {
            match config.remote {
                Some(remote) => drop(self.at.remove(&(config.local, remote))),
                None => drop(self.anywhere.remove(&config.local)),
            }
        }
        let name = (config.local, config.remote_id.clone());
        if let Some(peers) = self.named.get_mut(&name) {
            peers.remove(&peer);
            if peers.is_empty() {
                self.named.remove(&name);
            }
        }
        let remote = config.remote.or_else(|| self.seen.remove(&peer))?;
        self.unknown(remote)
    }

    /// Notes that a peer authenticated at this address; returns its previous address if no other
    /// peer has that.
    pub(crate) fn note_address(&mut self, peer: TunnelId, remote: IpAddr) -> Option<IpAddr> {
        let anywhere = self.get(peer).is_some_and(|peer| peer.remote.is_none());
        if !anywhere || self.seen.get(&peer) == Some(&remote) {
            return None;
        }
        *self.known.entry(remote).or_default() += 1;
        let before = self.seen.insert(peer, remote)?;
        self.unknown(before)
    }

    fn unknown(&mut self, remote: IpAddr) -> Option<IpAddr> {
        let count = self.known.get_mut(&remote)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.known.remove(&remote);
        Some(remote)
    }

    fn group(&mut self, config: &PeerConfig) -> &mut PeerGroup {
        match config.remote {
            Some(remote) => self.at.entry((config.local, remote)).or_default(),
            None => self.anywhere.entry(config.local).or_default(),
        }
    }

    /// The notes of messages received between these addresses, if a peer may be there.
    pub(crate) fn received_notes(
        &mut self,
        local: IpAddr,
        remote: IpAddr,
    ) -> Option<&mut ReceivedNotes> {
        let group = match self.at.get_mut(&(local, remote)) {
            Some(group) => Some(group),
            None => self.anywhere.get_mut(&local),
        };
        group.map(|group| &mut group.received)
    }

    /// The notes of messages received from where this peer is expected.
    pub(crate) fn received_notes_of(&self, peer: TunnelId) -> Option<&ReceivedNotes> {
        let config = self.get(peer)?;
        let group = match config.remote {
            Some(remote) => self.at.get(&(config.local, remote)),
            None => self.anywhere.get(&config.local),
        };
        group.map(|group| &group.received)
    }

    /// How many peers have this address: configured, or where they authenticated last.
    pub(crate) fn known_at(&self, remote: IpAddr) -> u32 {
        self.known.get(&remote).copied().unwrap_or_default()
    }

    /// Whether this is where the peer is expected: its configured address, or
    /// where it authenticated last.
    pub(crate) fn is_at(&self, peer: TunnelId, remote: IpAddr) -> bool {
        let configured = self.get(peer).and_then(|peer| peer.remote);
        configured.or_else(|| self.seen.get(&peer).copied()) == Some(remote)
    }

    /// The source that counts for a sender before it has authenticated.
    pub(crate) fn source(&self, remote: IpAddr) -> Source {
        if self.known.contains_key(&remote) {
            Source::Peer(remote)
        } else {
            Source::stranger(remote)
        }
    }

    fn groups(&self, local: IpAddr, remote: IpAddr) -> impl Iterator<Item = &PeerGroup> {
        let at = self.at.get(&(local, remote)).into_iter();
        at.chain(self.anywhere.get(&local))
    }

    /// The lists accepted between these addresses: first of the peers with this remote address,
    /// then of those that may be anywhere.
    pub(crate) fn alike(&self, local: IpAddr, remote: IpAddr) -> impl Iterator<Item = &AlikePeers> {
        self.groups(local, remote).flat_map(|group| &group.alike)
    }

    /// Like [`Self::alike`], each with its weight in a choice that cannot satisfy all of them.
    pub(crate) fn counted(&self, local: IpAddr, remote: IpAddr) -> Vec<(&AlikePeers, u64)> {
        let at = self.at.get(&(local, remote)).map(|g| (g, AT_ITS_ADDRESS));
        let anywhere = self.anywhere.get(&local).map(|g| (g, 1));
        let mut counted = Vec::new();
        for (group, each) in at.into_iter().chain(anywhere) {
            for alike in &group.alike {
                let members = u64::try_from(alike.members.len()).unwrap_or(u64::MAX);
                counted.push((alike, members.saturating_mul(each)));
            }
        }
        counted
    }

    /// How many possible peers there are between these addresses.
    pub(crate) fn candidates(&self, local: IpAddr, remote: IpAddr) -> usize {
        self.groups(local, remote).map(PeerGroup::len).sum()
    }

    /// The possible peers between these addresses, in the order of [`Self::alike`].
    pub(crate) fn expected(
        &self,
        local: IpAddr,
        remote: IpAddr,
    ) -> impl Iterator<Item = &Arc<PeerConfig>> {
        let members = self.alike(local, remote).flat_map(|alike| &alike.members);
        members.filter_map(|peer| self.get(*peer))
    }

    /// The only peer that is configured at this address, if there is exactly one.
    pub(crate) fn only_at(&self, local: IpAddr, remote: IpAddr) -> Option<TunnelId> {
        let group = self.at.get(&(local, remote))?;
        match group.alike.as_slice() {
            [alike] if alike.members.len() == 1 => alike.first(),
            _ => None,
        }
    }

    /// Whether a datagram between these addresses most likely comes from a peer that we do not
    /// answer. A peer with this configured address goes before one that may be anywhere.
    pub(crate) fn is_silenced(&self, local: IpAddr, remote: IpAddr) -> bool {
        if self.at.contains_key(&(local, remote)) {
            return false;
        }
        let silenced = |at| self.silenced.at.contains_key(&(local, at));
        silenced(Some(remote)) || !self.anywhere.contains_key(&local) && silenced(None)
    }

    /// A possible peer between these addresses that we do not answer, and whether it is the only
    /// possible peer.
    pub(crate) fn silenced_at(&self, local: IpAddr, remote: IpAddr) -> Option<(TunnelId, bool)> {
        self.silenced.first(local, remote)
    }

    /// Whether we do not answer the peer with this identity between these addresses.
    pub(crate) fn is_silenced_name(
        &self,
        local: IpAddr,
        remote: IpAddr,
        identity: &Identity,
    ) -> bool {
        self.silenced.has_name(local, remote, identity)
    }

    /// The peers with this identity between these addresses: first those with this remote address,
    /// then those that may be anywhere.
    pub(crate) fn named(
        &self,
        local: IpAddr,
        remote: IpAddr,
        identity: &Identity,
    ) -> Vec<(TunnelId, Arc<PeerConfig>)> {
        let named = self.named.get(&(local, identity.clone()));
        let with = |wanted: Option<IpAddr>| {
            let peers = named.into_iter().flatten();
            peers
                .filter_map(|peer| Some((*peer, self.get(*peer)?.clone())))
                .filter(move |(_, config)| config.remote == wanted)
        };
        with(Some(remote)).chain(with(None)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use vgw_sa::{GatewayId, TunnelId};

    use super::{ConfiguredEnds, Silenced};
    use crate::peer::identity::Identity;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn ends(local: u8, remote: u8) -> ConfiguredEnds {
        (address(local), (remote > 0).then(|| address(remote)))
    }

    proptest! {
        #[test]
        fn whoever_of_all_silenced_peers_may_be_meant_is_found(
            changes in vec((0..12_u32, any::<bool>(), 0..2_u8, 0..3_u8, 0..3_u8), 0..60),
        ) {
            let mut silenced = Silenced::default();
            let mut all: Vec<(TunnelId, ConfiguredEnds, Identity)> = Vec::new();
            for (peer, stays, local, remote, name) in changes {
                let peer = GatewayId(0).tunnel(peer);
                silenced.remove(peer);
                all.retain(|(known, ..)| *known != peer);
                if stays {
                    let identity = Identity::Address(address(name));
                    silenced.insert(peer, ends(local, remote), identity.clone());
                    all.push((peer, ends(local, remote), identity));
                }
            }
            for (local, remote) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
                let (local, remote) = (address(local), address(remote));
                let meant: Vec<_> = all
                    .iter()
                    .filter(|(_, (ours, theirs), _)| {
                        *ours == local && theirs.is_none_or(|theirs| theirs == remote)
                    })
                    .collect();
                let first = silenced.first(local, remote);
                assert_eq!(first.map(|(_, only)| only), (!meant.is_empty()).then_some(meant.len() == 1));
                assert!(first.is_none_or(|(peer, _)| meant.iter().any(|one| one.0 == peer)));
                for name in 0..3 {
                    let identity = Identity::Address(address(name));
                    let named = meant.iter().any(|one| one.2 == identity);
                    assert_eq!(silenced.has_name(local, remote, &identity), named);
                }
            }
            assert!(all.is_empty() == silenced.at.is_empty());
        }
    }
}
