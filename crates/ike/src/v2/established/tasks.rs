//! The requests that an IKE SA has yet to send, one at a time.

use std::time::Instant;

use super::collision::{ChildCollision, IkeCollision};
use super::key_exchange::{PreparedKey, PrivateValue};
use super::pending_child::PendingChild;
use super::pending_ike::PendingIke;
use crate::core::job::JobId;
use crate::v2::wire::ExchangeType;

/// A request to send. The most urgent come first: what frees state, then what traffic needs, then
/// what can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Delete the IKE SA, because the peer did not authenticate.
    DeleteUnauthenticated,
    /// Delete the IKE SA.
    DeleteIke,
    /// Delete the CHILD SA with this inbound SPI.
    DeleteChild(u32),
    /// Create a CHILD SA.
    CreateChild,
    /// Rekey the CHILD SA with this inbound SPI.
    RekeyChild(u32),
    /// Rekey the IKE SA.
    RekeyIke,
    /// Give the peer our token for this SA (RFC 6290 section 4.3).
    GiveToken,
    /// Tell the peer that we do not receive with this SPI, which it sent a packet with.
    InvalidSpi(u32),
    /// Check that the peer lives.
    Liveness,
}

impl Task {
    /// Whether it is about a CHILD SA, and so moves to the new IKE SA at a rekey.
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
pub(crate) struct Tasks(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    task: Task,
    at: Instant,
    key: TaskKey,
}

/// The key pair for the request of a task.
#[derive(Debug)]
enum TaskKey {
    /// None is needed, or it is too early to make one.
    Absent,
    /// A job makes it.
    Preparing {
        job: JobId,
        private: PrivateValue,
        group_changes: u8,
    },
    Ready(PreparedKey),
}

impl Waiting {
    fn is_preparing(&self) -> bool {
        matches!(self.key, TaskKey::Preparing { .. })
    }
}

impl Tasks {
    /// Plans a task for a time. If it is planned already, the earlier time counts.
    pub(crate) fn plan(&mut self, task: Task, at: Instant) {
        match self.0.iter_mut().find(|waiting| waiting.task == task) {
            Some(waiting) => waiting.at = at.min(waiting.at),
            None => self.0.push(Waiting {
                task,
                at,
                key: TaskKey::Absent,
            }),
        }
    }

    /// Lets a task wait, from `at` on, for a job that makes the public value of `private`.
    pub(crate) fn prepare(
        &mut self,
        task: Task,
        at: Instant,
        (job, private, group_changes): (JobId, PrivateValue, u8),
    ) {
        self.0.retain(|waiting| waiting.task != task);
        let key = TaskKey::Preparing {
            job,
            private,
            group_changes,
        };
        self.0.push(Waiting { task, at, key });
    }

    /// Takes the public value that a job made. If no task waits for it any more, it is dropped.
    pub(crate) fn prepared(&mut self, made_by: JobId, public: &[u8]) {
        for waiting in &mut self.0 {
            waiting.key = match std::mem::replace(&mut waiting.key, TaskKey::Absent) {
                TaskKey::Preparing {
                    job,
                    private,
                    group_changes,
                } if job == made_by => TaskKey::Ready(PreparedKey {
                    private,
                    public: public.to_vec(),
                    group_changes,
                }),
                key => key,
            };
        }
    }

    /// The jobs that make key pairs, and their private values.
    pub(crate) fn preparing(&self) -> impl Iterator<Item = (JobId, &PrivateValue)> {
        self.0.iter().filter_map(|waiting| match &waiting.key {
            TaskKey::Preparing { job, private, .. } => Some((*job, private)),
            TaskKey::Absent | TaskKey::Ready(_) => None,
        })
    }

    /// Takes the most urgent task that is due, and the key pair that was made for it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Task, Option<PreparedKey>)> {
        let due = |waiting: &&Waiting| waiting.at <= now && !waiting.is_preparing();
        let task = self
            .0
            .iter()
            .filter(due)
            .map(|waiting| waiting.task)
            .min()?;
        let mut taken = self.0.extract_if(.., |waiting| waiting.task == task);
        match taken.next()?.key {
            TaskKey::Ready(key) => Some((task, Some(key))),
            TaskKey::Absent | TaskKey::Preparing { .. } => Some((task, None)),
        }
    }

    /// When the next task is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let waiting = self.0.iter().filter(|waiting| !waiting.is_preparing());
        waiting.map(|waiting| waiting.at).min()
    }

    /// Since when a task waits for the message window that has to be done: not one that only tells
    /// or asks the peer something.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        let needed = self.0.iter().filter(|waiting| {
            !matches!(
                waiting.task,
                Task::Liveness | Task::InvalidSpi(_) | Task::GiveToken
            )
        });
        needed.map(|waiting| waiting.at).min()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the tasks about CHILD SAs. Their key pairs are made anew.
    pub(crate) fn take_child_tasks(&mut self) -> Vec<(Task, Instant)> {
        self.0
            .extract_if(.., |waiting| waiting.task.is_about_a_child())
            .map(|waiting| (waiting.task, waiting.at))
            .collect()
    }
}

/// The request under way, with what its response needs.
pub(crate) enum RequestInFlight {
    DeleteIke,
    DeleteChild(u32),
    CreateChild(PendingChild),
    RekeyChild {
        /// Inbound SPI of the CHILD SA to replace.
        old: u32,
        pending: PendingChild,
        /// The peer rekeys it as well.
        collision: Option<ChildCollision>,
    },
    RekeyIke {
        pending: PendingIke,
        /// The peer rekeys it as well.
        collision: Option<IkeCollision>,
    },
    /// INFORMATIONAL whose response shows that the peer lives.
    Liveness,
    /// INFORMATIONAL whose response no longer matters.
    Abandoned,
    /// CREATE_CHILD_SA whose response no longer matters.
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

    /// Its exchange.
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

    /// The inbound SPI that is allocated for it and that no event has named yet.
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

    /// Our part of its key exchange.
    pub(crate) fn key(&self) -> Option<&PreparedKey> {
        match self {
            Self::CreateChild(pending) | Self::RekeyChild { pending, .. } => pending.key.as_ref(),
            Self::RekeyIke { pending, .. } => Some(&pending.key),
            Self::DeleteIke
            | Self::DeleteChild(_)
            | Self::Liveness
            | Self::Abandoned
            | Self::AbandonedCreate => None,
        }
    }
}
