//! The initiator's side of IKE_SA_INIT and IKE_AUTH (RFC 7296 section 1.2): one
//! struct per awaited message. What anyone could have sent gives the state back.
//!
//! An error that answers IKE_SA_INIT is not authenticated, so it does not end
//! the attempt (RFC 7296 section 2.21.1): it is reported, the request goes on
//! being repeated, and if nothing better comes the error is the reason given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use vgw_crypto::{IkeSuite, KeyPair};

use crate::auth::Signed;
use crate::config::{PeerConfig, PeerId};
use crate::env::{Effect, Env};
use crate::established::{Established, Foundation, PendingChild, demanded_group, generate, public};
use crate::event::{DownReason, Event, Nat, Path, Role, SaId};
use crate::keys::{IkeKeys, Nonces, SkeySeed, SpiPair};
use crate::messages::{AuthRequest, AuthResponse, IkeOffer, InitRequest, InitResponse, Notifies};
use crate::nat::{self, Arrival, Detected, IKE_PORT, NAT_T_PORT, with_port};
use crate::proposal;
use crate::window::Window;
use crate::wire::{
    ClearMessage, ExchangeType, Header, Id, Notify, NotifyType, Proposal, decode_payloads,
    encode_cleartext,
};

/// COOKIE and INVALID_KE_PAYLOAD may send us back this often (RFC 7296 section 2.6.1).
const MAX_RESTARTS: u8 = 6;

/// An attempt to set up an IKE SA.
pub(crate) struct Initiator {
    attempt: Attempt,
    state: State,
}

enum State {
    AwaitInit(AwaitInit),
    AwaitAuth(Box<AwaitAuth>),
}

/// What both states know.
struct Attempt {
    id: SaId,
    peer: PeerId,
    config: Arc<PeerConfig>,
    spi_i: u64,
    way: Arrival,
    began: Instant,
    give_up_at: Instant,
    window: Window,
}

/// Waits for the IKE_SA_INIT response.
struct AwaitInit {
    key_pair: KeyPair,
    nonce: Vec<u8>,
    offered: Vec<Proposal>,
    cookie: Option<Vec<u8>>,
    restarts: u8,
    request: Vec<u8>,
    refusal: Option<String>,
}

/// Waits for the IKE_AUTH response.
struct AwaitAuth {
    keys: IkeKeys,
    suite: IkeSuite,
    spis: SpiPair,
    nonces: Nonces,
    init_response: Vec<u8>,
    nat: Nat,
    behind_nat: bool,
    child: PendingChild,
}

/// What became of an attempt.
pub(crate) enum Outcome {
    /// It goes on.
    Waiting(Initiator),
    /// An IKE SA came of it: in use, or only to be deleted.
    Became(Box<Established>),
    /// It failed, and that was reported.
    Over,
}

impl Initiator {
    /// Sends IKE_SA_INIT. None when the peer has no address or no group is configured.
    pub(crate) fn begin(env: &mut Env<'_>, peer: PeerId, config: &Arc<PeerConfig>) -> Option<Self> {
        let remote = config.remote?;
        let group = *config.ike.groups.first()?;
        let state = AwaitInit {
            key_pair: generate(env, group)?,
            nonce: env.nonce(),
            offered: proposal::offer_ike(&config.ike, None),
            cookie: None,
            restarts: 0,
            request: Vec::new(),
            refusal: None,
        };
        let attempt = Attempt {
            id: env.sa_id(),
            peer,
            config: config.clone(),
            spi_i: env.ike_spi(),
            way: Arrival {
                local: SocketAddr::new(config.local, IKE_PORT),
                remote: SocketAddr::new(remote, IKE_PORT),
            },
            began: env.now,
            give_up_at: env.now + env.limits().handshake_timeout,
            window: Window::default(),
        };
        tracing::info!(peer = %config.name, sa = attempt.id.0, %remote, "initiating an IKE SA");
        let mut this = Self {
            attempt,
            state: State::AwaitInit(state),
        };
        this.ask_init(env);
        Some(this)
    }

