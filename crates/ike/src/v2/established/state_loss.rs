//! Signs that one end has lost SAs: INVALID_IKE_SPI in clear, the peer's token, and packets of
//! CHILD SAs that we do not have (RFC 7296 section 2.21.4, RFC 6290).

use std::time::{Duration, Instant};

use vgw_crypto::Secret;
use vgw_sa::Path;

use super::tasks::{RequestInFlight, Task};
use super::{Established, Phase};
use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::event::{DownReason, Role};
use crate::v2::channel::crash_token;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::Notifies;
use crate::v2::wire::{ClearMessage, Notify, NotifyType, Payload};

/// Unauthenticated signs make us check liveness, or send INVALID_SPI, no more often than this.
const PAUSE: Duration = Duration::from_secs(10);

/// The peer's token, and when we last acted on unauthenticated signs.
#[derive(Debug, Default)]
pub(super) struct StateLoss {
    /// The peer's token for this SA.
    token: Option<Secret>,
    /// When such a sign last made us check liveness.
    checked_at: Option<Instant>,
    /// When the peer was last sent INVALID_SPI.
    invalid_spi_at: Option<Instant>,
}

impl Established {
    /// Keeps the peer's token, from the message that made this SA.
    pub(crate) fn with_token_of(mut self, notifies: &Notifies) -> Self {
        self.keep_token(notifies);
        self
    }

    /// Keeps the token from a protected message, if it has one (RFC 6290 section 4.4).
    pub(super) fn keep_token(&mut self, notifies: &Notifies) {
        if let Some(token) = crash_token::given(notifies) {
            self.state_loss.token = Some(token);
        }
    }

    pub(crate) fn path(&self) -> Path {
        self.path
    }

    /// Whether the peer receives a CHILD SA with this SPI.
    pub(crate) fn sends_with(&self, spi_out: u32) -> bool {
        self.child_by_peer_spi(spi_out).is_some()
    }

    /// Handles a message in clear that names this SA. It is not answered and changes nothing by
    /// itself (RFC 7296 section 2.21.4). If it holds the peer's token, the peer has lost the SA,
    /// whatever address the message comes from (RFC 6290 section 4.5).
    pub(super) fn handle_unprotected(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
    ) {
        let says_so = message.payloads.iter().any(|payload| match payload {
            Payload::Notify(notify) => notify.kind == NotifyType::INVALID_IKE_SPI,
            _ => false,
        });
        if !message.header.response || !says_so {
            return self.discard(env, at, DropReason::NotEncrypted);
        }
        let token = self.state_loss.token.as_ref();
        if token.is_some_and(|token| crash_token::shown(token, &message.payloads)) {
            return self.close(env, DownReason::PeerLostIt, false);
        }
        self.discard(env, at, DropReason::LossUnproved);
        self.suspect_state_loss(env);
    }

    /// Checks liveness because of a claim that the peer has lost this SA or a part of it.
    pub(crate) fn suspect_state_loss(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up && may_act_again(self.state_loss.checked_at, env.now) {
            self.state_loss.checked_at = Some(env.now);
            self.tasks.plan(Task::Liveness, env.now);
            self.advance(env);
        }
    }

    /// Sends the peer INVALID_SPI, because it sent a packet with an SPI that we do not receive
    /// with.
    pub(crate) fn report_unknown_spi(&mut self, env: &mut Env<'_>, spi: u32) {
        if self.phase == Phase::Up && may_act_again(self.state_loss.invalid_spi_at, env.now) {
            self.state_loss.invalid_spi_at = Some(env.now);
            self.tasks.plan(Task::InvalidSpi(spi), env.now);
            self.advance(env);
        }
    }

    /// Plans a message with our token: the initiator of an IKE SA's rekey can give it only once the
    /// new SA exists (RFC 6290 section 4.3).
    pub(super) fn give_token_later(&mut self, env: &Env<'_>) {
        if self.role == Role::Initiator && self.own_token(env).is_some() {
            self.tasks.plan(Task::GiveToken, env.now);
        }
    }

    pub(super) fn own_token(&self, env: &Env<'_>) -> Option<Notify> {
        env.token(self.spis, self.role, self.path.local.ip())
    }

    pub(super) fn start_give_token(
        &self,
        env: &Env<'_>,
    ) -> Option<(RequestInFlight, Vec<Payload>)> {
        let token = self.own_token(env)?;
        Some((RequestInFlight::Liveness, vec![Payload::Notify(token)]))
    }
}

pub(super) fn invalid_spi(spi: u32) -> (RequestInFlight, Vec<Payload>) {
    let notify = Payload::Notify(Notify::invalid_spi(spi));
    (RequestInFlight::Liveness, vec![notify])
}

fn may_act_again(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| last + PAUSE <= now)
}
