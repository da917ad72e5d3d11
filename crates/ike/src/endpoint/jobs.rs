//! Computations of IKE SAs that others carry out.

use std::time::Instant;

use super::Endpoint;
use super::sa::{AfterHandling, Sa};
use crate::core::job::{Job, JobId, Output};

impl Endpoint {
    /// The next computation to carry out, here or on another thread. There are no more
    /// than one for each half-open IKE SA or attempt.
    pub fn poll_job(&mut self) -> Option<(JobId, Job)> {
        self.core.jobs.take()
    }

    /// Takes what a job gave, however late and in whatever order. That of an IKE SA which
    /// is no more, or does not wait for it any more, is dropped.
    pub fn handle_job(&mut self, now: Instant, id: JobId, output: Output) {
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
            Sa::Established(sa) => AfterHandling::established(sa),
        };
        self.put_back(now, id.sa, next);
        self.settle(now);
    }
}
