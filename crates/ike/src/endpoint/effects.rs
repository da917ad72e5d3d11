//! What one SA means for others: rekeys, restarts of the peer, duplicates.

use std::time::Instant;

use vgw_sa::TunnelId;

use super::sa::{Next, Remains, Sa};
use super::{Endpoint, MAX_CLOSED, REPEAT_FOR, Standing};
use crate::core::env::Env;
use crate::core::event::{DownReason, Role, SaId};
use crate::core::progress::Asked;
use crate::dos_protection::source::Source;
use crate::v2::channel::window::Answered;
use crate::v2::established::{Effect, Established};

/// A peer may have this many IKE SAs in use; more than one are left when it
/// began anew without saying so.
const MAX_IKE_SAS: usize = 4;
/// And this many that are rekeyed or being deleted, before the oldest are
/// forgotten: a peer may rekey without pause and never delete.
const MAX_OLD_IKE_SAS: usize = 32;

impl Endpoint {
    /// Keeps an SA, under its deadline.
    pub(super) fn put(&mut self, sa: Sa) {
        self.deadlines.set(sa.id(), sa.deadline(&self.core.limits));
        self.sas.insert(sa);
    }

    /// Keeps what is left of an SA.
    pub(super) fn put_back(&mut self, now: Instant, id: SaId, next: Next) {
        match next {
            Next::Sa(mut sa) => {
                if let Sa::Established(sa) = &mut sa {
                    self.effects.extend(sa.take_effects());
                }
                if !matches!(sa, Sa::HalfOpen(_)) {
                    self.dos_protection.leave(id);
                    self.spis.authenticated(sa.our_spi());
                }
                self.put(sa);
            }
            Next::Gone(Remains {
                our_spi,
                answered,
                effects,
            }) => {
                self.effects.extend(effects);
                self.deadlines.set(id, None);
                self.spis.remove(our_spi);
                self.dos_protection.leave(id);
                if let Some(answered) = answered {
                    self.remember_closed(now, our_spi, answered);
                }
            }
        }
    }

    fn remember_closed(&mut self, now: Instant, our_spi: u64, answered: Answered) {
        if self.closed.len() >= MAX_CLOSED {
            self.forget_oldest_closed();
        }
        self.closed.insert(our_spi, answered);
        self.closed_order.push_back((now + REPEAT_FOR, our_spi));
    }

    pub(super) fn forget_oldest_closed(&mut self) {
        if let Some((_, our_spi)) = self.closed_order.pop_front() {
            self.closed.remove(&our_spi);
        }
    }

    /// Closes an SA and does what follows from it.
    pub(super) fn close(&mut self, now: Instant, id: SaId, reason: DownReason, send_delete: bool) {
        if let Some(sa) = self.sas.remove(id) {
            let next = sa.close(&mut self.env(now), reason, send_delete);
            self.put_back(now, id, next);
        }
        self.settle(now);
    }

