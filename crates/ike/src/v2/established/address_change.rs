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
//! Whoever sends a peer's packet on from another address thus gets one empty request there,
//! and nothing else.
//!
//! By the same section a host behind a NAT should not do even this, because its own mapping
//! may be what changed. A NAT that has one address for us alone, and is configured, does
//! not change its mapping. Behind any other, the address that we have is asked first, and
//! the new one only if the answer does not come from there.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::tasks::Task;
use super::{Established, Phase, informational};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, Event};
use crate::v2::channel::datagrams::Datagrams;
use crate::v2::handshake::nat::{AddressPair, OwnNat};

/// A probe is sent to the new address alone for this long, which leaves slow networks time
/// to answer. Then it is repeated on the path as well: the peer may never have been at the
/// new address.
const PROBED_ALONE: Duration = Duration::from_secs(1);

/// The pause between two probes: it leaves room for our other requests, and a peer cannot
/// make us move all the time.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the peer's new address. A probe is a request that is sent there alone.
#[derive(Debug, Default)]
pub(super) struct AddressChange {
    /// The newest address that an authentic packet came from, if not the path's.
    newest: Option<NewAddress>,
    /// The probe under way.
    probe: Option<Probe>,
    /// The next probe is not sent before.
    not_before: Option<Instant>,
    /// The last address that was not followed because another is configured.
    refused: Option<IpAddr>,
    /// The last answer to what was sent on the path came from elsewhere.
    path_in_doubt: bool,
}

#[derive(Debug)]
struct NewAddress {
    remote: SocketAddr,
    /// One message may go there: nothing did since a packet last came from there.
    send_credit: bool,
    /// Whether a probe may go there. Not while the address we have is to be asked first.
    may_be_probed: bool,
}

#[derive(Debug)]
struct Probe {
    remote: SocketAddr,
    /// Until when it is sent nowhere else.
    until: Instant,
}

impl AddressChange {
    /// When [`Self::begin_probe`] gives an address, if the message window allows it.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let new = self.newest.as_ref()?;
        let ready = new.send_credit && new.may_be_probed;
        ready.then(|| self.not_before.unwrap_or(now))
    }

    /// The address to probe now.
    fn begin_probe(&mut self, now: Instant) -> Option<SocketAddr> {
        self.due(now).filter(|at| *at <= now)?;
        let remote = self.take_send_credit()?;
        self.probe = Some(Probe {
            remote,
            until: now + PROBED_ALONE,
        });
        self.not_before = Some(now + PAUSE);
        Some(remote)
    }

    /// Where one message may go because a packet came from there.
    fn take_send_credit(&mut self) -> Option<SocketAddr> {
        let new = self.newest.as_mut().filter(|new| new.send_credit)?;
        new.send_credit = false;
        Some(new.remote)
    }

    /// Whether the probe under way went to the newest address.
    fn probes_newest(&self) -> bool {
        match (&self.probe, &self.newest) {
            (Some(probe), Some(newest)) => probe.remote == newest.remote,
            _ => false,
        }
    }
}

impl Established {
    /// An authentic ESP packet, the newest of its CHILD SA, came from here.
    pub(crate) fn note_path(&mut self, env: &mut Env<'_>, remote: SocketAddr) {
        self.consider_address(env, remote);
        self.advance(env);
    }

    /// An authentic IKE message came from the peer.
    pub(super) fn note_authentic(&mut self, env: &mut Env<'_>, at: AddressPair) {
        self.last_heard = env.now;
        // One to port 500 says nothing of where ESP in UDP comes from.
        if at.local == self.path.local {
            self.consider_address(env, at.remote);
        }
    }

    /// The answer to the request under way came.
    pub(super) fn note_response(&mut self, env: &mut Env<'_>, at: AddressPair) {
        let probe = self.address_change.probe.take();
        if probe.is_none() {
            self.address_change.path_in_doubt = at.remote != self.path.remote;
        }
        if probe.is_some() || (self.is_behind_unknown_nat() && !self.address_change.path_in_doubt) {
            self.address_change.not_before = Some(env.now + PAUSE);
        }
        if probe.is_some_and(|probe| probe.remote == at.remote) && at.local == self.path.local {
            self.move_to(env, at.remote);
        }
        self.note_authentic(env, at);
    }

    /// RFC 7296 section 2.23: only a peer behind a NAT may be elsewhere. Where its
    /// address is configured, only the port may change.
    fn consider_address(&mut self, env: &mut Env<'_>, remote: SocketAddr) {
        if remote == self.path.remote {
            self.address_change.newest = None;
            return;
        }
        if !self.nat.remote {
            return;
        }
        let (from, configured) = (remote.ip(), self.config.remote);
        if let Some(configured) = configured.filter(|ip| *ip != from) {
            if self.address_change.refused.replace(from) != Some(from) {
                let why = format!(
                    "authentic packets come from {from}, expected {configured}: \
                     traffic stays with the configured address"
                );
                env.refuse(Some(self.peer), &self.config.name, remote, why);
            }
            return;
        }
        let may_be_probed = !self.is_behind_unknown_nat() || self.address_change.path_in_doubt;
        let before = self.address_change.newest.replace(NewAddress {
            remote,
            send_credit: true,
            may_be_probed,
        });
        if !may_be_probed {
            if before.is_none_or(|before| before.remote != remote) {
                let from = self.path.remote;
                self.diagnose(env, Diagnostic::AddressInDoubt { from, to: remote });
            }
            self.probe_path(env);
        }
        if self.address_change.probe.is_none() {
            // A request that waits for its answer may have gone to an address
            // that the peer has left.
            self.window.hasten(env.now, &env.limits());
        }
    }

    /// Whether our own NAT may be what makes the peer seem to be elsewhere.
    fn is_behind_unknown_nat(&self) -> bool {
        self.own_nat == OwnNat::Unknown
    }

    /// Asks whether the peer is still where it was. A request under way is such a
    /// question.
    fn probe_path(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up && self.window.is_idle() {
            let at = self.address_change.not_before.unwrap_or(env.now);
            self.tasks.plan(Task::Liveness, at);
        }
    }

    /// Asks a new address for a sign of life, if there is one and it is time.
    pub(super) fn probe_new_address(&mut self, env: &mut Env<'_>) -> bool {
        if self.phase != Phase::Up {
            return false;
        }
        let Some(remote) = self.address_change.begin_probe(env.now) else {
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
        let (in_flight, payloads) = informational::liveness();
        self.request_by(env, way, in_flight, &payloads);
        true
    }

    /// Sends the request under way again: on the path, and to a new address that
    /// a packet came from since the last time.
    pub(super) fn repeat(&mut self, env: &mut Env<'_>, message: Datagrams) {
        let alone = self
            .address_change
            .probe
            .as_ref()
            .is_some_and(|probe| env.now < probe.until);
        if !alone {
            self.address_change.probe = None;
            env.send(self.way(), message.clone());
        }
        if (!alone || self.address_change.probes_newest())
            && let Some(remote) = self.address_change.take_send_credit()
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
        self.address_change.path_in_doubt = false;
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
