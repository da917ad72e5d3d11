//! Waiting for IKE_AUTH, in which the initiator proves its identity.

use std::sync::Arc;

use vgw_sa::{Path, TunnelId};

use super::auth_request::{AuthRefusal, auth_failed, claimed_peer, is_silenced, read_auth};
use super::begun::Begun;
use super::{HalfOpen, Outcome};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{Nat, Role};
use crate::dos_protection::DosProtection;
use crate::peer::config::{Encapsulation, PeerConfig};
use crate::peer::identity::Identity;
use crate::peer::peers::Peers;
use crate::v2::channel::keys::{AuthKeys, IkeKeys};
use crate::v2::channel::window::Incoming;
use crate::v2::established::{Established, NewIkeSa};
use crate::v2::handshake::auth::{AuthProof, Signed};
use crate::v2::handshake::auth_failure::AuthFailure;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::AuthRequest;
use crate::v2::proposal::{instead_of, permits};
use crate::v2::wire::{
    ClearMessage, ExchangeType, Header, Id, Notify, NotifyType, Payload, PayloadType,
};

/// IKE_SA_INIT is answered; waits for IKE_AUTH.
pub(crate) struct AwaitAuth {
    pub(super) begun: Begun,
    pub(super) keys: IkeKeys,
    pub(super) auth_keys: AuthKeys,
}

