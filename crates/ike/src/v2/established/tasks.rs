//! What an IKE SA has to ask of its peer, one request at a time.

use std::time::Instant;

use vgw_crypto::KeyPair;

use super::collision::{ChildCollision, IkeCollision};
use super::pending_child::PendingChild;
use super::pending_ike::PendingIke;
use crate::v2::wire::ExchangeType;

/// Something to ask. The order is that of urgency: what frees state first, then
/// what traffic needs, then what can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Delete the IKE SA, because the peer did not show who it is.
    DeleteUnauthenticated,
    /// Delete the IKE SA.
    DeleteIke,
    /// Delete the CHILD SA with this inbound SPI.
    DeleteChild(u32),
    /// A CHILD SA from scratch.
    CreateChild,
    /// A CHILD SA instead of the one with this inbound SPI.
    RekeyChild(u32),
    /// A new IKE SA instead of this one.
    RekeyIke,
    /// Our token for this SA (RFC 6290 section 4.3).
    GiveToken,
    /// The peer sent a packet with this SPI, which we do not receive with.
    InvalidSpi(u32),
    /// Whether the peer lives.
    Liveness,
}

impl Task {
    /// Whether it belongs to a CHILD SA, and so moves on when the IKE SA is rekeyed.
    pub(crate) const fn is_about_a_child(self) -> bool {
        match self {
            Self::DeleteChild(_) | Self::CreateChild | Self::RekeyChild(_) => true,
            Self::DeleteUnauthenticated
            | Self::DeleteIke
            | Self::RekeyIke
            | Self::GiveToken
            | Self::InvalidSpi(_)
            | Self::Liveness => false,
        }
    }
}

/// Tasks that wait, each at most once.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Vec<(Task, Instant)>);

impl Tasks {
    /// Plans a task for a time. One that is planned already keeps the earlier.
    pub(crate) fn plan(&mut self, task: Task, at: Instant) {
        match self.0.iter_mut().find(|(planned, _)| *planned == task) {
            Some((_, planned_at)) => *planned_at = at.min(*planned_at),
            None => self.0.push((task, at)),
        }
    }

    /// Takes the most urgent task that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Task> {
        let task = self.0.iter().filter(|(_, at)| *at <= now).min()?.0;
        self.0.retain(|(planned, _)| *planned != task);
        Some(task)
    }

    /// When the next one is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes what belongs to CHILD SAs.
    pub(crate) fn take_child_tasks(&mut self) -> Vec<(Task, Instant)> {
        self.0
            .extract_if(.., |(task, _)| task.is_about_a_child())
            .collect()
    }
}

/// The task whose request is under way, with what its answer needs. `K` is a key pair, or
/// its private value as plain data.
pub(crate) enum RequestInFlight<K = KeyPair> {
    DeleteIke,
    DeleteChild(u32),
    CreateChild(PendingChild<K>),
    RekeyChild {
        /// Inbound SPI of the CHILD SA to replace.
        old: u32,
        pending: PendingChild<K>,
        /// The peer rekeys it as well.
        collision: Option<ChildCollision>,
    },
    RekeyIke {
        pending: PendingIke<K>,
        /// The peer rekeys it as well.
        collision: Option<IkeCollision>,
    },
    /// INFORMATIONAL of which only matters that it is answered.
    Liveness,
    /// INFORMATIONAL whose answer no longer matters.
    Abandoned,
    /// CREATE_CHILD_SA whose answer no longer matters.
    AbandonedCreate,
}

impl RequestInFlight {
    /// Whether it creates, rekeys or deletes a CHILD SA (RFC 7296 section 2.25.2).
    pub(crate) const fn is_about_a_child(&self) -> bool {
        match self {
            Self::DeleteChild(_) | Self::CreateChild(_) | Self::RekeyChild { .. } => true,
            Self::DeleteIke
            | Self::RekeyIke { .. }
            | Self::Liveness
            | Self::Abandoned
            | Self::AbandonedCreate => false,
        }
    }

    /// The exchange it is asked in.
    pub(crate) const fn exchange(&self) -> ExchangeType {
        match self {
            Self::CreateChild(_)
            | Self::RekeyChild { .. }
            | Self::RekeyIke { .. }
            | Self::AbandonedCreate => ExchangeType::CREATE_CHILD_SA,
            Self::DeleteIke | Self::DeleteChild(_) | Self::Liveness | Self::Abandoned => {
                ExchangeType::INFORMATIONAL
            }
        }
    }

    /// The inbound SPI that it holds and no event named yet.
    pub(crate) fn unreported_spi(&self) -> Option<u32> {
        match self {
            Self::CreateChild(pending) | Self::RekeyChild { pending, .. } => Some(pending.spi_in),
            Self::DeleteIke
            | Self::DeleteChild(_)
            | Self::RekeyIke { .. }
            | Self::Liveness
            | Self::Abandoned
            | Self::AbandonedCreate => None,
        }
    }
}

impl<K> RequestInFlight<K> {
    /// The same with another form of the key pair.
    pub(super) fn map_key<L>(self, map: impl FnOnce(K) -> Option<L>) -> Option<RequestInFlight<L>> {
        Some(match self {
            Self::DeleteIke => RequestInFlight::DeleteIke,
            Self::DeleteChild(spi_in) => RequestInFlight::DeleteChild(spi_in),
            Self::CreateChild(pending) => RequestInFlight::CreateChild(pending.map_key(map)?),
            Self::RekeyChild {
                old,
                pending,
                collision,
            } => RequestInFlight::RekeyChild {
                old,
                pending: pending.map_key(map)?,
                collision,
            },
            Self::RekeyIke { pending, collision } => RequestInFlight::RekeyIke {
                pending: pending.map_key(map)?,
                collision,
            },
            Self::Liveness => RequestInFlight::Liveness,
            Self::Abandoned => RequestInFlight::Abandoned,
            Self::AbandonedCreate => RequestInFlight::AbandonedCreate,
        })
    }
}
