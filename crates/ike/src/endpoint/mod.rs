//! The negotiator as its caller sees it: one endpoint for all peers.
//!
//! After any call that takes `&mut self`, drain [`Endpoint::poll_job`],
//! [`Endpoint::poll_event`] and [`Endpoint::poll_transmit`] until all give None, then
//! arm a timer for [`Endpoint::poll_timeout`] and call [`Endpoint::handle_timeout`] when
//! it fires. The output of a job goes to [`Endpoint::handle_job`] at whatever time.
//!
//! It reads no clock and draws no randomness of its own, so a run is a function
//! of what the random sources give and of what was put in.

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
    // What those who have not authenticated may cost.
    dos_protection: DosProtection,
    closed: BTreeMap<u64, Answered>,
    closed_order: VecDeque<(Instant, u64)>,
    deadlines: Deadlines,
    // What IKE SAs ask us to do with others.
    effects: VecDeque<Effect>,
    // Answers to messages of IKE SAs and to packets of CHILD SAs that we do not have,
    // and what others say of ours.
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

    /// Other limits from now on. What is under way keeps the deadlines it has.
    pub fn set_limits(&mut self, limits: Limits) {
        self.core.limits = limits;
    }

    /// Whether it reports keys of IKE SAs from now on; at first it does not.
    pub fn set_key_log(&mut self, key_log: KeyLog) {
        self.core.key_log = key_log;
    }

    /// With this key it gives peers tokens of their IKE SAs from now on, and shows them
    /// for those that it does not have (RFC 6290). The key must be as good as a
    /// pre-shared key, be for nothing else, and outlive us. Without it none are made.
    pub fn set_token_key(&mut self, key: Option<Secret>) {
        self.core.token_key = key;
    }

    /// Adds or changes a peer. If it is unchanged, nothing happens; if it is
    /// changed, its SAs are deleted ([`DownReason::Requested`]) first.
    pub fn set_peer(&mut self, now: Instant, peer: TunnelId, config: PeerConfig) {
        if self.peers.get(peer).is_some_and(|known| **known == config) {
            return;
        }
        self.remove_peer(now, peer);
        self.core.sent_notes.insert(peer, SentNotes::since(now));
        self.peers.insert(peer, config);
    }

    /// Gives a peer other lifetimes and another dead peer detection, if no more than
    /// these differ ([`PeerConfig::negotiates_as`]) from what is in force: its SAs go on
    /// by them. Gives whether that was so.
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

    /// Changes only the texts about a peer ([`PeerConfig::differs_in_words`]), and nothing
    /// that is negotiated.
    pub fn reword_peer(&mut self, now: Instant, peer: TunnelId, config: &PeerConfig) {
        if let Some(known) = self.peers.get(peer) {
            let reworded = known.with_words_of(config);
            self.retime_peer(now, peer, &reworded);
        }
    }

    /// New IKE SAs use this encapsulation; existing ones keep theirs.
    /// Lasts until [`Self::set_peer`] changes the peer.
    pub fn set_encapsulation(&mut self, peer: TunnelId, encapsulation: Encapsulation) {
        self.peers.set_encapsulation(peer, encapsulation);
    }

    /// Deletes a peer's SAs and leaves unanswered what it asks from now on, until
    /// [`Self::set_peer`] or [`Self::remove_peer`]. `config` says who it is.
    pub fn silence_peer(&mut self, now: Instant, peer: TunnelId, config: &PeerConfig) {
        self.remove_peer(now, peer);
        self.peers.silence(peer, config);
    }

    /// Forgets a peer and deletes its SAs. Its counters stay.
    pub fn remove_peer(&mut self, now: Instant, peer: TunnelId) {
        self.delete_all(now, peer);
        self.dos_protection.forget(peer);
        self.core.sent_notes.remove(&peer);
        if let Some(address) = self.peers.remove(peer) {
            self.dos_protection.forget_address(Source::Peer(address));
        }
    }

    /// Begins an IKE SA with a peer; its end is [`Event::IkeUp`] or
    /// [`Event::InitiateFailed`] with the id returned. If an attempt is under
    /// way, it is that one. None: the peer is unknown or has no address, or there
    /// are no random numbers ([`Event::NoRandomNumbers`]).
    pub fn initiate(&mut self, now: Instant, peer: TunnelId) -> Option<SaId> {
        let remote = self.peers.get(peer)?.remote?;
        self.initiate_at(now, peer, remote)
    }

    /// As [`Self::initiate`], with a peer that is at this address, and also if an IKE SA
    /// is up with it: that goes on beside the new one.
    pub fn initiate_at(&mut self, now: Instant, peer: TunnelId, remote: IpAddr) -> Option<SaId> {
        if let Some(under_way) = self.attempts_of(peer).next() {
            return Some(under_way);
        }
        let config = self.peers.get(peer)?.clone();
        let attempt = Initiator::begin(&mut self.env(now), peer, &config, remote)?;
        let id = attempt.id();
        self.spis.insert(attempt.our_spi(), id, SaClass::Known);
        self.put(Sa::Initiating(attempt));
        Some(id)
    }

    /// Deletes an IKE SA and its CHILD SAs. That is reported at once; the peer
    /// is told, for as long as a request is repeated.
    pub fn delete(&mut self, now: Instant, sa: SaId) {
        self.close(now, sa, DownReason::Requested, true);
    }

    /// Rekeys an IKE SA as soon as the message window allows.
    pub fn rekey_ike(&mut self, now: Instant, sa: SaId) {
        self.with_established(now, sa, |sa, env| sa.rekey_ike(env));
    }

    /// Rekeys the CHILD SA with this inbound SPI as soon as the message window allows.
    pub fn rekey_child(&mut self, now: Instant, spi_in: u32) {
        if let Some(&sa) = self.core.owner.get(&spi_in) {
            self.with_established(now, sa, |sa, env| sa.rekey_child(env, spi_in));
        }
    }

    /// Asks the peer of an IKE SA for a sign of life as soon as the message window
    /// allows; the answer is [`Event::Alive`].
    pub fn check_liveness(&mut self, now: Instant, sa: SaId) {
        self.with_established(now, sa, |sa, env| sa.check_liveness(env));
    }

    /// Takes a datagram: an IKE message, without the non-ESP marker.
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

    /// A datagram was dropped, and counted, before it got here. This attributes it to the
    /// peer at that address.
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

    /// An authentic ESP packet arrived on this CHILD SA: its peer lives.
    pub fn note_traffic(&mut self, now: Instant, spi_in: u32) {
        if let Some(&sa) = self.core.owner.get(&spi_in) {
            self.with_established(now, sa, |sa, env| sa.note_traffic(env, spi_in));
        }
    }

    /// An authentic ESP packet, the newest of its CHILD SA, came from here. If
    /// the peer is behind a NAT and we are not, it is asked there, and the path
    /// follows once it answers from there (RFC 7296 section 2.23).
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

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let forget_at = self.closed_order.front().map(|(until, _)| *until);
        self.deadlines.next_at().into_iter().chain(forget_at).min()
    }

    /// Whether no IKE SA is left, not even one whose deletion waits for an answer.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.deadlines.next_at().is_none()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// What was counted for a peer since the endpoint was made.
    #[must_use]
    pub fn counters(&self, peer: TunnelId) -> PeerCounters {
        self.core.counters.get(&peer).copied().unwrap_or_default()
    }

    /// How far handshakes with a peer come. None: it is not configured, or silenced.
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

    /// The SPIs that messages may name our IKE SAs of this standing by, in ascending
    /// order. They are random, so that whoever names one has seen the SA's messages.
    pub fn spis(&self, class: SaClass) -> impl Iterator<Item = u64> {
        self.spis.iter(class)
    }

    /// Differs from an earlier one if [`Self::spis`] has changed since.
    #[must_use]
    pub const fn spis_revision(&self, class: SaClass) -> u64 {
        self.spis.revision(class)
    }

    /// What changed of [`Self::spis`] after a revision, in order: which SPI, and whether it
    /// is there since. None if that is too long ago.
    pub fn spi_changes(
        &self,
        class: SaClass,
        since: u64,
    ) -> Option<impl Iterator<Item = (u64, bool)>> {
        self.spis.changes_since(class, since)
    }

    /// Key pairs made since the endpoint was; each is most of a key exchange.
    #[must_use]
    pub fn key_pairs(&self) -> u64 {
        self.core.key_pairs
    }

    /// IKE SAs that peers began and did not authenticate yet.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.dos_protection.half_open()
    }

    /// What became of messages that came to nothing, whoever sent them.
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
