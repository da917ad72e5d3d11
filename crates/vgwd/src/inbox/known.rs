//! Who is known: the table that workers look into, and who keeps it true.

use std::net::IpAddr;
use std::sync::Arc;

use vgw_gateway::domain::Gateway;
use vgw_gateway::supervisor::Supervisor;
use vgw_ike::endpoint::Standing;

use super::{Class, Counted, Shared};

/// Immutable; swapped whole. All lists are sorted.
#[derive(Debug, Default)]
pub(super) struct Known {
    established: Vec<u64>,
    half_open: Vec<u64>,
    addresses: Arc<[IpAddr]>,
}

impl Known {
    /// The class of a message that names this SPI, if it is one of ours.
    pub(super) fn by_spi(&self, spi: u64) -> Option<Class> {
        let within = |spis: &[u64]| spis.binary_search(&spi).is_ok();
        if within(&self.established) {
            return Some(Class::Established);
        }
        within(&self.half_open).then_some(Class::Handshake)
    }

    /// The class of a message from here, if somebody is configured to be here.
    pub(super) fn by_address(&self, remote: IpAddr) -> Option<Class> {
        let configured = self.addresses.binary_search(&remote).is_ok();
        configured.then_some(Class::Handshake)
    }
}

/// Tells workers who is known.
#[derive(Debug)]
pub struct Directory {
    shared: Arc<Shared>,
    /// Which of the supervisor's IKE SAs the table shows.
    revision: Option<u64>,
}

impl Directory {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            revision: None,
        }
    }

    /// Peers may come from the addresses that are configured here.
    pub fn set_addresses(&self, gateway: &Gateway) {
        let addresses = gateway.connections.iter().flat_map(|connection| {
            let tunnels = connection.tunnels.iter();
            tunnels.filter_map(|tunnel| gateway.remote_address(connection, tunnel))
        });
        self.expect_from(addresses.collect());
    }

    pub(super) fn expect_from(&self, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        let known = self.shared.known.load();
        self.shared.known.store(Arc::new(Known {
            established: known.established.clone(),
            half_open: known.half_open.clone(),
            addresses: addresses.into(),
        }));
    }

    /// Shows the IKE SAs that there are now. It costs nothing while they are the
    /// same, and else a walk over all of them: call it once for many messages.
    pub fn update(&mut self, supervisor: &Supervisor) {
        let revision = supervisor.ike_spis_revision();
        if self.revision == Some(revision) {
            return;
        }
        self.revision = Some(revision);
        self.show(supervisor.ike_spis());
    }

    /// `spis` are in ascending order.
    pub(super) fn show(&self, spis: impl Iterator<Item = (u64, Standing)>) {
        let mut known = Known {
            addresses: Arc::clone(&self.shared.known.load().addresses),
            ..Known::default()
        };
        for (spi, standing) in spis {
            match standing {
                Standing::Known => known.established.push(spi),
                Standing::HalfOpen => known.half_open.push(spi),
            }
        }
        self.shared.known.store(Arc::new(known));
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counted(&self) -> Counted {
        self.shared.counters.read()
    }
}
