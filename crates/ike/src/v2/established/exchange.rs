//! The exchanges of an IKE SA: requests of the peer are answered at once or when their key exchange
//! is computed, ours go out one at a time behind the message window.

use super::computing::HeldRequest;
use super::key_exchange::PreparedKey;
use super::reply::{AfterReply, Reply};
use super::tasks::{RequestInFlight, Task};
use super::{Established, Phase, informational, state_loss};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{DownReason, Role};
use crate::v2::channel::keys::SpiPair;
use crate::v2::channel::round_trip::RoundTrip;
use crate::v2::channel::window::Incoming;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::{CreateChildRequest, CreateChildResponse, Informational};
use crate::v2::wire::{ClearMessage, DecodeError, ExchangeType, Header, Payload, decode_payloads};

enum OpenError {
    NotAuthentic,
    Malformed(DecodeError),
}

impl Established {
    /// Handles a message for this SA.
    pub(crate) fn handle_message(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) {
        let header = &message.header;
        let spis = SpiPair {
            initiator: header.spi_i,
            responder: header.spi_r,
        };
        let from_initiator = self.role == Role::Responder;
        if spis != self.spis || header.initiator != from_initiator {
            return self.discard(env, at, DropReason::WrongSpis);
        }
        if message.sealed.is_none() {
            self.handle_unprotected(env, at, message);
        } else if header.response {
            self.handle_response(env, at, message, datagram);
        } else {
            self.handle_request(env, at, message, datagram);
        }
        self.advance(env);
    }

    fn handle_request(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) {
        match self.window.classify(message.header.message_id, datagram) {
            Incoming::Fresh => {}
            Incoming::Again(response) => {
                env.send(at, response.clone());
                env.count(self.peer, |c| c.duplicates += 1);
                return self.report_repetition(env);
            }
            Incoming::BeingAnswered => return self.discard(env, at, DropReason::BeingAnswered),
            Incoming::OutOfWindow => return self.discard(env, at, DropReason::WrongId),
        }
        let payloads = match self.open(message, datagram) {
            Ok(payloads) => payloads,
            Err(OpenError::NotAuthentic) => return self.discard(env, at, DropReason::NotAuthentic),
            Err(OpenError::Malformed(error)) => {
                return self.answer(env, at, message, datagram, Reply::syntax(&error));
            }
        };
        let reply = match message.header.exchange {
            ExchangeType::CREATE_CHILD_SA => {
                match CreateChildRequest::parse(&message.payloads, payloads) {
                    Ok(_) if self.is_undecided() => return self.postpone(env, at),
                    Ok(request) => {
                        self.note_authentic(env, at);
                        self.window.hold(datagram);
                        let header = message.header;
                        let held = HeldRequest {
                            at,
                            header,
                            request,
                        };
                        return self.answer_create_child(env, held, None);
                    }
                    Err(error) => Reply::from(&error),
                }
            }
            ExchangeType::INFORMATIONAL => {
                match Informational::parse(&message.payloads, payloads) {
                    Ok(request) if self.is_undecided() && request.names_children() => {
                        return self.postpone(env, at);
                    }
                    Ok(request) => self.answer_informational(env, request),
                    Err(error) => Reply::from(&error),
                }
            }
            _ => return self.discard(env, at, DropReason::OutOfPlace),
        };
        self.note_authentic(env, at);
        self.answer(env, at, message, datagram, reply);
    }

    fn handle_response(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) {
        let header = &message.header;
        let asked = self.in_flight.as_ref().map(RequestInFlight::exchange);
        if !self.window.awaits(header.message_id) || asked != Some(header.exchange) {
            return self.discard(env, at, DropReason::NotAwaited);
        }
        let payloads = match self.open(message, datagram) {
            Ok(payloads) => payloads,
            Err(OpenError::NotAuthentic) => return self.discard(env, at, DropReason::NotAuthentic),
            Err(OpenError::Malformed(error)) => return self.end_malformed(env, &error),
        };
        let probed = self.window.is_probe();
        let round_trip = self.window.acknowledge(env.now);
        self.note_response(env, at);
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        // To answer others, the peer may have much to compute.
        let sample = round_trip.filter(|_| header.exchange == ExchangeType::INFORMATIONAL);
        if let Some(sample) = sample {
            self.round_trip = Some(RoundTrip::with(self.round_trip, sample));
        }
        if probed || matches!(in_flight, RequestInFlight::Liveness) {
            self.report_alive(env, sample.is_some());
        }
        match header.exchange {
            ExchangeType::CREATE_CHILD_SA => {
                match CreateChildResponse::parse(&message.payloads, payloads) {
                    Ok(response) => self.conclude_create_child(env, in_flight, response),
                    Err(error) => {
                        self.in_flight = Some(in_flight);
                        self.end_malformed(env, &error);
                    }
                }
            }
            _ => match Informational::parse(&message.payloads, payloads) {
                Ok(response) => self.finish_informational(env, in_flight, &response),
                Err(error) => self.end_malformed(env, &error),
            },
        }
    }

