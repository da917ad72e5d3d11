//! How a datagram finds its SA.

use std::time::Instant;

use super::Endpoint;
use super::sa::{AfterHandling, Sa};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::SaId;
use crate::core::progress::ReceivedKind;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::handshake::responder::Outcome;
use crate::v2::messages::admission::admits;
use crate::v2::wire::{
    ClearMessage, DecodeError, ExchangeType, decode_cleartext, decode_header, peek_header,
};

impl Endpoint {
    pub(super) fn receive(&mut self, now: Instant, at: AddressPair, datagram: &[u8]) {
        let header = match decode_header(datagram) {
            Ok(header) => header,
            Err(error) => {
                let reason = unreadable(at, datagram, &error);
                self.note_received(now, at, received_kind(reason));
                return self.drop_message(now, at, reason);
            }
        };
        if header.exchange == ExchangeType::IKE_SA_INIT && !header.response {
            return self.receive_init(now, at, header, datagram);
        }
        // RFC 7296 section 3.1: the Initiator flag tells which SPI is ours.
        let our_spi = if header.initiator {
            header.spi_r
        } else {
            header.spi_i
        };
        if let Some(id) = self.spis.get(our_spi) {
            let reason = match decode_cleartext(datagram) {
                Ok(message) if message.is_fragment() => DropReason::Fragment,
                Ok(message) => return self.receive_for(now, id, at, message, datagram),
                Err(error) => unreadable(at, datagram, &error),
            };
            return self.drop_message_for(now, id, at, reason);
        }
        let repeated = self
            .closed
            .get(&our_spi)
            .and_then(|answered| answered.again(datagram))
            .cloned();
        match repeated {
            Some(response) => self.env(now).send(at, response),
            None => self.receive_for_unknown_sa(now, at, &header, datagram),
        }
    }

    /// Notes what was received for the possible peers.
    pub(super) fn note_received(&mut self, now: Instant, at: AddressPair, what: ReceivedKind) {
        if let Some(heard) = self.peers.received_notes(at.local.ip(), at.remote.ip()) {
            heard.note(now, what, at.remote);
        }
    }

    /// Drops a datagram that names no IKE SA of ours. If only one peer is configured at its
    /// address, the drop counts for that peer.
    pub(super) fn drop_message(&mut self, now: Instant, at: AddressPair, reason: DropReason) {
        let peer = self.peers.only_at(at.local.ip(), at.remote.ip());
        self.env(now).drop_message(peer, at.remote, reason);
    }

    /// Drops a datagram that names this IKE SA.
    fn drop_message_for(&mut self, now: Instant, id: SaId, at: AddressPair, reason: DropReason) {
        match self.sas.get(id).and_then(Sa::peer) {
            Some(peer) => self.env(now).drop_message_of(peer, at.remote, reason),
            None => self.drop_message(now, at, reason),
        }
    }

    fn receive_for(
        &mut self,
        now: Instant,
        id: SaId,
        at: AddressPair,
        message: ClearMessage,
        datagram: &[u8],
    ) {
        let header = message.header;
        let Some(sa) = self.sas.remove(id) else {
            return;
        };
        if !admits(sa.stage(), header.exchange, header.response) {
            let (remote, exchange, stage) = (at.remote, header.exchange, sa.stage());
            tracing::debug!(
                %remote, ?stage, %exchange, response = header.response,
                "{remote}: {exchange} has no place in this state, {stage:?}"
            );
            self.sas.insert(sa);
            // A retransmitted request may be answered twice.
            let reason = match header.response {
                true => DropReason::NotAwaited,
                false => DropReason::OutOfPlace,
            };
            return self.drop_message_for(now, id, at, reason);
        }
        if let Some(awaited) = sa.stage().awaited() {
            self.note_received(now, at, awaited);
        }
        let our_spi = sa.our_spi();
        let next = match sa {
            Sa::Initiating(sa) => {
                let outcome = sa.handle_message(&mut self.env(now), at, (message, datagram));
                AfterHandling::initiating(our_spi, outcome)
            }
            Sa::HalfOpen(sa) => {
                let mut env = Env {
                    now,
                    core: &mut self.core,
                };
                let known = (&self.peers, &mut self.dos_protection);
                match sa.handle_message(&mut env, known, at, &message, datagram) {
                    Outcome::Waiting(sa) => AfterHandling::Sa(Sa::HalfOpen(sa)),
                    Outcome::Up(sa) => AfterHandling::established(sa),
                    Outcome::Refused(answered) => AfterHandling::gone(our_spi, answered),
                }
            }
            Sa::Established(mut sa) => {
                sa.handle_message(&mut self.env(now), at, &message, datagram);
                AfterHandling::established(sa)
            }
        };
        self.put_back(now, id, next);
    }
}

/// Logs why a datagram cannot be read, and returns the reason for its drop.
fn unreadable(at: AddressPair, datagram: &[u8], error: &DecodeError) -> DropReason {
    let remote = at.remote;
    tracing::debug!(%remote, %error, "{remote}: a message cannot be read: {error}");
    peek_header(datagram).err().unwrap_or(DropReason::Malformed)
}

/// The kind of a message that cannot be read.
pub(super) fn received_kind(unreadable: DropReason) -> ReceivedKind {
    match unreadable {
        DropReason::IkeV1 => ReceivedKind::IkeV1,
        _ => ReceivedKind::NotIke,
    }
}
