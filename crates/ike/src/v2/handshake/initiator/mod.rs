//! The initiator's side of IKE_SA_INIT and IKE_AUTH (RFC 7296 section 1.2): one struct per awaited
//! message. A message that anyone could have sent does not end the state.
//!
//! An error that answers IKE_SA_INIT is not authenticated, so it does not end the attempt (RFC 7296
//! section 2.21.1). It is reported and the request is still repeated; if no better response comes,
//! the error is the reason given.

mod agree;
mod await_auth;
mod await_init;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use self::agree::Agree;
use self::await_auth::AwaitAuth;
use self::await_init::{AwaitInit, Offer};

use vgw_sa::{IKE_PORT, NATT_PORT, TunnelId};

use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{Diagnostic, DownReason, Event, SaId};
use crate::core::job::{Computed, JobId, Step};
use crate::core::progress::SentNotes;
use crate::peer::config::PeerConfig;
use crate::v2::channel::datagrams::Datagrams;
use crate::v2::channel::window::Window;
use crate::v2::established::Established;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::InitResponse;
use crate::v2::proposal;
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::ClearMessage;

/// An attempt to set up an IKE SA.
pub(crate) struct Initiator {
    attempt: Attempt,
    state: State,
}

enum State {
    /// A job computes the key pair that the offer needs; it has not been sent.
    MakeKeyPair(Box<Offer>),
    AwaitInit(Box<AwaitInit>),
    /// The responder has answered IKE_SA_INIT; a job computes the shared secret.
    Agree(Box<Agree>),
    AwaitAuth(Box<AwaitAuth>),
}

/// The fields that all states share.
struct Attempt {
    id: SaId,
    peer: TunnelId,
    config: Arc<PeerConfig>,
    spi_i: u64,
    way: AddressPair,
    began: Instant,
    give_up_at: Instant,
    window: Window,
    /// The job that the state waits for, if there is one.
    job: Option<JobId>,
}

/// The result of handling an event in an attempt.
pub(crate) enum Outcome {
    /// The attempt goes on.
    Waiting(Box<Initiator>),
    /// The attempt made an IKE SA: in use, or only to be deleted.
    Became(Box<Established>),
    /// The attempt failed, and that was reported.
    Over,
}

impl Initiator {
    /// Sends IKE_SA_INIT to the peer at `remote`. None if no group is configured or there are no
    /// random numbers.
    pub(crate) fn begin(
        env: &mut Env<'_>,
        peer: TunnelId,
        config: &Arc<PeerConfig>,
        remote: IpAddr,
    ) -> Option<Box<Self>> {
        let group = *config.ike.groups.first()?;
        let ours = env.private_key(group)?;
        let offer = Offer {
            nonce: env.nonce()?,
            offered: proposal::offer_ike(&config.ike, None),
            cookie: None,
            restarts: 0,
            refusal: None,
        };
        let attempt = Attempt {
            id: env.sa_id(),
            peer,
            config: config.clone(),
            spi_i: env.ike_spi()?,
            way: AddressPair {
                local: SocketAddr::new(config.local, IKE_PORT),
                remote: SocketAddr::new(remote, IKE_PORT),
            },
            began: env.now,
            give_up_at: env.now + env.limits().handshake_timeout,
            window: Window::default(),
            job: None,
        };
        let name = &config.name;
        tracing::debug!(peer = %name, sa = attempt.id.0, %remote, "{name}: initiating an IKE SA with {remote}");
        let attempt = Self {
            attempt,
            state: State::MakeKeyPair(Box::new(offer)),
        };
        Some(attempt.compute(env, Step::MakeKeyPair(ours)))
    }

    /// Has computed what the state waits for.
    fn compute(mut self, env: &mut Env<'_>, step: Step) -> Box<Self> {
        self.attempt.job = Some(env.compute(self.attempt.id, step));
        Box::new(self)
    }

    pub(crate) fn id(&self) -> SaId {
        self.attempt.id
    }

    pub(crate) fn peer(&self) -> TunnelId {
        self.attempt.peer
    }

    pub(crate) fn our_spi(&self) -> u64 {
        self.attempt.spi_i
    }

    /// Whether we have sent the peer nothing beyond IKE_SA_INIT.
    pub(crate) fn awaits_init(&self) -> bool {
        !matches!(self.state, State::AwaitAuth(_))
    }