    /// Deletes the SA, because a response cannot be answered (RFC 7296 section 2.21.4).
    pub(super) fn end_malformed(&mut self, env: &mut Env<'_>, error: &dyn std::fmt::Display) {
        self.window.acknowledge(env.now);
        let reason = DownReason::Refused(format!("malformed response: {error}"));
        self.close(env, reason, true);
    }

    /// Whether a collision decides if this SA is used.
    fn is_undecided(&self) -> bool {
        matches!(self.phase, Phase::Undecided { .. })
    }

    /// Drops a request that cannot be answered before the collision is decided. The peer repeats it.
    fn postpone(&mut self, env: &mut Env<'_>, at: AddressPair) {
        self.discard(env, at, DropReason::Undecided);
    }

    fn open(&self, message: &ClearMessage, datagram: &[u8]) -> Result<Vec<Payload>, OpenError> {
        let sealed = message.sealed.as_ref().ok_or(OpenError::NotAuthentic)?;
        let plaintext = self
            .keys
            .open
            .open(datagram, sealed)
            .map_err(|_| OpenError::NotAuthentic)?;
        decode_payloads(sealed.first, &plaintext).map_err(OpenError::Malformed)
    }

    pub(super) fn answer(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        request: &ClearMessage,
        datagram: &[u8],
        reply: Reply,
    ) {
        self.window.hold(datagram);
        self.answer_held(env, at, &request.header, reply);
    }

    /// Answers the request that the window holds.
    pub(super) fn answer_held(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        request: &Header,
        reply: Reply,
    ) {
        let header = self.header(request.exchange, request.message_id, true);
        let response = self.keys.seal.seal(&header, &reply.payloads);
        env.send(at, response.clone());
        self.window.answer_held(response);
        self.last_answer = env.now;
        if let AfterReply::End(reason) = reply.then {
            self.close(env, reason, false);
        }
    }

    fn header(&self, exchange: ExchangeType, message_id: u32, response: bool) -> Header {
        Header {
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            exchange,
            initiator: self.role == Role::Initiator,
            response,
            message_id,
        }
    }

    /// Whether a request can be sent: none is under way, and the response to the last was acted on.
    pub(super) fn may_ask(&self) -> bool {
        self.window.is_idle() && self.in_flight.is_none()
    }

    /// Starts the next task, if the window allows one.
    pub(crate) fn advance(&mut self, env: &mut Env<'_>) {
        while self.may_ask() && !self.is_closed() {
            // A probe that is wanted comes first: it is about the path.
            if !self.probe_wanted && self.probe_new_address(env) {
                return;
            }
            let Some((task, key)) = self.tasks.take_due(env.now) else {
                return;
            };
            if key.is_none()
                && let Some(group) = self.group_for(task)
            {
                self.prepare(env, task, group, 0);
                continue;
            }
            let Some((in_flight, payloads)) = self.start(env, task, key) else {
                continue;
            };
            self.request(env, in_flight, &payloads);
        }
    }

    pub(super) fn request(
        &mut self,
        env: &mut Env<'_>,
        in_flight: RequestInFlight,
        payloads: &[Payload],
    ) {
        self.request_by(env, self.way(), in_flight, payloads);
    }

    pub(super) fn request_by(
        &mut self,
        env: &mut Env<'_>,
        way: AddressPair,
        in_flight: RequestInFlight,
        payloads: &[Payload],
    ) {
        let header = self.header(in_flight.exchange(), self.window.next_request(), false);
        let message = self.keys.seal.seal(&header, payloads);
        env.send(way, message.clone());
        let limits = env.limits();
        self.window.sent(env.now, &limits, message);
        self.in_flight = Some(in_flight);
        self.begin_probe(env);
    }

    fn start(
        &mut self,
        env: &mut Env<'_>,
        task: Task,
        key: Option<PreparedKey>,
    ) -> Option<(RequestInFlight, Vec<Payload>)> {
        match task {
            Task::DeleteUnauthenticated => Some(informational::unauthenticated()),
            Task::DeleteIke => Some(informational::delete_ike()),
            Task::DeleteChild(spi_in) => Some(informational::delete_child(spi_in)),
            Task::CreateChild => self.start_create_child(env, key),
            Task::RekeyChild(spi_in) => self.start_rekey_child(env, spi_in, key),
            Task::RekeyIke => self.start_rekey_ike(env, key),
            Task::GiveToken => self.start_give_token(env),
            Task::InvalidSpi(spi) => Some(state_loss::invalid_spi(spi)),
            Task::Liveness => Some(informational::liveness()),
        }
    }
}
