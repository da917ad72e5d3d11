//! What the kernel and routers on the way tell of packets outside: the peers that it concerns are
//! asked at once ([`super::failure_detection`]).

use std::time::Instant;

use vgw_sa::{Concerned, Hint, Path, SentPacket, TunnelId};

use super::Supervisor;
use super::failure_detection::Standing;
use super::tunnel::Tunnel;

impl Supervisor {
    /// Takes hints that packets may not arrive.
    pub fn handle_hints(&mut self, now: Instant, hints: &[Hint]) {
        if hints.is_empty() {
            return;
        }
        for tunnel in self.tunnels.values_mut() {
            // One is as good as many.
            let mut hints = hints.iter();
            if tunnel.detects_failure_fast()
                && let Some(path) = tunnel.path()
                && let Some(hint) = hints.find(|hint| tunnel.is_among(path, &hint.concerns))
            {
                tunnel.failure_detection.note_hint(now, &hint.sign);
                self.touched.insert(tunnel.id);
            }
        }
        self.settle(now);
    }

    /// Takes news that packets may arrive again which did not before.
    pub fn handle_repairs(&mut self, now: Instant, repaired: &[Concerned]) {
        if repaired.is_empty() {
            return;
        }
        for tunnel in self.tunnels.values_mut() {
            let standing = tunnel.failure_detection.standing();
            if matches!(standing, Standing::Unanswering(_))
                && let Some(path) = tunnel.path()
                && repaired.iter().any(|them| tunnel.is_among(path, them))
            {
                tunnel.failure_detection.note_repair(now);
                self.touched.insert(tunnel.id);
            }
        }
        self.settle(now);
    }

    /// Whether it carries its connection's traffic.
    pub(super) fn is_carrier(&self, id: TunnelId) -> bool {
        let connection = |tunnel: &Tunnel| self.connections.get(&tunnel.name.connection);
        let pair = self.tunnels.get(&id).and_then(connection);
        pair.is_some_and(|pair| *pair.carrier.of(&pair.tunnels) == id)
    }
}

impl Tunnel {
    /// The path of its packets.
    fn path(&self) -> Option<Path> {
        self.sas.path(self.sas.keeper()?)
    }

    fn is_among(&self, path: Path, concerned: &Concerned) -> bool {
        match concerned {
            Concerned::Tunnels(tunnels) => tunnels.contains(&self.id),
            Concerned::Local(address) => path.local.ip() == *address,
            Concerned::Remote(prefix) => prefix.contains(&path.remote.ip()),
            Concerned::Sender(SentPacket { local, remote, spi }) => {
                let has = |spi| self.sas.children().any(|(_, child)| child.spi_out == spi);
                let ends_fit = if local.port() == 0 {
                    (local.ip(), remote.ip()) == (path.local.ip(), path.remote.ip())
                } else {
                    (*local, *remote) == (path.local, path.remote)
                };
                ends_fit && spi.is_none_or(has)
            }
        }
    }
}
