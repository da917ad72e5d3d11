//! Waiting for our part of the key exchange, before we answer IKE_SA_INIT.

use vgw_crypto::{KeyExchangeError, Secret};

use super::HalfOpen;
use super::answer_init::{CheckedOffer, InitRefusal, SelectedOffer, init_response_header};
use super::await_auth::AwaitAuth;
use super::begun::Begun;
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::Role;
use crate::core::job::{JobId, Response, Step};
use crate::v2::channel::datagrams::Datagrams;
use crate::v2::channel::keys::{Nonces, SkeySeed, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::handshake::nat;
use crate::v2::messages::{IkeOffer, InitResponse, Notifies};
use crate::v2::wire::{KeyExchange, NotifyType, Proposal, encode_cleartext};

/// Waits for our public value and the shared secret.
pub(crate) struct Agree {
    pub(super) begun: Begun,
    pub(super) job: JobId,
    answer: Proposal,
    iv_key: Secret,
}

impl CheckedOffer {
    /// Sets up the half-open IKE SA, which answers once our part of the key exchange is computed.
    pub(crate) fn begin(self, env: &mut Env<'_>, datagram: &[u8]) -> Result<HalfOpen, InitRefusal> {
        let Self {
            accepted,
            at,
            spi_i,
            nat_detection,
        } = self;
        let SelectedOffer {
            offer,
            suite,
            answer,
            pretend,
        } = accepted;
        // The peer will repeat its request, and there may be random numbers then.
        let no_random_numbers = || InitRefusal::Dropped(DropReason::NoRandomNumbers);
        let spis = SpiPair {
            initiator: spi_i,
            responder: env.ike_spi().ok_or_else(no_random_numbers)?,
        };
        let ours = env.private_key(suite.group).ok_or_else(no_random_numbers)?;
        let nonces = Nonces {
            initiator: offer.nonce,
            responder: env.nonce().ok_or_else(no_random_numbers)?,
        };
        let iv_key = env.iv_key().ok_or_else(no_random_numbers)?;
        let mut window = Window::default();
        window.hold(datagram);
        let id = env.sa_id();
        let theirs = offer.ke.data;
        let job = env.compute(id, Step::Respond { ours, theirs });
        Ok(HalfOpen::Agree(Box::new(Agree {
            begun: Begun {
                id,
                spis,
                suite,
                nonces,
                nat_detection,
                pretend,
                at,
                window,
                init_request: datagram.to_vec(),
                began: env.now,
                forget_at: env.now + env.limits().half_open_timeout,
            },
            job,
            answer,
            iv_key,
        })))
    }
}

impl Agree {
    /// Answers IKE_SA_INIT with the computed values.
    pub(super) fn computed(
        self: Box<Self>,
        env: &mut Env<'_>,
        made: Result<Response, KeyExchangeError>,
    ) -> Result<HalfOpen, InitRefusal> {
        let failed = |error: &dyn std::fmt::Display| {
            let why = error.to_string().into();
            let kind = NotifyType::INVALID_SYNTAX;
            InitRefusal::answered(DropReason::BadPublicValue, kind, why)
        };
        let made = made.map_err(|e| failed(&e))?;
        let Self {
            mut begun,
            answer,
            iv_key,
            ..
        } = *self;
        let (suite, spis, at) = (begun.suite, begun.spis, begun.at);
        let (keys, auth_keys) = SkeySeed::first(suite.prf, &begun.nonces, &made.shared)
            .expand(
                suite,
                &begun.nonces,
                spis,
                Role::Responder,
                &iv_key,
                env.key_log(),
            )
            .map_err(|e| failed(&e))?;
        let response = InitResponse::Accepted(IkeOffer {
            sa: vec![answer],
            ke: KeyExchange {
                group: suite.group.iana(),
                data: made.public,
            },
            nonce: begun.nonces.responder.clone(),
            notifies: Notifies(nat::notifies(spis, at, begun.pretend).to_vec()),
        });
        let header = init_response_header(spis.initiator, spis.responder);
        let response = Datagrams::from(encode_cleartext(&header, &response.into_payloads()));
        env.send(at, response.clone());
        begun.window.answer_held(response);
        Ok(HalfOpen::AwaitAuth(Box::new(AwaitAuth {
            begun,
            keys,
            auth_keys,
        })))
    }
}
