//! Computations for IKE SAs that the caller carries out.

use std::time::Instant;

use super::Endpoint;
use super::sa::{AfterHandling, Sa};
use crate::core::job::{Job, JobId, Output};

impl Endpoint {
    /// The next computation to carry out, on this thread or another. There is at most one for each
    /// half-open IKE SA or attempt, and a few for each established one.
    pub fn poll_job(&mut self) -> Option<(JobId, Job)> {
        self.core.jobs.take()
    }

    /// Takes the output of a job, at any time and in any order. The output is dropped if its IKE SA
    /// is gone or no longer waits for it.
    pub fn handle_job(&mut self, now: Instant, id: JobId, output: Output) {
        self.take_output(now, id, output);
        self.settle(now);
    }

    /// Applies the effects that IKE SAs asked for while they were handled, and carries out the
    /// computations that are too short to be handed out.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            self.apply_effects(now);
            let Some((id, job)) = self.core.jobs.take_short() else {
                return;
            };
            self.take_output(now, id, job.run());
        }
    }

    fn take_output(&mut self, now: Instant, id: JobId, output: Output) {
        let Output(computed) = output;
        let Some(sa) = self.sas.remove(id.sa) else {
            return;
        };
        let our_spi = sa.our_spi();
        let next = match sa {
            Sa::Initiating(sa) => {
                let initial_contact = !self.has_other(sa.peer(), id.sa);
                let outcome = sa.handle_job(&mut self.env(now), id, computed, initial_contact);
                AfterHandling::initiating(our_spi, outcome)
            }
            Sa::HalfOpen(sa) => {
                let (at, (_, spi_i)) = (sa.arrival(), sa.origin());
                let was_answered = sa.is_answered();
                match sa.handle_job(&mut self.env(now), id, computed) {
                    Ok(sa) => {
                        if sa.is_answered() && !was_answered {
                            self.note_init_answered(now, at, spi_i);
                        }
                        AfterHandling::Sa(Sa::HalfOpen(sa))
                    }
                    Err(refused) => {
                        self.refuse_init(now, at, spi_i, refused);
                        AfterHandling::gone(our_spi, None)
                    }
                }
            }
            Sa::Established(mut sa) => {
                sa.handle_job(&mut self.env(now), id, computed);
                AfterHandling::established(sa)
            }
        };
        self.put_back(now, id.sa, next);
    }
}
