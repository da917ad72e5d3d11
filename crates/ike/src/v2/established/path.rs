//! Where the peer's packets come from, and how a new address is proved before
//! anything else is sent there.
//!
//! RFC 7296 section 2.23 lets a host that is not behind a NAT send where the
//! peer's newest authentic packet came from. But whoever is on the way can send
//! a packet on from any address, and would lead the whole tunnel there. So a
//! request is sent to the new address alone, and the path moves when its answer
//! comes from there: return routability, as RFC 4555 section 3.7 has it. The
//! answer shows that the peer receives at that address, because an honest peer
//! answers no request that it did not get. A peer that forges its own source can
//! deceive this; MOBIKE's COOKIE2 would stop it, and few peers know that.
//!
//! A packet that somebody sent on thus brings one empty request to his address,
//! and nothing else.
//!
//! A host behind a NAT should not do even this, by the same section, lest one packet
//! break the connection. That is meant for a host whose own mapping may be what changed;
//! a NAT with one address for us alone, which the configuration names, is not such. With
//! any other, the address that we have is asked first, and the new one only if the answer
//! does not come from there.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::tasks::Task;
use super::{Established, Phase, informational};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, Event};
use crate::v2::handshake::nat::{AddressPair, OwnNat};

/// A request that asks a new address is sent there alone for this long, then also
/// where the path leads: the peer may never have been at the new address. This
/// leaves slow networks time to answer.
const ALONE: Duration = Duration::from_secs(1);

/// After a new address was asked, the next is asked not before this: others of our
/// requests come between, and a peer cannot make us move without pause.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the peer's new address.
#[derive(Debug, Default)]
pub(super) struct Move {
    /// The newest address that an authentic packet came from, if not the path's.
    candidate: Option<Candidate>,
    /// Where the request under way was sent, if nowhere else.
    asked: Option<Asked>,
    /// No address is asked before.
    not_before: Option<Instant>,
    /// The last address that was not followed because another is configured.
    refused: Option<IpAddr>,
    /// The last answer to what was sent on the path came from elsewhere.
    path_fails: bool,
}

#[derive(Debug)]
struct Candidate {
    remote: SocketAddr,
    /// Nothing was sent there since a packet last came from there.
    earned: bool,
    /// It may be asked alone.
    trusted: bool,
}

#[derive(Debug)]
struct Asked {
    remote: SocketAddr,
    until: Instant,
}

impl Move {
    /// When [`Self::begin_asking`] gives an address, if the message window allows it.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let candidate = self.candidate.as_ref()?;
        let ready = candidate.earned && candidate.trusted;
        ready.then(|| self.not_before.unwrap_or(now))
    }

    /// The address to ask now.
    fn begin_asking(&mut self, now: Instant) -> Option<SocketAddr> {
        self.due(now).filter(|at| *at <= now)?;
        let remote = self.take_earned()?;
        self.asked = Some(Asked {
            remote,
            until: now + ALONE,
        });
        self.not_before = Some(now + PAUSE);
        Some(remote)
    }

    /// Where one message may go because a packet came from there.
    fn take_earned(&mut self) -> Option<SocketAddr> {
        let candidate = self.candidate.as_mut().filter(|c| c.earned)?;
        candidate.earned = false;
        Some(candidate.remote)
    }

    /// Whether the request under way was sent to the candidate alone.
    fn asks_candidate(&self) -> bool {
        match (&self.asked, &self.candidate) {
            (Some(asked), Some(candidate)) => asked.remote == candidate.remote,
            _ => false,
        }
    }
}

impl Established {
    /// An authentic ESP packet, the newest of its CHILD SA, came from here.
    pub(crate) fn note_path(&mut self, env: &mut Env<'_>, remote: SocketAddr) {
        self.consider(env, remote);
        self.advance(env);
    }

    /// An authentic IKE message came from the peer.
    pub(super) fn heard(&mut self, env: &mut Env<'_>, at: AddressPair) {
        self.last_heard = env.now;
        // One to port 500 says nothing of where ESP in UDP comes from.
        if at.local == self.path.local {
            self.consider(env, at.remote);
        }
    }

