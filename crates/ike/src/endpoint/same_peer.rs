//! How one IKE SA affects others with the same peer: rekeys, INITIAL_CONTACT, duplicates.

use std::time::Instant;

use vgw_sa::TunnelId;

use super::sa::Sa;
use super::{Endpoint, SaClass};
use crate::core::event::{DownReason, Role, SaId};
use crate::core::progress::SentNotes;
use crate::dos_protection::source::Source;
use crate::v2::established::{Effect, Established};

/// A peer may have this many IKE SAs in use. It has more than one if it began anew without
/// INITIAL_CONTACT.
const MAX_IKE_SAS: usize = 4;
/// A peer may have this many rekeyed or closing IKE SAs. Beyond that the oldest are forgotten,
/// because a peer may rekey without pause and never delete.
const MAX_OLD_IKE_SAS: usize = 32;

impl Endpoint {
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

    /// Forgets the oldest IKE SAs that are not in use, if there are too many.
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

    /// Applies the effects that IKE SAs asked for while they were handled.
    pub(super) fn apply_effects(&mut self, now: Instant) {
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
                    self.spis.insert(sa.our_spi(), id, SaClass::Known);
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
                Effect::UndecidedGone { old, undecided } => {
                    self.with_established(now, old, |sa, _| sa.undecided_gone(undecided));
                }
                Effect::CloseUndecided {
                    undecided,
                    send_delete,
                } => self.close(now, undecided, DownReason::Rekeyed, send_delete),
            }
        }
    }

    fn came_up(&mut self, now: Instant, id: SaId, contact: bool, began: Instant) {
        let Some(sa) = self.established(id) else {
            return;
        };
        let (peer, role, remote) = (sa.peer(), sa.role(), sa.remote().ip());
        if let Some(before) = self.peers.note_address(peer, remote) {
            self.dos_protection.forget_address(Source::Peer(before));
        }
        self.env(now).note_sent(peer, SentNotes::came_up);
        if role == Role::Responder {
            // The peer's attempt was faster. Ours is closed, without a DELETE, if it has not sent
            // IKE_AUTH yet.
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
                // RFC 7296 section 2.4: the peer no longer has this SA, so no DELETE is sent.
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

    /// Closes one of two IKE SAs that both ends set up at once. As at a rekey (RFC 7296 section
    /// 2.8.2), the initiator of the one with the lowest nonce closes it.
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
