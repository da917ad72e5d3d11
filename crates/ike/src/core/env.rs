//! What every state machine may use: time, randomness, SPIs and the queues of its output.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use vgw_crypto::{Group, PrivateKey, RandomError, RandomSources, Secret};
use vgw_sa::TunnelId;

use crate::core::drop_reason::{DropCounts, DropReason};
use crate::core::esp_spis::SpiPool;
use crate::core::event::{Content, Event, PeerCounters, Role, SaId, Transmit};
use crate::core::job::{JobId, Jobs, Step};
use crate::core::progress::SentNotes;
use crate::dos_protection::cost_of_key_exchange;
use crate::peer::config::{KeyLog, Lifetime, Limits};
use crate::v2::channel::crash_token;
use crate::v2::channel::datagrams::Datagrams;
use crate::v2::channel::keys::SpiPair;
use crate::v2::channel::sealed::IV_KEY_LEN;
use crate::v2::handshake::auth_failure::WrongKeyOwner;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::Notify;

/// The length of our nonces: at least half the key size of every PRF (RFC 7296 section 2.10).
const NONCE_LEN: usize = 32;

/// What outlives a single call, apart from the SAs.
pub(crate) struct Core {
    pub limits: Limits,
    pub random: RandomSources,
    pub key_log: KeyLog,
    /// The key that our tokens are made with (RFC 6290).
    pub token_key: Option<Secret>,
    pub spis: SpiPool,
    /// The IKE SA of each CHILD SA, by inbound SPI.
    pub owner: BTreeMap<u32, SaId>,
    pub transmits: VecDeque<Transmit>,
    pub events: VecDeque<Event>,
    pub counters: BTreeMap<TunnelId, PeerCounters>,
    /// The requests to each peer that were not answered.
    pub sent_notes: BTreeMap<TunnelId, SentNotes>,
    pub last_sa: u64,
    /// How many key pairs were made. Making one is most of the cost of a key exchange.
    pub key_pairs: u64,
    pub jobs: Jobs,
    pub drops: DropCounts,
}

/// What one call may use.
pub(crate) struct Env<'a> {
    pub now: Instant,
    pub core: &'a mut Core,
}