    pub(crate) fn id(&self) -> SaId {
        self.attempt.id
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.attempt.peer
    }

    pub(crate) fn our_spi(&self) -> u64 {
        self.attempt.spi_i
    }

    /// Whether the peer has shown it got nothing beyond IKE_SA_INIT from us.
    pub(crate) fn awaits_init(&self) -> bool {
        matches!(self.state, State::AwaitInit(_))
    }

    pub(crate) fn deadline(&self) -> Instant {
        let resend_at = self.attempt.window.resend_at();
        resend_at.map_or(self.attempt.give_up_at, |at| {
            at.min(self.attempt.give_up_at)
        })
    }

    pub(crate) fn handle_timeout(mut self, env: &mut Env<'_>) -> Outcome {
        if self.attempt.give_up_at <= env.now {
            let reason = match &self.state {
                State::AwaitInit(state) => state.refusal.clone().map(DownReason::Refused),
                State::AwaitAuth(_) => None,
            };
            return self.fail(env, reason.unwrap_or(DownReason::PeerDead));
        }
        let limits = env.limits();
        if let Some(message) = self.attempt.window.resend(env.now, &limits) {
            env.send(self.attempt.way, message);
            env.count(self.attempt.peer, |c| c.retransmissions += 1);
        }
        Outcome::Waiting(self)
    }

    /// Reports the end of the attempt.
    pub(crate) fn fail(self, env: &mut Env<'_>, reason: DownReason) -> Outcome {
        if let State::AwaitAuth(state) = &self.state {
            env.release_spi(state.child.spi_in);
        }
        self.attempt.report(env, reason);
        Outcome::Over
    }

    /// A response to what was asked. `alone` is whether no other IKE SA with
    /// this peer is up.
    pub(crate) fn handle_message(
        mut self,
        env: &mut Env<'_>,
        at: Arrival,
        (message, datagram): (ClearMessage, &[u8]),
        alone: bool,
    ) -> Outcome {
        let awaited = self.attempt.window.awaits(message.header.message_id);
        if !awaited || message.header.initiator || at.remote.ip() != self.attempt.way.remote.ip() {
            self.attempt.discard(env, "not the awaited response");
            return Outcome::Waiting(self);
        }
        match self.state {
            State::AwaitInit(state) => {
                let spi_r = message.header.spi_r;
                match InitResponse::parse(message) {
                    Ok(response) => {
                        state.answered(env, self.attempt, at, spi_r, (response, datagram), alone)
                    }
                    Err(error) => {
                        self.attempt.discard(env, &error.to_string());
                        self.state = State::AwaitInit(state);
                        Outcome::Waiting(self)
                    }
                }
            }
            State::AwaitAuth(state) => state.answered(env, self.attempt, at, &message, datagram),
        }
    }

    fn ask_init(&mut self, env: &mut Env<'_>) {
        if let State::AwaitInit(state) = &mut self.state {
            state.ask(env, &mut self.attempt);
        }
    }
}

impl Attempt {
    fn discard(&self, env: &mut Env<'_>, why: &str) {
        tracing::debug!(peer = %self.config.name, sa = self.id.0, why, "message dropped");
        env.count(self.peer, |c| c.dropped += 1);
    }

    fn report(&self, env: &mut Env<'_>, reason: DownReason) {
        tracing::warn!(peer = %self.config.name, sa = self.id.0, %reason, "initiating failed");
        env.emit(Event::InitiateFailed {
            peer: self.peer,
            sa: self.id,
            reason,
        });
    }

    fn refuse(&self, env: &mut Env<'_>, why: String) {
        env.refuse(Some(self.peer), &self.config.name, self.way.remote, why);
    }

    fn send(&mut self, env: &mut Env<'_>, message: Vec<u8>) {
        env.send(self.way, message.clone());
        let limits = env.limits();
        self.window.sent(env.now, &limits, message);
    }
}

