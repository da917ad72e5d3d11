//! The way of a datagram to its SA.

use std::time::Instant;

use super::sa::{Next, Sa};
use super::{Endpoint, Standing};
use crate::admission::admits;
use crate::event::Event;
use crate::messages::{InitRequest, InitResponse};
use crate::nat::Arrival;
use crate::responder::{HalfOpen, Outcome, candidates, init_response_header};
use crate::wire::{ClearMessage, ExchangeType, NotifyType, decode_cleartext, encode_cleartext};

/// IKE_SA_INIT is kept until its sender authenticates, because AUTH covers it;
/// a longer one is not answered.
const MAX_INIT_LEN: usize = 4096;

impl Endpoint {
    pub(super) fn receive(&mut self, now: Instant, at: Arrival, datagram: &[u8]) {
        let message = match decode_cleartext(datagram) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(remote = %at.remote, %error, "message dropped");
                return;
            }
        };
        let header = &message.header;
        if header.exchange == ExchangeType::IKE_SA_INIT && !header.response {
            return self.receive_init(now, at, message, datagram);
        }
        // RFC 7296 section 3.1: the flag says whose the SPIs are.
        let our_spi = if header.initiator {
            header.spi_r
        } else {
            header.spi_i
        };
        if let Some(id) = self.spis.get(our_spi) {
            return self.receive_for(now, id, at, message, datagram);
        }
        let repeated = self
            .closed
            .get(&our_spi)
            .and_then(|answered| answered.again(datagram))
            .map(<[u8]>::to_vec);
        match repeated {
            Some(response) => self.env(now).send(at, response),
            None => tracing::debug!(
                remote = %at.remote, spi = format_args!("{our_spi:016x}"),
                exchange = %header.exchange, "message dropped: no such IKE SA"
            ),
        }
    }

    fn receive_for(
        &mut self,
        now: Instant,
        id: crate::event::SaId,
        at: Arrival,
        message: ClearMessage,
        datagram: &[u8],
    ) {
        let header = message.header;
        let Some(sa) = self.sas.remove(&id) else {
            return;
        };
        if !admits(sa.stage(), header.exchange, header.response) {
            tracing::debug!(
                remote = %at.remote, stage = ?sa.stage(), exchange = %header.exchange,
                response = header.response, "message dropped: it has no place in this state"
            );
            if let Some(peer) = sa.peer() {
                self.env(now).count(peer, |c| c.dropped += 1);
            }
            self.sas.insert(id, sa);
            return;
        }
        let our_spi = sa.our_spi();
        let next = match sa {
            Sa::Initiating(sa) => {
                let alone = !self.has_other(sa.peer(), id);
                let outcome = sa.handle_message(&mut self.env(now), at, (message, datagram), alone);
                Next::after_attempt(our_spi, outcome)
            }
            Sa::HalfOpen(sa) => {
                let mut env = crate::env::Env {
                    now,
                    core: &mut self.core,
                };
                match sa.handle_message(&mut env, &self.peers, at, &message, datagram) {
                    Outcome::Waiting(sa) => Next::Sa(Sa::HalfOpen(sa)),
                    Outcome::Up(sa) => Next::after(sa),
                    Outcome::Refused(answered) => Next::Gone(our_spi, answered),
                }
            }
            Sa::Established(mut sa) => {
                sa.handle_message(&mut self.env(now), at, &message, datagram);
                Next::after(sa)
            }
        };
        self.put_back(now, id, next);
    }

    /// IKE_SA_INIT request: nothing is kept and nothing computed for who does
    /// not return a cookie, once many are half-open (RFC 7296 section 2.6).
    fn receive_init(&mut self, now: Instant, at: Arrival, message: ClearMessage, datagram: &[u8]) {
        let header = message.header;
        let first = header.initiator
            && header.spi_i != 0
            && header.spi_r == 0
            && header.message_id == 0
            && datagram.len() <= MAX_INIT_LEN;
        if !first {
            tracing::debug!(remote = %at.remote, "IKE_SA_INIT dropped: not a first message");
            return;
        }
        if let Some(id) = self.by_origin.get(&(at.remote, header.spi_i)) {
            let mut env = crate::env::Env {
                now,
                core: &mut self.core,
            };
            if let Some(Sa::HalfOpen(known)) = self.sas.get(id) {
                known.answer_again(&mut env, datagram);
            }
            return;
        }
        let request = match InitRequest::parse(message) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(remote = %at.remote, %error, "IKE_SA_INIT dropped");
                return self.answer_init(
                    now,
                    at,
                    header.spi_i,
                    InitResponse::Refused(error.notify()),
                );
            }
        };
        let limits = self.core.limits;
        if self.half_open() >= limits.half_open {
            tracing::debug!(remote = %at.remote, "IKE_SA_INIT dropped: too many half-open IKE SAs");
            return;
        }
        // One host, cookies or not, must not leave others without room.
        if self.half_open() >= limits.half_open / 2
            && self.half_open_of(at.remote.ip()) >= limits.half_open / 8
        {
            tracing::debug!(remote = %at.remote, "IKE_SA_INIT dropped: too many half-open IKE SAs of this host");
            return;
        }
        let wary = self.wary_until.is_some_and(|until| now < until);
        if (wary || self.half_open() >= limits.cookie_threshold)
            && !self.returns_cookie(now, at, header.spi_i, &request)
        {
            return self.ask_for_cookie(now, at, header.spi_i, &request);
        }
        let candidates = candidates(&self.peers, at.local.ip(), at.remote.ip());
        let begun = HalfOpen::begin(
            &mut self.env(now),
            &candidates,
            at,
            header.spi_i,
            (&request.offer, datagram),
        );
        match begun {
            Ok(half_open) => {
                self.by_origin.insert(half_open.origin(), half_open.id());
                self.origins.insert(half_open.id(), half_open.origin());
                self.spis
                    .insert(half_open.our_spi(), half_open.id(), Standing::HalfOpen);
                self.put(Sa::HalfOpen(Box::new(half_open)));
            }
            Err(refused) => {
                if refused.computed {
                    // No half-open SA counts it, and the source may be forged.
                    self.wary_until = Some(now + limits.half_open_timeout);
                }
                if let Some(why) = refused.why {
                    let only = match candidates.as_slice() {
                        [(peer, _)] => Some(*peer),
                        _ => None,
                    };
                    self.env(now)
                        .refuse(only, "unauthenticated", at.remote, why);
                }
                if let Some(notify) = refused.notify {
                    self.answer_init(now, at, header.spi_i, InitResponse::Refused(notify));
                }
            }
        }
    }

    /// Whether the request returned a cookie that is ours.
    fn returns_cookie(
        &mut self,
        now: Instant,
        at: Arrival,
        spi_i: u64,
        request: &InitRequest,
    ) -> bool {
        let random = &mut self.core.random.secret;
        request.cookie.as_ref().is_some_and(|cookie| {
            let of = (at.remote, spi_i, request.offer.nonce.as_slice());
            self.cookies.check(now, random, of, cookie)
        })
    }

    fn ask_for_cookie(&mut self, now: Instant, at: Arrival, spi_i: u64, request: &InitRequest) {
        let random = &mut self.core.random.secret;
        let nonce = &request.offer.nonce;
        match self.cookies.make(now, random, at.remote, spi_i, nonce) {
            Some(cookie) => self.answer_init(now, at, spi_i, InitResponse::Cookie(cookie)),
            None => self.env(now).emit(Event::NoRandomNumbers),
        }
    }

    /// Answers IKE_SA_INIT without keeping anything.
    fn answer_init(&mut self, now: Instant, at: Arrival, spi_i: u64, response: InitResponse) {
        if let InitResponse::Refused(notify) = &response
            && notify.kind == NotifyType::INVALID_KE_PAYLOAD
        {
            tracing::debug!(remote = %at.remote, "asking for another key exchange group");
        }
        // RFC 7296 section 2.6: the responder's SPI stays zero.
        let header = init_response_header(spi_i, 0);
        let message = encode_cleartext(&header, &response.into_payloads());
        self.env(now).send(at, message);
    }
}