    /// The answer to the request under way came.
    pub(super) fn heard_answer(&mut self, env: &mut Env<'_>, at: AddressPair) {
        let asked = self.moving.asked.take();
        if asked.is_none() {
            self.moving.path_fails = at.remote != self.path.remote;
        }
        if asked.is_some() || (self.is_wary() && !self.moving.path_fails) {
            self.moving.not_before = Some(env.now + PAUSE);
        }
        if asked.is_some_and(|asked| asked.remote == at.remote) && at.local == self.path.local {
            self.move_to(env, at.remote);
        }
        self.heard(env, at);
    }

    /// RFC 7296 section 2.23: only a peer behind a NAT may be elsewhere. Where its
    /// address is configured, only the port may change.
    fn consider(&mut self, env: &mut Env<'_>, remote: SocketAddr) {
        if remote == self.path.remote {
            self.moving.candidate = None;
            return;
        }
        if !self.nat.remote {
            return;
        }
        let (from, configured) = (remote.ip(), self.config.remote);
        if let Some(configured) = configured.filter(|ip| *ip != from) {
            if self.moving.refused.replace(from) != Some(from) {
                let why = format!(
                    "authentic packets come from {from}, expected {configured}: \
                     traffic stays with the configured address"
                );
                env.refuse(Some(self.peer), &self.config.name, remote, why);
            }
            return;
        }
        let trusted = !self.is_wary() || self.moving.path_fails;
        let before = self.moving.candidate.replace(Candidate {
            remote,
            earned: true,
            trusted,
        });
        if !trusted {
            if before.is_none_or(|before| before.remote != remote) {
                let from = self.path.remote;
                self.diagnose(env, Diagnostic::AddressInDoubt { from, to: remote });
            }
            self.ask_path(env);
        }
        if self.moving.asked.is_none() {
            // A request that waits for its answer may have gone to an address
            // that the peer has left.
            self.window.hasten(env.now, &env.limits());
        }
    }

    /// Whether what the peer's address seems to be may be our own NAT's doing.
    fn is_wary(&self) -> bool {
        self.own_nat == OwnNat::Unknown
    }

    /// Asks whether the peer is still where it was. A request under way is such a
    /// question.
    fn ask_path(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up && self.window.is_idle() {
            let at = self.moving.not_before.unwrap_or(env.now);
            self.tasks.plan(Task::Liveness, at);
        }
    }

    /// Asks a new address for a sign of life, if there is one and it is time.
    pub(super) fn ask_new_address(&mut self, env: &mut Env<'_>) -> bool {
        if self.phase != Phase::Up {
            return false;
        }
        let Some(remote) = self.moving.begin_asking(env.now) else {
            return false;
        };
        let (peer, from) = (&self.config.name, self.path.remote);
        tracing::debug!(
            %peer, sa = self.id.0, %from, to = %remote,
            "{peer}: asking whether the peer is at {remote} now instead of {from}"
        );
        let way = AddressPair {
            remote,
            ..self.way()
        };
        let (active, payloads) = informational::liveness();
        self.request_by(env, way, active, &payloads);
        true
    }

    /// Sends the request under way again: on the path, and to a new address that
    /// a packet came from since the last time.
    pub(super) fn repeat(&mut self, env: &mut Env<'_>, message: Vec<u8>) {
        let alone = self
            .moving
            .asked
            .as_ref()
            .is_some_and(|a| env.now < a.until);
        if !alone {
            self.moving.asked = None;
            env.send(self.way(), message.clone());
        }
        if (!alone || self.moving.asks_candidate())
            && let Some(remote) = self.moving.take_earned()
        {
            let way = AddressPair {
                remote,
                ..self.way()
            };
            env.send(way, message);
        }
    }

    fn move_to(&mut self, env: &mut Env<'_>, remote: SocketAddr) {
        let (peer, from) = (&self.config.name, self.path.remote);
        tracing::debug!(
            %peer, sa = self.id.0, %from, to = %remote,
            "{peer}: the peer answers at {remote} instead of {from}"
        );
        self.path.remote = remote;
        self.moving.path_fails = false;
        env.count(self.peer, |c| c.path_changes += 1);
        if self.phase == Phase::Up {
            env.emit(Event::PathChanged {
                peer: self.peer,
                sa: self.id,
                path: self.path,
            });
        }
    }
}
