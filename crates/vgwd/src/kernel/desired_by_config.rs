//! What of the desired follows from the configuration alone.

use std::sync::Arc;

use vgw_gateway::domain::Gateway;

use super::OwnTraffic;
use crate::config::settings::Settings;

/// The part of [`Desired`](super::Desired) that follows from the configuration alone; the
/// supervisor's commands say the rest. It is cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredByConfig {
    /// Our own packets outside, if they are routed by the same tables.
    pub(super) own_traffic: Option<Arc<OwnTraffic>>,
    /// Sites may send from where no route leads.
    pub(super) any_source: bool,
}

impl DesiredByConfig {
    /// Of this configuration.
    #[must_use]
    pub fn of(gateway: &Gateway, settings: &Settings) -> Self {
        Self {
            own_traffic: own_traffic(gateway, settings),
            any_source: any_source(gateway),
        }
    }
}

/// Whether sites may send from where no route leads.
fn any_source(gateway: &Gateway) -> bool {
    let mut connections = gateway.connections.iter();
    connections.any(|connection| !connection.source_check)
}

/// The ends of the packets that this gateway sends outside. None where the VPC has a namespace
/// of its own: its routes do not lead them.
fn own_traffic(gateway: &Gateway, settings: &Settings) -> Option<Arc<OwnTraffic>> {
    if settings.network_namespace.is_some() {
        return None;
    }
    let tunnels = gateway.connections.iter().flat_map(|connection| {
        let peer = |tunnel| gateway.remote_address(connection, tunnel);
        connection.tunnels.iter().filter_map(peer)
    });
    let ours = gateway.outside_addresses.iter();
    Some(Arc::new(OwnTraffic {
        from: ours.map(|ours| ours.address).collect(),
        to: tunnels.collect(),
    }))
}
