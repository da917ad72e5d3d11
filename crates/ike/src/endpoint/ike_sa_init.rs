//! IKE_SA_INIT requests (RFC 7296 sections 1.2 and 2.6).

use std::time::Instant;

use super::sa::Sa;
use super::{Endpoint, SaClass};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{DownReason, Event, SaId};
use crate::core::progress::ReceivedKind;
use crate::dos_protection::source::Source;
use crate::dos_protection::{Room, UnprovedInit, cost_of_key_exchange, cost_of_selection};
use crate::v2::channel::window::INIT_ID;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::handshake::responder::{InitRefusal, init_response_header, select};
use crate::v2::messages::{InitRequest, InitResponse};
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{Header, decode_cleartext, encode_cleartext, read_proof};

/// IKE_SA_INIT is kept until its sender authenticates, because AUTH covers it. So a longer one is
/// not answered.
const MAX_INIT_LEN: usize = 4096;

impl Endpoint {
    /// Handles an IKE_SA_INIT request: checks it, cheapest check first, and answers it, refuses it,
    /// asks for a cookie or drops it.
    pub(super) fn receive_init(
        &mut self,
        now: Instant,
        at: AddressPair,
        header: Header,
        datagram: &[u8],
    ) {
        self.note_received(now, at, ReceivedKind::InitRequest);
        let first = header.initiator
            && header.spi_i != 0
            && header.spi_r == 0
            && header.message_id == INIT_ID;
        if !first {
            return self.drop_message(now, at, DropReason::OutOfPlace);
        }
        if datagram.len() > MAX_INIT_LEN {
            return self.drop_message(now, at, DropReason::TooLong);
        }
        if self.peers.is_silenced(at.local.ip(), at.remote.ip()) {
            return self.keep_silent(now, at);
        }
        let origin = (at.remote, header.spi_i);
        if let Some(id) = self.dos_protection.half_open_of(origin) {
            let mut env = Env {
                now,
                core: &mut self.core,
            };
            let Some(Sa::HalfOpen(known)) = self.sas.get(id) else {
                return;
            };
            return match known.answer_again(&mut env, datagram) {
                Ok(()) => self.note_init_answered(now, at, header.spi_i),
                Err(reason) => self.drop_message(now, at, reason),
            };
        }
        let source = self.peers.source(at.remote.ip());
        let proved = match self.demand_cookie(now, at, (&header, datagram), source) {
            Ok(proved) => proved,
            Err(reason) => return self.drop_message(now, at, reason),
        };
        if let Err(refused) = self.begin_half_open(now, at, (&header, datagram), source) {
            if !proved && matches!(refused, InitRefusal::Answered { .. }) {
                let limits = self.core.limits;
                self.dos_protection.refused_unproved(now, source, &limits);
            }
            self.refuse_init(now, at, header.spi_i, refused);
        }
    }

    pub(super) fn refuse_init(
        &mut self,
        now: Instant,
        at: AddressPair,
        spi_i: u64,
        refused: InitRefusal,
    ) {
        match refused {
            InitRefusal::Dropped(reason) => self.drop_message(now, at, reason),
            InitRefusal::Answered {
                reason,
                notify,
                why,
            } => {
                self.drop_message(now, at, reason);
                if let Some(why) = why {
                    let only = self.peers.only_at(at.local.ip(), at.remote.ip());
                    self.env(now)
                        .refuse(only, "unauthenticated", at.remote, why);
                }
                self.answer_init(now, at, spi_i, InitResponse::Refused(notify));
            }
        }
    }

    /// Does not answer a handshake of a peer whose tunnel was taken down by hand. A refusal would
    /// make many peers give up for good; without an answer they ask again.
    fn keep_silent(&mut self, now: Instant, at: AddressPair) {
        let silenced = self.peers.silenced_at(at.local.ip(), at.remote.ip());
        let only = silenced.filter(|(_, only)| *only).map(|(peer, _)| peer);
        let why = RefusalReason::Fixed("the peer asks and gets no answer: taken down by hand");
        let mut env = self.env(now);
        env.drop_message(only, at.remote, DropReason::TakenDown);
        env.refuse(only, "unauthenticated", at.remote, why);
    }

