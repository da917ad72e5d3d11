//! The places for half-open IKE SAs, shared between sources.
//!
//! The number of places is fixed, and a quarter of them is only for known peers. When all are
//! taken, the source with most places loses its oldest: a flooding source evicts its own. If no
//! source has two, the oldest is evicted only after it had time for a round trip, so that many
//! honest peers that begin at once do not evict each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::core::event::SaId;
use crate::dos_protection::source::Source;

/// Who began a half-open IKE SA: address and SPI, which identify a repeated IKE_SA_INIT.
pub(crate) type Origin = (SocketAddr, u64);

/// IKE_AUTH of an honest handshake seldom takes longer than this.
const ROUND_TRIP: Duration = Duration::from_secs(1);
/// One in this many places is only for known peers.
const RESERVED: usize = 4;

/// Whether there is a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// A place is free.
    Free,
    /// There is a place if this half-open IKE SA is evicted.
    ByEvicting(SaId),
    /// There is no place.
    Full,
}

struct Place {
    origin: Origin,
    source: Source,
    began: Instant,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct HalfOpenPlaces {
    by_origin: BTreeMap<Origin, SaId>,
    all: BTreeMap<SaId, Place>,
    /// Ids count up, so the lowest id of each source is its oldest.
    by_source: BTreeMap<Source, BTreeSet<SaId>>,
    strangers: SourceClass,
    peers: SourceClass,
}

/// The sources of one class, ordered by how many places they have; of equal sources, the one with
/// the oldest half-open IKE SA comes last.
#[derive(Default)]
struct SourceClass {
    places: usize,
    by_size: BTreeSet<(usize, Reverse<SaId>, Source)>,
}

impl HalfOpenPlaces {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn of_origin(&self, origin: Origin) -> Option<SaId> {
        self.by_origin.get(&origin).copied()
    }

    /// How many places one source has.
    pub(super) fn of(&self, source: Source) -> usize {
        self.by_source.get(&source).map_or(0, BTreeSet::len)
    }

    /// How many places all strangers have, or all known peers.
    pub(super) fn of_class(&self, source: Source) -> usize {
        if source.is_peer() {
            self.peers.places
        } else {
            self.strangers.places
        }
    }

    /// Whether there is a place for this source; `places` is how many there are in all.
    pub(super) fn room(&self, now: Instant, source: Source, places: usize) -> Room {
        let for_strangers = places - places / RESERVED;
        let free = self.len() < places;
        let victim = if source.is_peer() {
            if free {
                return Room::Free;
            }
            let stranger = self.victim(now, &self.strangers);
            stranger.or_else(|| self.victim(now, &self.peers))
        } else {
            if free && self.strangers.places < for_strangers {
                return Room::Free;
            }
            self.victim(now, &self.strangers)
        };
        victim.map_or(Room::Full, Room::ByEvicting)
    }

    /// The oldest half-open IKE SA of the source with most places, if it may be evicted.
    fn victim(&self, now: Instant, class: &SourceClass) -> Option<SaId> {
        let (size, Reverse(oldest), _) = class.by_size.last()?;
        let began = self.all.get(oldest)?.began;
        let old = now >= began + ROUND_TRIP;
        (*size > 1 || old).then_some(*oldest)
    }

    pub(super) fn enter(&mut self, now: Instant, sa: SaId, origin: Origin, source: Source) {
        self.by_origin.insert(origin, sa);
        let place = Place {
            origin,
            source,
            began: now,
        };
        self.all.insert(sa, place);
        self.change(source, |places| places.insert(sa));
    }

    pub(super) fn leave(&mut self, sa: SaId) {
        if let Some(place) = self.all.remove(&sa) {
            self.by_origin.remove(&place.origin);
            self.change(place.source, |places| places.remove(&sa));
        }
    }

    fn change(&mut self, source: Source, change: impl FnOnce(&mut BTreeSet<SaId>) -> bool) {
        let class = if source.is_peer() {
            &mut self.peers
        } else {
            &mut self.strangers
        };
        let size = |places: &BTreeSet<SaId>| {
            let oldest = places.first()?;
            Some((places.len(), Reverse(*oldest), source))
        };
        let places = self.by_source.entry(source).or_default();
        if let Some(before) = size(places) {
            class.by_size.remove(&before);
            class.places -= before.0;
        }
        change(places);
        match size(places) {
            Some(after) => {
                class.places += after.0;
                class.by_size.insert(after);
            }
            None => drop(self.by_source.remove(&source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use super::{HalfOpenPlaces, ROUND_TRIP, Room};
    use crate::core::event::SaId;
    use crate::dos_protection::source::Source;

    const PLACES: usize = 16;

    #[allow(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number << 8).into()
    }

    fn stranger(number: u32) -> Source {
        Source::stranger(address(number))
    }

    /// Takes a place if there is one; returns what was evicted for it.
    fn take(places: &mut HalfOpenPlaces, now: Instant, sa: u64, source: Source) -> Room {
        let room = places.room(now, source, PLACES);
        if let Room::ByEvicting(victim) = room {
            places.leave(victim);
        }
        if room != Room::Full {
            let origin = ((address(7), 500).into(), sa);
            places.enter(now, SaId(sa), origin, source);
        }
        room
    }

    #[test]
    fn a_flood_pushes_out_its_own_and_leaves_room_for_known_peers() {
        let now = epoch();
        let mut places = HalfOpenPlaces::default();
        take(&mut places, now, 1, stranger(1));
        for sa in 2..=1_000 {
            take(&mut places, now, sa, stranger(2));
        }
        assert_eq!(places.len(), PLACES - PLACES / 4);
        assert_eq!(
            places.of(stranger(1)),
            1,
            "another stranger keeps its place"
        );
        for (sa, peer) in (2_000..).zip(0..4) {
            let room = take(&mut places, now, sa, Source::Peer(address(peer)));
            assert_eq!(room, Room::Free);
        }
        let room = take(&mut places, now, 3_000, Source::Peer(address(9)));
        assert_eq!(room, Room::ByEvicting(SaId(990)), "the flood's oldest");
        assert_eq!(places.len(), PLACES);
    }

    #[test]
    fn of_many_that_begin_at_once_none_goes_before_a_round_trip() {
        let now = epoch();
        let mut places = HalfOpenPlaces::default();
        for number in 0..12_u32 {
            let room = take(&mut places, now, number.into(), stranger(number));
            assert_eq!(room, Room::Free);
        }
        assert_eq!(take(&mut places, now, 100, stranger(100)), Room::Full);
        let later = now + ROUND_TRIP;
        let room = take(&mut places, later, 100, stranger(100));
        assert_eq!(room, Room::ByEvicting(SaId(0)));
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let now = epoch();
        let mut places = HalfOpenPlaces::default();
        for sa in 0..10 {
            take(
                &mut places,
                now,
                sa,
                stranger(u32::try_from(sa % 3).unwrap()),
            );
        }
        for sa in 0..10 {
            places.leave(SaId(sa));
        }
        assert_eq!((places.len(), places.of_class(stranger(1))), (0, 0));
        assert!(places.by_origin.is_empty() && places.by_source.is_empty());
        assert!(places.strangers.by_size.is_empty());
    }
}
