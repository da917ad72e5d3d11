//! The SAs of one tunnel. Several may coexist: during a rekey, after the peer
//! began anew, or when both ends initiated at the same time. Outbound traffic
//! uses the CHILD SA that the negotiator named last; IKE SAs that serve no
//! purpose are found here and deleted by the supervisor.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use vgw_crypto::EspSuite;
use vgw_ike::event::{IkeDetails, Role, SaId};
use vgw_sa::{ChildSa, ChildTraffic, Path, TrafficSelector};

/// An IKE SA that another one has outlived is deleted this long after it became
/// redundant: by then both ends send with the newer one, and nothing is on the
/// way any more. The end that began it does so; the other one after three times
/// as long, for peers that keep both. (Where both ends initiated at once, the
/// negotiator has chosen before.)
const REDUNDANT_GRACE: Duration = Duration::from_secs(5);

/// An IKE SA without CHILD SAs is deleted after this long. Until then the
/// negotiator asks for a CHILD SA again by itself.
const CHILDLESS_GRACE: Duration = Duration::from_secs(60);

/// An IKE SA that is up.
#[derive(Debug)]
pub(super) struct IkeSa {
    /// What it is.
    pub(super) details: IkeDetails,
    /// Since when.
    pub(super) established: Instant,
    childless_since: Option<Instant>,
    /// It has had a CHILD SA.
    served: bool,
    /// A rekey replaced it, or we asked to delete it: it goes by itself.
    leaving: bool,
}

/// A CHILD SA that is installed.
#[derive(Debug)]
pub(super) struct Child {
    /// Its IKE SA.
    pub(super) sa: SaId,
    /// The peer's SPI.
    pub(super) spi_out: u32,
    /// Algorithms.
    pub(super) suite: EspSuite,
    /// Our side of what may travel.
    pub(super) local_selectors: Vec<TrafficSelector>,
    /// The peer's side of what may travel.
    pub(super) remote_selectors: Vec<TrafficSelector>,
    /// Since when.
    pub(super) installed: Instant,
    /// What the data plane last counted.
    pub(super) traffic: ChildTraffic,
    /// When we last asked for a rekey because of its traffic.
    pub(super) rekey_asked: Option<Instant>,
    /// Whether the data plane has it: it can refuse to.
    pub(super) in_data_plane: bool,
    /// Set once we may send with it; grows from one to the next.
    sends: Option<u64>,
    rekeys: Option<u32>,
    /// We send with what a rekey put in its place. That may end before this one does,
    /// which the peer does not receive with any more.
    replaced: bool,
}

