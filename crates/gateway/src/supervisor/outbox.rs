//! Commands on their way out, in an order that loses no packet: first traffic moves to
//! another SA or tunnel, then what carried it before is removed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use vgw_sa::{TunnelId, slot_of};

use super::routes::Tables;
use crate::command::Command;

/// A CHILD SA that is to be removed.
#[derive(Debug, Clone, Copy)]
struct Removal {
    tunnel: TunnelId,
    spi_in: u32,
}

/// Commands that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Command>,
    /// CHILD SAs that stop sending once [`Self::publish`] has moved traffic.
    stops: Vec<(TunnelId, u32)>,
    /// CHILD SAs that are removed once [`Self::publish`] has moved traffic.
    removals: Vec<Removal>,
    /// CHILD SAs that are removed at a time, or sooner if their slot is needed; by slot.
    later: BTreeMap<u32, (Instant, Removal)>,
    due: BTreeSet<(Instant, u32)>,
    /// Their changes become commands in [`Self::publish`].
    pub(super) tables: Tables,
}

impl Outbox {
    /// Queues a command other than a removal.
    pub(super) fn push(&mut self, command: Command) {
        if let Command::InstallChild { child, .. } = &command {
            let slot = slot_of(child.spi_in);
            self.remove_now(slot);
            let of_slot = |removal: &mut Removal| slot_of(removal.spi_in) == slot;
            let removals: Vec<_> = self.removals.extract_if(.., of_slot).collect();
            removals.into_iter().for_each(|removal| self.queue(removal));
        }
        self.ready.push_back(command);
    }

    /// Sends no more with a CHILD SA once [`Self::publish`] has moved traffic
    /// elsewhere.
    pub(super) fn stop(&mut self, tunnel: TunnelId, spi_in: u32) {
        self.stops.push((tunnel, spi_in));
    }

    /// Removes a CHILD SA once [`Self::publish`] has moved traffic elsewhere. With a
    /// time, only its sending half goes then, and what arrives is accepted until that
    /// time or until its slot is given to another (RFC 7296 section 1.4.1).
    pub(super) fn remove(&mut self, tunnel: TunnelId, spi_in: u32, at: Option<Instant>) {
        let removal = Removal { tunnel, spi_in };
        let slot = slot_of(spi_in);
        self.forget_later(spi_in);
        match at {
            Some(at) => {
                self.stop(tunnel, spi_in);
                self.remove_now(slot);
                self.later.insert(slot, (at, removal));
                self.due.insert((at, slot));
            }
            None => self.removals.push(removal),
        }
    }

    fn take_later(&mut self, slot: u32) -> Option<Removal> {
        let (at, removal) = self.later.remove(&slot)?;
        self.due.remove(&(at, slot));
        Some(removal)
    }

    /// Queues the removal that waits for its time and has this slot, if there is one.
    fn remove_now(&mut self, slot: u32) {
        if let Some(removal) = self.take_later(slot) {
            self.queue(removal);
        }
    }

    fn queue(&mut self, removal: Removal) {
        let Removal { tunnel, spi_in } = removal;
        self.stops.retain(|(_, stopped)| *stopped != spi_in);
        self.ready
            .push_back(Command::RemoveChild { tunnel, spi_in });
    }

    /// Drops the commands about a CHILD SA that the data plane did not install.
    pub(super) fn forget(&mut self, spi_in: u32) {
        let of_it = |command: &Command| match command {
            Command::UseOutbound { spi_in: of, .. }
            | Command::StopOutbound { spi_in: of, .. }
            | Command::RemoveChild { spi_in: of, .. } => *of == spi_in,
            _ => false,
        };
        self.ready.retain(|command| !of_it(command));
        self.stops.retain(|(_, of)| *of != spi_in);
        self.removals.retain(|removal| removal.spi_in != spi_in);
        self.forget_later(spi_in);
    }

    fn forget_later(&mut self, spi_in: u32) {
        let slot = slot_of(spi_in);
        let later = self.later.get(&slot);
        if later.is_some_and(|(_, removal)| removal.spi_in == spi_in) {
            self.take_later(slot);
        }
    }

