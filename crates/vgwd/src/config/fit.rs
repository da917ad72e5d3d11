//! Whether the machine fits the tunnels, as far as a file tells.

use vgw_gateway::domain::{Gateway, Side, TunnelName};

use super::document::Notes;
use super::settings::Settings;
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

/// Warns of default routes that the machine shares with the VPC.
pub(super) fn warn_of_default_routes(notes: &mut Notes, gateway: &Gateway, settings: &Settings) {
    if settings.network_namespace.is_some() {
        return;
    }
    let key = match gateway.side {
        Side::VirtualPrivateGateway => "static_routes",
        Side::CustomerGateway => "vpc_cidrs",
    };
    let routes = (1..)
        .zip(&gateway.connections)
        .flat_map(|(number, connection)| {
            let routes = (1..).zip(gateway.remote_prefixes(connection));
            routes.map(move |(item, route)| (number, item, route))
        });
    let mut default = routes.filter(|(.., route)| route.prefix_len() == 0);
    let Some((number, item, route)) = default.next() else {
        return;
    };
    let (number, item): (usize, usize) = (number, item);
    notes.warn(
        &format!("vpn_connection[{number}].{key}[{item}]"),
        format!(
            "is {route}, and the VPC has no namespace of its own (netns): all that \
             this machine sends takes the tunnel, but for the tunnels' own packets and what a \
             longer route leads elsewhere; `ip rule add priority 31000 ipproto tcp sport 22 \
             lookup main` keeps ssh from outside"
        ),
    );
}
