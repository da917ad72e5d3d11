//! `[[customer_gateway]]`.

use std::collections::BTreeMap;

use vgw_gateway::domain::CustomerGateway;
use vgw_gateway::rules::{self, CUSTOMER_ASN};
use vgw_ike::identity::Identity;

use super::places::Places;
use super::table::Table;
use super::{stand_in, values};

/// A customer gateway and where the file has it.
pub(super) struct Customer {
    /// `customer_gateway[1]`.
    pub place: String,
    /// What it says.
    pub gateway: CustomerGateway,
}

/// All of them, in the order of the file.
pub(super) struct Customers {
    pub all: Vec<Customer>,
    by_id: BTreeMap<String, usize>,
}

impl Customers {
    /// Reads them, and checks each.
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let tables = root.tables("customer_gateway").into_iter();
        let all: Vec<Customer> = tables
            .map(|table| Customer {
                place: table.place().to_owned(),
                gateway: table.make(customer_gateway),
            })
            .collect();
        let gateways = || all.iter().map(|customer| &customer.gateway);
        let places = Places::of_customers(gateways());
        for violation in gateways().flat_map(rules::customer_gateway) {
            root.report().violation(&places, &violation);
        }
        let ids = gateways().map(|gateway| gateway.id.clone());
        let by_id = ids.zip(0..).collect();
        Self { all, by_id }
    }

    /// The one of this name.
    pub(super) fn find(&self, id: &str) -> Option<&Customer> {
        self.all.get(*self.by_id.get(id)?)
    }
}

fn customer_gateway(table: &mut Table<'_>) -> CustomerGateway {
    let id = table.id();
    let ip_address = table.read("ip_address", values::address);
    let identity = table.read("identity", values::identity);
    if !table.has("ip_address") && !table.has("identity") {
        let message =
            "is missing, expected one: without an ip_address nothing else tells who it is";
        table.refuse("identity", message);
    }
    let itself = Identity::Address(ip_address.unwrap_or(stand_in::ADDRESS));
    CustomerGateway {
        id,
        ip_address,
        identity: identity.unwrap_or(itself),
        asn: table.number("bgp_asn", CUSTOMER_ASN),
    }
}
