//! Computations that take so long that other peers' messages should not wait for them. They
//! are handed out as jobs; the IKE SA that needs one waits in a state that has a name.

use std::collections::BTreeMap;

use vgw_crypto::{Group, KeyExchangeError, KeyPair, PrivateKey, Secret};

use crate::core::event::SaId;

/// Names a job: which computation of which IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    pub(crate) sa: SaId,
    number: u64,
}

/// A computation that needs nothing but itself, and so can be run on any thread.
#[derive(Debug)]
pub struct Job(Step);

/// What a job gives.
#[derive(Debug)]
pub struct Output(pub(crate) Computed);

/// A step of a key exchange. The initiator makes two; the responder makes one, because in
/// a KEM its value follows from the initiator's.
#[derive(Debug)]
pub(crate) enum Step {
    /// The initiator's first: its key pair.
    MakeKeyPair(PrivateKey),
    /// The responder's.
    Respond { ours: PrivateKey, theirs: Vec<u8> },
    /// The initiator's second.
    Agree { ours: KeyPair, theirs: Vec<u8> },
}

/// What a step gives.
#[derive(Debug)]
pub(crate) enum Computed {
    KeyPair(KeyPair),
    Response(Result<Response, KeyExchangeError>),
    Secret(Result<Secret, KeyExchangeError>),
}

/// A responder's part of a key exchange.
#[derive(Debug)]
pub(crate) struct Response {
    /// Our public value.
    pub public: Vec<u8>,
    pub shared: Secret,
}

/// What came of asking for a computation.
pub(crate) enum Computation {
    /// It was short, and made at once.
    Done(Computed),
    /// It is a job; its output comes with [`crate::endpoint::Endpoint::handle_job`].
    HandedOut(JobId),
}

impl Job {
    /// Computes it, for as long as that takes.
    #[must_use]
    pub fn run(self) -> Output {
        Output(self.0.compute())
    }
}

impl Step {
    pub(crate) fn group(&self) -> Group {
        match self {
            Self::MakeKeyPair(ours) | Self::Respond { ours, .. } => ours.group(),
            Self::Agree { ours, .. } => ours.group(),
        }
    }

    pub(crate) fn compute(self) -> Computed {
        match self {
            Self::MakeKeyPair(ours) => Computed::KeyPair(ours.into_key_pair()),
            Self::Respond { ours, theirs } => {
                let ours = ours.into_key_pair();
                let public = ours.public().to_vec();
                let shared = ours.agree(&theirs);
                Computed::Response(shared.map(|shared| Response { public, shared }))
            }
            Self::Agree { ours, theirs } => Computed::Secret(ours.agree(&theirs)),
        }
    }
}

/// Jobs that nobody has taken yet. An IKE SA has only a few, and they go with it, so there
/// are no more than its kind is allowed.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    // The oldest IKE SA's first: who has been up for long comes before strangers.
    waiting: BTreeMap<JobId, Job>,
    last: u64,
}

impl Jobs {
    pub(crate) fn hand_out(&mut self, sa: SaId, step: Step) -> JobId {
        self.last += 1;
        let number = self.last;
        let id = JobId { sa, number };
        self.waiting.insert(id, Job(step));
        id
    }

    pub(crate) fn take(&mut self) -> Option<(JobId, Job)> {
        self.waiting.pop_first()
    }

    /// The IKE SA is no more.
    pub(crate) fn forget(&mut self, sa: SaId) {
        let of_sa = |number| JobId { sa, number };
        let ids = of_sa(0)..=of_sa(u64::MAX);
        while let Some((&id, _)) = self.waiting.range(ids.clone()).next() {
            self.waiting.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Output};

    #[test]
    fn a_job_and_its_output_pass_between_threads() {
        fn passes<T: Send + 'static>() {}
        passes::<Job>();
        passes::<Output>();
    }
}
