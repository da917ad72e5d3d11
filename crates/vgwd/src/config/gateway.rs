//! The gateway's own tables and its customer gateways.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use toml::de::DeValue;
use vgw_gateway::domain::{CustomerGateway, Gateway, HostService, OutsideAddress, Side};
use vgw_gateway::rules::{self, CUSTOMER_ASN, GATEWAY_ASN, OUTSIDE_MTU, Refusal};
use vgw_ike::identity::Identity;

use super::connection;
use super::document::{Notes, Table};
use super::keys::KeySource;
use super::settings::NetworkNamespace;
use super::values;

const SIDES: &[(&str, Side)] = &[
    ("virtual-private-gateway", Side::VirtualPrivateGateway),
    ("customer-gateway", Side::CustomerGateway),
];

/// Stands for an address or prefix that could not be read (RFC 5737).
pub(super) const STAND_IN_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 255));
/// As [`STAND_IN_ADDRESS`], as a prefix.
pub(super) const STAND_IN_PREFIX: IpNet = IpNet::V4(Ipv4Net::new_assert(
    std::net::Ipv4Addr::new(192, 0, 2, 255),
    32,
));

/// Whether it may stand for a prefix that could not be read: one address of the
/// network that all of those are of.
pub(super) fn is_stand_in(prefix: &IpNet) -> bool {
    let network = Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 0, 2, 0), 24);
    prefix.prefix_len() == 32 && IpNet::V4(network).contains(prefix)
}

/// A customer gateway and where the file has it.
pub(super) struct Customer {
    /// `customer_gateway[1]`.
    pub place: String,
    /// What it says.
    pub gateway: CustomerGateway,
    /// Whether a connection uses it.
    pub used: bool,
}

impl Customer {
    /// What its name is called in messages.
    pub(super) fn id_field(&self) -> String {
        format!("{}.id", self.place)
    }
}

/// All of them, in the order of the file.
#[derive(Default)]
pub(super) struct Customers {
    all: Vec<Customer>,
    /// Where the first of each name is.
    by_id: BTreeMap<String, usize>,
}

impl Customers {
    /// The first of this name.
    pub(super) fn find(&mut self, id: &str) -> Option<&mut Customer> {
        self.all.get_mut(*self.by_id.get(id)?)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Customer> {
        self.all.iter()
    }

    fn push(&mut self, customer: Customer) {
        let id = customer.gateway.id.clone();
        self.by_id.entry(id).or_insert(self.all.len());
        self.all.push(customer);
    }
}

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
        (None, Side::CustomerGateway) if !outside_is_set => own_addresses(&customers.all),
        (None, _) => Vec::new(),
    };
    let mut gateway = Gateway {
        side,
        asn: asn.unwrap_or_else(|| default_asn(side, &customers.all)),
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
    for (index, table) in root.tables(notes, "vpn_connection").into_iter().enumerate() {
        let connection = connection::read(table, notes, keys, &gateway, &mut customers, index);
        gateway.connections.push(connection);
    }
    for customer in customers.all.iter().filter(|customer| !customer.used) {
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

/// The default of an option of 32 bits that has one.
pub(super) fn default_number(bounds: rules::Bounds) -> u32 {
    let default = bounds.default.and_then(|number| u32::try_from(number).ok());
    default.unwrap_or_default()
}

fn customers(root: &mut Table<'_>, notes: &mut Notes) -> Customers {
    let mut customers = Customers::default();
    for table in root.tables(notes, "customer_gateway") {
        let place = table.place().to_owned();
        let gateway = customer(table, notes);
        for violation in rules::customer_gateway(&place, &gateway) {
            notes.violation(&violation);
        }
        let twin = customers.find(&gateway.id);
        if let Some(twin) = twin.filter(|_| !notes.is_doubtful(&format!("{place}.id"))) {
            let message = format!(
                "found {:?} again, expected a name of its own ({} has it)",
                gateway.id, twin.place
            );
            notes.refuse(&format!("{place}.id"), message);
        }
        customers.push(Customer {
            place,
            gateway,
            used: false,
        });
    }
    customers
}

fn customer(mut table: Table<'_>, notes: &mut Notes) -> CustomerGateway {
    let id = id(&mut table, notes);
    let ip_address = table.read(notes, "ip_address", values::address);
    let identity = table.read(notes, "identity", values::identity);
    if !table.has("ip_address") && !table.has("identity") {
        let message =
            "is missing, expected one: without an ip_address nothing else tells who it is";
        notes.refuse(&table.field("identity"), message);
    }
    let asn = table
        .read(notes, "bgp_asn", values::number_32(CUSTOMER_ASN))
        .unwrap_or(default_number(CUSTOMER_ASN));
    table.finish(notes);
    let stand_in = ip_address.unwrap_or(STAND_IN_ADDRESS);
    CustomerGateway {
        id,
        ip_address,
        identity: identity.unwrap_or(Identity::Address(stand_in)),
        asn,
    }
}

/// The `id` of a table, which it must have.
pub(super) fn id(table: &mut Table<'_>, notes: &mut Notes) -> String {
    let expected = "a name in quotes";
    let parse = |value| values::text(value, expected).map(str::to_owned);
    table
        .require(notes, "id", parse, expected)
        .unwrap_or_else(|| "unnamed".to_owned())
}