/// An SPI as logs and captures show it.
pub(super) struct Spi(pub(super) u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Child {
    fn has_selectors_of(&self, other: &Self) -> bool {
        self.local_selectors == other.local_selectors
            && self.remote_selectors == other.remote_selectors
    }
}

/// The SAs of one tunnel.
#[derive(Debug, Default)]
pub(super) struct Sas {
    ike: BTreeMap<SaId, IkeSa>,
    children: BTreeMap<u32, Child>,
    outbound_order: u64,
}

impl Sas {
    pub(super) fn ike(&self) -> impl Iterator<Item = (&SaId, &IkeSa)> {
        self.ike.iter()
    }

    pub(super) fn children(&self) -> impl Iterator<Item = (u32, &Child)> {
        self.children.iter().map(|(spi_in, child)| (*spi_in, child))
    }

    pub(super) fn child_mut(&mut self, spi_in: u32) -> Option<&mut Child> {
        self.children.get_mut(&spi_in)
    }

    pub(super) fn has_ike(&self) -> bool {
        !self.ike.is_empty()
    }

    /// Whether traffic can be sent.
    pub(super) fn usable(&self) -> bool {
        self.senders().next().is_some()
    }

    /// Whether a rekey put another CHILD SA in this one's place.
    pub(super) fn is_replaced(&self, spi_in: u32) -> bool {
        self.children
            .get(&spi_in)
            .is_some_and(|child| child.replaced)
    }

    /// CHILD SAs that we may send with and that no rekey has replaced.
    fn senders(&self) -> impl Iterator<Item = (u32, &Child, u64)> {
        self.children.iter().filter_map(|(spi_in, child)| {
            let order = child.sends?;
            (!child.replaced).then_some((*spi_in, child, order))
        })
    }

    /// The CHILD SA to send with, by its inbound SPI.
    pub(super) fn sender(&self) -> Option<(u32, &Child)> {
        self.senders()
            .max_by_key(|(_, _, order)| *order)
            .map(|(spi_in, child, _)| (spi_in, child))
    }

    /// What may travel by the CHILD SAs to send with: our side and the peer's.
    pub(super) fn selectors(&self) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        for (_, child, _) in self.senders() {
            local.extend_from_slice(&child.local_selectors);
            remote.extend_from_slice(&child.remote_selectors);
        }
        (local, remote)
    }

    /// The inbound SPIs of the CHILD SAs to send with, the newest first: of those with the
    /// same selectors only one, and of those with others each what no newer one covers.
    pub(super) fn outbound_spis(&self) -> Vec<u32> {
        let mut senders: Vec<_> = self.senders().collect();
        senders.sort_by_key(|(_, _, order)| Reverse(*order));
        let mut outbound_spis: Vec<(u32, &Child)> = Vec::new();
        for (spi_in, child, _) in senders {
            let covered = |(_, newer): &(u32, &Child)| newer.has_selectors_of(child);
            if !outbound_spis.iter().any(covered) {
                outbound_spis.push((spi_in, child));
            }
        }
        outbound_spis
            .into_iter()
            .map(|(spi_in, _)| spi_in)
            .collect()
    }

    /// The inbound SPI of the CHILD SA to send with first.
    pub(super) fn outbound(&self) -> Option<u32> {
        self.sender().map(|(spi_in, _)| spi_in)
    }

    /// The IKE SA of the CHILD SA to send with: the one that is to stay.
    pub(super) fn keeper(&self) -> Option<SaId> {
        self.sender().map(|(_, child)| child.sa)
    }

    /// For how long an IKE SA has been up.
    pub(super) fn age(&self, now: Instant, sa: SaId) -> Duration {
        let established = self.ike.get(&sa).map_or(now, |ike| ike.established);
        now.saturating_duration_since(established)
    }

    /// What an IKE SA is.
    pub(super) fn details(&self, sa: SaId) -> Option<&IkeDetails> {
        self.ike.get(&sa).map(|ike| &ike.details)
    }

    /// The path of an IKE SA's packets.
    pub(super) fn path(&self, sa: SaId) -> Option<Path> {
        self.details(sa).map(|details| details.path)
    }

    pub(super) fn ike_up(
        &mut self,
        now: Instant,
        sa: SaId,
        details: IkeDetails,
        replaces: Option<SaId>,
    ) {
        if let Some(old) = replaces {
            for child in self.children.values_mut().filter(|child| child.sa == old) {
                child.sa = sa;
            }
            if let Some(old) = self.ike.get_mut(&old) {
                old.leaving = true;
            }
        }
        let fresh = IkeSa {
            details,
            established: now,
            childless_since: None,
            served: false,
            leaving: false,
        };
        self.ike.insert(sa, fresh);
        self.note_childless(now);
    }

    /// An IKE SA is gone; gives whether it has had a CHILD SA.
    pub(super) fn ike_down(&mut self, sa: SaId) -> bool {
        self.ike.remove(&sa).is_some_and(|gone| gone.served)
    }

    pub(super) fn path_changed(&mut self, sa: SaId, path: Path) {
        if let Some(ike) = self.ike.get_mut(&sa) {
            ike.details.path = path;
        }
    }

    pub(super) fn child_inbound(
        &mut self,
        now: Instant,
        sa: SaId,
        child: &ChildSa,
        rekeys: Option<u32>,
    ) {
        let fresh = Child {
            sa,
            spi_out: child.spi_out,
            suite: child.suite,
            local_selectors: child.local_selectors.clone(),
            remote_selectors: child.remote_selectors.clone(),
            installed: now,
            traffic: ChildTraffic::default(),
            rekey_asked: None,
            in_data_plane: true,
            sends: None,
            rekeys,
            replaced: false,
        };
        self.children.insert(child.spi_in, fresh);
        self.note_childless(now);
    }

    /// The data plane does not have this one; gives its IKE SA.
    pub(super) fn not_installed(&mut self, spi_in: u32) -> Option<SaId> {
        let child = self.children.get_mut(&spi_in)?;
        child.in_data_plane = false;
        Some(child.sa)
    }

    /// We may send with this one. Gives the one that it replaces, if the data plane
    /// has that.
    pub(super) fn child_outbound(&mut self, spi_in: u32) -> Option<u32> {
        let child = self.children.get_mut(&spi_in)?;
        self.outbound_order += 1;
        child.sends = Some(self.outbound_order);
        let rekeyed = child.rekeys?;
        let old = self.children.get_mut(&rekeyed)?;
        old.replaced = true;
        old.in_data_plane.then_some(rekeyed)
    }

    pub(super) fn child_down(&mut self, now: Instant, spi_in: u32) -> Option<Child> {
        let gone = self.children.remove(&spi_in);
        self.note_childless(now);
        gone
    }

    fn note_childless(&mut self, now: Instant) {
        for (sa, ike) in &mut self.ike {
            let childless = !self.children.values().any(|child| child.sa == *sa);
            ike.served |= !childless;
            ike.childless_since = match ike.childless_since {
                _ if !childless => None,
                Some(since) => Some(since),
                None => Some(now),
            };
        }
    }

    /// When each IKE SA that serves no purpose is to be deleted.
    fn redundant(&self) -> impl Iterator<Item = (SaId, Instant)> {
        let keeper = self
            .keeper()
            .and_then(|sa| Some((sa, self.ike.get(&sa)?.established)));
        let staying = self.ike.iter().filter(|(_, ike)| !ike.leaving);
        staying.filter_map(move |(sa, ike)| {
            if let Some(since) = ike.childless_since {
                return Some((*sa, since + CHILDLESS_GRACE));
            }
            let (keeper, established) = keeper?;
            let grace = match ike.details.role {
                Role::Initiator => REDUNDANT_GRACE,
                Role::Responder => 3 * REDUNDANT_GRACE,
            };
            (*sa != keeper).then(|| (*sa, ike.established.max(established) + grace))
        })
    }

    /// When [`Self::take_redundant`] next has something to give.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.redundant().map(|(_, due)| due).min()
    }

    /// IKE SAs to delete now; each is given once.
    pub(super) fn take_redundant(&mut self, now: Instant) -> Vec<SaId> {
        let due: Vec<SaId> = self
            .redundant()
            .filter_map(|(sa, due)| (due <= now).then_some(sa))
            .collect();
        for sa in &due {
            if let Some(ike) = self.ike.get_mut(sa) {
                ike.leaving = true;
            }
        }
        due
    }

    /// Whether an IKE SA has had CHILD SAs and has none any more.
    pub(super) fn lost_children(&self, sa: SaId) -> bool {
        let ike = self.ike.get(&sa);
        ike.is_some_and(|ike| ike.served && ike.childless_since.is_some())
    }
}

#[cfg(test)]
pub(super) mod tests;
