//! `[[vpn_connection]]`.

use std::net::IpAddr;

use ipnet::IpNet;
use vgw_gateway::domain::{Connection, CustomerGateway, Gateway, Side, Tunnel};
use vgw_gateway::rules::{CUSTOMER_ASN, DEFAULT_NETWORK_CIDR_V4, DEFAULT_NETWORK_CIDR_V6};
use vgw_ike::identity::Identity;

use super::customer::Customers;
use super::keys::KeySource;
use super::table::Table;
use super::{stand_in, tunnel, values};

/// Reads one connection; `index` counts from 0. `gateway` is complete but for
/// its connections.
pub(super) fn read(
    table: &mut Table<'_>,
    keys: &mut dyn KeySource,
    gateway: &Gateway,
    customers: &Customers,
    index: usize,
) -> Connection {
    let id = table.id();
    let static_routes = table
        .list("static_routes", &stand_in::PREFIX, values::prefix)
        .unwrap_or_default();
    let vpc_cidrs = table
        .list("vpc_cidrs", &stand_in::PREFIX, values::prefix)
        .unwrap_or_else(|| match gateway.side {
            Side::VirtualPrivateGateway => gateway.cidrs.clone(),
            Side::CustomerGateway => Vec::new(),
        });
    let (local, remote) = selectors(table, &static_routes, &vpc_cidrs);
    let failback = table.flag("failback", false);
    let source_check = table.flag("source_check", true);
    let tunnels = tunnels(table, keys, gateway, index);
    Connection {
        id,
        customer_gateway: customer_gateway(table, customers, &tunnels),
        static_routes,
        vpc_cidrs,
        local_network_cidrs: local,
        remote_network_cidrs: remote,
        failback,
        source_check,
        tunnels,
    }
}

/// The customer's side and the cloud's side. IPv6 is negotiated only where
/// there is any, as not every peer takes two families in one CHILD SA.
fn selectors(
    table: &mut Table<'_>,
    static_routes: &[IpNet],
    vpc_cidrs: &[IpNet],
) -> (Vec<IpNet>, Vec<IpNet>) {
    let local_v4 = table.read("local_ipv4_network_cidr", values::prefix_v4);
    let local_v6 = table.read("local_ipv6_network_cidr", values::prefix_v6);
    let remote_v4 = table.read("remote_ipv4_network_cidr", values::prefix_v4);
    let remote_v6 = table.read("remote_ipv6_network_cidr", values::prefix_v6);
    let mut prefixes = static_routes.iter().chain(vpc_cidrs);
    let has_v6 = local_v6.is_some()
        || remote_v6.is_some()
        || prefixes.any(|net| matches!(net, IpNet::V6(_)));
    let both = |v4: Option<IpNet>, v6: Option<IpNet>| {
        let mut nets = vec![v4.unwrap_or(DEFAULT_NETWORK_CIDR_V4)];
        nets.extend(has_v6.then(|| v6.unwrap_or(DEFAULT_NETWORK_CIDR_V6)));
        nets
    };
    (both(local_v4, local_v6), both(remote_v4, remote_v6))
}

fn tunnels(
    table: &mut Table<'_>,
    keys: &mut dyn KeySource,
    gateway: &Gateway,
    index: usize,
) -> [Tunnel; 2] {
    let found = table.tables("tunnel");
    if found.len() != 2 {
        let found = found.len();
        let message =
            format!("found {found} tunnels, expected two, [[vpn_connection.tunnel]] twice");
        table.refuse("tunnel", message);
    }
    let mut found = found.into_iter();
    [0, 1].map(|number| {
        let absent = || table.absent_item("tunnel", number + 1);
        let place = tunnel::Place {
            number,
            slot: index.saturating_mul(2).saturating_add(number),
        };
        let tunnel = found.next().unwrap_or_else(absent);
        tunnel.make(|tunnel| tunnel::read(tunnel, keys, gateway, place))
    })
}

/// The customer gateway that the connection names.
fn customer_gateway(
    table: &mut Table<'_>,
    customers: &Customers,
    tunnels: &[Tunnel; 2],
) -> CustomerGateway {
    const KEY: &str = "customer_gateway";
    let expected = "the id of a [[customer_gateway]], in quotes";
    let name = table.require(KEY, expected, |value| values::text(value, expected));
    let found = name.and_then(|name| customers.find(name));
    let report = table.report();
    match (name, found) {
        (_, Some(customer)) if !report.is_doubtful(&customer.place) => {
            return customer.gateway.clone();
        }
        (_, Some(_)) => table.stand_in(KEY),
        (Some(name), None) => {
            let mut ids = customers.all.iter().map(|c| format!("{}.id", c.place));
            if ids.any(|id| report.is_doubtful(&id)) {
                // It may be the one whose name is wrong.
                table.stand_in(KEY);
            } else {
                let known = customers.all.iter().map(|c| c.gateway.id.as_str());
                let known = known.collect::<Vec<_>>().join(", ");
                let message =
                    format!("found {name:?}, expected the id of a [[customer_gateway]] ({known})");
                table.refuse(KEY, message);
            }
        }
        (None, None) => {}
    }
    unknown(table.place(), tunnels)
}

/// A customer gateway that breaks no rule with any other, for one that could
/// not be read.
fn unknown(place: &str, [first, _]: &[Tunnel; 2]) -> CustomerGateway {
    CustomerGateway {
        id: "unknown".to_owned(),
        ip_address: Some(match first.outside_address {
            IpAddr::V4(_) => stand_in::ADDRESS,
            IpAddr::V6(_) => stand_in::ADDRESS_V6,
        }),
        identity: Identity::KeyId(place.as_bytes().to_vec()),
        asn: values::default_number(CUSTOMER_ASN),
    }
}
