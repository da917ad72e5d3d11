//! CHILD SAs taken out as plain data, and installed again.
//!
//! A state is moved, never copied: two SAs made of one would use an IV twice
//! (RFC 4106 section 3.1). The tunnel's policy and counters are not in it.

use std::net::SocketAddr;

use vgw_esp::ReplayWindow;
use vgw_sa::{ChildSa, NATT_PORT, Path, TunnelId, TunnelTraffic};

use super::{ControlError, Engine};
use crate::tables::ResolvedPath;

/// A CHILD SA as plain data.
#[derive(Debug)]
pub struct ChildState {
    pub(super) tunnel: TunnelId,
    pub(super) sa: ChildSa,
    /// What was received.
    pub(super) window: ReplayWindow,
    /// The last sequence number sent.
    pub(super) sequence: u64,
    /// Whether its tunnel may send with it.
    sends: bool,
    pub(super) traffic: TunnelTraffic,
}

impl ChildState {
    /// The state of an SA that has carried nothing yet.
    pub(super) fn new(tunnel: TunnelId, sa: ChildSa, replay_window: u32) -> Self {
        Self {
            tunnel,
            sa,
            window: ReplayWindow::new(replay_window),
            sequence: 0,
            sends: false,
            traffic: TunnelTraffic::default(),
        }
    }
}

/// These methods need the engine exclusively: while a worker may still send
/// with an SA, its last sequence number is not known.
impl Engine {
    /// Takes out every CHILD SA, as plain data, in the order in which to put them back: the
    /// one that a tunnel sends with first is the last.
    pub fn take_children(&mut self) -> Vec<ChildState> {
        let mut control = self.control();
        let children = std::mem::take(&mut control.children);
        for tunnel in control.tunnels.values_mut() {
            tunnel.spis.clear();
        }
        let mut tables = self.tables();
        let mut taken = Vec::with_capacity(children.len());
        for (spi_in, child) in children {
            let Some(slot) = tables.inbound(spi_in) else {
                continue;
            };
            let Some(path) = self.path(&child.path) else {
                continue;
            };
            let outbound = &child.outbound;
            let rank = tables.rank_of_egress(child.tunnel, spi_in);
            let [local_selectors, remote_selectors] = outbound.selectors.both();
            let state = ChildState {
                tunnel: child.tunnel,
                window: slot.inbound.sa.window(),
                sequence: outbound.sa.sequence(),
                sends: rank.is_some(),
                traffic: child.traffic.total(),
                sa: ChildSa {
                    spi_in,
                    spi_out: outbound.sa.spi(),
                    suite: child.suite,
                    keys_in: child.keys.inbound,
                    keys_out: child.keys.outbound,
                    local_selectors: local_selectors.to_vec(),
                    remote_selectors: remote_selectors.to_vec(),
                    path,
                },
            };
            taken.push((rank, state));
        }
        for (_, state) in &taken {
            tables.remove_child(state.tunnel, state.sa.spi_in);
        }
        self.publish(tables);
        drop(control);
        taken.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        taken.into_iter().map(|(_, state)| state).collect()
    }

    /// A path as it was before it was resolved.
    fn path(&self, path: &ResolvedPath) -> Option<Path> {
        let local = *self.outside.get(path.outside)?;
        Some(Path {
            local: SocketAddr::new(local, NATT_PORT),
            remote: path.remote,
            udp_encapsulation: path.udp_encapsulation,
        })
    }

    /// Puts back a CHILD SA. AES-CBC makes its IVs of `iv_seed`, 32 new secret octets.
    ///
    /// # Errors
    /// As [`Self::install_child`].
    pub fn put_child(&mut self, state: ChildState, iv_seed: &[u8; 32]) -> Result<(), ControlError> {
        let ChildState { tunnel, sends, .. } = state;
        let spi_in = state.sa.spi_in;
        self.install(state, None, iv_seed)?;
        if sends {
            self.use_outbound(tunnel, spi_in)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use ipnet::IpNet;
    use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Secret};
    use vgw_sa::{ChildSa, GatewayId, Path, TunnelId};

    use super::Engine;
    use crate::packet::inner::tests::ipv4;

    const GATEWAY: GatewayId = GatewayId(0);
    const TUNNEL: TunnelId = GATEWAY.tunnel(3);

    pub(in crate::engine) fn child(spi: u32, remote: &str) -> ChildSa {
        let encryption = Encryption::AesGcm128;
        let keys = DirectionKeys {
            encryption: Secret::new(vec![1; encryption.keymat_len()]),
            integrity: Secret::default(),
        };
        let selector = |prefix: &str| vec![prefix.parse::<IpNet>().unwrap().into()];
        ChildSa {
            spi_in: spi,
            spi_out: spi,
            suite: EspSuite {
                encryption,
                integrity: None,
                esn: false,
            },
            keys_in: keys.clone(),
            keys_out: keys,
            local_selectors: selector("0.0.0.0/0"),
            remote_selectors: selector(remote),
            path: Path {
                local: ([192, 0, 2, 1], 4500).into(),
                remote: ([192, 0, 2, 2], 4500).into(),
                udp_encapsulation: true,
            },
        }
    }

    /// The SPI and the sequence number of a packet for 10.1.0.1.
    fn sent(engine: &Engine) -> (u8, u8) {
        let mut packet = ipv4([10, 9, 0, 1], [10, 1, 0, 1], 17, &[]);
        let sent = engine.send(GATEWAY, Duration::ZERO, &mut packet).unwrap();
        (sent.octets[3], sent.octets[7])
    }

    #[test]
    fn sas_that_are_put_back_go_on_numbering_and_are_sent_with_in_the_same_order() {
        let mut engine = Engine::new(vec![[192, 0, 2, 1].into()]);
        let route = ("10.0.0.0/8".parse().unwrap(), TUNNEL.into());
        engine.set_forwarding(GATEWAY, vec![route]);
        for (spi, remote) in [(1, "10.1.0.0/16"), (2, "10.0.0.0/8"), (3, "10.1.0.0/24")] {
            let child = child(spi, remote);
            engine
                .install_child(TUNNEL, child, 64, None, &[0; 32])
                .unwrap();
        }
        engine.use_outbound(TUNNEL, 1).unwrap();
        engine.use_outbound(TUNNEL, 2).unwrap();
        assert_eq!(sent(&engine), (2, 1));
        let taken = engine.take_children();
        assert_eq!(engine.child_traffic(), []);
        for child in taken {
            engine.put_child(child, &[1; 32]).unwrap();
        }
        assert_eq!(sent(&engine), (2, 2));
        let counted = engine.child_traffic();
        let packets: Vec<u64> = counted.iter().map(|child| child.packets_out).collect();
        assert_eq!(packets, [0, 2, 0]);
    }
}