    /// Asks for a cookie where one is needed (RFC 7296 section 2.6), and checks the source's
    /// budget. Returns whether the request has a valid cookie.
    fn demand_cookie(
        &mut self,
        now: Instant,
        at: AddressPair,
        (header, datagram): (&Header, &[u8]),
        source: Source,
    ) -> Result<bool, DropReason> {
        let limits = self.core.limits;
        let peers = self.peers.known_at(at.remote.ip());
        let needed = self
            .dos_protection
            .needs_cookie(now, source, peers, &limits);
        // Until the address is proved, we read only what proves it.
        let proof = read_proof(datagram).map_err(|_| DropReason::Malformed)?;
        let random = &mut self.core.random.secret;
        let init = UnprovedInit {
            remote: at.remote,
            spi_i: header.spi_i,
            nonce: proof.nonce,
            cookie: proof.cookie,
        };
        if needed && !self.dos_protection.is_proved(now, random, &init) {
            let Some(cookie) = self.dos_protection.cookie(now, random, &init) else {
                self.env(now).emit(Event::NoRandomNumbers);
                return Err(DropReason::NoRandomNumbers);
            };
            self.answer_init(now, at, header.spi_i, InitResponse::Cookie(cookie));
            return Err(match proof.cookie {
                Some(_) => DropReason::CookieWrong,
                None => DropReason::CookieAsked,
            });
        }
        if self.dos_protection.is_over_budget(now, source) {
            return Err(DropReason::OverBudget);
        }
        match proof.cookie.filter(|_| needed) {
            Some(cookie) if !self.dos_protection.spend(source, cookie) => {
                Err(DropReason::CookieSpent)
            }
            proved => Ok(proved.is_some()),
        }
    }

    /// Selects a suite and sets up a half-open IKE SA.
    fn begin_half_open(
        &mut self,
        now: Instant,
        at: AddressPair,
        (header, datagram): (&Header, &[u8]),
        source: Source,
    ) -> Result<(), InitRefusal> {
        let limits = self.core.limits;
        let peers = self.peers.known_at(at.remote.ip());
        let message =
            decode_cleartext(datagram).map_err(|_| InitRefusal::Dropped(DropReason::Malformed))?;
        let request = InitRequest::parse(message).map_err(|error| InitRefusal::Answered {
            reason: DropReason::BadRequest,
            notify: error.notify(),
            why: None,
        })?;
        let InitRequest { offer, .. } = request;
        let selection = select(&self.peers, at, offer);
        let cost = cost_of_selection(selection.lists);
        self.dos_protection
            .charge(now, source, peers, &limits, cost);
        let accepted = selection.result?;
        let half_open = accepted.check(at, header.spi_i)?;
        match self.dos_protection.room(now, source, &limits) {
            Room::Free => {}
            Room::ByEvicting(oldest) => {
                self.drop_half_open(now, oldest, DropReason::HalfOpenEvicted);
                self.close(now, oldest, DownReason::Superseded, false);
            }
            Room::Full => return Err(InitRefusal::Dropped(DropReason::HalfOpenFull)),
        }
        let cost = cost_of_key_exchange(half_open.group());
        self.dos_protection
            .charge(now, source, peers, &limits, cost);
        let half_open = half_open.begin(&mut self.env(now), datagram)?;
        let (id, origin) = (half_open.id(), half_open.origin());
        self.dos_protection.enter(now, id, origin, source);
        self.spis.insert(half_open.our_spi(), id, SaClass::HalfOpen);
        self.put(Sa::HalfOpen(half_open));
        Ok(())
    }

    /// Drops a half-open IKE SA. If its peer has another IKE SA up, the drop is only counted: both
    /// ends began at once, or the peer began anew.
    pub(super) fn drop_half_open(&mut self, now: Instant, id: SaId, reason: DropReason) {
        if let Some(Sa::HalfOpen(sa)) = self.sas.get(id) {
            let at = sa.arrival();
            let peer = self.peers.only_at(at.local.ip(), at.remote.ip());
            if peer.is_some_and(|peer| self.has_sa(peer)) {
                return self.core.drops.count(reason);
            }
            self.env(now).drop_message(peer, at.remote, reason);
        }
    }

    /// Answers IKE_SA_INIT without keeping any state.
    fn answer_init(&mut self, now: Instant, at: AddressPair, spi_i: u64, response: InitResponse) {
        // RFC 7296 section 2.6: the responder's SPI stays zero.
        let header = init_response_header(spi_i, 0);
        let message = encode_cleartext(&header, &response.into_payloads());
        self.env(now).send(at, message.into());
    }

    /// Notes that an IKE_SA_INIT request was answered, for the first time or again.
    pub(super) fn note_init_answered(&mut self, now: Instant, at: AddressPair, spi_i: u64) {
        if let Some(heard) = self.peers.received_notes(at.local.ip(), at.remote.ip()) {
            heard.answered(now, at.remote, spi_i);
        }
    }
}
