//! The negotiator as its caller sees it: one endpoint for all peers.
//!
//! After any call that takes `&mut self`, drain [`Endpoint::poll_job`], [`Endpoint::poll_event`]
//! and [`Endpoint::poll_transmit`] until all return None. Then arm a timer for
//! [`Endpoint::poll_timeout`] and call [`Endpoint::handle_timeout`] when it fires. Pass the output
//! of a job to [`Endpoint::handle_job`] at any time.
//!
//! The endpoint reads no clock and draws no randomness of its own, so a run depends only on the
//! random sources and the input.

mod ike_sa_init;
mod ike_spis;
mod jobs;
mod lifecycle;
mod receive;
mod sa;
mod same_peer;
mod table;
#[cfg(test)]
mod tests;
mod unknown_sa;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use vgw_crypto::{RandomSources, Secret};
use vgw_sa::TunnelId;

pub use self::ike_spis::SaClass;
pub use crate::v2::established::{BadState, IkeSaState};

use self::ike_spis::Spis;
use self::sa::Sa;
use self::table::Table;
use crate::core::deadlines::Deadlines;
use crate::core::drop_reason::{DropCounts, DropReason};
use crate::core::env::{Core, Env};
use crate::core::esp_spis::SpiPool;
use crate::core::event::{DownReason, Event, PeerCounters, SaId, Transmit};
use crate::core::job::Jobs;
use crate::core::progress::{Progress, SentNotes};
use crate::dos_protection::DosProtection;
use crate::dos_protection::rate_limit::RateLimit;
use crate::dos_protection::source::Source;
use crate::peer::config::{Encapsulation, KeyLog, Limits, PeerConfig};
use crate::peer::peers::Peers;
use crate::v2::channel::window::Answered;
use crate::v2::established::Effect;
use crate::v2::handshake::initiator::Initiator;
use crate::v2::handshake::nat::AddressPair;

/// Negotiates IKE and CHILD SAs with every configured peer.
pub struct Endpoint {
    core: Core,
    peers: Peers,
    sas: Table,
    spis: Spis,
    // Limits what unauthenticated senders may cost.
    dos_protection: DosProtection,
    closed: BTreeMap<u64, Answered>,
    closed_order: VecDeque<(Instant, u64)>,
    deadlines: Deadlines,
    // What IKE SAs ask the endpoint to do with other IKE SAs.
    effects: VecDeque<Effect>,
    // Limits answers to messages and packets of IKE and CHILD SAs that we do not have, and
    // reactions to unauthenticated claims about our SAs.
    ike_answer_limit: RateLimit,
    esp_answer_limit: RateLimit,
    invalid_spi_limit: RateLimit,
}

impl Endpoint {
    /// An endpoint without peers.
    #[must_use]
    pub fn new(limits: Limits, random: RandomSources) -> Self {
        Self {
            core: Core {
                limits,
                random,
                key_log: KeyLog::Off,
                token_key: None,
                spis: SpiPool::default(),
                owner: BTreeMap::new(),
                transmits: VecDeque::new(),
                events: VecDeque::new(),
                counters: BTreeMap::new(),
                sent_notes: BTreeMap::new(),
                last_sa: 0,
                key_pairs: 0,
                jobs: Jobs::default(),
                drops: DropCounts::default(),
            },
            peers: Peers::default(),
            sas: Table::default(),
            spis: Spis::default(),
            dos_protection: DosProtection::default(),
            closed: BTreeMap::new(),
            closed_order: VecDeque::new(),
            deadlines: Deadlines::default(),
            effects: VecDeque::new(),
            ike_answer_limit: RateLimit::default(),
            esp_answer_limit: RateLimit::default(),
            invalid_spi_limit: RateLimit::default(),
        }
    }

    /// Sets other limits. Deadlines that are already set stay.
    pub fn set_limits(&mut self, limits: Limits) {
        self.core.limits = limits;
    }

    /// Sets whether keys of IKE SAs are reported; initially they are not.
    pub fn set_key_log(&mut self, key_log: KeyLog) {
        self.core.key_log = key_log;
    }

    /// Sets the key for tokens (RFC 6290): peers get tokens of their IKE SAs, and are shown them
    /// for IKE SAs that we do not have. The key must be as good as a pre-shared key, have no other
    /// use, and outlive the process. Without a key there are no tokens.
    pub fn set_token_key(&mut self, key: Option<Secret>) {
        self.core.token_key = key;
    }

    /// Adds or changes a peer. An unchanged peer is left alone; the SAs of a changed peer are
    /// deleted first ([`DownReason::Requested`]).
    pub fn set_peer(&mut self, now: Instant, peer: TunnelId, config: PeerConfig) {
        if self.peers.get(peer).is_some_and(|known| **known == config) {
            return;
        }
        self.remove_peer(now, peer);
        self.core.sent_notes.insert(peer, SentNotes::since(now));
        self.peers.insert(peer, config);
    }

