//! Computations that IKE SAs wait for, each in a state of its own. Those so long that other peers'
//! messages should not wait for them are handed out as jobs; the endpoint computes the others before
//! the call that began them returns.

use std::collections::BTreeMap;

use vgw_crypto::{Group, KeyExchangeError, KeyPair, PrivateKey, Secret};

use crate::core::event::SaId;

/// Names a job: which computation of which IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    pub(crate) sa: SaId,
    number: u64,
}

/// A computation that holds all its input, so any thread can run it.
#[derive(Debug)]
pub struct Job(Step);

/// The result of a job.
#[derive(Debug)]
pub struct Output(pub(crate) Computed);

/// A step of a key exchange. The initiator has two; the responder has only one, because in a KEM
/// its value follows from the initiator's.
#[derive(Debug)]
pub(crate) enum Step {
    /// The initiator's first step: its key pair.
    MakeKeyPair(PrivateKey),
    /// The responder's step.
    Respond { ours: PrivateKey, theirs: Vec<u8> },
    /// The initiator's second step.
    Agree { ours: PrivateKey, theirs: Vec<u8> },
}

/// The result of a step.
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
            Self::MakeKeyPair(ours) | Self::Respond { ours, .. } | Self::Agree { ours, .. } => {
                ours.group()
            }
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

/// Computations that nobody has taken yet. Each IKE SA has only a few, and they are removed with it,
/// so the limit on IKE SAs bounds them.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    // The oldest IKE SA's come first: an IKE SA that has been up long goes before strangers.
    long: BTreeMap<JobId, Job>,
    short: BTreeMap<JobId, Job>,
    last: u64,
}

impl Jobs {
    /// Begins a computation for an IKE SA. A short one is not handed out.
    pub(crate) fn begin(&mut self, sa: SaId, step: Step, is_short: bool) -> JobId {
        self.last += 1;
        let number = self.last;
        let id = JobId { sa, number };
        let jobs = if is_short {
            &mut self.short
        } else {
            &mut self.long
        };
        jobs.insert(id, Job(step));
        id
    }

    /// Hands out again what an IKE SA waits for, under the same id: whichever output comes first is
    /// taken.
    pub(crate) fn hand_out_again(&mut self, id: JobId, step: Step) {
        self.last = self.last.max(id.number);
        self.long.insert(id, Job(step));
    }

    /// The next job to hand out.
    pub(crate) fn take(&mut self) -> Option<(JobId, Job)> {
        self.long.pop_first()
    }

    /// The next computation that is too short to be handed out.
    pub(crate) fn take_short(&mut self) -> Option<(JobId, Job)> {
        self.short.pop_first()
    }

    /// Drops the computations of an IKE SA that has ended or was taken out.
    pub(crate) fn forget(&mut self, sa: SaId) {
        let of_sa = |number| JobId { sa, number };
        for jobs in [&mut self.long, &mut self.short] {
            let ids = of_sa(0)..=of_sa(u64::MAX);
            while let Some((&id, _)) = jobs.range(ids.clone()).next() {
                jobs.remove(&id);
            }
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
