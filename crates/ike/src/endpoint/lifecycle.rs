//! Taking an IKE SA out and putting it back, and what an ended IKE SA leaves.

use std::time::{Duration, Instant};

use super::sa::{AfterHandling, GoneSa, Sa};
use super::{BadState, Endpoint, IkeSaState, SaClass};
use crate::core::env::Env;
use crate::core::event::{DownReason, SaId};
use crate::v2::channel::window::Answered;
use crate::v2::established::Established;

/// The last answer of a closed SA is repeated for this long, so that a peer
/// whose DELETE we answered learns of it even if the answer was lost.
const REPEAT_FOR: Duration = Duration::from_secs(30);
/// At most this many closed SAs are remembered for that.
const MAX_CLOSED: usize = 4096;

impl Endpoint {
    /// Takes out every established IKE SA as plain data. Until they are put back, this endpoint
    /// does not know them; their inbound SPIs stay allocated.
    pub fn take_ike_sas(&mut self) -> Vec<IkeSaState> {
        let established = self.sas.iter().filter_map(|sa| match sa {
            Sa::Established(sa) => Some(sa.id()),
            Sa::Initiating(_) | Sa::HalfOpen(_) => None,
        });
        let ids: Vec<_> = established.collect();
        let sas = ids.into_iter().filter_map(|id| self.sas.remove(id));
        let mut states = Vec::new();
        for sa in sas.collect::<Vec<_>>() {
            self.deadlines.set(sa.id(), None);
            self.core.jobs.forget(sa.id());
            self.spis.remove(sa.our_spi());
            if let Sa::Established(sa) = sa {
                for spi_in in sa.inbound_spis() {
                    self.core.owner.remove(&spi_in);
                }
                states.push(sa.into_state());
            }
        }
        states
    }

    /// Puts back the IKE SAs that [`Self::take_ike_sas`] returned. The jobs that they wait for are
    /// handed out again.
    ///
    /// # Errors
    /// If no IKE SA can be built from a state; the states after it are not put back.
    pub fn put_ike_sas(&mut self, states: Vec<IkeSaState>) -> Result<(), BadState> {
        for state in states {
            let sa = Established::from_state(state)?;
            for (job, step) in sa.awaited()? {
                self.core.jobs.hand_out_again(job, step);
            }
            self.spis.insert(sa.our_spi(), sa.id(), SaClass::Known);
            for spi_in in sa.inbound_spis() {
                self.core.owner.insert(spi_in, sa.id());
            }
            self.put(Sa::Established(Box::new(sa)));
        }
        Ok(())
    }

    /// Puts an SA into the table, and sets its deadline.
    pub(super) fn put(&mut self, sa: Sa) {
        self.deadlines.set(sa.id(), sa.deadline(&self.core.limits));
        self.sas.insert(sa);
    }

    /// Puts an SA back that was taken out, or keeps what an ended SA leaves.
    pub(super) fn put_back(&mut self, now: Instant, id: SaId, next: AfterHandling) {
        match next {
            AfterHandling::Sa(mut sa) => {
                if let Sa::Established(sa) = &mut sa {
                    self.effects.extend(sa.take_effects());
                }
                if !matches!(sa, Sa::HalfOpen(_)) {
                    self.dos_protection.leave(id);
                    self.spis.authenticated(sa.our_spi());
                }
                self.put(sa);
            }
            AfterHandling::Gone(GoneSa {
                our_spi,
                answered,
                effects,
            }) => {
                self.effects.extend(effects);
                self.deadlines.set(id, None);
                self.core.jobs.forget(id);
                self.spis.remove(our_spi);
                self.dos_protection.leave(id);
                if let Some(answered) = answered {
                    self.remember_closed(now, our_spi, answered);
                }
            }
        }
    }

    fn remember_closed(&mut self, now: Instant, our_spi: u64, answered: Answered) {
        if self.closed.len() >= MAX_CLOSED {
            self.forget_oldest_closed();
        }
        self.closed.insert(our_spi, answered);
        self.closed_order.push_back((now + REPEAT_FOR, our_spi));
    }

    pub(super) fn forget_oldest_closed(&mut self) {
        if let Some((_, our_spi)) = self.closed_order.pop_front() {
            self.closed.remove(&our_spi);
        }
    }

    /// Closes an SA and applies the effects.
    pub(super) fn close(&mut self, now: Instant, id: SaId, reason: DownReason, send_delete: bool) {
        if let Some(sa) = self.sas.remove(id) {
            let next = sa.close(&mut self.env(now), reason, send_delete);
            self.put_back(now, id, next);
        }
        self.settle(now);
    }

    /// Runs a function on an established SA and applies the effects.
    pub(super) fn with_established(
        &mut self,
        now: Instant,
        id: SaId,
        change: impl FnOnce(&mut Established, &mut Env<'_>),
    ) {
        match self.sas.remove(id) {
            Some(Sa::Established(mut sa)) => {
                change(&mut sa, &mut self.env(now));
                self.put_back(now, id, AfterHandling::established(sa));
                self.settle(now);
            }
            Some(other) => self.sas.insert(other),
            None => {}
        }
    }
}
