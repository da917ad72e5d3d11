//! Whether the TUN device's MTU fits the tunnels, as far as a file tells.

use vgw_gateway::domain::{Gateway, TunnelName};

use super::document::Notes;
use crate::mtu;

/// Warns of a `tun.mtu` that some tunnel cannot carry whatever it negotiates.
pub(super) fn warn_of_packets_too_large(notes: &mut Notes, gateway: &Gateway, tun_mtu: u16) {
    let tunnels = gateway
        .connections
        .iter()
        .flat_map(|connection| (1..).zip(&connection.tunnels).map(move |t| (connection, t)));
    let too_small: Vec<(usize, TunnelName)> = tunnels
        .filter_map(|(connection, (number, tunnel))| {
            let mtu = mtu::at_most(gateway, tunnel)?;
            mtu::advice(tun_mtu, mtu)?;
            let connection = connection.id.clone();
            Some((mtu, TunnelName { connection, number }))
        })
        .collect();
    let smallest = too_small.iter().min_by_key(|(mtu, _)| *mtu);
    let Some((least, name)) = smallest else {
        return;
    };
    let others = match too_small.len() {
        1 => String::new(),
        all => format!(" ({all} tunnels are too small)"),
    };
    let fits = mtu::advice(tun_mtu, *least).unwrap_or(mtu::LEAST);
    notes.warn(
        "tun.mtu",
        format!(
            "is {tun_mtu}, but {name} has at most {least}, whatever it negotiates{others}: {}; \
             {fits} would fit if it negotiates its best",
            mtu::CONSEQUENCE
        ),
    );
}