impl AwaitInit {
    /// Sends the request, with what earlier answers asked for.
    fn ask(&mut self, env: &mut Env<'_>, attempt: &mut Attempt) {
        let spis = SpiPair {
            initiator: attempt.spi_i,
            responder: 0,
        };
        let nat = nat::notifies(spis, attempt.way, attempt.config.encapsulation);
        let request = InitRequest {
            cookie: self.cookie.clone(),
            offer: IkeOffer {
                sa: self.offered.clone(),
                ke: public(&self.key_pair),
                nonce: self.nonce.clone(),
                notifies: Notifies(nat.to_vec()),
            },
        };
        let header = Header {
            spi_i: attempt.spi_i,
            spi_r: 0,
            exchange: ExchangeType::IKE_SA_INIT,
            initiator: true,
            response: false,
            message_id: 0,
        };
        self.request = encode_cleartext(&header, &request.into_payloads());
        attempt.window = Window::default();
        attempt.send(env, self.request.clone());
    }

    fn waiting(self, attempt: Attempt) -> Outcome {
        Outcome::Waiting(Initiator {
            attempt,
            state: State::AwaitInit(self),
        })
    }

    /// Asks again, differently; but not forever.
    fn restart(mut self, env: &mut Env<'_>, mut attempt: Attempt) -> Outcome {
        self.restarts += 1;
        self.ask(env, &mut attempt);
        self.waiting(attempt)
    }

    /// Keeps an error that nobody vouches for as the reason, in case nothing
    /// better comes.
    fn noted(mut self, env: &mut Env<'_>, attempt: Attempt, why: String) -> Outcome {
        if self.refusal.as_ref() != Some(&why) {
            attempt.refuse(env, why.clone());
            self.refusal = Some(why);
        }
        self.waiting(attempt)
    }

    fn answered(
        mut self,
        env: &mut Env<'_>,
        attempt: Attempt,
        at: Arrival,
        spi_r: u64,
        (response, datagram): (InitResponse, &[u8]),
        alone: bool,
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
                self.accepted(env, attempt, at, spi_r, (offer, datagram), alone)
            }
        }
    }

    fn refused(mut self, env: &mut Env<'_>, attempt: Attempt, notify: &Notify) -> Outcome {
        let config = &attempt.config;
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD {
            let demanded = demanded_group(notify);
            let usable = demanded.filter(|group| {
                config.ike.groups.contains(group)
                    && *group != self.key_pair.group()
                    && self.restarts < MAX_RESTARTS
            });
            if let Some(key_pair) = usable.and_then(|group| generate(env, group)) {
                tracing::info!(peer = %config.name, group = %key_pair.group(), "the peer wants another group");
                self.key_pair = key_pair;
                return self.restart(env, attempt);
            }
            let why = format!(
                "the peer wants key exchange group {}, we sent {} and accept {}",
                demanded.map_or("unknown".to_owned(), |group| group.to_string()),
                self.key_pair.group(),
                names(&config.ike.groups)
            );
            return self.noted(env, attempt, why);
        }
        let why = format!(
            "the peer refused the IKE SA by {}: we offered {}",
            notify.kind,
            offered_ike(config)
        );
        self.noted(env, attempt, why)
    }

    fn accepted(
        mut self,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        at: Arrival,
        spi_r: u64,
        (offer, datagram): (IkeOffer, &[u8]),
        alone: bool,
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
        let spis = SpiPair {
            initiator: attempt.spi_i,
            responder: spi_r,
        };
        let detected = Detected::from(&offer.notifies, spis, at);
        let nat = match detected.decide(attempt.config.encapsulation) {
            Ok(nat) => nat,
            Err(why) => {
                attempt.refuse(env, why.clone());
                attempt.report(env, DownReason::Refused(why));
                return Outcome::Over;
            }
        };
        // The computation takes the private key; if it fails, another is needed.
        let Some(spare) = generate(env, ours) else {
            return self.waiting(attempt);
        };
        let shared = match std::mem::replace(&mut self.key_pair, spare).agree(&offer.ke.data) {
            Ok(shared) => shared,
            Err(error) if self.restarts < MAX_RESTARTS => {
                attempt.discard(env, &error.to_string());
                return self.restart(env, attempt);
            }
            Err(error) => {
                attempt.report(env, DownReason::Refused(error.to_string()));
                return Outcome::Over;
            }
        };
        let nonces = Nonces {
            initiator: self.nonce.clone(),
            responder: offer.nonce,
        };
        let keys = SkeySeed::first(choice.suite.prf, &nonces, &shared).expand(
            choice.suite,
            &nonces,
            spis,
            Role::Initiator,
        );
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                attempt.report(env, DownReason::Refused(error.to_string()));
                return Outcome::Over;
            }
        };
        let Some(child) = PendingChild::new(env, &attempt.config, None, false) else {
            attempt.report(
                env,
                DownReason::Refused("no inbound SPI is left".to_owned()),
            );
            return Outcome::Over;
        };
        if nat.local || nat.remote {
            // RFC 7296 section 2.23: the initiator floats, from IKE_AUTH on.
            attempt.way = Arrival {
                local: with_port(attempt.way.local, NAT_T_PORT),
                remote: with_port(attempt.way.remote, NAT_T_PORT),
            };
        }
        attempt.window.acknowledge();
        let mut next = AwaitAuth {
            keys,
            suite: choice.suite,
            spis,
            nonces,
            init_response: datagram.to_vec(),
            nat,
            behind_nat: detected.local,
            child,
        };
        next.ask(env, &mut attempt, &self.request, alone);
        next.waiting(attempt)
    }
}

