//! What those who have not authenticated may cost, and who goes first.
//!
//! - Before an address is proved: a bounded number of handshakes, and of refusals;
//!   beyond it a cookie is asked for, for which nothing is kept or computed.
//! - Afterwards: a share of our time for each source, and one for all strangers.
//!   Time is not measured but reckoned, by what the computations are known to take.
//! - Places for half-open IKE SAs are shared out by source ([`places`]).
//! - Failed authentications are slowed down, by source and by peer.
//!
//! A source is the address of a known peer or the network of a stranger. What one
//! does has no effect on another but through what all strangers share, and none at
//! all on known peers.

pub(crate) mod allowance;
mod cookie;
pub(crate) mod meter;
mod places;
mod records;
pub(crate) mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_crypto::{Group, SecretRandom};

use self::cookie::CookieJar;
use self::places::Places;
pub(crate) use self::places::{Origin, Room};
use self::records::Records;
use vgw_sa::TunnelId;

use crate::core::event::SaId;
use crate::peer::config::Limits;
use crate::screen::meter::Meter;
use crate::screen::source::Source;

/// Handshakes under way and lately refused of one source, beyond which it is asked
/// for cookies; more where more peers share the address.
const UNPROVED: usize = 4;
/// A source may exceed its share by this much; beyond it, it is not served.
const AHEAD: Duration = Duration::from_secs(2);
/// One network of strangers gets this part of our time.
const NETWORK_PART: u32 = 20;
/// A known address gets this part of our time, for each peer there.
const PEER_PART: u32 = 10;
/// Failed authentications are counted by the minute.
const MINUTE: Duration = Duration::from_secs(60);
/// A peer may fail so many times as often as a source, wherever that comes from.
const FAILURES_OF_PEER: u32 = 3;
/// What comparing an offer with our lists takes: so much, and so much for each list.
const SELECTION: Duration = Duration::from_micros(50);
const SELECTION_EACH: Duration = Duration::from_micros(1);

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Screen {
    cookies: CookieJar,
    places: Places,
    records: Records,
    /// Refusals lately without a cookie: of strangers, and of known addresses.
    refused: [Meter; 2],
    /// What all strangers cost together.
    strangers: Meter,
    /// Failed authentications that name a peer and come from elsewhere than it.
    failed: BTreeMap<TunnelId, Meter>,
}

/// A request that may have to prove its source.
pub(crate) struct Asked<'a> {
    pub remote: SocketAddr,
    pub spi_i: u64,
    pub nonce: &'a [u8],
    pub cookie: Option<&'a [u8]>,
}

impl Screen {
    /// Half-open IKE SAs.
    pub(crate) fn half_open(&self) -> usize {
        self.places.len()
    }

    /// The half-open IKE SA that was begun so.
    pub(crate) fn begun(&self, origin: Origin) -> Option<SaId> {
        self.places.begun(origin)
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
        let refused = refused.map_or(0, |meter| meter.count(now, each(limits, threshold)));
        let own = self.records.get(source);
        let own = own.map_or(0, |own| own.refused.count(now, each(limits, UNPROVED)));
        let peers = usize::try_from(peers).unwrap_or(usize::MAX);
        self.places.of_class(source) + refused >= threshold
            || self.places.of(source) + own >= UNPROVED.max(peers)
    }

    /// An IKE_SA_INIT was refused whose sender returned no cookie.
    pub(crate) fn refused_unproved(&mut self, now: Instant, source: Source, limits: &Limits) {
        if let Some(meter) = self.refused.get_mut(usize::from(source.is_peer())) {
            meter.add(now, each(limits, limits.cookie_threshold));
        }
        let own = self.records.entry(source);
        own.refused.add(now, each(limits, UNPROVED));
    }

    /// Whether the request returns a cookie of ours.
    pub(crate) fn is_proved(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        asked: &Asked<'_>,
    ) -> bool {
        let of = (asked.remote, asked.spi_i, asked.nonce);
        asked
            .cookie
            .is_some_and(|cookie| self.cookies.check(now, random, of, cookie))
    }

    /// The cookie to ask for. None: there are no random numbers.
    pub(crate) fn cookie(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        asked: &Asked<'_>,
    ) -> Option<Vec<u8>> {
        self.cookies
            .make(now, random, asked.remote, asked.spi_i, asked.nonce)
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

    /// A half-open IKE SA takes its place.
    pub(crate) fn enter(&mut self, now: Instant, sa: SaId, origin: Origin, source: Source) {
        self.places.enter(now, sa, origin, source);
    }

    /// And leaves it.
    pub(crate) fn leave(&mut self, sa: SaId) {
        self.places.leave(sa);
    }

    /// Whether an IKE_AUTH that names this peer is looked at now. `expected` is
    /// whether it comes from where the peer is known to be: strangers elsewhere
    /// then cannot use up its attempts.
    pub(crate) fn may_authenticate(
        &self,
        now: Instant,
        source: Source,
        peer: Option<(TunnelId, bool)>,
        limits: &Limits,
    ) -> bool {
        let most = limits.failed_authentications.max(1);
        let allows = |meter: &Meter, most: u32| meter.owed(now) + MINUTE / most <= MINUTE;
        let record = self.records.get(source);
        let of_source = record.is_none_or(|record| allows(&record.failed, most));
        let of_peer = match peer {
            Some((peer, false)) => {
                let most = most.saturating_mul(FAILURES_OF_PEER);
                self.failed
                    .get(&peer)
                    .is_none_or(|meter| allows(meter, most))
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

/// A refusal counts as long as a half-open IKE SA lasts, if there are so many.
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
