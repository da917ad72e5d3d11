//! Customer gateways, and what stands for what of them could not be read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use vgw_gateway::domain::CustomerGateway;
use vgw_gateway::rules::{self, CUSTOMER_ASN, Refusal};
use vgw_ike::identity::Identity;

use super::document::{Notes, Table};
use super::places::Places;
use super::values::{self, default_number};

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
    by_id: BTreeMap<String, usize>,
}

impl Customers {
    /// The one of this name.
    pub(super) fn find(&mut self, id: &str) -> Option<&mut Customer> {
        self.all.get_mut(*self.by_id.get(id)?)
    }

    pub(super) fn all(&self) -> &[Customer] {
        &self.all
    }

    fn push(&mut self, customer: Customer) {
        let id = customer.gateway.id.clone();
        self.by_id.insert(id, self.all.len());
        self.all.push(customer);
    }
}

/// Reads them.
pub(super) fn customers(root: &mut Table<'_>, notes: &mut Notes) -> Customers {
    let mut customers = Customers::default();
    let mut ids = Ids::default();
    for table in root.tables(notes, "customer_gateway") {
        customers.push(Customer {
            place: table.place().to_owned(),
            gateway: customer(table, notes, &mut ids),
            used: false,
        });
    }
    let all = || customers.all.iter().map(|customer| &customer.gateway);
    let places = Places::of_customers(all());
    for violation in all().flat_map(rules::customer_gateway) {
        notes.violation(&places, &violation);
    }
    customers
}

fn customer(mut table: Table<'_>, notes: &mut Notes, ids: &mut Ids) -> CustomerGateway {
    let id = ids.read(&mut table, notes);
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

/// The ids of tables of one kind, each with the name of its place.
#[derive(Default)]
pub(super) struct Ids(BTreeMap<String, String>);

impl Ids {
    /// The `id` of a table, which it must have and no other may have. Its place, which
    /// cannot be an id, stands in for one that is missing or taken.
    pub(super) fn read(&mut self, table: &mut Table<'_>, notes: &mut Notes) -> String {
        let expected = "a name in quotes";
        let parse = |value| values::text(value, expected).map(str::to_owned);
        let Some(id) = table.require(notes, "id", parse, expected) else {
            return table.place().to_owned();
        };
        let field = table.field("id");
        match self.0.entry(id) {
            Entry::Vacant(free) => {
                let id = free.key().clone();
                free.insert(field);
                id
            }
            Entry::Occupied(taken) => {
                let Refusal { found, expected } = rules::repeated_id(taken.key());
                let message = format!("found {found}, expected {expected}");
                notes.broken_rule(&field, Some(taken.get()), message);
                notes.stand_in(&field);
                table.place().to_owned()
            }
        }
    }
}
