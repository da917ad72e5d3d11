//! The gateway's own tables.

use ipnet::IpNet;
use toml::de::DeValue;
use vgw_gateway::domain::{Gateway, OutsideAddress, Side};
use vgw_gateway::rules::{CUSTOMER_ASN, GATEWAY_ASN, OUTSIDE_MTU, Refusal};
use vgw_sa::HostService;

use super::connection;
use super::customer::{Customer, Ids, STAND_IN_ADDRESS, STAND_IN_PREFIX, customers};
use super::document::{Notes, Table};
use super::keys::KeySource;
use super::settings::NetworkNamespace;
use super::values::{self, default_number};

const SIDES: &[(&str, Side)] = &[
    ("virtual-private-gateway", Side::VirtualPrivateGateway),
    ("customer-gateway", Side::CustomerGateway),
];

/// Reads the gateway, its customer gateways and its connections, and the
/// namespace of the network behind it.
pub(super) fn read(
    root: &mut Table<'_>,
    notes: &mut Notes,
    keys: &mut dyn KeySource,
) -> (Gateway, Option<NetworkNamespace>) {
    let mut table = root.table(notes, "gateway");
    let side = table
        .read(notes, "side", values::word(SIDES))
        .unwrap_or_else(|| match table.has("side") && root.has("on_premises") {
            // What it was to be shows in what lies behind it.
            true => Side::CustomerGateway,
            false => Side::VirtualPrivateGateway,
        });
    let asn = table.read(notes, "asn", values::number_32(CUSTOMER_ASN));
    let outside = table.list(
        notes,
        "outside_addresses",
        &OutsideAddress::from(STAND_IN_ADDRESS),
        values::outside_address,
    );
    let outside_is_set = table.has("outside_addresses");
    let outside_mtu = table.read(notes, "outside_mtu", values::number(OUTSIDE_MTU));
    let cloudhub = table.read(notes, "cloudhub", values::boolean);
    let host_services = table.list(
        notes,
        "host_services",
        &HostService::All,
        values::host_service,
    );
    let initiate_to_recover = table.read(notes, "initiate_to_recover", values::boolean);
    table.finish(notes);

    let (cidrs, network_namespace) = network(root, notes, side);
    let mut customers = customers(root, notes);
    let outside_addresses = match (outside, side) {
        (Some(addresses), _) => addresses,
        (None, Side::CustomerGateway) if !outside_is_set => own_addresses(customers.all()),
        (None, _) => Vec::new(),
    };
    let mut gateway = Gateway {
        side,
        asn: asn.unwrap_or_else(|| default_asn(side, customers.all())),
        outside_addresses,
        cidrs,
        outside_mtu: outside_mtu
            .or(OUTSIDE_MTU.default)
            .and_then(|mtu| u16::try_from(mtu).ok())
            .unwrap_or_default(),
        cloudhub: cloudhub.unwrap_or_default(),
        host_services: host_services.unwrap_or_default(),
        initiate_to_recover: initiate_to_recover.unwrap_or(true),
        connections: Vec::new(),
    };
    let mut ids = Ids::default();
    for (index, table) in root.tables(notes, "vpn_connection").into_iter().enumerate() {
        let connection = connection::read(
            table,
            notes,
            keys,
            &gateway,
            &mut customers,
            &mut ids,
            index,
        );
        gateway.connections.push(connection);
    }
    for customer in customers.all().iter().filter(|customer| !customer.used) {
        notes.warn(
            &customer.place,
            "no vpn_connection uses this customer gateway",
        );
    }
    (gateway, network_namespace)
}

/// `[vpc]` or `[on_premises]`, whichever lies behind us.
fn network(
    root: &mut Table<'_>,
    notes: &mut Notes,
    side: Side,
) -> (Vec<IpNet>, Option<NetworkNamespace>) {
    let vpc = root.table(notes, "vpc");
    let on_premises = root.table(notes, "on_premises");
    let (mut ours, theirs, why) = match side {
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
        notes.refuse(theirs.place(), why);
    }
    let cidrs = ours
        .list(notes, "cidrs", &STAND_IN_PREFIX, values::prefix)
        .unwrap_or_default();
    if cidrs.is_empty() && !ours.has("cidrs") {
        let message = "is not set: tunnels carry traffic between connections only";
        notes.warn(&ours.field("cidrs"), message);
    }
    let name = ours.read(notes, "netns", namespace);
    ours.finish(notes);
    (cidrs, name)
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
        (Side::CustomerGateway, None) => default_number(CUSTOMER_ASN),
        (Side::VirtualPrivateGateway, _) => default_number(GATEWAY_ASN),
    }
}
