//! Protection against denial of service: what a sender that has not authenticated may
//! cost us, and which senders are served first (RFC 7296 section 2.6, RFC 8019).
//!
//! - Before a sender has proved its address, a bounded number of its handshakes and
//!   refusals is served. Beyond that a cookie is demanded, which costs neither memory nor a
//!   key exchange.
//! - Afterwards each source gets a share of our time, and all strangers together get one.
//!   Time is not measured: each computation counts for what it is known to take.
//! - Places for half-open IKE SAs are shared out by source ([`half_open`]).
//! - Failed authentications are slowed down, by source and by peer.
//!
//! A source is the address of a known peer or the network of a stranger. Strangers can
//! slow down each other, but no known peer.

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

/// A source with so many handshakes under way or lately refused is asked for cookies;
/// with more where more peers share its address.
const UNPROVED: usize = 4;
/// A source may be this far ahead of its share; beyond, it is not served.
const AHEAD: Duration = Duration::from_secs(2);
/// One network of strangers gets this part of our time.
const NETWORK_PART: u32 = 20;
/// A known address gets this part of our time, for each peer there.
const PEER_PART: u32 = 10;
/// Failed authentications are counted by the minute.
const MINUTE: Duration = Duration::from_secs(60);
/// IKE_AUTH requests that name one peer may fail this many times as often as those of one
/// source.
const FAILURES_OF_PEER: u32 = 3;
/// What comparing an offer with our lists takes: so much, and so much for each list.
const SELECTION: Duration = Duration::from_micros(50);
const SELECTION_EACH: Duration = Duration::from_micros(1);

/// See the [module](self).
#[derive(Default)]
pub(crate) struct DosProtection {
    cookies: CookieJar,
    places: HalfOpenPlaces,
    records: SourceRecords,
    /// Refusals lately without a cookie: of strangers, and of known addresses.
    refused: [LeakyBucket; 2],
    /// What all strangers cost together.
    strangers: LeakyBucket,
    /// Failed authentications that name a peer and come from elsewhere than it.
    failed: BTreeMap<TunnelId, LeakyBucket>,
}

/// An IKE_SA_INIT whose sender may have to prove its address.
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

    /// Whether a source must return a cookie first (RFC 7296 section 2.6).
    /// `peers` is how many are known at its address.
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

    /// An IKE_SA_INIT was refused whose sender returned no cookie.
    pub(crate) fn refused_unproved(&mut self, now: Instant, source: Source, limits: &Limits) {
        if let Some(bucket) = self.refused.get_mut(usize::from(source.is_peer())) {
            bucket.add(now, each(limits, limits.cookie_threshold));
        }
        let own = self.records.entry(source);
        own.refused.add(now, each(limits, UNPROVED));
    }

    /// Whether the request returns a cookie of ours.
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

    /// The cookie to ask for. None: there are no random numbers.
    pub(crate) fn cookie(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        init: &UnprovedInit<'_>,
    ) -> Option<Vec<u8>> {
        self.cookies
            .make(now, random, init.remote, init.spi_i, init.nonce)
    }

    /// Uses a cookie. False when that was done too often: whoever saw it on the
    /// way could go on in the name of its address.
    pub(crate) fn spend(&mut self, source: Source, cookie: &[u8]) -> bool {
        self.records.entry(source).spend(cookie)
    }

    /// Whether a source cost more than its share, or strangers together theirs.
    /// Who cost nothing lately gets twice as much of what they share.
    pub(crate) fn is_over_budget(&self, now: Instant, source: Source) -> bool {
        let record = self.records.get(source);
        let own = record.map_or(Duration::ZERO, |record| record.work.owed(now));
        let shared = if own.is_zero() { 2 * AHEAD } else { AHEAD };
        own > AHEAD || !source.is_peer() && self.strangers.owed(now) > shared
    }

    /// What a source costs. `peers` is how many are known at its address.
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

    /// A half-open IKE SA takes a place.
    pub(crate) fn enter(&mut self, now: Instant, sa: SaId, origin: Origin, source: Source) {
        self.places.enter(now, sa, origin, source);
    }

    /// An SA is not half-open any more.
    pub(crate) fn leave(&mut self, sa: SaId) {
        self.places.leave(sa);
    }

    /// Whether an IKE_AUTH that names this peer is looked at now. With the peer stands
    /// whether the message comes from the peer's known address: then only the source's own
    /// failures count, so that strangers elsewhere cannot use up the peer's attempts.
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

    /// An authentication failed.
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

    /// A peer is no more, or another: what was counted for it is forgotten.
    pub(crate) fn forget(&mut self, peer: TunnelId) {
        self.failed.remove(&peer);
    }

    /// No peer has this address any more.
    pub(crate) fn forget_address(&mut self, source: Source) {
        self.records.forget(source);
    }
}

/// How long each of `most` refusals counts, so that all of them last as long as a
/// half-open IKE SA.
fn each(limits: &Limits, most: usize) -> Duration {
    limits.half_open_timeout / u32::try_from(most.max(1)).unwrap_or(u32::MAX)
}

/// What comparing an offer with so many lists takes.
pub(crate) fn cost_of_selection(lists: usize) -> Duration {
    SELECTION + SELECTION_EACH * u32::try_from(lists).unwrap_or(u32::MAX)
}

/// What a key exchange takes: rounded from `benches/results`.
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
