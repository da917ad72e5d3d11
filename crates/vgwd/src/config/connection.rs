//! `[[vpn_connection]]`.

use std::net::IpAddr;

use ipnet::IpNet;
use vgw_gateway::domain::{Connection, CustomerGateway, Gateway, Side, Tunnel};
use vgw_gateway::rules::{DEFAULT_NETWORK_CIDR_V4, DEFAULT_NETWORK_CIDR_V6};
use vgw_ike::identity::Identity;

use super::customer::{Customer, Customers, Ids, STAND_IN_ADDRESS, STAND_IN_PREFIX};
use super::document::{Notes, Table};
use super::keys::KeySource;
use super::{tunnel, values};

/// Reads one connection; `index` counts from 0. `gateway` is complete but for
/// its connections.
pub(super) fn read(
    mut table: Table<'_>,
    notes: &mut Notes,
    keys: &mut dyn KeySource,
    gateway: &Gateway,
    customers: &mut Customers,
    ids: &mut Ids,
    index: usize,
) -> Connection {
    let id = ids.read(&mut table, notes);
    let static_routes = table
        .list(notes, "static_routes", &STAND_IN_PREFIX, values::prefix)
        .unwrap_or_default();
    let vpc_cidrs = table
        .list(notes, "vpc_cidrs", &STAND_IN_PREFIX, values::prefix)
        .unwrap_or_else(|| match gateway.side {
            Side::VirtualPrivateGateway => gateway.cidrs.clone(),
            Side::CustomerGateway => Vec::new(),
        });
    let (local, remote) = selectors(&mut table, notes, &static_routes, &vpc_cidrs);
    let failback = table
        .read(notes, "failback", values::boolean)
        .unwrap_or_default();
    let source_check = table
        .read(notes, "source_check", values::boolean)
        .unwrap_or(true);
    let tunnels = tunnels(&mut table, notes, keys, gateway, index);
    let customer_gateway = customer(&mut table, notes, customers, &tunnels);
    table.finish(notes);

    Connection {
        id,
        customer_gateway,
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
    notes: &mut Notes,
    static_routes: &[IpNet],
    vpc_cidrs: &[IpNet],
) -> (Vec<IpNet>, Vec<IpNet>) {
    let local_v4 = table.read(notes, "local_ipv4_network_cidr", values::prefix_v4);
    let local_v6 = table.read(notes, "local_ipv6_network_cidr", values::prefix_v6);
    let remote_v4 = table.read(notes, "remote_ipv4_network_cidr", values::prefix_v4);
    let remote_v6 = table.read(notes, "remote_ipv6_network_cidr", values::prefix_v6);
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
    notes: &mut Notes,
    keys: &mut dyn KeySource,
    gateway: &Gateway,
    index: usize,
) -> [Tunnel; 2] {
    let list = table.field("tunnel");
    let mut tables = table.tables(notes, "tunnel");
    if tables.len() != 2 {
        let found = tables.len();
        let message =
            format!("found {found} tunnels, expected two, [[vpn_connection.tunnel]] twice");
        notes.refuse(&list, message);
    }
    tables.truncate(2);
    let mut tables = tables.into_iter();
    let (first, second) = (tables.next(), tables.next());
    let slot = index.saturating_mul(2);
    [(first, 0), (second, 1)].map(|(found, number)| {
        let absent = || Table::absent(&format!("{list}[{}]", number + 1));
        let place = tunnel::Place {
            number,
            slot: slot.saturating_add(number),
        };
        tunnel::read(found.unwrap_or_else(absent), notes, keys, gateway, place)
    })
}

/// The customer gateway that the connection names.
fn customer(
    table: &mut Table<'_>,
    notes: &mut Notes,
    customers: &mut Customers,
    tunnels: &[Tunnel; 2],
) -> CustomerGateway {
    let expected = "the id of a [[customer_gateway]], in quotes";
    let parse = |value| values::text(value, expected);
    let field = table.field("customer_gateway");
    let name = table.require(notes, "customer_gateway", parse, expected);
    let found = name.and_then(|name| customers.find(name));
    if let Some(customer) = found {
        customer.used = true;
        if !notes.is_doubtful(&customer.place) {
            return customer.gateway.clone();
        }
        notes.stand_in(&field);
    } else if let Some(name) = name {
        let mut fields = customers.all().iter().map(Customer::id_field);
        if fields.any(|id| notes.is_doubtful(&id)) {
            // It may be the one whose name is wrong.
            notes.stand_in(&field);
        } else {
            let known: Vec<&str> = customers
                .all()
                .iter()
                .map(|c| c.gateway.id.as_str())
                .collect();
            let known = known.join(", ");
            let message =
                format!("found {name:?}, expected the id of a [[customer_gateway]] ({known})");
            notes.refuse(&field, message);
        }
    }
    stand_in(table.place(), tunnels)
}

/// A customer gateway that breaks no rule with any other, for one that could
/// not be read.
fn stand_in(place: &str, tunnels: &[Tunnel; 2]) -> CustomerGateway {
    let [first, _] = tunnels;
    let ip_address = match first.outside_address {
        IpAddr::V4(_) => STAND_IN_ADDRESS,
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    CustomerGateway {
        id: "unknown".to_owned(),
        ip_address: Some(ip_address),
        identity: Identity::KeyId(place.as_bytes().to_vec()),
        asn: values::default_number(vgw_gateway::rules::CUSTOMER_ASN),
    }
}
