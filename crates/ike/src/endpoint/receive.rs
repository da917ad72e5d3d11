//! The way of a datagram to its SA.

use std::time::Instant;

use super::Endpoint;
use super::sa::{AfterHandling, Sa};
use crate::core::denial::Denial;
use crate::core::env::Env;
use crate::core::event::SaId;
use crate::core::progress::Came;
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
                let denial = unreadable(at, datagram, &error);
                self.hear(now, at, came(denial));
                return self.deny(now, at, denial);
            }
        };
        if header.exchange == ExchangeType::IKE_SA_INIT && !header.response {
            return self.receive_init(now, at, header, datagram);
        }
        // RFC 7296 section 3.1: the flag says whose the SPIs are.
        let our_spi = if header.initiator {
            header.spi_r
        } else {
            header.spi_i
        };
        if let Some(id) = self.spis.get(our_spi) {
            let denial = match decode_cleartext(datagram) {
                Ok(message) if message.is_fragment() => Denial::Fragment,
                Ok(message) => return self.receive_for(now, id, at, message, datagram),
                Err(error) => unreadable(at, datagram, &error),
            };
            return self.deny_for(now, id, at, denial);
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

    /// Notes what came, for the peers that may be meant.
    pub(super) fn hear(&mut self, now: Instant, at: AddressPair, what: Came) {
        if let Some(heard) = self.peers.heard(at.local.ip(), at.remote.ip()) {
            heard.note(now, what, at.remote);
        }
    }

    /// A datagram that names no IKE SA of ours was dropped. If only one peer is configured
    /// at its address, it counts for that peer.
    pub(super) fn deny(&mut self, now: Instant, at: AddressPair, denial: Denial) {
        let peer = self.peers.only_at(at.local.ip(), at.remote.ip());
        self.env(now).deny(peer, at.remote, denial);
    }

    /// The same of one that names this IKE SA.
    fn deny_for(&mut self, now: Instant, id: SaId, at: AddressPair, denial: Denial) {
        match self.sas.get(id).and_then(Sa::peer) {
            Some(peer) => self.env(now).deny_peer(peer, at.remote, denial),
            None => self.deny(now, at, denial),
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
            // What was asked twice is answered twice.
            let denial = match header.response {
                true => Denial::NotAwaited,
                false => Denial::OutOfPlace,
            };
            return self.deny_for(now, id, at, denial);
        }
        if let Some(awaited) = sa.stage().awaited() {
            self.hear(now, at, awaited);
        }
        let our_spi = sa.our_spi();
        let next = match sa {
            Sa::Initiating(sa) => {
                let initial_contact = !self.has_other(sa.peer(), id);
                let outcome =
                    sa.handle_message(&mut self.env(now), at, (message, datagram), initial_contact);
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

/// What is wrong with a datagram that cannot be read.
fn unreadable(at: AddressPair, datagram: &[u8], error: &DecodeError) -> Denial {
    let remote = at.remote;
    tracing::debug!(%remote, %error, "{remote}: a message cannot be read: {error}");
    peek_header(datagram).err().unwrap_or(Denial::Malformed)
}

/// What it is that cannot be read.
pub(super) fn came(unreadable: Denial) -> Came {
    match unreadable {
        Denial::IkeV1 => Came::IkeV1,
        _ => Came::NotIke,
    }
}