impl AwaitAuth {
    /// Handles IKE_AUTH.
    pub(super) fn handle_message(
        self: Box<Self>,
        env: &mut Env<'_>,
        (peers, dos_protection): (&Peers, &mut DosProtection),
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Outcome {
        // Until the message is decrypted, only its address tells which peer may have sent it.
        let only = peers.only_at(at.local.ip(), at.remote.ip());
        let (first, plaintext) = match self.opened(message, datagram) {
            Ok(opened) => opened,
            Err(reason) => {
                env.drop_message(only, at.remote, reason);
                return Outcome::Waiting(HalfOpen::AwaitAuth(self));
            }
        };
        let request = match read_auth(message, first, &plaintext) {
            Ok(request) => request,
            Err(refusal) => {
                let refusal = AuthRefusal {
                    peer: only,
                    ..refusal
                };
                return self.refuse(env, at, (message, datagram), refusal);
            }
        };
        if is_silenced(peers, at, &request) {
            env.drop_message(only, at.remote, DropReason::TakenDown);
            return Outcome::Waiting(HalfOpen::AwaitAuth(self));
        }
        let claim = claimed_peer(peers, at, &request);
        let limits = env.limits();
        let source = peers.source(at.remote.ip());
        let guessed = claim
            .as_ref()
            .ok()
            .map(|(peer, _)| (*peer, peers.is_at(*peer, at.remote.ip())));
        if !dos_protection.may_authenticate(env.now, source, guessed, &limits) {
            let peer = guessed.map(|(peer, _)| peer);
            env.drop_message(peer, at.remote, DropReason::AuthHeld);
            // The peer will repeat it; by then there may be room for it.
            return Outcome::Waiting(HalfOpen::AwaitAuth(self));
        }
        match claim.and_then(|claim| self.authenticate(peers, claim, &request)) {
            Ok(authentic) => self.up(env, at, (message, datagram), (authentic, request)),
            Err(refusal) => {
                if refusal.notify.kind == NotifyType::AUTHENTICATION_FAILED {
                    dos_protection.failed(env.now, source, guessed, &limits);
                }
                self.refuse(env, at, (message, datagram), refusal)
            }
        }
    }

    /// The type of the first payload inside, and the decrypted payloads.
    fn opened(
        &self,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Result<(PayloadType, Vec<u8>), DropReason> {
        let header = &message.header;
        let spis = (header.spi_i, header.spi_r);
        if spis != (self.begun.spis.initiator, self.begun.spis.responder) || !header.initiator {
            return Err(DropReason::WrongSpis);
        }
        if self.begun.window.classify(header.message_id, datagram) != Incoming::Fresh {
            return Err(DropReason::WrongId);
        }
        let sealed = message.sealed.as_ref().ok_or(DropReason::NotEncrypted)?;
        let plaintext = self.keys.open.open(datagram, sealed);
        let plaintext = plaintext.map_err(|_| DropReason::NotAuthentic)?;
        Ok((sealed.first, plaintext))
    }

    fn authenticate(
        &self,
        peers: &Peers,
        (peer, config): (TunnelId, Arc<PeerConfig>),
        request: &AuthRequest,
    ) -> Result<AuthenticatedPeer, AuthRefusal> {
        let remote_id = config.remote_id.clone();
        let proof = Signed {
            prf: self.begun.suite.prf,
            message: &self.begun.init_request,
            nonce: &self.begun.nonces.responder,
            sk_p: &self.auth_keys.initiator,
            id: &request.id_i,
        }
        .verify_peer(&config, &request.auth)
        .map_err(|failure| {
            let refusal = auth_failed(Some(peer), format!("{remote_id}: {failure}"));
            let wrong_key = match failure {
                AuthFailure::WrongKey(wrong_key) => Some(Box::new(wrong_key)),
                AuthFailure::Method(_) | AuthFailure::UnknownKey => None,
            };
            AuthRefusal {
                wrong_key,
                ..refusal
            }
        })?;
        let nat = self.suits(peers, &config).map_err(|why| AuthRefusal {
            peer: Some(peer),
            reason: DropReason::AuthFailed,
            notify: Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()),
            why: format!("{remote_id}, {}: {why}", config.name),
            wrong_key: None,
        })?;
        Ok(AuthenticatedPeer {
            peer,
            config,
            remote_id,
            nat,
            proof,
        })
    }

    /// Whether the selections made in IKE_SA_INIT suit the peer, now that it is known. Returns the
    /// NATs on the way, or why they do not suit and which other peer they were made for.
    fn suits(&self, peers: &Peers, config: &PeerConfig) -> Result<Nat, String> {
        let for_another = |why: String, is_meant: &dyn Fn(&PeerConfig) -> bool| {
            let mut others = peers.expected(self.begun.at.local.ip(), self.begun.at.remote.ip());
            match others.find(|other| other.name != config.name && is_meant(other)) {
                Some(other) => format!(
                    "{why}; that was for {}, which {} cannot be told apart from before IKE_AUTH",
                    other.name, config.name
                ),
                None => why,
            }
        };
        if !permits(&config.ike, self.begun.suite) {
            let why = format!(
                "chosen was {}, expected {}",
                self.begun.suite,
                instead_of(self.begun.suite, &config.ike)
            );
            return Err(for_another(why, &|other| {
                permits(&other.ike, self.begun.suite)
            }));
        }
        let nat = self
            .begun
            .nat_detection
            .decide(config.encapsulation, self.begun.pretend)?;
        match config.encapsulation {
            Encapsulation::Native if self.begun.pretend => {
                let why = "the peer was told that a NAT is before us, expected none: \
                           encapsulation is configured as native";
                let is_meant = |other: &PeerConfig| other.encapsulation == Encapsulation::Udp;
                Err(for_another(why.to_owned(), &is_meant))
            }
            Encapsulation::Udp if !nat.local && !nat.remote => {
                let why = "the peer was told that no NAT is before us, expected that it is: \
                           encapsulation is configured as UDP";
                let is_meant = |other: &PeerConfig| other.encapsulation == Encapsulation::Native;
                Err(for_another(why.to_owned(), &is_meant))
            }
            _ => Ok(nat),
        }
    }

    fn up(
        self: Box<Self>,
        env: &mut Env<'_>,
        at: AddressPair,
        (message, datagram): (&ClearMessage, &[u8]),
        (authentic, request): (AuthenticatedPeer, AuthRequest),
    ) -> Outcome {
        let AuthenticatedPeer {
            peer,
            config,
            remote_id,
            nat,
            proof,
        } = authentic;
        let own_nat = self.begun.nat_detection.own_nat(config.public);
        let id_r = Id::from(&config.local_id);
        // AUTH covers our IKE_SA_INIT, which is the last answer so far.
        let init_response = self.begun.window.last_response().concat();
        let auth = Signed {
            prf: self.begun.suite.prf,
            message: &init_response,
            nonce: &self.begun.nonces.initiator,
            sk_p: &self.auth_keys.responder,
            id: &id_r,
        }
        .sign(&config.psk);
        let new_sa = NewIkeSa {
            id: self.begun.id,
            peer,
            config,
            role: Role::Responder,
            spis: self.begun.spis,
            suite: self.begun.suite,
            keys: self.keys,
            nonces: self.begun.nonces,
            remote_id,
            path: Path {
                local: at.local,
                remote: at.remote,
                udp_encapsulation: nat.local || nat.remote,
            },
            nat,
            own_nat,
            window: self.begun.window,
        };
        let sa = Established::new(env, new_sa, &proof);
        let mut sa = Box::new(sa.with_token_of(&request.notifies));
        env.count(peer, |c| c.ike_established += 1);
        sa.announce(env, None);
        sa.answer_auth(env, at, (message, datagram), &request, (id_r, auth));
        let contact = request.notifies.has(NotifyType::INITIAL_CONTACT);
        sa.came_up(contact, self.begun.began);
        Outcome::Up(sa)
    }

    fn refuse(
        mut self: Box<Self>,
        env: &mut Env<'_>,
        at: AddressPair,
        (message, datagram): (&ClearMessage, &[u8]),
        refusal: AuthRefusal,
    ) -> Outcome {
        let AuthRefusal {
            peer,
            reason,
            notify,
            why,
            wrong_key,
        } = refusal;
        if let (Some(peer), Some(wrong_key)) = (peer, wrong_key) {
            env.note_sent(peer, |notes, _| notes.wrong_key = Some(*wrong_key));
        }
        env.drop_message(peer, at.remote, reason);
        env.refuse(peer, "unauthenticated", at.remote, why);
        let header = Header {
            spi_i: self.begun.spis.initiator,
            spi_r: self.begun.spis.responder,
            exchange: ExchangeType::IKE_AUTH,
            initiator: false,
            response: true,
            message_id: message.header.message_id,
        };
        let payloads = [Payload::Notify(notify)];
        let response = self.keys.seal.seal(&header, &payloads);
        env.send(at, response.clone());
        self.begun.window.answered(datagram, response);
        Outcome::Refused(self.begun.window.into_answered())
    }
}

/// The peer that authenticated, and what it negotiated.
struct AuthenticatedPeer {
    peer: TunnelId,
    config: Arc<PeerConfig>,
    remote_id: Identity,
    nat: Nat,
    proof: AuthProof,
}
