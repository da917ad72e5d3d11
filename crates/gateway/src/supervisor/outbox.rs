//! Commands on their way out, in an order that loses no packet: what packets
//! are sent with changes first, what they were sent with goes last.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use vgw_ike::spi::SLOT_BITS;

use crate::command::{Command, InsideAddress, NextHop, Treatment, TunnelId};
use crate::domain::HostService;

/// The tables that follow from the configuration and from who carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableSet {
    pub(super) treatments: BTreeMap<TunnelId, Treatment>,
    pub(super) cloudhub: bool,
    pub(super) host_access: (Vec<InsideAddress>, Vec<HostService>),
    pub(super) forwarding: Vec<(IpNet, NextHop)>,
    pub(super) local_prefixes: Vec<IpNet>,
    pub(super) inside_addresses: Vec<(IpAddr, u8)>,
    pub(super) kernel_routes: Vec<IpNet>,
}

/// A CHILD SA that is to be removed.
#[derive(Debug, Clone, Copy)]
struct Removal {
    tunnel: TunnelId,
    spi_in: u32,
    /// Not before then, unless its slot is needed.
    at: Option<Instant>,
}

/// Commands that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Command>,
    /// CHILD SAs that are to send no more, as [`Self::publish`] has moved traffic.
    stops: Vec<(TunnelId, u32)>,
    removals: Vec<Removal>,
    published: TableSet,
}

impl Outbox {
    /// Queues a command other than a removal.
    pub(super) fn push(&mut self, command: Command) {
        if let Command::InstallChild { child, .. } = &command {
            let slot = slot_of(child.spi_in);
            self.flush(|removal| slot_of(removal.spi_in) == slot);
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
        if at.is_some() {
            self.stop(tunnel, spi_in);
        }
        self.removals.push(Removal { tunnel, spi_in, at });
    }

    /// Drops what is still to be said of a CHILD SA that the data plane did not install.
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
    }

    /// When the next removal is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.removals.iter().filter_map(|removal| removal.at).min()
    }

    /// Queues the removals whose time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.flush(|removal| removal.at.is_some_and(|at| at <= now));
    }

    /// Queues the tables that differ from what was last told, then the removals.
    pub(super) fn publish(&mut self, tables: Option<TableSet>) {
        if let Some(tables) = tables {
            let before = std::mem::replace(&mut self.published, tables);
            let after = &self.published;
            for (&tunnel, &treatment) in &after.treatments {
                if before.treatments.get(&tunnel) != Some(&treatment) {
                    let command = Command::SetTreatment { tunnel, treatment };
                    self.ready.push_back(command);
                }
            }
            if before.host_access != after.host_access {
                let (inside, services) = after.host_access.clone();
                let command = Command::SetHostAccess { inside, services };
                self.ready.push_back(command);
            }
            if before.cloudhub != after.cloudhub {
                self.ready.push_back(Command::SetCloudHub(after.cloudhub));
            }
            if before.inside_addresses != after.inside_addresses {
                let addresses = after.inside_addresses.clone();
                self.ready.push_back(Command::SetInsideAddresses(addresses));
            }
            if before.local_prefixes != after.local_prefixes {
                let prefixes = after.local_prefixes.clone();
                self.ready.push_back(Command::SetLocalPrefixes(prefixes));
            }
            if before.forwarding != after.forwarding {
                let forwarding = after.forwarding.clone();
                self.ready.push_back(Command::SetForwarding(forwarding));
            }
            if before.kernel_routes != after.kernel_routes {
                let routes = after.kernel_routes.clone();
                self.ready.push_back(Command::SetKernelRoutes(routes));
            }
        }
        let stops = self.stops.drain(..);
        self.ready
            .extend(stops.map(|(tunnel, spi_in)| Command::StopOutbound { tunnel, spi_in }));
        self.flush(|removal| removal.at.is_none());
    }

    fn flush(&mut self, due: impl Fn(&Removal) -> bool) {
        for removal in self.removals.extract_if(.., |removal| due(removal)) {
            let Removal { tunnel, spi_in, .. } = removal;
            self.stops.retain(|(_, stopped)| *stopped != spi_in);
            self.ready
                .push_back(Command::RemoveChild { tunnel, spi_in });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Command> {
        self.ready.pop_front()
    }
}

/// The data plane's place for an inbound SPI.
const fn slot_of(spi: u32) -> u32 {
    spi & ((1 << SLOT_BITS) - 1)
}
