//! Messages and packets for SAs that we do not have (RFC 7296 sections 1.5 and 2.21.4).
//!
//! Either end may have lost an SA that the other still has, and can say so only in clear. Such a
//! message only makes us check liveness within the SA, unless it holds the token that only the peer
//! can make (RFC 6290). All reactions here are limited by a
//! [`RateLimit`](crate::dos_protection::rate_limit::RateLimit), because anybody can cause them.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use vgw_sa::{IKE_PORT, TunnelId};

use super::Endpoint;
use super::sa::Sa;
use crate::core::drop_reason::DropReason;
use crate::core::event::{Event, Role, SaId};
use crate::core::progress::ReceivedKind;
use crate::v2::channel::crash_token;
use crate::v2::channel::keys::SpiPair;
use crate::v2::established::Established;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::wire::{
    ClearMessage, ExchangeType, Header, Notify, NotifyType, Payload, decode_cleartext,
    encode_cleartext,
};

impl Endpoint {
    /// Handles a message that names no IKE SA of ours.
    pub(super) fn receive_for_unknown_sa(
        &mut self,
        now: Instant,
        at: AddressPair,
        header: &Header,
        datagram: &[u8],
    ) {
        let (remote, exchange) = (at.remote, header.exchange);
        tracing::debug!(
            %remote, spi_i = format_args!("{:016x}", header.spi_i),
            spi_r = format_args!("{:016x}", header.spi_r), %exchange,
            "{remote}: {exchange} names no IKE SA of ours"
        );
        if self.peers.is_silenced(at.local.ip(), at.remote.ip()) {
            return self.drop_message(now, at, DropReason::TakenDown);
        }
        self.note_received(now, at, ReceivedKind::OfUnknownSa);
        // RFC 7296 section 2.21.4: a response is never answered. A late response to a retransmitted
        // request may arrive when the IKE SA is gone.
        if header.response {
            return self.drop_message(now, at, DropReason::NotAwaited);
        }
        self.drop_message(now, at, DropReason::UnknownSa);
        let Ok(message) = decode_cleartext(datagram) else {
            return;
        };
        if message.sealed.is_some() {
            self.answer_unknown_sa(now, at, header);
        } else if header.exchange == ExchangeType::INFORMATIONAL {
            self.receive_invalid_spi(now, at, &message);
        }
    }

    /// Notes an ESP packet with an SPI that we do not receive with. The port of `remote` is 0 if it
    /// came as protocol 50.
    pub fn note_unknown_spi(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        spi: u32,
    ) {
        let (ours, theirs) = (local.ip(), remote.ip());
        let source = self.peers.source(theirs);
        self.note_received(
            now,
            AddressPair { local, remote },
            ReceivedKind::EspOfUnknownSa,
        );
        if self.peers.is_silenced(ours, theirs) || !self.esp_answer_limit.take(now, source) {
            return;
        }
        let native = remote.port() == 0;
        let with_sender = self.established_at(theirs, |sa| {
            let path = sa.path();
            path.local.ip() == ours && (native || path.remote.port() == remote.port())
        });
        if let Some(sa) = with_sender {
            return self.with_established(now, sa, |sa, env| sa.report_unknown_spi(env, spi));
        }
        // RFC 7296 section 1.5: answer to the IKE port, or to the source of the packet in UDP.
        let at = if native {
            AddressPair {
                local: SocketAddr::new(ours, IKE_PORT),
                remote: SocketAddr::new(theirs, IKE_PORT),
            }
        } else {
            AddressPair { local, remote }
        };
        let header = Header {
            spi_i: 0,
            spi_r: 0,
            exchange: ExchangeType::INFORMATIONAL,
            initiator: true,
            response: false,
            message_id: 0,
        };
        let payloads = [Payload::Notify(Notify::invalid_spi(spi))];
        let message = encode_cleartext(&header, &payloads);
        self.env(now).send(at, message.into());
        self.report_unknown_sa(now, at);
    }

    /// Answers a protected request that we do not have its IKE SA, and proves it.
    fn answer_unknown_sa(&mut self, now: Instant, at: AddressPair, header: &Header) {
        let source = self.peers.source(at.remote.ip());
        // RFC 6290 section 9.2: never for an SA that exists, whichever of its SPIs is ours.
        let ours = |spi| self.spis.get(spi).is_some();
        if ours(header.spi_i) || ours(header.spi_r) || !self.ike_answer_limit.take(now, source) {
            return;
        }
        let answer = Header {
            initiator: !header.initiator,
            response: true,
            ..*header
        };
        let mut notifies = vec![Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new())];
        if let Some(key) = &self.core.token_key {
            let spis = SpiPair {
                initiator: header.spi_i,
                responder: header.spi_r,
            };
            let role = if header.initiator {
                Role::Responder
            } else {
                Role::Initiator
            };
            notifies.push(crash_token::notify(key, spis, role, at.local.ip()));
        }
        let payloads: Vec<Payload> = notifies.into_iter().map(Payload::Notify).collect();
        let message = encode_cleartext(&answer, &payloads);
        self.env(now).send(at, message.into());
        self.report_unknown_sa(now, at);
    }

    /// Reports that the peer configured at this address may have SAs that we lost.
    fn report_unknown_sa(&mut self, now: Instant, at: AddressPair) {
        if let Some(peer) = self.peers.only_at(at.local.ip(), at.remote.ip())
            && !self.has_sa(peer)
        {
            self.env(now).emit(Event::UnknownSa { peer });
        }
    }

    /// Handles INVALID_SPI in clear: the peer may have lost a CHILD SA. If the SPI is one that we
    /// send with, we check the peer's liveness.
    fn receive_invalid_spi(&mut self, now: Instant, at: AddressPair, message: &ClearMessage) {
        let named = message.payloads.iter().find_map(|payload| match payload {
            Payload::Notify(notify) => notify.named_invalid_spi(),
            _ => None,
        });
        let source = self.peers.source(at.remote.ip());
        let Some(spi_out) = named.filter(|_| self.invalid_spi_limit.take(now, source)) else {
            return;
        };
        let concerned = self.established_at(at.remote.ip(), |sa| sa.sends_with(spi_out));
        if let Some(sa) = concerned {
            self.with_established(now, sa, |sa, env| sa.suspect_state_loss(env));
        }
    }

    /// The first IKE SA in use whose peer is at this address and for which `is` holds.
    fn established_at(&self, remote: IpAddr, is: impl Fn(&Established) -> bool) -> Option<SaId> {
        self.sas.at(remote).find_map(|sa| match sa {
            Sa::Established(sa) if sa.is_up() && is(sa) => Some(sa.id()),
            _ => None,
        })
    }

    pub(super) fn has_sa(&self, peer: TunnelId) -> bool {
        let mut sas = self.sas.of_peer(peer);
        sas.any(|sa| matches!(sa, Sa::Established(sa) if sa.is_up()))
    }
}
