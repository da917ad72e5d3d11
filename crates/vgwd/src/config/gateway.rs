//! The gateway's own tables.

use std::collections::BTreeSet;

use ipnet::IpNet;
use toml::de::DeValue;
use vgw_gateway::domain::{Gateway, OutsideAddress, Side};
use vgw_gateway::rules::{CUSTOMER_ASN, GATEWAY_ASN, OUTSIDE_MTU, Refusal};
use vgw_sa::{GatewayId, HostService};

use super::customer::{Customer, Customers};
use super::keys::KeySource;
use super::settings::NetworkNamespace;
use super::table::Table;
use super::{connection, stand_in, values};

const SIDES: &[(&str, Side)] = &[
    ("virtual-private-gateway", Side::VirtualPrivateGateway),
    ("customer-gateway", Side::CustomerGateway),
];

/// Reads the gateway, its customer gateways and its connections, and the
/// namespace of the network behind it.
pub(super) fn read(
    root: &mut Table<'_>,
    keys: &mut dyn KeySource,
) -> (Gateway, Option<NetworkNamespace>) {
    let has_premises = root.has("on_premises");
    let table = root.table("gateway");
    let outside_is_set = table.has("outside_addresses");
    let (mut gateway, asn) = table.make(|table| own(table, has_premises));
    let side = gateway.side;
    let (cidrs, network_namespace) = network(root, side);
    let customers = Customers::read(root);
    gateway.cidrs = cidrs;
    gateway.asn = asn.unwrap_or_else(|| default_asn(side, &customers.all));
    if side == Side::CustomerGateway && !outside_is_set {
        gateway.outside_addresses = own_addresses(&customers.all);
    }
    for (index, table) in root.tables("vpn_connection").into_iter().enumerate() {
        let connection =
            table.make(|table| connection::read(table, keys, &gateway, &customers, index));
        gateway.connections.push(connection);
    }
    let connections = gateway.connections.iter();
    let used: BTreeSet<&str> = connections
        .map(|c| c.customer_gateway.id.as_str())
        .collect();
    for customer in customers.all {
        if !used.contains(customer.gateway.id.as_str()) {
            let message = "no vpn_connection uses this customer gateway";
            root.report().warn(&customer.place, message);
        }
    }
    (gateway, network_namespace)
}

/// `[gateway]`, with its ASN if that is set.
fn own(table: &mut Table<'_>, has_premises: bool) -> (Gateway, Option<u32>) {
    let side = table.read("side", values::word(SIDES)).unwrap_or_else(|| {
        match table.has("side") && has_premises {
            // What it was to be shows in what lies behind it.
            true => Side::CustomerGateway,
            false => Side::VirtualPrivateGateway,
        }
    });
    let asn = table.read("asn", values::number(CUSTOMER_ASN));
    let unread = OutsideAddress::from(stand_in::ADDRESS);
    let gateway = Gateway {
        // A file has one gateway so far.
        id: GatewayId(0),
        side,
        asn: 0,
        outside_addresses: table
            .list("outside_addresses", &unread, values::outside_address)
            .unwrap_or_default(),
        cidrs: Vec::new(),
        outside_mtu: table.number("outside_mtu", OUTSIDE_MTU),
        cloudhub: table.flag("cloudhub", false),
        host_services: table
            .list("host_services", &HostService::All, values::host_service)
            .unwrap_or_default(),
        initiate_to_recover: table.flag("initiate_to_recover", true),
        connections: Vec::new(),
    };
    (gateway, asn)
}

/// `[vpc]` or `[on_premises]`, whichever lies behind us.
fn network(root: &mut Table<'_>, side: Side) -> (Vec<IpNet>, Option<NetworkNamespace>) {
    let vpc = root.table("vpc");
    let on_premises = root.table("on_premises");
    let (ours, theirs, why) = match side {
        Side::VirtualPrivateGateway => (
            vpc,
            on_premises,
            "is for a customer gateway; what lies behind one is in its connections' static_routes",
        ),
        Side::CustomerGateway => (
            on_premises,
            vpc,
            "is for a virtual private gateway; what lies behind one is in each connection's vpc_cidrs",
        ),
    };
    if theirs.is_present() {
        root.report().refuse(theirs.place(), why);
    }
    ours.make(|table| {
        let cidrs = table.list("cidrs", &stand_in::PREFIX, values::prefix);
        if !table.has("cidrs") {
            let message = "is not set: tunnels carry traffic between connections only";
            table.warn("cidrs", message);
        }
        (cidrs.unwrap_or_default(), table.read("netns", namespace))
    })
}

fn namespace(value: &DeValue<'_>) -> Result<NetworkNamespace, Refusal> {
    const LONGEST: usize = 255;
    let expected = "the name of a network namespace, as `ip netns` shows it, or an absolute path";
    let name = values::text(value, expected)?;
    let named = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let fits = name.len() <= LONGEST && !name.contains('\0');
    if !fits || !(named || name.starts_with('/')) {
        return Err(Refusal::new(values::describe(value), expected));
    }
    Ok(NetworkNamespace::new(name.to_owned()))
}

fn own_addresses(customers: &[Customer]) -> Vec<OutsideAddress> {
    let mut addresses = Vec::new();
    let named = customers.iter().filter_map(|c| c.gateway.ip_address);
    for address in named.map(OutsideAddress::from) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn default_asn(side: Side, customers: &[Customer]) -> u32 {
    let ours = customers.first().map(|customer| customer.gateway.asn);
    match (side, ours) {
        (Side::CustomerGateway, Some(asn)) => asn,
        (Side::CustomerGateway, None) => values::default_number(CUSTOMER_ASN),
        (Side::VirtualPrivateGateway, _) => values::default_number(GATEWAY_ASN),
    }
}
