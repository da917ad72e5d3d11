//! Waiting for the IKE_AUTH response, in which the responder proves its identity.

use vgw_crypto::{IkeSuite, Secret};
use vgw_sa::Path;

use super::{Attempt, Initiator, Outcome, State};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{DownReason, Nat, Role};
use crate::core::progress::SentNotes;
use crate::v2::channel::keys::{IkeKeys, Nonces, SpiPair};
use crate::v2::established::{AskedFor, Established, NewIkeSa, PendingChild, refusal_of_child};
use crate::v2::handshake::auth::Signed;
use crate::v2::handshake::auth_failure::{refused_by_responder, wrong_identity};
use crate::v2::handshake::nat::{AddressPair, OwnNat};
use crate::v2::messages::{AuthRequest, AuthResponse, Notifies};
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{
    ClearMessage, ExchangeType, Header, Id, Notify, NotifyType, decode_payloads,
};

/// Waits for the IKE_AUTH response.
pub(super) struct AwaitAuth {
    pub(super) keys: IkeKeys,
    /// For checking the responder's AUTH.
    pub(super) sk_pr: Secret,
    pub(super) suite: IkeSuite,
    pub(super) spis: SpiPair,
    pub(super) nonces: Nonces,
    pub(super) init_response: Vec<u8>,
    pub(super) nat: Nat,
    pub(super) own_nat: OwnNat,
    pub(super) child: PendingChild,
}

impl AwaitAuth {
    pub(super) fn ask(
        &mut self,
        env: &mut Env<'_>,
        attempt: &mut Attempt,
        init: &[u8],
        sk_pi: &Secret,
        initial_contact: bool,
    ) {
        let config = &attempt.config;
        let id_i = Id::from(&config.local_id);
        let auth = Signed {
            prf: self.suite.prf,
            message: init,
            nonce: &self.nonces.responder,
            sk_p: sk_pi,
            id: &id_i,
        }
        .sign(&config.psk);
        let (sa, ts_i, ts_r) = self.child.terms();
        // RFC 7296 section 2.4.
        let contact = initial_contact.then(|| Notify::new(NotifyType::INITIAL_CONTACT, Vec::new()));
        let token = env.token(self.spis, Role::Initiator, attempt.way.local.ip());
        let request = AuthRequest {
            id_i,
            id_r: Some(Id::from(&config.remote_id)),
            auth,
            sa,
            ts_i,
            ts_r,
            notifies: Notifies(contact.into_iter().chain(token).collect()),
        };
        let header = Header {
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            exchange: ExchangeType::IKE_AUTH,
            initiator: true,
            response: false,
            message_id: attempt.window.next_request(),
        };
        let message = self.keys.seal.seal(&header, &request.into_payloads());
        attempt.send(env, message);
        attempt.note_auth(env);
    }

    pub(super) fn waiting(self, attempt: Attempt) -> Outcome {
        Outcome::Waiting(Box::new(Initiator {
            attempt,
            state: State::AwaitAuth(Box::new(self)),
        }))
    }

    pub(super) fn answered(
        self: Box<Self>,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Outcome {
        let plaintext = message
            .sealed
            .as_ref()
            .filter(|_| message.header.spi_r == self.spis.responder)
            .and_then(|sealed| {
                let plaintext = self.keys.open.open(datagram, sealed).ok()?;
                Some((sealed.first, plaintext))
            });
        let Some((first, plaintext)) = plaintext else {
            attempt.discard(env, at, DropReason::NotAuthentic);
            return self.waiting(attempt);
        };
        attempt.window.acknowledge(env.now);
        env.note_sent(attempt.peer, SentNotes::auth_answered);
        let response = decode_payloads(first, &plaintext)
            .map_err(|e| e.to_string())
            .and_then(|payloads| {
                AuthResponse::parse(&message.payloads, payloads).map_err(|e| e.to_string())
            });
        match response {
            Ok(response) => self.concluded(env, attempt, at, response),
            Err(why) => {
                let reason = DownReason::Refused(format!("malformed IKE_AUTH response: {why}"));
                self.unauthenticated(env, attempt, reason)
            }
        }
    }

    fn concluded(
        self: Box<Self>,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        at: AddressPair,
        response: AuthResponse,
    ) -> Outcome {
        let (id_r, auth, child, notifies) = match response {
            AuthResponse::Accepted {
                id_r,
                auth,
                child,
                notifies,
            } => (id_r, auth, child, notifies),
            AuthResponse::Refused(notify) => {
                env.release_spi(self.child.spi_in);
                let config = &attempt.config;
                let reason = if notify.kind == NotifyType::AUTHENTICATION_FAILED {
                    let wrong_key = env.wrong_key_owner(attempt.peer);
                    DownReason::AuthenticationFailed(refused_by_responder(config, wrong_key))
                } else {
                    // The IKE SA's algorithms were negotiated in IKE_SA_INIT, so this refusal is
                    // about the CHILD SA. Some peers send it without AUTH.
                    DownReason::Refused(refusal_of_child(config, AskedFor::WithAuth, &notify))
                };
                attempt.refuse(env, RefusalReason::ByPeer(reason.to_string()));
                attempt.report(env, reason);
                return Outcome::Over;
            }
        };
        let config = attempt.config.clone();
        if id_r.identity().as_ref() != Some(&config.remote_id) {
            let why = wrong_identity(&id_r, &config.remote_id);
            attempt.refuse(env, why.clone());
            return self.unauthenticated(env, attempt, DownReason::AuthenticationFailed(why));
        }
        let verified = Signed {
            prf: self.suite.prf,
            message: &self.init_response,
            nonce: &self.nonces.initiator,
            sk_p: &self.sk_pr,
            id: &id_r,
        }
        .verify_peer(&config, &auth);
        let proof = match verified {
            Ok(proof) => proof,
            Err(why) => {
                let why = why.to_string();
                attempt.refuse(env, why.clone());
                return self.unauthenticated(env, attempt, DownReason::AuthenticationFailed(why));
            }
        };
        attempt.way.remote = at.remote;
        let began = attempt.began;
        let (new_sa, pending) = self.new_sa(attempt);
        let sa = Established::new(env, new_sa, &proof);
        let mut sa = Box::new(sa.with_token_of(&notifies));
        env.count(sa.peer(), |c| c.ike_established += 1);
        sa.announce(env, None);
        sa.first_child(env, pending, &child);
        sa.came_up(false, began);
        Outcome::Became(sa)
    }

    /// The attempt failed after the responder had set up its side.
    fn unauthenticated(
        self: Box<Self>,
        env: &mut Env<'_>,
        attempt: Attempt,
        reason: DownReason,
    ) -> Outcome {
        attempt.report(env, reason);
        let (new_sa, pending) = self.new_sa(attempt);
        env.release_spi(pending.spi_in);
        Outcome::Became(Box::new(Established::unauthenticated(env, new_sa)))
    }

    fn new_sa(self, attempt: Attempt) -> (NewIkeSa, PendingChild) {
        let new_sa = NewIkeSa {
            id: attempt.id,
            peer: attempt.peer,
            remote_id: attempt.config.remote_id.clone(),
            config: attempt.config,
            role: Role::Initiator,
            spis: self.spis,
            suite: self.suite,
            keys: self.keys,
            nonces: self.nonces,
            path: Path {
                local: attempt.way.local,
                remote: attempt.way.remote,
                udp_encapsulation: self.nat.local || self.nat.remote,
            },
            nat: self.nat,
            own_nat: self.own_nat,
            window: attempt.window,
        };
        (new_sa, self.child)
    }
}
