//! What an operator can do to a tunnel.

use std::fmt;
use std::time::Instant;

use vgw_sa::TunnelId;

use super::drain::{AfterDrain, BY_HAND, Drain};
use super::tunnel_state::{Event, State};
use super::{Supervisor, TunnelIndex};
use crate::domain::TunnelName;

/// What to rekey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekeyTarget {
    /// The IKE SA.
    Ike,
    /// The CHILD SA that carries the outbound traffic.
    Child,
}

impl fmt::Display for RekeyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ike => "IKE",
            Self::Child => "CHILD",
        })
    }
}

/// Why an operation was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// No such tunnel.
    #[error("no tunnel {0}; tunnels are named like vpn-office/1")]
    Unknown(TunnelName),
    /// It has no SA to rekey.
    #[error("tunnel {0} is {1}; it must be up to be rekeyed")]
    NotUp(TunnelName, State),
}

impl Supervisor {
    /// Takes a tunnel down and keeps it down until [`Self::tunnel_up`]. If the
    /// connection's other tunnel is up, traffic moves there first, and the SAs
    /// are deleted when the peer's traffic has moved as well, [`super::LONGEST_DRAIN`] later at
    /// the latest. Taking down what is down changes nothing.
    ///
    /// # Errors
    /// If there is no such tunnel.
    pub fn tunnel_down(&mut self, now: Instant, name: &TunnelName) -> Result<(), OperationError> {
        let id = self.find(name)?;
        let other_is_up = self
            .sibling(id)
            .is_some_and(|other| other.state == State::Up);
        let Some(tunnel) = self.touch(id) else {
            return Err(OperationError::Unknown(name.clone()));
        };
        match tunnel.state {
            State::Up => {
                let outdated = tunnel.restart_by.take().is_some();
                let drain = Drain::new(now, AfterDrain::AdminDown, outdated);
                tunnel.begin_drain(now, drain, "being taken down by hand");
                if !other_is_up {
                    self.shut(now, id, BY_HAND);
                }
            }
            State::Draining => {
                if let Some(drain) = &mut tunnel.drain {
                    drain.then = AfterDrain::AdminDown;
                }
            }
            State::Down | State::Connecting => {
                tunnel.transition(now, Event::TakeDown, BY_HAND);
                self.shut(now, id, BY_HAND);
            }
            State::AdminDown => {}
        }
        self.settle(now);
        Ok(())
    }

    /// Lets a tunnel that was taken down come up again. Where the peer's address is
    /// known, we initiate at once, whatever StartupAction says: the peer may not know
    /// that it may initiate. On any other tunnel it changes nothing.
    ///
    /// # Errors
    /// If there is no such tunnel.
    pub fn tunnel_up(&mut self, now: Instant, name: &TunnelName) -> Result<(), OperationError> {
        let id = self.find(name)?;
        let Some(tunnel) = self.touch(id) else {
            return Err(OperationError::Unknown(name.clone()));
        };
        match (tunnel.state, &mut tunnel.drain) {
            (State::AdminDown, _) => {
                tunnel.transition(now, Event::BringUp, "brought up by hand");
                tunnel.retry = super::retry::Retry::default();
                tunnel.initiate_once(now);
                tunnel.lines.refusals.forget();
                let peer = tunnel.peer.clone();
                self.endpoint.set_peer(now, id, peer);
            }
            // Its SAs are those of the old configuration, so it restarts at the end of the drain.
            (State::Draining, Some(drain)) if drain.outdated => drain.then = AfterDrain::Restart,
            (State::Draining, Some(_)) => {
                tunnel.drain = None;
                tunnel.transition(now, Event::BringUp, "brought up by hand");
            }
            (State::Draining | State::Down | State::Connecting | State::Up, _) => {}
        }
        self.settle(now);
        Ok(())
    }

    /// Rekeys a tunnel's SA now.
    ///
    /// # Errors
    /// If there is no such tunnel or it is not up.
    pub fn rekey(
        &mut self,
        now: Instant,
        name: &TunnelName,
        what: RekeyTarget,
    ) -> Result<(), OperationError> {
        let id = self.find(name)?;
        let Some(tunnel) = self.tunnels.get(&id) else {
            return Err(OperationError::Unknown(name.clone()));
        };
        let (Some(spi_in), Some(sa)) = (tunnel.sas.outbound(), tunnel.sas.keeper()) else {
            return Err(OperationError::NotUp(name.clone(), tunnel.state));
        };
        tracing::info!(tunnel = %name, "{name}: rekeying its {what} SA by hand");
        match what {
            RekeyTarget::Ike => self.endpoint.rekey_ike(now, sa),
            RekeyTarget::Child => self.endpoint.rekey_child(now, spi_in),
        }
        self.settle(now);
        Ok(())
    }

    fn find(&self, name: &TunnelName) -> Result<TunnelId, OperationError> {
        let pair = self.connections.get(&name.connection);
        let which = TunnelIndex::from_number(name.number);
        let id = pair
            .zip(which)
            .map(|(pair, which)| *which.of(&pair.tunnels));
        id.ok_or_else(|| OperationError::Unknown(name.clone()))
    }
}
