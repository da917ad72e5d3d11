//! The CHILD SA that IKE_AUTH makes (RFC 7296 sections 1.2 and 2.21.2). If it is refused, the IKE
//! SA is up all the same.

use super::child::ChildPhase;
use super::create_child::AskedFor;
use super::pending_child::{Answer, PendingChild, RefusedChild, agree_terms};
use super::tasks::Task;
use super::{Established, Phase, Reply};
use crate::core::env::Env;
use crate::core::event::Event;
use crate::v2::handshake::auth_failure::id_text;
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::{AuthChild, AuthRequest, AuthResponse, Notifies};
use crate::v2::proposal;
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{Auth, ClearMessage, Id, NotifyType, Proposal, TransformType};

impl Established {
    /// As initiator, handles what the response says of the CHILD SA that we asked for.
    pub(crate) fn first_child(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingChild,
        child: &AuthChild,
    ) {
        let (sa, ts_i, ts_r) = match child {
            AuthChild::Accepted { sa, ts_i, ts_r } => (sa, ts_i, ts_r),
            AuthChild::Refused(notify) => {
                env.release_spi(pending.spi_in);
                let why = self.refusal_by_peer(AskedFor::First, notify);
                self.refuse(env, RefusalReason::ByPeer(why));
                return self.create_child_later(env);
            }
        };
        let answer = Answer { sa, ts_i, ts_r };
        let spi_in = pending.spi_in;
        let accepted = pending.accept(&answer).and_then(|choice| {
            let keys = self
                .keys
                .child_keys(choice.suite, &self.nonces, None)
                .ok_or("the IKE SA is being closed")?;
            Ok((choice, keys))
        });
        match accepted {
            Ok((choice, keys)) => {
                let child = pending.into_child(&choice, &answer, keys, None);
                self.install(env, child);
                self.use_outbound(env, spi_in);
            }
            Err(why) => {
                env.release_spi(spi_in);
                self.refuse(env, format!("CHILD SA (phase 2): {why}"));
                self.tasks.plan(Task::DeleteChild(spi_in), env.now);
                self.create_child_later(env);
            }
        }
    }

    /// As responder, answers IKE_AUTH with the CHILD SA, or with why there is none.
    pub(crate) fn answer_auth(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        (message, datagram): (&ClearMessage, &[u8]),
        request: &AuthRequest,
        (id_r, auth): (Id, Auth),
    ) {
        self.peers_id_r = request.id_r.as_ref().map(id_text);
        let child = match self.agree_first(env, request) {
            Ok(child) => child,
            Err(refused) => {
                let why = format!("CHILD SA (phase 2): {}", refused.why);
                env.refuse(Some(self.peer), &self.config.name, at.remote, why);
                AuthChild::Refused(refused.notify)
            }
        };
        let response = AuthResponse::Accepted {
            id_r,
            auth,
            child,
            notifies: Notifies(self.own_token(env).into_iter().collect()),
        };
        self.answer(
            env,
            at,
            message,
            datagram,
            Reply::new(response.into_payloads()),
        );
    }

    fn agree_first(
        &mut self,
        env: &mut Env<'_>,
        request: &AuthRequest,
    ) -> Result<AuthChild, RefusedChild> {
        let selectors = (request.ts_i.as_slice(), request.ts_r.as_slice());
        let terms = agree_terms(&self.config, &request.sa, selectors, false)?;
        let spi_in = env.allocate_spi().ok_or_else(|| {
            RefusedChild::new(NotifyType::NO_ADDITIONAL_SAS, "no inbound SPI is left")
        })?;
        let accepted = AuthChild::Accepted {
            sa: terms.answer_with(spi_in),
            ts_i: terms.remote_selectors.clone(),
            ts_r: terms.local_selectors.clone(),
        };
        let keys = self
            .keys
            .child_keys(terms.suite, &self.nonces, None)
            .ok_or_else(|| {
                RefusedChild::new(NotifyType::TEMPORARY_FAILURE, "the IKE SA is being closed")
            })?;
        self.install(env, terms.into_child(spi_in, keys, None));
        self.use_outbound(env, spi_in);
        self.foresee_rekeys(env, &request.sa);
        Ok(accepted)
    }

    /// Warns if rekeys will fail. A peer need not offer its groups in IKE_AUTH, where they mean
    /// nothing (RFC 7296 section 1.2); but if it does, we can foresee the rekeys.
    fn foresee_rekeys(&self, env: &mut Env<'_>, offered: &[Proposal]) {
        let mut transforms = offered.iter().flat_map(|proposal| &proposal.transforms);
        if !transforms.any(|transform| transform.kind == TransformType::KEY_EXCHANGE) {
            return;
        }
        if let Err(mismatch) = proposal::select_esp(&self.config.esp, offered, true) {
            env.emit(Event::RekeyRefused {
                peer: self.peer,
                remote: self.path.remote,
                why: format!("the rekeys of the CHILD SA will fail: {mismatch}").into(),
            });
        }
    }

    /// As initiator: the responder believes that the SA is up, but it did not authenticate. We tell
    /// it so with a DELETE and the reason (RFC 7296 section 2.21.2).
    pub(crate) fn unauthenticated(env: &mut Env<'_>, from: super::NewIkeSa) -> Self {
        let mut sa = Self::build(env, from, Phase::Closing);
        sa.tasks.plan(Task::DeleteUnauthenticated, env.now);
        sa.advance(env);
        sa
    }

    /// Sends with this SA's CHILD SAs again, after another IKE SA of the same peer ended.
    pub(crate) fn reaffirm_outbound(&self, env: &mut Env<'_>) {
        let in_use = self
            .children
            .values()
            .filter(|child| child.outbound && child.phase == ChildPhase::Live);
        for child in in_use {
            env.emit(Event::ChildOutbound {
                peer: self.peer,
                spi_in: child.spi_in,
            });
        }
    }
}