impl Env<'_> {
    /// The limits.
    pub fn limits(&self) -> Limits {
        self.core.limits
    }

    /// Whether keys are reported.
    pub fn key_log(&self) -> KeyLog {
        self.core.key_log
    }

    /// A fresh private key. If there are no random numbers, this and the functions below report it
    /// and return None: what needs them is then not begun or not answered.
    pub fn private_key(&mut self, group: Group) -> Option<PrivateKey> {
        self.core.key_pairs += 1;
        let drawn = PrivateKey::generate(group, &mut self.core.random.secret);
        self.drawn(drawn)
    }

    /// Has a step computed for an IKE SA, which waits for its output
    /// ([`crate::endpoint::Endpoint::handle_job`]). If the step is short, the output comes before the
    /// call to the endpoint returns.
    pub fn compute(&mut self, sa: SaId, step: Step) -> JobId {
        let is_short = cost_of_key_exchange(step.group()) < self.core.limits.job_from;
        self.core.jobs.begin(sa, step, is_short)
    }

    /// The key that makes the IVs of one IKE SA's messages.
    pub fn iv_key(&mut self) -> Option<Secret> {
        let drawn = self.core.random.secret.secret(IV_KEY_LEN);
        self.drawn(drawn)
    }

    /// A fresh nonce.
    pub fn nonce(&mut self) -> Option<Vec<u8>> {
        let mut nonce = vec![0; NONCE_LEN];
        let drawn = self.core.random.public.fill(&mut nonce);
        self.drawn(drawn).map(|()| nonce)
    }

    /// An SPI for an IKE SA: random and not zero (RFC 7296 section 3.1).
    pub fn ike_spi(&mut self) -> Option<u64> {
        let drawn = self.core.random.public.next_u64();
        self.drawn(drawn).map(|spi| spi.max(1))
    }

    fn drawn<T>(&mut self, drawn: Result<T, RandomError>) -> Option<T> {
        if drawn.is_err() {
            self.emit(Event::NoRandomNumbers);
        }
        drawn.ok()
    }

    /// A number that only varies the time of something.
    fn any_number(&mut self) -> u32 {
        self.core.random.public.next_u32().unwrap_or_default()
    }

    /// An id for a new IKE SA.
    pub fn sa_id(&mut self) -> SaId {
        self.core.last_sa += 1;
        SaId(self.core.last_sa)
    }

    /// An inbound SPI for ESP.
    pub fn allocate_spi(&mut self) -> Option<u32> {
        self.core.spis.allocate(&mut self.core.random.public)
    }

    /// Returns an inbound SPI that no event has named, or whose end was reported.
    pub fn release_spi(&mut self, spi: u32) {
        self.core.spis.release(spi);
    }

    /// A random duration between `least` and twice `least`.
    pub fn jitter(&mut self, least: Duration) -> Duration {
        least + least * (self.any_number() % 1001) / 1000
    }

    /// When to rekey and when to end an SA that begins now.
    pub fn schedule(&mut self, lifetime: Lifetime) -> Schedule {
        self.schedule_from(self.now, lifetime)
    }

    /// When to rekey and end an SA that began earlier and now gets another lifetime. An SA that is
    /// too old for it is rekeyed at a random time within half the margin, so that thousands of SAs
    /// do not rekey at once.
    pub fn reschedule(&mut self, began: Instant, lifetime: Lifetime) -> Schedule {
        let by_age = self.schedule_from(began, lifetime);
        if by_age.rekey_at >= self.now {
            return by_age;
        }
        Schedule {
            rekey_at: self.now + lifetime.margin / 2 * (self.any_number() % 1001) / 1000,
            expire_at: by_age.expire_at.max(self.now + lifetime.margin),
        }
    }

    fn schedule_from(&mut self, began: Instant, lifetime: Lifetime) -> Schedule {
        let fuzz = self.any_number() % (lifetime.fuzz_percent.min(1000) + 1);
        let margin = lifetime.margin * (100 + fuzz) / 100;
        // Never so early that rekeys follow one another without pause.
        let rekey = lifetime.time.saturating_sub(margin).max(lifetime.time / 4);
        Schedule {
            rekey_at: began + rekey,
            expire_at: began + lifetime.time,
        }
    }

    /// Our token for an IKE SA, if we make any (RFC 6290 section 4.2).
    pub fn token(&self, spis: SpiPair, role: Role, local: IpAddr) -> Option<Notify> {
        let key = self.core.token_key.as_ref()?;
        Some(crash_token::notify(key, spis, role, local))
    }

    /// Reports an event.
    pub fn emit(&mut self, event: Event) {
        self.core.events.push_back(event);
    }

    /// Sends an IKE message.
    pub fn send(&mut self, way: AddressPair, message: Datagrams) {
        for datagram in message.0 {
            self.transmit(way, Content::Ike(datagram));
        }
    }

    /// Sends a datagram.
    pub fn transmit(&mut self, way: AddressPair, content: Content) {
        self.core.transmits.push_back(Transmit {
            local: way.local,
            remote: way.remote,
            content,
        });
    }

    /// Counts a dropped message, and reports it unless something else does. `peer` is the peer that
    /// the drop is counted for, if there is one.
    pub fn drop_message(&mut self, peer: Option<TunnelId>, remote: SocketAddr, reason: DropReason) {
        let why = reason.name();
        tracing::debug!(%remote, why, "{remote}: message dropped: {why}");
        self.core.drops.count(reason);
        self.report_drop(peer, remote, reason);
    }

    /// Like [`Self::drop_message`], for a message that belongs to a peer's IKE SA.
    pub fn drop_message_of(&mut self, peer: TunnelId, remote: SocketAddr, reason: DropReason) {
        self.count(peer, |counters| counters.dropped.count(reason));
        self.drop_message(Some(peer), remote, reason);
    }

    /// Reports a dropped message that is counted elsewhere.
    pub fn report_drop(&mut self, peer: Option<TunnelId>, remote: SocketAddr, reason: DropReason) {
        if reason.sentence().is_some() {
            self.emit(Event::Dropped {
                peer,
                remote,
                reason,
            });
        }
    }

    /// Changes a peer's counters.
    pub fn count(&mut self, peer: TunnelId, change: impl FnOnce(&mut PeerCounters)) {
        change(self.core.counters.entry(peer).or_default());
    }

    /// Notes a request to a peer, or its answer.
    pub fn note_sent(&mut self, peer: TunnelId, note: impl FnOnce(&mut SentNotes, Instant)) {
        if let Some(asked) = self.core.sent_notes.get_mut(&peer) {
            note(asked, self.now);
        }
    }

    /// Whose key the peer used instead of its own in its last attempt to authenticate.
    pub fn wrong_key_owner(&self, peer: TunnelId) -> Option<&WrongKeyOwner> {
        self.core.sent_notes.get(&peer)?.wrong_key.as_ref()
    }

    /// Reports that something was refused, and why.
    pub fn refuse(
        &mut self,
        peer: Option<TunnelId>,
        name: &str,
        remote: SocketAddr,
        why: impl Into<RefusalReason>,
    ) {
        let why = why.into();
        let refused = why.verb();
        tracing::debug!(peer = name, %remote, "{name}: {refused} {remote}: {why}");
        self.emit(Event::Refused { peer, remote, why });
    }
}

/// When an SA is to be replaced and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub rekey_at: Instant,
    pub expire_at: Instant,
}