    /// Sets the lifetimes of the SA that the attempt makes.
    pub(crate) fn retime(&mut self, config: &Arc<PeerConfig>) {
        self.attempt.config = Arc::clone(config);
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
                State::AwaitInit(state) => state.offer.refusal.clone().map(DownReason::Refused),
                State::MakeKeyPair(_) | State::Agree(_) => {
                    let why = "the key exchange was not computed in time".to_owned();
                    Some(DownReason::Refused(why))
                }
                State::AwaitAuth(_) => None,
            };
            return self.fail(env, reason.unwrap_or(DownReason::PeerDead));
        }
        let limits = env.limits();
        if let Some(message) = self.attempt.window.resend(env.now, &limits) {
            env.send(self.attempt.way, message);
            self.note_sent(env);
            env.count(self.attempt.peer, |c| c.retransmissions += 1);
        }
        Outcome::Waiting(Box::new(self))
    }

    /// Reports the end of the attempt.
    pub(crate) fn fail(self, env: &mut Env<'_>, reason: DownReason) -> Outcome {
        if let State::AwaitAuth(state) = &self.state {
            env.release_spi(state.child.spi_in);
        }
        self.attempt.report(env, reason);
        Outcome::Over
    }

    /// Handles a response to our request.
    pub(crate) fn handle_message(
        mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        (message, datagram): (ClearMessage, &[u8]),
    ) -> Outcome {
        if let Some(reason) = self.attempt.drop_reason(&message, at) {
            self.attempt.discard(env, at, reason);
            return Outcome::Waiting(Box::new(self));
        }
        match self.state {
            State::AwaitInit(state) => {
                let spi_r = message.header.spi_r;
                match InitResponse::parse(message) {
                    Ok(response) => {
                        env.note_sent(self.attempt.peer, SentNotes::init_answered);
                        state.answered(env, self.attempt, at, spi_r, (response, datagram))
                    }
                    Err(error) => {
                        let peer = &self.attempt.config.name;
                        tracing::debug!(%peer, %error, "{peer}: a response is not used: {error}");
                        self.attempt.discard(env, at, DropReason::BadResponse);
                        self.state = State::AwaitInit(state);
                        Outcome::Waiting(Box::new(self))
                    }
                }
            }
            State::AwaitAuth(state) => state.answered(env, self.attempt, at, &message, datagram),
            // No request is under way here, so the message was dropped above.
            State::MakeKeyPair(_) | State::Agree(_) => Outcome::Waiting(Box::new(self)),
        }
    }

    /// Takes the output of a job and passes it to the state that waits for it. `initial_contact` is
    /// whether no other IKE SA with this peer is up.
    pub(crate) fn handle_job(
        mut self,
        env: &mut Env<'_>,
        job: JobId,
        computed: Computed,
        initial_contact: bool,
    ) -> Outcome {
        if self
            .attempt
            .job
            .take_if(|awaited| *awaited == job)
            .is_none()
        {
            return Outcome::Waiting(Box::new(self));
        }
        match (self.state, computed) {
            (State::MakeKeyPair(offer), Computed::KeyPair(key_pair)) => {
                Outcome::Waiting(offer.send(env, self.attempt, key_pair))
            }
            (State::Agree(state), Computed::Secret(shared)) => {
                state.agreed(env, self.attempt, shared, initial_contact)
            }
            (state, _) => {
                self.state = state;
                Outcome::Waiting(Box::new(self))
            }
        }
    }

    /// Notes that the request of this state was sent.
    fn note_sent(&self, env: &mut Env<'_>) {
        match self.state {
            State::AwaitInit(_) => self.attempt.note_init(env),
            State::MakeKeyPair(_) | State::Agree(_) => {}
            State::AwaitAuth(_) => self.attempt.note_auth(env),
        }
    }
}

impl Attempt {
    /// Why a message is not the awaited response, if it is not.
    fn drop_reason(&self, message: &ClearMessage, at: AddressPair) -> Option<DropReason> {
        if message.header.initiator {
            return Some(DropReason::WrongSpis);
        }
        if at.remote.ip() != self.way.remote.ip() {
            return Some(DropReason::Elsewhere);
        }
        let awaited = self.window.awaits(message.header.message_id);
        (!awaited).then_some(DropReason::NotAwaited)
    }

    fn discard(&self, env: &mut Env<'_>, at: AddressPair, reason: DropReason) {
        env.drop_message_of(self.peer, at.remote, reason);
    }

    fn report(&self, env: &mut Env<'_>, reason: DownReason) {
        env.emit(Event::InitiateFailed {
            peer: self.peer,
            sa: self.id,
            reason,
        });
    }

    fn diagnose(&self, env: &mut Env<'_>, diagnostic: Diagnostic) {
        env.emit(Event::Diagnostic {
            peer: self.peer,
            sa: self.id,
            diagnostic,
        });
    }

    fn refuse(&self, env: &mut Env<'_>, why: impl Into<RefusalReason>) {
        env.refuse(Some(self.peer), &self.config.name, self.way.remote, why);
    }

    fn note_init(&self, env: &mut Env<'_>) {
        env.note_sent(self.peer, SentNotes::sent_init);
    }

    fn note_auth(&self, env: &mut Env<'_>) {
        let floated = self.way.remote.port() == NATT_PORT;
        env.note_sent(self.peer, |asked, now| asked.sent_auth(now, floated));
    }

    fn send(&mut self, env: &mut Env<'_>, message: Datagrams) {
        env.send(self.way, message.clone());
        let limits = env.limits();
        self.window.sent(env.now, &limits, message);
    }
}

fn names<T: std::fmt::Display>(items: &[T]) -> String {
    let names: Vec<_> = items.iter().map(ToString::to_string).collect();
    names.join(" or ")
}
