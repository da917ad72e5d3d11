//! The address that the peer's packets come from, and how a new address is proved before anything
//! else is sent to it.
//!
//! RFC 7296 section 2.23 lets a host that is not behind a NAT send to where the peer's newest
//! authentic packet came from. But an attacker on the path can forward a packet from any address,
//! and would redirect the whole tunnel. So a request is sent only to the new address, and the path
//! moves when its answer comes from there: return routability, as in RFC 4555 section 3.7. The
//! answer shows that the peer receives at that address, because an honest peer answers no request
//! that it did not get. A peer that forges its own source can deceive this; MOBIKE's COOKIE2 would
//! stop it, but few peers support it.
//!
//! So an attacker that forwards a peer's packet from another address gets only one empty request
//! sent there.
//!
//! By the same section a host behind a NAT should not do even this, because its own mapping may
//! have changed. A configured NAT with one address for us alone does not change its mapping. Behind
//! any other NAT, a request first goes to the present address, and to the new address only if the
//! answer does not come from the present one.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::tasks::Task;
use super::{Established, Phase, informational};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, Event};
use crate::v2::channel::datagrams::Datagrams;
use crate::v2::handshake::nat::{AddressPair, OwnNat};

/// For this long, a probe is sent only to the new address, so that slow networks have time to
/// answer. Then it is repeated on the path as well, because the peer may never have been at the new
/// address.
const PROBED_ALONE: Duration = Duration::from_secs(1);

/// The pause between two probes. It leaves room for our other requests, and keeps a peer from
/// moving us all the time.
const PAUSE: Duration = Duration::from_secs(1);

/// What we know of the peer's new address. A probe is a request sent only to that address.
#[derive(Debug, Default)]
pub(super) struct AddressChange {
    /// The newest address that an authentic packet came from, if it differs from the path's.
    newest: Option<NewAddress>,
    /// The probe under way.
    probe: Option<Probe>,
    /// The next probe is not sent before this time.
    not_before: Option<Instant>,
    /// The last address that we did not follow because another is configured.
    refused: Option<IpAddr>,
    /// The last answer to a request on the path came from another address.
    path_in_doubt: bool,
}

#[derive(Debug)]
struct NewAddress {
    remote: SocketAddr,
    /// One message may be sent there: none was since a packet last came from there.
    send_credit: bool,
    /// Whether a probe may be sent there; false while the present address must be tried first.
    may_be_probed: bool,
}

#[derive(Debug)]
struct Probe {
    remote: SocketAddr,
    /// Until then the probe is sent nowhere else.
    until: Instant,
}

impl AddressChange {
    /// When [`Self::begin_probe`] returns an address, if the message window allows it.
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

    /// The new address, if one message may be sent there because a packet came from it.
    fn take_send_credit(&mut self) -> Option<SocketAddr> {
        let new = self.newest.as_mut().filter(|new| new.send_credit)?;
        new.send_credit = false;
        Some(new.remote)
    }

    /// The probe under way is to be answered from the path as well, and so proves nothing any more.
    pub(super) fn give_up_probe(&mut self) {
        self.probe = None;
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
    /// Notes where an authentic ESP packet, the newest of its CHILD SA, came from.
    pub(crate) fn note_path(&mut self, env: &mut Env<'_>, remote: SocketAddr) {
        self.consider_address(env, remote);
        self.advance(env);
    }

    /// Notes that an authentic IKE message came from the peer.
    pub(super) fn note_authentic(&mut self, env: &mut Env<'_>, at: AddressPair) {
        self.last_heard = env.now;
        // A message to port 500 does not show where ESP in UDP comes from.
        if at.local == self.path.local {
            self.consider_address(env, at.remote);
        }
    }

    /// Notes where the answer to the request under way came from.
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

    /// RFC 7296 section 2.23: only a peer behind a NAT may change its address. If its address is
    /// configured, only the port may change.
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
            // A request that waits for its answer may have been sent to an address that the peer
            // has left.
            self.window.hasten(env.now, &env.limits());
        }
    }

    /// Whether a NAT on our side may be why the peer's address seems to change.
    fn is_behind_unknown_nat(&self) -> bool {
        self.own_nat == OwnNat::Unknown
    }

    /// Plans a check whether the peer is still at the present address. A request under way is such
    /// a check.
    fn probe_path(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up && self.window.is_idle() {
            let at = self.address_change.not_before.unwrap_or(env.now);
            self.tasks.plan(Task::Liveness, at);
        }
    }

    /// Sends a liveness check to the new address, if there is one and it is time.
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

    /// Retransmits the request under way: on the path, and to a new address that a packet came from
    /// since the last time.
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
