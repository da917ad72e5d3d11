//! Warnings about what a file has that this machine or the tunnels will not carry.

use vgw_gateway::domain::{Gateway, Side, TunnelName};
use vgw_gateway::rules::{Field, Subject};

use super::places::Places;
use super::report::Report;
use super::settings::Settings;
use crate::mtu;

/// Warns of a `tun.mtu` that some tunnel cannot carry whatever it negotiates.
pub(super) fn warn_of_packets_too_large(report: &Report, gateway: &Gateway, tun_mtu: u16) {
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
    report.warn(
        "tun.mtu",
        format!(
            "is {tun_mtu}, but {name} has at most {least}, whatever it negotiates{others}: {}; \
             {fits} would fit if it negotiates its best",
            mtu::CONSEQUENCE
        ),
    );
}

/// The option of a connection with what is sent into its tunnels.
const fn routes_option(side: Side) -> &'static str {
    match side {
        Side::VirtualPrivateGateway => "static_routes",
        Side::CustomerGateway => "vpc_cidrs",
    }
}

/// Warns of routes into tunnels that drop what takes them, and of connections without one.
pub(super) fn warn_of_what_goes_nowhere(report: &Report, places: &Places, gateway: &Gateway) {
    let name = routes_option(gateway.side);
    for connection in &gateway.connections {
        let subject = Subject::VpnConnection(connection.id.clone());
        let routes = gateway.remote_prefixes(connection);
        let (_, selectors) = gateway.selectors(connection);
        if routes.is_empty() {
            let message = "is empty: nothing will be sent into this connection's tunnels";
            report.warn(&places.field(&subject, name.into()), message);
        }
        for (index, route) in routes.iter().enumerate() {
            if !selectors.iter().any(|selector| selector.contains(route)) {
                let message = format!(
                    "{route} is not within the traffic selectors, which drop what lies outside them"
                );
                let field = Field::item(name, index);
                report.warn(&places.field(&subject, field), message);
            }
        }
    }
}

/// Warns of default routes that the machine shares with the VPC.
pub(super) fn warn_of_default_routes(
    report: &Report,
    places: &Places,
    gateway: &Gateway,
    settings: &Settings,
) {
    if settings.network_namespace.is_some() {
        return;
    }
    let routes = gateway.connections.iter().flat_map(|connection| {
        let routes = gateway.remote_prefixes(connection).iter().enumerate();
        routes.map(move |(index, route)| (connection, index, route))
    });
    let mut default = routes.filter(|(.., route)| route.prefix_len() == 0);
    let Some((connection, index, route)) = default.next() else {
        return;
    };
    let subject = Subject::VpnConnection(connection.id.clone());
    let field = Field::item(routes_option(gateway.side), index);
    report.warn(
        &places.field(&subject, field),
        format!(
            "is {route}, and the VPC has no namespace of its own (netns): all that \
             this machine sends takes the tunnel, but for the tunnels' own packets and what a \
             longer route leads elsewhere; `ip rule add priority 31000 ipproto tcp sport 22 \
             lookup main` keeps ssh from outside"
        ),
    );
}