impl AwaitAuth {
    fn ask(&mut self, env: &mut Env<'_>, attempt: &mut Attempt, init: &[u8], alone: bool) {
        let config = &attempt.config;
        let id_i = Id::from(&config.local_id);
        let auth = Signed {
            prf: self.suite.prf,
            message: init,
            nonce: &self.nonces.responder,
            sk_p: &self.keys.sk_pi,
            id: &id_i,
        }
        .sign(&config.psk);
        let (sa, ts_i, ts_r) = self.child.terms();
        // RFC 7296 section 2.4.
        let contact = alone.then(|| Notify::new(NotifyType::INITIAL_CONTACT, Vec::new()));
        let request = AuthRequest {
            id_i,
            id_r: Some(Id::from(&config.remote_id)),
            auth,
            sa,
            ts_i,
            ts_r,
            notifies: Notifies(contact.into_iter().collect()),
        };
        let header = Header {
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            exchange: ExchangeType::IKE_AUTH,
            initiator: true,
            response: false,
            message_id: attempt.window.next_request(),
        };
        let message = self
            .keys
            .seal
            .seal(&header, &request.into_payloads(), env.random());
        attempt.send(env, message);
    }

    fn waiting(self, attempt: Attempt) -> Outcome {
        Outcome::Waiting(Initiator {
            attempt,
            state: State::AwaitAuth(Box::new(self)),
        })
    }