    /// Changes a peer's lifetimes and dead peer detection, if nothing else differs from the
    /// configuration in force ([`PeerConfig::negotiates_as`]). Its SAs stay and follow the new
    /// values. Returns whether that was possible.
    pub fn retime_peer(&mut self, now: Instant, peer: TunnelId, config: &PeerConfig) -> bool {
        let fits = |known: &Arc<PeerConfig>| known.negotiates_as(config);
        if !self.peers.get(peer).is_some_and(fits) {
            return false;
        }
        let Some(config) = self.peers.retime(peer, config.clone()).cloned() else {
            return false;
        };
        let of_peer: Vec<_> = self.sas_of(peer).collect();
        for id in of_peer {
            match self.sas.remove(id) {
                Some(Sa::Initiating(mut attempt)) => {
                    attempt.retime(&config);
                    self.sas.insert(Sa::Initiating(attempt));
                }
                Some(other) => self.sas.insert(other),
                None => {}
            }
            self.with_established(now, id, |sa, env| sa.retime(env, &config));
        }
        true
    }

    /// Changes only the texts about a peer ([`PeerConfig::differs_in_words`]).
    pub fn reword_peer(&mut self, now: Instant, peer: TunnelId, config: &PeerConfig) {
        if let Some(known) = self.peers.get(peer) {
            let reworded = known.with_words_of(config);
            self.retime_peer(now, peer, &reworded);
        }
    }

    /// Sets the encapsulation of new IKE SAs; existing ones keep theirs. Lasts until
    /// [`Self::set_peer`] changes the peer.
    pub fn set_encapsulation(&mut self, peer: TunnelId, encapsulation: Encapsulation) {
        self.peers.set_encapsulation(peer, encapsulation);
    }

    /// Deletes a peer's SAs and stops answering it, until [`Self::set_peer`] or
    /// [`Self::remove_peer`]. `config` identifies the peer.
    pub fn silence_peer(&mut self, now: Instant, peer: TunnelId, config: &PeerConfig) {
        self.remove_peer(now, peer);
        self.peers.silence(peer, config);
    }

    /// Removes a peer and deletes its SAs. Its counters stay.
    pub fn remove_peer(&mut self, now: Instant, peer: TunnelId) {
        self.delete_all(now, peer);
        self.dos_protection.forget(peer);
        self.core.sent_notes.remove(&peer);
        if let Some(address) = self.peers.remove(peer) {
            self.dos_protection.forget_address(Source::Peer(address));
        }
    }

    /// Begins an IKE SA with a peer; [`Event::IkeUp`] or [`Event::InitiateFailed`] with the
    /// returned id reports the result. If an attempt is under way, its id is returned. None: the
    /// peer is unknown or has no address, or there are no random numbers
    /// ([`Event::NoRandomNumbers`]).
    pub fn initiate(&mut self, now: Instant, peer: TunnelId) -> Option<SaId> {
        let remote = self.peers.get(peer)?.remote?;
        self.initiate_at(now, peer, remote)
    }

    /// Like [`Self::initiate`], with a peer at this address, and even if an IKE SA with it is up:
    /// the old one stays beside the new one.
    pub fn initiate_at(&mut self, now: Instant, peer: TunnelId, remote: IpAddr) -> Option<SaId> {
        if let Some(under_way) = self.attempts_of(peer).next() {
            return Some(under_way);
        }
        let config = self.peers.get(peer)?.clone();
        let attempt = Initiator::begin(&mut self.env(now), peer, &config, remote)?;
        let id = attempt.id();
        self.spis.insert(attempt.our_spi(), id, SaClass::Known);
        self.put(Sa::Initiating(attempt));
        self.settle(now);
        Some(id)
    }

    /// Deletes an IKE SA and its CHILD SAs. The end is reported at once; the DELETE to the peer is
    /// repeated like any request.
    pub fn delete(&mut self, now: Instant, sa: SaId) {
        self.close(now, sa, DownReason::Requested, true);
    }

    /// Rekeys an IKE SA as soon as the message window allows it.
    pub fn rekey_ike(&mut self, now: Instant, sa: SaId) {
        self.with_established(now, sa, |sa, env| sa.rekey_ike(env));
    }

    /// Rekeys the CHILD SA with this inbound SPI as soon as the message window allows it.
    pub fn rekey_child(&mut self, now: Instant, spi_in: u32) {
        if let Some(&sa) = self.core.owner.get(&spi_in) {
            self.with_established(now, sa, |sa, env| sa.rekey_child(env, spi_in));
        }
    }

    /// Checks the liveness of an IKE SA's peer as soon as the message window allows it;
    /// [`Event::Alive`] reports the answer.
    pub fn check_liveness(&mut self, now: Instant, sa: SaId) {
        self.with_established(now, sa, |sa, env| sa.check_liveness(env));
    }

    /// Finds out within a fraction of a second whether an IKE SA's peer answers: a request is sent
    /// three times at short pauses, the one under way if there is one. [`Event::Alive`] reports
    /// the answer, [`Event::Unanswered`] that none came in time. Nothing else follows.
    pub fn probe(&mut self, now: Instant, sa: SaId) {
        self.with_established(now, sa, |sa, env| sa.probe(env));
    }

