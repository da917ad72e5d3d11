//! The responder's side of IKE_SA_INIT and IKE_AUTH (RFC 7296 section 1.2): an IKE SA whose
//! initiator has not authenticated, with one struct for each state.

mod agree;
mod answer_init;
mod auth_request;
mod await_auth;
mod begun;

use std::time::Instant;

use self::agree::Agree;
use self::await_auth::AwaitAuth;
use self::begun::Begun;

use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::SaId;
use crate::core::job::{Computed, JobId};
use crate::dos_protection::{DosProtection, Origin};
use crate::peer::peers::Peers;
use crate::v2::channel::window::{Answered, INIT_ID, Incoming};
use crate::v2::established::Established;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::wire::ClearMessage;

pub(crate) use self::answer_init::{InitRefusal, init_response_header, select};

/// An IKE SA whose initiator has not authenticated.
pub(crate) enum HalfOpen {
    /// A job computes our part of the key exchange; IKE_SA_INIT is not answered yet.
    Agree(Box<Agree>),
    AwaitAuth(Box<AwaitAuth>),
}

/// The result of handling an event in a half-open SA.
pub(crate) enum Outcome {
    /// The handshake goes on.
    Waiting(HalfOpen),
    /// The initiator authenticated.
    Up(Box<Established>),
    /// The handshake was refused; the answer is repeated if the request is.
    Refused(Option<Answered>),
}

impl HalfOpen {
    fn begun(&self) -> &Begun {
        match self {
            Self::Agree(state) => &state.begun,
            Self::AwaitAuth(state) => &state.begun,
        }
    }

    pub(crate) fn id(&self) -> SaId {
        self.begun().id
    }

    pub(crate) fn our_spi(&self) -> u64 {
        self.begun().spis.responder
    }

    /// What identifies a repeated IKE_SA_INIT.
    pub(crate) fn origin(&self) -> Origin {
        let begun = self.begun();
        (begun.at.remote, begun.spis.initiator)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.begun().forget_at
    }

    /// The addresses that its IKE_SA_INIT came from and to.
    pub(crate) fn arrival(&self) -> AddressPair {
        self.begun().at
    }

    /// Whether IKE_SA_INIT is answered.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self, Self::AwaitAuth(_))
    }

    /// Answers a repeated IKE_SA_INIT, or says why not.
    pub(crate) fn answer_again(
        &self,
        env: &mut Env<'_>,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let begun = self.begun();
        match begun.window.classify(INIT_ID, datagram) {
            Incoming::Again(response) => {
                env.send(begun.at, response.clone());
                Ok(())
            }
            Incoming::BeingAnswered => Err(DropReason::BeingAnswered),
            Incoming::Fresh | Incoming::OutOfWindow => Err(DropReason::ChangedRequest),
        }
    }

    /// Handles IKE_AUTH.
    pub(crate) fn handle_message(
        self,
        env: &mut Env<'_>,
        known: (&Peers, &mut DosProtection),
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Outcome {
        match self {
            Self::AwaitAuth(state) => state.handle_message(env, known, at, message, datagram),
            // The initiator does not know our SPI yet.
            Self::Agree(_) => Outcome::Waiting(self),
        }
    }

    /// Takes the output of the job that the SA waits for. Returns the SA in its next state, or the
    /// refusal to answer with.
    pub(crate) fn handle_job(
        self,
        env: &mut Env<'_>,
        job: JobId,
        computed: Computed,
    ) -> Result<Self, InitRefusal> {
        match (self, computed) {
            (Self::Agree(state), Computed::Response(made)) if state.job == job => {
                state.computed(env, made)
            }
            (waiting, _) => Ok(waiting),
        }
    }
}
