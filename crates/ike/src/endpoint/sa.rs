//! An IKE SA in any state.

use std::time::Instant;

use vgw_sa::TunnelId;

use crate::core::env::Env;
use crate::core::event::{DownReason, SaId};
use crate::peer::config::Limits;
use crate::v2::channel::window::Answered;
use crate::v2::established::{Effect, Established};
use crate::v2::handshake::initiator::{self, Initiator};
use crate::v2::handshake::responder::HalfOpen;
use crate::v2::messages::admission::Stage;

/// An IKE SA, from its first message to its last.
pub(super) enum Sa {
    Initiating(Box<Initiator>),
    HalfOpen(HalfOpen),
    Established(Box<Established>),
}

/// The result of passing a message or a deadline to an SA.
pub(super) enum AfterHandling {
    Sa(Sa),
    /// The SA is gone.
    Gone(GoneSa),
}

/// What an SA leaves when it is gone.
pub(super) struct GoneSa {
    /// The SPI by which the peer named us.
    pub(super) our_spi: u64,
    /// Its last answer, which may have to be repeated.
    pub(super) answered: Option<Answered>,
    /// What it asks the endpoint to do.
    pub(super) effects: Vec<Effect>,
}

impl Sa {
    pub(super) fn id(&self) -> SaId {
        match self {
            Self::Initiating(sa) => sa.id(),
            Self::HalfOpen(sa) => sa.id(),
            Self::Established(sa) => sa.id(),
        }
    }

    /// The peer of the SA, or of the attempt; None if it is half-open.
    pub(super) fn peer(&self) -> Option<TunnelId> {
        match self {
            Self::Initiating(sa) => Some(sa.peer()),
            Self::HalfOpen(_) => None,
            Self::Established(sa) => Some(sa.peer()),
        }
    }

    pub(super) fn our_spi(&self) -> u64 {
        match self {
            Self::Initiating(sa) => sa.our_spi(),
            Self::HalfOpen(sa) => sa.our_spi(),
            Self::Established(sa) => sa.our_spi(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Initiating(sa) if sa.awaits_init() => Stage::InitSent,
            Self::Initiating(_) => Stage::AuthSent,
            Self::HalfOpen(sa) if sa.is_answered() => Stage::InitAnswered,
            Self::HalfOpen(_) => Stage::InitReceived,
            Self::Established(_) => Stage::Authenticated,
        }
    }

    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match self {
            Self::Initiating(sa) => Some(sa.deadline()),
            Self::HalfOpen(sa) => Some(sa.deadline()),
            Self::Established(sa) => sa.deadline(limits),
        }
    }

    pub(super) fn handle_timeout(self, env: &mut Env<'_>) -> AfterHandling {
        let our_spi = self.our_spi();
        match self {
            Self::Initiating(sa) => AfterHandling::initiating(our_spi, sa.handle_timeout(env)),
            Self::HalfOpen(_) => AfterHandling::gone(our_spi, None),
            Self::Established(mut sa) => {
                sa.handle_timeout(env);
                AfterHandling::established(sa)
            }
        }
    }

    pub(super) fn close(
        self,
        env: &mut Env<'_>,
        reason: DownReason,
        send_delete: bool,
    ) -> AfterHandling {
        let our_spi = self.our_spi();
        match self {
            Self::Initiating(sa) => AfterHandling::initiating(our_spi, sa.fail(env, reason)),
            Self::HalfOpen(_) => AfterHandling::gone(our_spi, None),
            Self::Established(mut sa) => {
                sa.close(env, reason, send_delete);
                AfterHandling::established(sa)
            }
        }
    }
}

impl AfterHandling {
    pub(super) fn gone(our_spi: u64, answered: Option<Answered>) -> Self {
        Self::Gone(GoneSa {
            our_spi,
            answered,
            effects: Vec::new(),
        })
    }

    pub(super) fn established(mut sa: Box<Established>) -> Self {
        if sa.is_closed() {
            return Self::Gone(GoneSa {
                our_spi: sa.our_spi(),
                effects: sa.take_effects(),
                answered: sa.into_answered(),
            });
        }
        Self::Sa(Sa::Established(sa))
    }

    pub(super) fn initiating(our_spi: u64, outcome: initiator::Outcome) -> Self {
        match outcome {
            initiator::Outcome::Waiting(sa) => Self::Sa(Sa::Initiating(sa)),
            initiator::Outcome::Became(sa) => Self::established(sa),
            initiator::Outcome::Over => Self::gone(our_spi, None),
        }
    }
}
