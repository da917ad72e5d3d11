//! Protection against denial of service: the cost that an unauthenticated sender can cause, and
//! which senders are served first (RFC 7296 section 2.6, RFC 8019).
//!
//! - Before a sender has proved its address, only a bounded number of its handshakes and refusals
//!   is served. Beyond that we ask for a cookie, which costs no memory and no key exchange.
//! - After that each source has a share of our time, and all strangers together have one. Time is
//!   not measured: each computation has a known cost.
//! - Places for half-open IKE SAs are shared between sources ([`half_open_places`]).
//! - Failed authentications are limited in rate, by source and by peer.
//!
//! A source is the address of a known peer or the network of a stranger. Strangers can slow down
//! each other, but not a known peer.

mod cookie;
mod half_open_places;
pub(crate) mod leaky_bucket;
pub(crate) mod rate_limit;
pub(crate) mod source;
mod source_records;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_crypto::{Group, SecretRandom};

use self::cookie::CookieJar;
use self::half_open_places::HalfOpenPlaces;
pub(crate) use self::half_open_places::{Origin, Room};
use self::source_records::SourceRecords;
use vgw_sa::TunnelId;

use crate::core::event::SaId;
use crate::dos_protection::leaky_bucket::LeakyBucket;
use crate::dos_protection::source::Source;
use crate::peer::config::Limits;

/// A source with this many handshakes under way or recently refused needs a cookie; the number is
/// higher if more peers share its address.
const UNPROVED: usize = 4;
/// A source may be this far ahead of its share; beyond that, it is not served.
const AHEAD: Duration = Duration::from_secs(2);
/// Each network of strangers gets this fraction (1/20) of our time.
const NETWORK_PART: u32 = 20;
/// A known address gets this fraction (1/10) of our time, for each peer there.
const PEER_PART: u32 = 10;
/// Failed authentications are counted by the minute.
const MINUTE: Duration = Duration::from_secs(60);
/// IKE_AUTH requests that name one peer may fail this many times as often as those from one source.
const FAILURES_OF_PEER: u32 = 3;
/// The cost of comparing an offer with our lists: a fixed part, and a part for each list.
const SELECTION: Duration = Duration::from_micros(50);
const SELECTION_EACH: Duration = Duration::from_micros(1);

/// See the [module](self).
#[derive(Default)]
pub(crate) struct DosProtection {
    cookies: CookieJar,
    places: HalfOpenPlaces,
    records: SourceRecords,
    /// Recent refusals without a cookie: of strangers, and of known addresses.
    refused: [LeakyBucket; 2],
    /// The cost of all strangers together.
    strangers: LeakyBucket,
    /// Failed authentications that name a peer but come from another address.
    failed: BTreeMap<TunnelId, LeakyBucket>,
}

/// The fields of an IKE_SA_INIT that can prove its sender's address.
pub(crate) struct UnprovedInit<'a> {
    pub remote: SocketAddr,
    pub spi_i: u64,
    pub nonce: &'a [u8],
    pub cookie: Option<&'a [u8]>,
}

impl DosProtection {
    /// How many half-open IKE SAs there are.
    pub(crate) fn half_open(&self) -> usize {
        self.places.len()
    }

    /// The half-open IKE SA that this initiator began with this SPI.
    pub(crate) fn half_open_of(&self, origin: Origin) -> Option<SaId> {
        self.places.of_origin(origin)
    }

    /// Whether a source must return a cookie first (RFC 7296 section 2.6). `peers` is the number of
    /// peers known at its address.
    pub(crate) fn needs_cookie(
        &self,
        now: Instant,
        source: Source,
        peers: u32,
        limits: &Limits,
    ) -> bool {
        let threshold = limits.cookie_threshold;
        let refused = self.refused.get(usize::from(source.is_peer()));
        let refused = refused.map_or(0, |bucket| bucket.count(now, each(limits, threshold)));
        let own = self.records.get(source);
        let own = own.map_or(0, |own| own.refused.count(now, each(limits, UNPROVED)));
        let peers = usize::try_from(peers).unwrap_or(usize::MAX);
        self.places.of_class(source) + refused >= threshold
            || self.places.of(source) + own >= UNPROVED.max(peers)
    }

    /// Notes that we refused an IKE_SA_INIT that returned no cookie.
    pub(crate) fn refused_unproved(&mut self, now: Instant, source: Source, limits: &Limits) {
        if let Some(bucket) = self.refused.get_mut(usize::from(source.is_peer())) {
            bucket.add(now, each(limits, limits.cookie_threshold));
        }
        let own = self.records.entry(source);
        own.refused.add(now, each(limits, UNPROVED));
    }

    /// Whether the request returns a cookie that we made.
    pub(crate) fn is_proved(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        init: &UnprovedInit<'_>,
    ) -> bool {
        let of = (init.remote, init.spi_i, init.nonce);
        init.cookie
            .is_some_and(|cookie| self.cookies.check(now, random, of, cookie))
    }

