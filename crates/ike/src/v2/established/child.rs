//! The life of a CHILD SA within its IKE SA.

use std::time::Instant;

use vgw_crypto::{DirectionKeys, EspSuite};
use vgw_sa::{ChildSa, TrafficSelector};

use super::Established;
use crate::core::env::{Env, Schedule};
use crate::core::event::{DownReason, Event};

/// What the negotiator keeps of a CHILD SA; its keys went to the data plane.
#[derive(Debug)]
pub(crate) struct Child {
    /// Our inbound SPI, which names the CHILD SA.
    pub spi_in: u32,
    /// The peer's inbound SPI.
    pub spi_out: u32,
    /// Whether the data plane was told to send with it.
    pub outbound: bool,
    /// The phase of its life.
    pub phase: ChildPhase,
    /// The inbound SPI of the CHILD SA that it replaces.
    pub replaces: Option<u32>,
    /// When it was made.
    pub installed_at: Instant,
    /// None once the rekey is under way or planned as a task.
    pub rekey_at: Option<Instant>,
    /// Hard end.
    pub expire_at: Instant,
    /// Our side of the selectors that were proposed; a rekey proposes them again.
    pub local_selectors: Vec<TrafficSelector>,
    /// The peer's side of these selectors.
    pub remote_selectors: Vec<TrafficSelector>,
}

/// The phase of a CHILD SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildPhase {
    /// In use, or about to be once the SA that it replaces is gone.
    Live,
    /// The peer rekeyed it and will delete it (RFC 7296 section 2.8).
    Replaced {
        /// Inbound SPI of the new CHILD SA.
        by: u32,
    },
    /// The peer made it and lost the collision, so the peer will delete it (RFC 7296 section
    /// 2.8.1). If it does not, we do.
    Redundant {
        /// Until when we wait for the peer's DELETE.
        until: Instant,
    },
    /// We delete it: our request is planned or under way.
    Deleting,
    /// Deleted on both sides; packets on the way are still accepted.
    Lingering {
        /// Until when those packets are accepted.
        until: Instant,
    },
}

impl Child {
    /// Whether the peer can still name it in a request.
    pub(crate) fn is_known_to_peer(&self) -> bool {
        match self.phase {
            ChildPhase::Live
            | ChildPhase::Replaced { .. }
            | ChildPhase::Redundant { .. }
            | ChildPhase::Deleting => true,
            ChildPhase::Lingering { .. } => false,
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            ChildPhase::Live => {
                let rekey_at = self.rekey_at.unwrap_or(self.expire_at);
                Some(rekey_at.min(self.expire_at))
            }
            ChildPhase::Replaced { .. } => Some(self.expire_at),
            ChildPhase::Redundant { until } | ChildPhase::Lingering { until } => Some(until),
            // The CHILD SA ends with the request, which has its own deadline.
            ChildPhase::Deleting => None,
        }
    }
}

/// A CHILD SA as negotiated, before it is installed.
pub(crate) struct NewChild {
    pub spi_in: u32,
    pub spi_out: u32,
    pub suite: EspSuite,
    pub keys_in: DirectionKeys,
    pub keys_out: DirectionKeys,
    pub local_selectors: Vec<TrafficSelector>,
    pub remote_selectors: Vec<TrafficSelector>,
    pub replaces: Option<u32>,
}

impl Established {
    /// Installs a new CHILD SA for receiving. When to send with it is decided separately.
    pub(super) fn install(&mut self, env: &mut Env<'_>, new: NewChild) {
        let Schedule {
            rekey_at,
            expire_at,
        } = env.schedule(self.config.child_lifetime);
        let child = Child {
            spi_in: new.spi_in,
            spi_out: new.spi_out,
            outbound: false,
            phase: ChildPhase::Live,
            replaces: new.replaces,
            installed_at: env.now,
            rekey_at: Some(rekey_at),
            expire_at,
            local_selectors: new.local_selectors.clone(),
            remote_selectors: new.remote_selectors.clone(),
        };
        self.children.insert(new.spi_in, child);
        env.core.owner.insert(new.spi_in, self.id);
        env.emit(Event::ChildInbound {
            peer: self.peer,
            sa: self.id,
            child: Box::new(ChildSa {
                spi_in: new.spi_in,
                spi_out: new.spi_out,
                suite: new.suite,
                keys_in: new.keys_in,
                keys_out: new.keys_out,
                local_selectors: new.local_selectors,
                remote_selectors: new.remote_selectors,
                path: self.path,
            }),
            rekeys: new.replaces,
        });
    }

    /// Sends with this CHILD SA from now on.
    pub(super) fn use_outbound(&mut self, env: &mut Env<'_>, spi_in: u32) {
        let Some(child) = self.children.get_mut(&spi_in).filter(|c| !c.outbound) else {
            return;
        };
        child.outbound = true;
        if child.replaces.is_some() {
            env.count(self.peer, |c| c.child_rekeys += 1);
        }
        env.emit(Event::ChildOutbound {
            peer: self.peer,
            spi_in,
        });
    }

    /// The peer no longer uses this rekeyed CHILD SA: we send with its successor, and still accept
    /// packets on the way.
    pub(super) fn linger(&mut self, env: &mut Env<'_>, spi_in: u32) {
        let until = env.now + env.limits().rekeyed_linger;
        let Some(child) = self.children.get_mut(&spi_in) else {
            return;
        };
        if let ChildPhase::Replaced { by } = child.phase {
            child.phase = ChildPhase::Lingering { until };
            self.use_outbound(env, by);
            return;
        }
        child.phase = ChildPhase::Lingering { until };
    }

    /// Ends a CHILD SA at once. If it was replaced, its successor stays.
    pub(super) fn remove_child(&mut self, env: &mut Env<'_>, spi_in: u32, reason: DownReason) {
        let Some(child) = self.children.remove(&spi_in) else {
            return;
        };
        if let ChildPhase::Replaced { by } = child.phase {
            self.use_outbound(env, by);
        }
        env.core.owner.remove(&spi_in);
        env.emit(Event::ChildDown {
            peer: self.peer,
            spi_in,
            reason,
        });
        env.release_spi(spi_in);
    }

    /// The CHILD SA that the peer receives with this SPI.
    pub(super) fn child_by_peer_spi(&self, spi_out: u32) -> Option<&Child> {
        self.children
            .values()
            .find(|child| child.spi_out == spi_out && child.is_known_to_peer())
    }
}
