//! Rules of a gateway and its connections.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::options::{self, CUSTOMER_ASN, OUTSIDE_ADDRESSES, OUTSIDE_MTU, gateway_asn};
use super::{
    Code, Field, Findings, Refusal, Subject, Violation, addresses, customer_gateway, tunnel,
    uniqueness,
};
use crate::domain::{Connection, Gateway, OutsideAddress, Side, TunnelName};

/// Static routes from one customer gateway (AWS quota).
pub const MAX_STATIC_ROUTES: usize = 100;

/// Characters of a pre-shared key that is generated, as AWS's.
pub const GENERATED_PSK_LENGTH: usize = 32;

/// Names everything that is wrong with a gateway; empty when it is allowed.
#[must_use]
pub fn gateway(gateway: &Gateway) -> Vec<Violation> {
    let mut violations = own(gateway);
    violations.extend(vpc(gateway));
    for connection in &gateway.connections {
        violations.extend(check_connection(gateway, connection));
    }
    violations.extend(uniqueness::check(gateway));
    violations
}

fn own(gateway: &Gateway) -> Vec<Violation> {
    let mut findings = Findings::about(Subject::Gateway);
    let asn = match gateway.side {
        Side::VirtualPrivateGateway => gateway_asn(gateway.asn),
        Side::CustomerGateway => CUSTOMER_ASN.check(u64::from(gateway.asn)),
    };
    findings.check("asn", asn);
    let outside_mtu = OUTSIDE_MTU.check(u64::from(gateway.outside_mtu));
    findings.check("outside_mtu", outside_mtu);
    if gateway.cloudhub && gateway.side == Side::CustomerGateway {
        findings.refuse(
            Code::InvalidParameterCombination,
            "cloudhub",
            "true",
            "false, as a customer gateway is not where sites meet",
        );
    }
    let (least, expected) = match gateway.side {
        Side::VirtualPrivateGateway => (
            2,
            "two or more, as a connection's tunnels end on different ones",
        ),
        Side::CustomerGateway => (1, "one at least"),
    };
    let count = gateway.outside_addresses.len();
    if count < least {
        findings.refuse(
            Code::InvalidParameterValue,
            OUTSIDE_ADDRESSES,
            format!("{count} addresses"),
            expected,
        );
    }
    outside_addresses(&mut findings, &gateway.outside_addresses);
    findings.violations
}

fn outside_addresses(findings: &mut Findings, ours: &[OutsideAddress]) {
    let mut seen = BTreeSet::new();
    for (index, OutsideAddress { address, public }) in ours.iter().enumerate() {
        let this = Field::item(OUTSIDE_ADDRESSES, index);
        for address in std::iter::once(address).chain(public) {
            findings.check(this, addresses::outside_address(*address));
            if !seen.insert(*address) {
                let found = format!("{address} again");
                findings.refuse(
                    Code::InvalidParameterValue,
                    this,
                    found,
                    "each address once",
                );
            }
        }
        if let Some(public) = public.filter(|public| public.is_ipv4() != address.is_ipv4()) {
            findings.refuse(
                Code::InvalidParameterValue,
                this,
                format!("{public} as public address of {address}"),
                "one of the same family",
            );
        }
    }
}

fn vpc(gateway: &Gateway) -> Vec<Violation> {
    let mut findings = Findings::about(Subject::Vpc);
    for (index, net) in gateway.cidrs.iter().enumerate() {
        let this = Field::item("cidrs", index);
        if net.prefix_len() == 0 {
            findings.refuse(
                Code::InvalidParameterValue,
                this,
                net.to_string(),
                "a network, not everything",
            );
        }
        findings.check(this, addresses::prefix(*net));
        first_overlap(&mut findings, this, index, &gateway.cidrs);
    }
    findings.violations
}

/// Notes the first of the earlier prefixes that the one at `index` overlaps with.
fn first_overlap(findings: &mut Findings, this: Field, index: usize, nets: &[IpNet]) {
    let Some(net) = nets.get(index) else { return };
    let mut earlier = nets.iter().take(index).enumerate();
    if let Some((at, other)) = earlier.find(|(_, other)| addresses::overlap(net, other)) {
        let refusal = Refusal::new(net.to_string(), format!("no overlap with {other}"));
        let other = Field::item(this.name, at);
        findings.clash_within(Code::PrefixOverlap, this, other, refusal);
    }
}

