//! Sending IKE_SA_INIT once our key pair is there, and waiting for the response, which is not
//! authenticated yet.

use vgw_crypto::{KeyPair, check_public};

use super::agree::Agree;
use super::{Attempt, Initiator, Outcome, State, names};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{Diagnostic, DownReason};
use crate::core::job::Step;
use crate::v2::channel::keys::{Nonces, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::established::{demanded, demanded_group};
use crate::v2::handshake::nat::{self, AddressPair, NatDetection};
use crate::v2::messages::{IkeOffer, InitRequest, InitResponse, Notifies};
use crate::v2::proposal::{self, brief_ike};
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{
    ExchangeType, Header, KeyExchange, Notify, NotifyType, Proposal, encode_cleartext,
};

/// COOKIE and INVALID_KE_PAYLOAD may restart us this often (RFC 7296 section 2.6.1).
const MAX_RESTARTS: u8 = 6;

/// What IKE_SA_INIT offers, apart from the key exchange, and the result so far.
pub(super) struct Offer {
    pub(super) nonce: Vec<u8>,
    pub(super) offered: Vec<Proposal>,
    pub(super) cookie: Option<Vec<u8>>,
    /// How often the peer made us restart.
    pub(super) restarts: u8,
    pub(super) refusal: Option<String>,
}

impl Offer {
    /// Sends the request with this key pair.
    pub(super) fn send(
        self,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        key_pair: KeyPair,
    ) -> Box<Initiator> {
        let mut next = AwaitInit {
            key_pair,
            offer: self,
            request: Vec::new(),
        };
        next.ask(env, &mut attempt);
        next.waiting(attempt)
    }
}

/// Waits for the IKE_SA_INIT response.
pub(super) struct AwaitInit {
    pub(super) key_pair: KeyPair,
    pub(super) offer: Offer,
    pub(super) request: Vec<u8>,
}

impl AwaitInit {
    /// Sends the request, with the cookie and group that earlier answers asked for.
    pub(super) fn ask(&mut self, env: &mut Env<'_>, attempt: &mut Attempt) {
        let spis = SpiPair {
            initiator: attempt.spi_i,
            responder: 0,
        };
        let pretend = attempt.config.encapsulation.pretends();
        let nat = nat::notifies(spis, attempt.way, pretend);
        let request = InitRequest {
            cookie: self.offer.cookie.clone(),
            offer: IkeOffer {
                sa: self.offer.offered.clone(),
                ke: KeyExchange {
                    group: self.key_pair.group().iana(),
                    data: self.key_pair.public().to_vec(),
                },
                nonce: self.offer.nonce.clone(),
                notifies: Notifies(nat.to_vec()),
            },
        };
        // RFC 7296 section 2.6: even when restarted, this is the first message.
        attempt.window = Window::default();
        let header = Header {
            spi_i: attempt.spi_i,
            spi_r: 0,
            exchange: ExchangeType::IKE_SA_INIT,
            initiator: true,
            response: false,
            message_id: attempt.window.next_request(),
        };
        self.request = encode_cleartext(&header, &request.into_payloads());
        attempt.send(env, self.request.clone().into());
        attempt.note_init(env);
    }

    pub(super) fn waiting(self, attempt: Attempt) -> Box<Initiator> {
        Box::new(Initiator {
            attempt,
            state: State::AwaitInit(Box::new(self)),
        })
    }

    /// Sends a changed request; the number of restarts is limited by the caller.
    fn restart(mut self, env: &mut Env<'_>, mut attempt: Attempt) -> Outcome {
        self.offer.restarts += 1;
        self.ask(env, &mut attempt);
        Outcome::Waiting(self.waiting(attempt))
    }

    /// Keeps an unauthenticated error as the reason, in case no better response comes.
    fn noted(
        mut self,
        env: &mut Env<'_>,
        attempt: Attempt,
        why: impl Into<RefusalReason>,
    ) -> Outcome {
        let why = why.into();
        let words = why.to_string();
        if self.offer.refusal.as_ref() != Some(&words) {
            attempt.refuse(env, why);
            self.offer.refusal = Some(words);
        }
        Outcome::Waiting(self.waiting(attempt))
    }

    pub(super) fn answered(
        mut self,
        env: &mut Env<'_>,
        attempt: Attempt,
        at: AddressPair,
        spi_r: u64,
        (response, datagram): (InitResponse, &[u8]),
    ) -> Outcome {
        let may_restart = self.offer.restarts < MAX_RESTARTS;
        match response {
            InitResponse::Cookie(cookie) if may_restart => {
                self.offer.cookie = Some(cookie);
                self.restart(env, attempt)
            }
            InitResponse::Cookie(_) => {
                let why = format!("the peer asked for a cookie more than {MAX_RESTARTS} times");
                self.noted(env, attempt, why)
            }
            InitResponse::Refused(notify) => self.refused(env, attempt, &notify),
            InitResponse::Accepted(offer) => {
                self.accepted(env, attempt, at, spi_r, (offer, datagram))
            }
        }
    }

    fn refused(mut self, env: &mut Env<'_>, mut attempt: Attempt, notify: &Notify) -> Outcome {
        let config = &attempt.config;
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD {
            let usable = demanded_group(notify).filter(|group| {
                config.ike.groups.contains(group)
                    && *group != self.key_pair.group()
                    && self.offer.restarts < MAX_RESTARTS
            });
            if let Some(ours) = usable.and_then(|group| env.private_key(group)) {
                attempt.diagnose(env, Diagnostic::GroupRequested(ours.group()));
                self.offer.restarts += 1;
                // The request is not repeated any more.
                attempt.window = Window::default();
                let next = Initiator {
                    attempt,
                    state: State::MakeKeyPair(Box::new(self.offer)),
                };
                return Outcome::Waiting(next.compute(env, Step::MakeKeyPair(ours)));
            }
            let why = format!(
                "the peer wants key exchange group {}, we sent {} and accept {}",
                demanded(notify).map_or("unknown".to_owned(), proposal::group_name),
                self.key_pair.group(),
                names(&config.ike.groups)
            );
            return self.noted(env, attempt, RefusalReason::ByPeer(why));
        }
        // A peer also answers so if it does not know our address, or expects IKEv1 from it.
        let question = match notify.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => {
                " (does it expect us, by IKEv2 and at our address? is its phase 1 as ours?)"
            }
            _ => "",
        };
        let why = format!(
            "the peer refused the IKE SA by {}{question}: we offered {}",
            notify.kind,
            brief_ike(&config.ike)
        );
        self.noted(env, attempt, RefusalReason::ByPeer(why))
    }

    fn accepted(
        self,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        at: AddressPair,
        spi_r: u64,
        (offer, datagram): (IkeOffer, &[u8]),
    ) -> Outcome {
        let choice = match proposal::accept_ike(&self.offer.offered, &offer.sa) {
            Ok(choice) => choice,
            Err(mismatch) => return self.noted(env, attempt, mismatch.to_string()),
        };
        let ours = self.key_pair.group();
        if choice.suite.group != ours || offer.ke.group != ours.iana() || spi_r == 0 {
            let why = format!(
                "the peer selected group {}, sent a public value of group {} and SPI {spi_r:016x}, \
                 expected group {ours} and an SPI that is not zero",
                choice.suite.group, offer.ke.group
            );
            return self.noted(env, attempt, why);
        }
        // Anyone may have sent this response; a valid one may still come.
        if let Err(error) = check_public(choice.suite.group, &offer.ke.data) {
            let peer = &attempt.config.name;
            tracing::debug!(%peer, %error, "{peer}: a response is not used: {error}");
            attempt.discard(env, at, DropReason::BadResponse);
            return Outcome::Waiting(self.waiting(attempt));
        }
        let spis = SpiPair {
            initiator: attempt.spi_i,
            responder: spi_r,
        };
        let nat_detection = NatDetection::from(&offer.notifies, spis, at);
        let wanted = attempt.config.encapsulation;
        let nat = match nat_detection.decide(wanted, wanted.pretends()) {
            Ok(nat) => nat,
            Err(why) => {
                attempt.refuse(env, why.clone());
                attempt.report(env, DownReason::Refused(why));
                return Outcome::Over;
            }
        };
        // From now on no other response is accepted.
        attempt.window.acknowledge(env.now);
        let next = Agree {
            suite: choice.suite,
            spis,
            nonces: Nonces {
                initiator: self.offer.nonce,
                responder: offer.nonce,
            },
            init_request: self.request,
            init_response: datagram.to_vec(),
            nat,
            own_nat: nat_detection.own_nat(attempt.config.public),
        };
        let next = Initiator {
            attempt,
            state: State::Agree(Box::new(next)),
        };
        let ours = self.key_pair.into_private();
        let theirs = offer.ke.data;
        Outcome::Waiting(next.compute(env, Step::Agree { ours, theirs }))
    }
}
