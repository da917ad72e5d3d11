//! CHILD SAs as plain data, and installed from that again.
//!
//! A state is moved, never copied: two SAs made of one would use an IV twice (RFC 4106
//! section 3.1). What is a tunnel's (its policy, what it counted) is not in it.

use vgw_esp::ReplayWindow;
use vgw_sa::{ChildSa, TunnelId, TunnelTraffic};

use super::{ControlError, Engine};

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
    /// Of one that has carried nothing yet.
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

/// For whoever has the engine alone: while a worker may still send with an SA, nobody knows
/// its last sequence number.
impl Engine {
    /// Takes out every CHILD SA, as plain data, in the order in which to put them back.
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
            // The SA that a tunnel sends with first is put back last.
            let rank = tables.rank_of_egress(child.tunnel, spi_in);
            let state = ChildState {
                tunnel: child.tunnel,
                window: slot.inbound.sa.window(),
                sequence: child.outbound.sa.sequence(),
                sends: rank.is_some(),
                traffic: child.traffic.total(),
                sa: child.sa,
            };
            tables.remove_child(child.tunnel, spi_in);
            taken.push((rank, state));
        }
        self.publish(tables);
        drop(control);
        taken.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        taken.into_iter().map(|(_, state)| state).collect()
    }

    /// Puts back a CHILD SA, with what AES-CBC makes its IVs of: 32 new secret octets.
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