fn check_connection(gateway: &Gateway, connection: &Connection) -> Vec<Violation> {
    let mut findings = Findings::about(Subject::VpnConnection(connection.id.clone()));
    findings.check("id", options::id(&connection.id));
    let customer = customer_gateway(&connection.customer_gateway);
    findings.violations.extend(customer);
    asns(&mut findings, gateway, connection);
    static_routes(&mut findings, gateway, connection);
    vpc_cidrs(&mut findings, gateway, connection);
    for net in &connection.local_network_cidrs {
        let name = by_family(net, "local_ipv4_network_cidr", "local_ipv6_network_cidr");
        findings.check(name, addresses::prefix(*net));
    }
    for net in &connection.remote_network_cidrs {
        let name = by_family(net, "remote_ipv4_network_cidr", "remote_ipv6_network_cidr");
        findings.check(name, addresses::prefix(*net));
    }
    let mut violations = findings.violations;
    for (number, this) in (1..).zip(&connection.tunnels) {
        violations.extend(tunnel::check(gateway, connection, number, this));
    }
    violations.extend(same_outside_address(connection));
    violations
}

fn by_family(net: &IpNet, ipv4: &'static str, ipv6: &'static str) -> &'static str {
    match net {
        IpNet::V4(_) => ipv4,
        IpNet::V6(_) => ipv6,
    }
}

fn same_outside_address(connection: &Connection) -> Vec<Violation> {
    let [first, second] = &connection.tunnels;
    let [one, two] = [1, 2].map(|number| Subject::Tunnel(TunnelName::of(connection, number)));
    let mut findings = Findings::about(two);
    if first.outside_address == second.outside_address {
        let refusal = Refusal::new(
            first.outside_address.to_string(),
            "another outside address than tunnel 1 has",
        );
        let other = (&one, "outside_address");
        let code = Code::InvalidParameterCombination;
        findings.clash(code, "outside_address", other, refusal);
    }
    findings.violations
}

fn asns(findings: &mut Findings, gateway: &Gateway, connection: &Connection) {
    let (ours, customer) = (gateway.asn, connection.customer_gateway.asn);
    let expected = match gateway.side {
        Side::VirtualPrivateGateway if customer == ours => {
            "another ASN than the gateway's own".to_owned()
        }
        Side::CustomerGateway if customer != ours => {
            format!("our own ASN, {ours}, as we are the customer gateway")
        }
        _ => return,
    };
    findings.clash(
        Code::InvalidParameterCombination,
        "customer_gateway",
        (&Subject::Gateway, "asn"),
        Refusal::new(format!("bgp_asn {customer}"), expected),
    );
}

fn static_routes(findings: &mut Findings, gateway: &Gateway, connection: &Connection) {
    const NAME: &str = "static_routes";
    let routes = &connection.static_routes;
    if routes.len() > MAX_STATIC_ROUTES {
        findings.refuse(
            Code::RouteLimitExceeded,
            NAME,
            format!("{} prefixes", routes.len()),
            format!("at most {MAX_STATIC_ROUTES}"),
        );
    }
    let own = match gateway.side {
        Side::VirtualPrivateGateway => gateway.cidrs.as_slice(),
        Side::CustomerGateway => connection.vpc_cidrs.as_slice(),
    };
    for (index, route) in routes.iter().enumerate() {
        let this = Field::item(NAME, index);
        findings.check(this, addresses::prefix(*route));
        if let Some(local) = own.iter().find(|local| local.contains(route)) {
            let expected = format!("a prefix outside the VPC's {local}");
            findings.refuse(Code::PrefixOverlap, this, route.to_string(), expected);
        }
        if routes.iter().take(index).any(|earlier| earlier == route) {
            let found = format!("{route} again");
            findings.refuse(Code::RouteAlreadyExists, this, found, "each prefix once");
        }
    }
}

fn vpc_cidrs(findings: &mut Findings, gateway: &Gateway, connection: &Connection) {
    const NAME: &str = "vpc_cidrs";
    if connection.vpc_cidrs.is_empty() && gateway.side == Side::CustomerGateway {
        findings.refuse(
            Code::MissingParameter,
            NAME,
            "nothing",
            "the VPC's prefixes, which a customer gateway sends into the tunnels",
        );
    }
    if gateway.side == Side::VirtualPrivateGateway && connection.vpc_cidrs == gateway.cidrs {
        return;
    }
    for (index, net) in connection.vpc_cidrs.iter().enumerate() {
        let this = Field::item(NAME, index);
        findings.check(this, addresses::prefix(*net));
        let within = gateway.cidrs.iter().any(|cidr| cidr.contains(net));
        let clash = match gateway.side {
            Side::VirtualPrivateGateway if !within => Some((
                Code::InvalidParameterCombination,
                "one of vpc.cidrs or a part of it",
            )),
            Side::CustomerGateway if within => {
                Some((Code::PrefixOverlap, "a prefix outside on_premises.cidrs"))
            }
            _ => None,
        };
        if let Some((code, expected)) = clash {
            let refusal = Refusal::new(net.to_string(), expected);
            findings.clash(code, this, (&Subject::Vpc, "cidrs"), refusal);
        }
        first_overlap(findings, this, index, &connection.vpc_cidrs);
    }
}