    /// The cookie to ask for. None if there are no random numbers.
    pub(crate) fn cookie(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        init: &UnprovedInit<'_>,
    ) -> Option<Vec<u8>> {
        self.cookies
            .make(now, random, init.remote, init.spi_i, init.nonce)
    }

    /// Uses a cookie. False if it was used too often: otherwise an observer on the path could go on
    /// using it in the name of that address.
    pub(crate) fn spend(&mut self, source: Source, cookie: &[u8]) -> bool {
        self.records.entry(source).spend(cookie)
    }

    /// Whether a source exceeded its share, or all strangers together exceeded theirs. A stranger
    /// without recent cost may go twice as far over the common share.
    pub(crate) fn is_over_budget(&self, now: Instant, source: Source) -> bool {
        let record = self.records.get(source);
        let own = record.map_or(Duration::ZERO, |record| record.work.owed(now));
        let shared = if own.is_zero() { 2 * AHEAD } else { AHEAD };
        own > AHEAD || !source.is_peer() && self.strangers.owed(now) > shared
    }

    /// Charges a source. `peers` is the number of peers known at its address.
    pub(crate) fn charge(
        &mut self,
        now: Instant,
        source: Source,
        peers: u32,
        limits: &Limits,
        cost: Duration,
    ) {
        let own = self.records.entry(source);
        if source.is_peer() {
            own.work.add(now, cost * PEER_PART / peers.max(1));
        } else {
            own.work.add(now, cost * NETWORK_PART);
            let percent = limits.strangers_percent.clamp(1, 100);
            self.strangers.add(now, cost * 100 / percent);
        }
    }

    /// Whether there is a place for one more half-open IKE SA.
    pub(crate) fn room(&self, now: Instant, source: Source, limits: &Limits) -> Room {
        self.places.room(now, source, limits.half_open)
    }

    /// Gives a half-open IKE SA its place.
    pub(crate) fn enter(&mut self, now: Instant, sa: SaId, origin: Origin, source: Source) {
        self.places.enter(now, sa, origin, source);
    }

    /// Frees the place of an SA that is no longer half-open.
    pub(crate) fn leave(&mut self, sa: SaId) {
        self.places.leave(sa);
    }

    /// Whether an IKE_AUTH that names this peer is processed now. The flag beside the peer says
    /// whether the message comes from the peer's known address. If so, only that source's failures
    /// count, so that strangers elsewhere cannot use up the peer's attempts.
    pub(crate) fn may_authenticate(
        &self,
        now: Instant,
        source: Source,
        peer: Option<(TunnelId, bool)>,
        limits: &Limits,
    ) -> bool {
        let most = limits.failed_authentications.max(1);
        let allows = |bucket: &LeakyBucket, most: u32| bucket.owed(now) + MINUTE / most <= MINUTE;
        let record = self.records.get(source);
        let of_source = record.is_none_or(|record| allows(&record.failed, most));
        let of_peer = match peer {
            Some((peer, false)) => {
                let most = most.saturating_mul(FAILURES_OF_PEER);
                self.failed
                    .get(&peer)
                    .is_none_or(|bucket| allows(bucket, most))
            }
            Some((_, true)) | None => true,
        };
        of_source && of_peer
    }

    /// Counts a failed authentication.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        source: Source,
        peer: Option<(TunnelId, bool)>,
        limits: &Limits,
    ) {
        let most = limits.failed_authentications.max(1);
        self.records.entry(source).failed.add(now, MINUTE / most);
        if let Some((peer, false)) = peer {
            let most = most.saturating_mul(FAILURES_OF_PEER);
            self.failed.entry(peer).or_default().add(now, MINUTE / most);
        }
    }

    /// Forgets the counts of a peer that was removed or changed.
    pub(crate) fn forget(&mut self, peer: TunnelId) {
        self.failed.remove(&peer);
    }

    /// Forgets an address that no peer has any more.
    pub(crate) fn forget_address(&mut self, source: Source) {
        self.records.forget(source);
    }
}

/// How long each of `most` refusals counts: together they count as long as a half-open IKE SA may
/// last.
fn each(limits: &Limits, most: usize) -> Duration {
    limits.half_open_timeout / u32::try_from(most.max(1)).unwrap_or(u32::MAX)
}

/// The cost of comparing an offer with this many lists.
pub(crate) fn cost_of_selection(lists: usize) -> Duration {
    SELECTION + SELECTION_EACH * u32::try_from(lists).unwrap_or(u32::MAX)
}

/// The cost of a key exchange, rounded from `benches/results`.
pub(crate) fn cost_of_key_exchange(group: Group) -> Duration {
    Duration::from_micros(match group {
        Group::Curve25519 => 120,
        Group::Modp1024 => 360,
        Group::Ecp256 => 700,
        Group::Modp1536 => 750,
        Group::Modp2048 | Group::Ecp384 | Group::Ecp521 => 2_400,
        Group::Modp3072 => 5_400,
        Group::Modp4096 => 14_000,
        Group::Modp6144 => 34_000,
        Group::Modp8192 => 62_000,
    })
}