    /// Handles a datagram: an IKE message, without the non-ESP marker.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) {
        self.receive(now, AddressPair { local, remote }, message);
        self.settle(now);
    }

    /// Attributes a datagram to the peer at its address; the caller has dropped and counted it.
    pub fn note_unread(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        reason: DropReason,
    ) {
        let peer = self.peers.only_at(local.ip(), remote.ip());
        self.note_received(
            now,
            AddressPair { local, remote },
            receive::received_kind(reason),
        );
        self.env(now).report_drop(peer, remote, reason);
    }

    /// Notes that an authentic ESP packet arrived on this CHILD SA: the peer lives.
    pub fn note_traffic(&mut self, now: Instant, spi_in: u32) {
        if let Some(&sa) = self.core.owner.get(&spi_in) {
            self.with_established(now, sa, |sa, env| sa.note_traffic(env, spi_in));
        }
    }

    /// Notes where an authentic ESP packet, the newest of its CHILD SA, came from. If the peer is
    /// behind a NAT and we are not, we send a request to the new address, and the path follows once
    /// the peer answers from there (RFC 7296 section 2.23).
    pub fn note_path(&mut self, now: Instant, spi_in: u32, remote: SocketAddr) {
        if let Some(&sa) = self.core.owner.get(&spi_in) {
            self.with_established(now, sa, |sa, env| sa.note_path(env, remote));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for id in self.deadlines.due(now) {
            self.drop_half_open(now, id, DropReason::HalfOpenExpired);
            let Some(sa) = self.sas.remove(id) else {
                self.deadlines.set(id, None);
                continue;
            };
            let next = sa.handle_timeout(&mut self.env(now));
            self.put_back(now, id, next);
        }
        while self
            .closed_order
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            self.forget_oldest_closed();
        }
        self.settle(now);
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let forget_at = self.closed_order.front().map(|(until, _)| *until);
        self.deadlines.next_at().into_iter().chain(forget_at).min()
    }

    /// Whether no IKE SA is left, including those whose deletion awaits an answer.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.deadlines.next_at().is_none()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// A peer's counters since the endpoint was made.
    #[must_use]
    pub fn counters(&self, peer: TunnelId) -> PeerCounters {
        self.core.counters.get(&peer).copied().unwrap_or_default()
    }

    /// How far handshakes with a peer come. None if the peer is not configured or is silenced.
    #[must_use]
    pub fn progress(&self, peer: TunnelId) -> Option<Progress> {
        let asked = self.core.sent_notes.get(&peer)?;
        let heard = self.peers.received_notes_of(peer);
        Some(Progress {
            noted_since: asked.noted_since,
            last: heard.and_then(|heard| heard.last),
            begun: heard.and_then(|heard| heard.begun),
            init_unanswered: asked.init,
            auth_unanswered: asked.auth,
            auth_floated: asked.auth_floated,
        })
    }

    /// The SPIs by which messages may name our IKE SAs of this class, in ascending order. They are
    /// random, so a sender that names one has seen the SA's messages.
    pub fn spis(&self, class: SaClass) -> impl Iterator<Item = u64> {
        self.spis.iter(class)
    }

    /// A number that changes whenever [`Self::spis`] does.
    #[must_use]
    pub const fn spis_revision(&self, class: SaClass) -> u64 {
        self.spis.revision(class)
    }

    /// The changes of [`Self::spis`] after a revision, in order: the SPI, and whether it was added
    /// (true) or removed. None if too many changes were made since.
    pub fn spi_changes(
        &self,
        class: SaClass,
        since: u64,
    ) -> Option<impl Iterator<Item = (u64, bool)>> {
        self.spis.changes_since(class, since)
    }

    /// Key pairs made since the endpoint was. Making one is most of the cost of a key exchange.
    #[must_use]
    pub fn key_pairs(&self) -> u64 {
        self.core.key_pairs
    }

    /// The number of IKE SAs that peers began without having authenticated yet.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.dos_protection.half_open()
    }

    /// How many messages were dropped from any sender, by reason.
    #[must_use]
    pub fn drops(&self) -> DropCounts {
        self.core.drops
    }

    fn env(&mut self, now: Instant) -> Env<'_> {
        Env {
            now,
            core: &mut self.core,
        }
    }

    fn attempts_of(&self, peer: TunnelId) -> impl Iterator<Item = SaId> {
        self.sas.of_peer(peer).filter_map(|sa| match sa {
            Sa::Initiating(attempt) => Some(attempt.id()),
            Sa::HalfOpen(_) | Sa::Established(_) => None,
        })
    }

    fn sas_of(&self, peer: TunnelId) -> impl Iterator<Item = SaId> {
        self.sas.of_peer(peer).map(Sa::id)
    }

    fn delete_all(&mut self, now: Instant, peer: TunnelId) {
        let of_peer: Vec<_> = self.sas_of(peer).collect();
        for id in of_peer {
            self.close(now, id, DownReason::Requested, true);
        }
    }
}