    fn answered(
        self: Box<Self>,
        env: &mut Env<'_>,
        attempt: Attempt,
        at: Arrival,
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
            attempt.discard(env, "not authentic");
            return self.waiting(attempt);
        };
        let response = decode_payloads(first, &plaintext)
            .map_err(|e| e.to_string())
            .and_then(|payloads| {
                AuthResponse::parse(&message.payloads, payloads).map_err(|e| e.to_string())
            });
        match response {
            Ok(response) => self.concluded(env, attempt, at, response),
            Err(why) => {
                let reason = DownReason::Refused(format!("malformed IKE_AUTH response: {why}"));
                self.disowned(env, attempt, reason)
            }
        }
    }

    fn concluded(
        self: Box<Self>,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        at: Arrival,
        response: AuthResponse,
    ) -> Outcome {
        let (id_r, auth, child) = match response {
            AuthResponse::Accepted {
                id_r, auth, child, ..
            } => (id_r, auth, child),
            AuthResponse::Refused(notify) => {
                env.release_spi(self.child.spi_in);
                let reason = refusal_of_auth(&attempt.config, &notify);
                attempt.refuse(env, reason.to_string());
                attempt.report(env, reason);
                return Outcome::Over;
            }
        };
        let config = attempt.config.clone();
        if id_r.identity().as_ref() != Some(&config.remote_id) {
            let found = id_r
                .identity()
                .map_or(format!("of type {}", id_r.kind), |id| id.to_string());
            let why = format!("the peer says it is {found}, expected {}", config.remote_id);
            attempt.refuse(env, why.clone());
            return self.disowned(env, attempt, DownReason::AuthenticationFailed(why));
        }
        let verified = Signed {
            prf: self.suite.prf,
            message: &self.init_response,
            nonce: &self.nonces.initiator,
            sk_p: &self.keys.sk_pr,
            id: &id_r,
        }
        .verify(&config.psk, &auth);
        let proof = match verified {
            Ok(proof) => proof,
            Err(why) => {
                attempt.refuse(env, why.clone());
                return self.disowned(env, attempt, DownReason::AuthenticationFailed(why));
            }
        };
        attempt.way.remote = at.remote;
        let began = attempt.began;
        let (foundation, pending) = self.foundation(&attempt);
        let mut sa = Box::new(Established::new(env, foundation, &proof));
        env.count(attempt.peer, |c| c.ike_established += 1);
        sa.announce(env, None);
        sa.first_child(env, pending, &child);
        env.core.effects.push_back(Effect::CameUp {
            sa: attempt.id,
            contact: false,
            began,
        });
        Outcome::Became(sa)
    }

    /// The attempt failed after the responder set up its side.
    fn disowned(
        self: Box<Self>,
        env: &mut Env<'_>,
        attempt: Attempt,
        reason: DownReason,
    ) -> Outcome {
        attempt.report(env, reason);
        let (foundation, pending) = self.foundation(&attempt);
        env.release_spi(pending.spi_in);
        Outcome::Became(Box::new(Established::disown(env, foundation)))
    }

    fn foundation(self, attempt: &Attempt) -> (Foundation, PendingChild) {
        let foundation = Foundation {
            id: attempt.id,
            peer: attempt.peer,
            config: attempt.config.clone(),
            role: Role::Initiator,
            spis: self.spis,
            suite: self.suite,
            keys: self.keys,
            nonces: self.nonces,
            remote_id: attempt.config.remote_id.clone(),
            path: Path {
                local: attempt.way.local,
                remote: attempt.way.remote,
                udp_encapsulation: self.nat.local || self.nat.remote,
            },
            nat: self.nat,
            behind_nat: self.behind_nat,
            window: Window::after_auth_as_initiator(),
        };
        (foundation, self.child)
    }
}

fn refusal_of_auth(config: &PeerConfig, notify: &Notify) -> DownReason {
    if notify.kind == NotifyType::AUTHENTICATION_FAILED {
        return DownReason::AuthenticationFailed(format!(
            "the peer did not accept us as {}: compare the pre-shared key and the identities",
            config.local_id
        ));
    }
    DownReason::Refused(format!(
        "the peer refused IKE_AUTH by {}: we offered {}",
        notify.kind,
        offered_ike(config)
    ))
}

/// Our algorithms, for the line that says what was offered.
pub(crate) fn offered_ike(config: &PeerConfig) -> String {
    format!(
        "encryption {}, integrity {}, PRF {}, group {}",
        names(&config.ike.encryption),
        names(&config.ike.integrity),
        names(&config.ike.prf),
        names(&config.ike.groups)
    )
}

fn names<T: std::fmt::Display>(items: &[T]) -> String {
    let names: Vec<_> = items.iter().map(ToString::to_string).collect();
    names.join(" or ")
}
