//! Waiting for the IKE_SA_INIT response. Nothing in it is authenticated yet.

use vgw_crypto::{KeyPair, RandomError, check_public};

use super::await_auth::AwaitAuth;
use super::{Attempt, Initiator, Outcome, State, names};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{Diagnostic, DownReason, Role};
use crate::v2::channel::keys::{Nonces, SkeySeed, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::established::{PendingChild, demanded, demanded_group, public};
use crate::v2::handshake::nat::{self, AddressPair, NAT_T_PORT, NatDetection, with_port};
use crate::v2::messages::{IkeOffer, InitRequest, InitResponse, Notifies};
use crate::v2::proposal::{self, brief_ike};
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{ExchangeType, Header, Notify, NotifyType, Proposal, encode_cleartext};

/// COOKIE and INVALID_KE_PAYLOAD may send us back this often (RFC 7296 section 2.6.1).
const MAX_RESTARTS: u8 = 6;

/// Waits for the IKE_SA_INIT response.
pub(super) struct AwaitInit {
    pub(super) key_pair: KeyPair,
    pub(super) nonce: Vec<u8>,
    pub(super) offered: Vec<Proposal>,
    pub(super) cookie: Option<Vec<u8>>,
    pub(super) restarts: u8,
    pub(super) request: Vec<u8>,
    pub(super) refusal: Option<String>,
}

impl AwaitInit {
    /// Sends the request, with what earlier answers asked for.
    pub(super) fn ask(&mut self, env: &mut Env<'_>, attempt: &mut Attempt) {
        let spis = SpiPair {
            initiator: attempt.spi_i,
            responder: 0,
        };
        let pretend = attempt.config.encapsulation.pretends();
        let nat = nat::notifies(spis, attempt.way, pretend);
        let request = InitRequest {
            cookie: self.cookie.clone(),
            offer: IkeOffer {
                sa: self.offered.clone(),
                ke: public(&self.key_pair),
                nonce: self.nonce.clone(),
                notifies: Notifies(nat.to_vec()),
            },
        };
        // RFC 7296 section 2.6: whatever was asked for before, this is the first message.
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

    fn waiting(self, attempt: Attempt) -> Outcome {
        Outcome::Waiting(Box::new(Initiator {
            attempt,
            state: State::AwaitInit(Box::new(self)),
        }))
    }

    /// Asks again, differently; but not forever.
    fn restart(mut self, env: &mut Env<'_>, mut attempt: Attempt) -> Outcome {
        self.restarts += 1;
        self.ask(env, &mut attempt);
        self.waiting(attempt)
    }

    /// Keeps an error that nobody vouches for as the reason, in case nothing
    /// better comes.
    fn noted(
        mut self,
        env: &mut Env<'_>,
        attempt: Attempt,
        why: impl Into<RefusalReason>,
    ) -> Outcome {
        let why = why.into();
        let words = why.to_string();
        if self.refusal.as_ref() != Some(&words) {
            attempt.refuse(env, why);
            self.refusal = Some(words);
        }
        self.waiting(attempt)
    }

    pub(super) fn answered(
        mut self,
        env: &mut Env<'_>,
        attempt: Attempt,
        at: AddressPair,
        spi_r: u64,
        (response, datagram): (InitResponse, &[u8]),
        initial_contact: bool,
    ) -> Outcome {
        let may_restart = self.restarts < MAX_RESTARTS;
        match response {
            InitResponse::Cookie(cookie) if may_restart => {
                self.cookie = Some(cookie);
                self.restart(env, attempt)
            }
            InitResponse::Cookie(_) => {
                let why = format!("the peer asked for a cookie more than {MAX_RESTARTS} times");
                self.noted(env, attempt, why)
            }
            InitResponse::Refused(notify) => self.refused(env, attempt, &notify),
            InitResponse::Accepted(offer) => {
                self.accepted(env, attempt, at, spi_r, (offer, datagram), initial_contact)
            }
        }
    }

    fn refused(mut self, env: &mut Env<'_>, attempt: Attempt, notify: &Notify) -> Outcome {
        let config = &attempt.config;
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD {
            let usable = demanded_group(notify).filter(|group| {
                config.ike.groups.contains(group)
                    && *group != self.key_pair.group()
                    && self.restarts < MAX_RESTARTS
            });
            if let Some(key_pair) = usable.and_then(|group| env.key_pair(group)) {
                attempt.diagnose(env, Diagnostic::GroupRequested(key_pair.group()));
                self.key_pair = key_pair;
                return self.restart(env, attempt);
            }
            let why = format!(
                "the peer wants key exchange group {}, we sent {} and accept {}",
                demanded(notify).map_or("unknown".to_owned(), proposal::group_name),
                self.key_pair.group(),
                names(&config.ike.groups)
            );
            return self.noted(env, attempt, RefusalReason::ByPeer(why));
        }
        // Also the answer of a peer that knows nobody at our address, or us by IKEv1 alone.
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
        initial_contact: bool,
    ) -> Outcome {
        let choice = match proposal::accept_ike(&self.offered, &offer.sa) {
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
        // Whoever sent it, the response that is worth something may still come.
        if let Err(error) = check_public(choice.suite.group, &offer.ke.data) {
            let peer = &attempt.config.name;
            tracing::debug!(%peer, %error, "{peer}: a response is not used: {error}");
            attempt.discard(env, at, DropReason::BadResponse);
            return self.waiting(attempt);
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
        let shared = match self.key_pair.agree(&offer.ke.data) {
            Ok(shared) => shared,
            Err(error) => {
                attempt.report(env, DownReason::Refused(error.to_string()));
                return Outcome::Over;
            }
        };
        let nonces = Nonces {
            initiator: self.nonce,
            responder: offer.nonce,
        };
        let Some(iv_key) = env.iv_key() else {
            attempt.report(env, DownReason::Refused(RandomError.to_string()));
            return Outcome::Over;
        };
        let keys = SkeySeed::first(choice.suite.prf, &nonces, &shared).expand(
            choice.suite,
            &nonces,
            spis,
            Role::Initiator,
            &iv_key,
            env.key_log(),
        );
        let (keys, auth_keys) = match keys {
            Ok(keys) => keys,
            Err(error) => {
                attempt.report(env, DownReason::Refused(error.to_string()));
                return Outcome::Over;
            }
        };
        let Some(child) = PendingChild::new(env, &attempt.config, None, false) else {
            attempt.report(
                env,
                DownReason::Refused("no inbound SPI or no random number is left".to_owned()),
            );
            return Outcome::Over;
        };
        if nat.local || nat.remote {
            // RFC 7296 section 2.23: the initiator floats, from IKE_AUTH on.
            attempt.way = AddressPair {
                local: with_port(attempt.way.local, NAT_T_PORT),
                remote: with_port(attempt.way.remote, NAT_T_PORT),
            };
        }
        attempt.window.acknowledge();
        let mut next = AwaitAuth {
            keys,
            sk_pr: auth_keys.responder,
            suite: choice.suite,
            spis,
            nonces,
            init_response: datagram.to_vec(),
            nat,
            own_nat: nat_detection.own_nat(attempt.config.public),
            child,
        };
        next.ask(
            env,
            &mut attempt,
            &self.request,
            &auth_keys.initiator,
            initial_contact,
        );
        next.waiting(attempt)
    }
}
