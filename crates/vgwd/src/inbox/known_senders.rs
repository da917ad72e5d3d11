//! Which senders are known: the table that workers look into, and what keeps it current.

use std::net::IpAddr;
use std::sync::Arc;

use vgw_gateway::domain::Gateway;
use vgw_gateway::supervisor::Supervisor;
use vgw_ike::endpoint::SaClass;

use super::spi_set::SpiSet;
use super::{MessageCounts, SenderClass, Shared, UnreadMessage};

/// What tells the class of a message. Immutable: it is swapped whole, and a new one shares with
/// the old what did not change.
#[derive(Debug, Clone, Default)]
pub(super) struct SenderTable {
    established: Arc<SpiSet>,
    half_open: Arc<SpiSet>,
    addresses: PeerAddresses,
}

/// The addresses that peers are configured with.
#[derive(Debug, Clone, Default)]
pub struct PeerAddresses(Arc<[IpAddr]>);

impl PeerAddresses {
    /// Those of this configuration.
    #[must_use]
    pub fn of(gateway: &Gateway) -> Self {
        let connections = gateway.connections.iter();
        let addresses = connections.flat_map(|connection| {
            let tunnels = connection.tunnels.iter();
            tunnels.filter_map(|tunnel| gateway.remote_address(connection, tunnel))
        });
        addresses.collect()
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.binary_search(&address).is_ok()
    }
}

impl FromIterator<IpAddr> for PeerAddresses {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses.into())
    }
}

impl SenderTable {
    /// The class of a message that names this SPI, if it is one of ours.
    pub(super) fn by_spi(&self, spi: u64) -> Option<SenderClass> {
        if self.established.contains(spi) {
            return Some(SenderClass::Established);
        }
        self.half_open
            .contains(spi)
            .then_some(SenderClass::Handshake)
    }

    fn of(&mut self, sa_class: SaClass) -> &mut Arc<SpiSet> {
        match sa_class {
            SaClass::Known => &mut self.established,
            SaClass::HalfOpen => &mut self.half_open,
        }
    }

    /// The class of a message from here that names none of our IKE SAs.
    pub(super) fn of_address(&self, remote: IpAddr) -> SenderClass {
        if self.addresses.contains(remote) {
            SenderClass::Handshake
        } else {
            SenderClass::Stranger
        }
    }
}

/// Keeps the workers' table current.
#[derive(Debug)]
pub struct KnownSenders {
    shared: Arc<Shared>,
    /// Which of the supervisor's IKE SAs the table shows.
    established: Option<u64>,
    half_open: Option<u64>,
}

impl KnownSenders {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            established: None,
            half_open: None,
        }
    }

    /// Peers may come from these addresses.
    pub fn expect_from(&self, addresses: PeerAddresses) {
        self.change(|known| known.addresses = addresses);
    }

    /// Shows the IKE SAs that there are now. It costs nothing while they are the
    /// same, and little for one that comes or goes.
    pub fn update(&mut self, supervisor: &Supervisor) {
        for sa_class in [SaClass::HalfOpen, SaClass::Known] {
            let now = Some(supervisor.ike_spis_revision(sa_class));
            let shown = match sa_class {
                SaClass::HalfOpen => &mut self.half_open,
                SaClass::Known => &mut self.established,
            };
            let before = std::mem::replace(shown, now);
            if before == now {
                continue;
            }
            let changes = before.and_then(|since| supervisor.ike_spi_changes(sa_class, since));
            match changes {
                Some(changes) => {
                    self.change(|known| Arc::make_mut(known.of(sa_class)).change(changes))
                }
                None => self.show(sa_class, supervisor.ike_spis(sa_class)),
            }
        }
    }

    pub(super) fn show(&self, sa_class: SaClass, spis: impl Iterator<Item = u64>) {
        let spis = Arc::new(spis.collect());
        self.change(|known| *known.of(sa_class) = spis);
    }

    fn change(&self, change: impl FnOnce(&mut SenderTable)) {
        let mut known = SenderTable::clone(&self.shared.known.load());
        change(&mut known);
        self.shared.known.store(Arc::new(known));
    }

    /// Takes what was dropped unread and is to be said.
    #[must_use]
    pub fn take_unread(&self) -> Vec<UnreadMessage> {
        self.shared.unread.take()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counted(&self) -> MessageCounts {
        self.shared.counters.read()
    }
}