    /// Does something to an established SA and what follows from it.
    pub(super) fn with_established(
        &mut self,
        now: Instant,
        id: SaId,
        change: impl FnOnce(&mut Established, &mut Env<'_>),
    ) {
        match self.sas.remove(id) {
            Some(Sa::Established(mut sa)) => {
                change(&mut sa, &mut self.env(now));
                self.put_back(now, id, Next::after(sa));
                self.settle(now);
            }
            Some(other) => self.sas.insert(other),
            None => {}
        }
    }

    fn established(&self, id: SaId) -> Option<&Established> {
        match self.sas.get(id)? {
            Sa::Established(sa) => Some(sa),
            Sa::Initiating(_) | Sa::HalfOpen(_) => None,
        }
    }

    /// The other IKE SAs with this peer that are in use.
    fn others(&self, peer: TunnelId, except: Option<SaId>) -> Vec<SaId> {
        self.sas
            .of_peer(peer)
            .filter_map(|sa| match sa {
                Sa::Established(sa) if sa.is_up() => Some(sa.id()),
                _ => None,
            })
            .filter(|id| Some(*id) != except)
            .collect()
    }

    /// Bounds what a peer makes us keep beside the IKE SAs in use.
    fn forget_old(&mut self, now: Instant, peer: TunnelId) {
        let old: Vec<_> = self
            .sas
            .of_peer(peer)
            .filter_map(|sa| match sa {
                Sa::Established(sa) if !sa.is_up() => Some(sa.id()),
                _ => None,
            })
            .collect();
        let excess = old.len().saturating_sub(MAX_OLD_IKE_SAS);
        for oldest in old.into_iter().take(excess) {
            self.close(now, oldest, DownReason::Rekeyed, false);
        }
    }

    pub(super) fn has_other(&self, peer: TunnelId, except: SaId) -> bool {
        !self.others(peer, Some(except)).is_empty()
    }

    /// Does what SAs asked for while they were handled.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::CameUp { sa, contact, began } => self.came_up(now, sa, contact, began),
                Effect::WentDown { peer } => {
                    if let Some(other) = self.others(peer, None).pop() {
                        self.with_established(now, other, |sa, env| sa.reaffirm_outbound(env));
                    }
                }
                Effect::Report(event) => self.core.events.push_back(*event),
                Effect::Spawn(sa) => {
                    let id = sa.id();
                    self.spis.insert(sa.our_spi(), id, Standing::Known);
                    let peer = sa.peer();
                    self.put(Sa::Established(sa));
                    self.with_established(now, id, Established::advance);
                    self.forget_old(now, peer);
                }
                Effect::Adopt {
                    old,
                    new,
                    inheritance,
                } => self.with_established(now, new, |sa, env| {
                    sa.take_over(env, old, *inheritance);
                }),
                Effect::CandidateGone { old, candidate } => {
                    self.with_established(now, old, |sa, _| sa.candidate_gone(candidate));
                }
                Effect::CloseCandidate {
                    candidate,
                    send_delete,
                } => self.close(now, candidate, DownReason::Rekeyed, send_delete),
            }
        }
    }

    fn came_up(&mut self, now: Instant, id: SaId, contact: bool, began: Instant) {
        let Some(sa) = self.established(id) else {
            return;
        };
        let (peer, role, remote) = (sa.peer(), sa.role(), sa.remote().ip());
        if let Some(before) = self.peers.saw(peer, remote) {
            self.dos_protection.forget_address(Source::Peer(before));
        }
        self.env(now).note_asked(peer, Asked::came_up);
        if role == Role::Responder {
            // The peer came first; it will not miss an attempt it has not
            // authenticated itself to.
            let useless: Vec<_> = self
                .attempts_of(peer)
                .filter(|attempt| match self.sas.get(*attempt) {
                    Some(Sa::Initiating(attempt)) => attempt.awaits_init(),
                    _ => false,
                })
                .collect();
            for attempt in useless {
                self.close(now, attempt, DownReason::Superseded, false);
            }
        }
        for other in self.others(peer, Some(id)) {
            let before = self
                .established(other)
                .is_some_and(|sa| sa.established_at() < began);
            if contact && before {
                // RFC 7296 section 2.4: the peer lost it, so nobody need be told.
                self.close(now, other, DownReason::Superseded, false);
            } else if !before {
                self.resolve_duplicate(now, id, other);
            }
        }
        let others = self.others(peer, Some(id));
        let excess = (others.len() + 1).saturating_sub(MAX_IKE_SAS);
        for oldest in others.into_iter().take(excess) {
            self.close(now, oldest, DownReason::Superseded, true);
        }
        self.forget_old(now, peer);
    }

    /// Both sides set up an IKE SA at once. One is enough: as at a rekey, the
    /// one with the lowest nonce is closed by who began it.
    fn resolve_duplicate(&mut self, now: Instant, new: SaId, other: SaId) {
        let (Some(a), Some(b)) = (self.established(new), self.established(other)) else {
            return;
        };
        if a.role() == b.role() {
            return;
        }
        let redundant = if a.nonces().lowest() < b.nonces().lowest() {
            a
        } else {
            b
        };
        if redundant.role() == Role::Initiator {
            self.close(now, redundant.id(), DownReason::Superseded, true);
        }
    }
}