    /// When the next removal is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Queues the removals whose time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, slot)) = self.due.first().copied()
            && at <= now
        {
            self.remove_now(slot);
        }
    }

    /// Queues the changes of the tables, then the removals.
    pub(super) fn publish(&mut self) {
        let (tables, ready) = (&mut self.tables, &mut self.ready);
        let policies = tables.policies.take_changes().into_iter();
        ready.extend(policies.filter_map(|(tunnel, policy)| {
            policy.map(|policy| Command::SetPolicy { tunnel, policy })
        }));
        let services = tables.services.take_changes().into_iter();
        ready.extend(services.filter_map(|(gateway, services)| {
            services.map(|services| Command::SetHostServices(gateway, services))
        }));
        ready.extend(some(tables.inside.take_changes()).map(Command::ChangeInside));
        let cloudhub = tables.cloudhub.take_changes().into_iter();
        ready.extend(cloudhub.filter_map(|(gateway, allowed)| {
            allowed.map(|allowed| Command::SetCloudHub(gateway, allowed))
        }));
        let addresses = tables.inside_addresses.take_changes();
        ready.extend(some(addresses).map(Command::ChangeInsideAddresses));
        let prefixes = tables.local_prefixes.take_changes();
        ready.extend(some(prefixes).map(Command::ChangeLocalPrefixes));
        ready.extend(some(tables.forwarding.take_changes()).map(Command::ChangeForwarding));
        ready.extend(some(tables.kernel_routes.take_changes()).map(Command::ChangeKernelRoutes));
        let stops = self.stops.drain(..);
        ready.extend(stops.map(|(tunnel, spi_in)| Command::StopOutbound { tunnel, spi_in }));
        for removal in std::mem::take(&mut self.removals) {
            self.queue(removal);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Command> {
        self.ready.pop_front()
    }
}

/// No command for no changes.
fn some<T>(changes: Vec<T>) -> Option<Vec<T>> {
    Some(changes).filter(|changes| !changes.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vgw_sa::{GatewayId, SLOT_BITS, TunnelId};

    use super::Outbox;
    use crate::command::Command;
    use crate::supervisor::sas::tests::child;
    use crate::test_time::epoch;

    const TUNNEL: TunnelId = GatewayId(0).tunnel(7);
    const SPI: u32 = 0x1000_0001;

    /// Those that are queued now, the inbound SPI of each by what is done with it.
    fn queued(outbox: &mut Outbox) -> Vec<(&'static str, u32)> {
        outbox.publish();
        let queued = std::iter::from_fn(|| outbox.pop());
        let of_children = queued.filter_map(|command| match command {
            Command::InstallChild { child, .. } => Some(("install", child.spi_in)),
            Command::StopOutbound { spi_in, .. } => Some(("stop", spi_in)),
            Command::RemoveChild { spi_in, .. } => Some(("remove", spi_in)),
            _ => None,
        });
        of_children.collect()
    }

    fn install(outbox: &mut Outbox, spi_in: u32) {
        outbox.push(Command::InstallChild {
            tunnel: TUNNEL,
            child: Box::new(child(spi_in)),
            replay_window: 64,
        });
    }

    #[test]
    fn an_sa_that_ends_sends_no_more_at_once_and_receives_until_its_time() {
        let mut outbox = Outbox::default();
        let now = epoch();
        let end = now + Duration::from_secs(2);
        outbox.remove(TUNNEL, SPI, Some(end));
        assert_eq!(queued(&mut outbox), [("stop", SPI)]);
        assert_eq!(outbox.deadline(), Some(end));
        outbox.handle_timeout(now);
        assert_eq!(queued(&mut outbox), []);
        outbox.handle_timeout(end);
        assert_eq!(queued(&mut outbox), [("remove", SPI)]);
        assert_eq!(outbox.deadline(), None);
    }

    #[test]
    fn an_sa_that_still_receives_gives_its_slot_to_one_that_needs_it() {
        let successor = SPI + (1 << SLOT_BITS);
        let elsewhere = SPI + 1;
        for end in [None, Some(epoch())] {
            let mut outbox = Outbox::default();
            outbox.remove(TUNNEL, SPI, end);
            install(&mut outbox, elsewhere);
            install(&mut outbox, successor);
            let all = [
                ("install", elsewhere),
                ("remove", SPI),
                ("install", successor),
            ];
            assert_eq!(queued(&mut outbox), all);
            assert_eq!(outbox.deadline(), None);
        }
    }
}
