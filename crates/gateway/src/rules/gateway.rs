//! Rules of a gateway and its connections.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::options::{self, CUSTOMER_ASN, OUTSIDE_MTU, gateway_asn};
use super::{Violation, Violations, customer_gateway, field, item, network, tunnel, uniqueness};
use crate::domain::{Connection, Gateway, OutsideAddress, Side};

/// Static routes from one customer gateway (AWS quota).
pub const MAX_STATIC_ROUTES: usize = 100;

/// Characters of a pre-shared key that is generated, as AWS's.
pub const GENERATED_PSK_LENGTH: usize = 32;

/// Names everything that is wrong with a gateway; empty when it is allowed.
#[must_use]
pub fn gateway(gateway: &Gateway) -> Vec<Violation> {
    let mut violations = Violations::default();
    own(&mut violations, gateway);
    for (index, connection) in gateway.connections.iter().enumerate() {
        check_connection(
            &mut violations,
            &item("vpn_connection", index),
            gateway,
            connection,
        );
    }
    uniqueness::check(&mut violations, gateway);
    violations.0
}

fn own(violations: &mut Violations, gateway: &Gateway) {
    let asn = match gateway.side {
        Side::VirtualPrivateGateway => gateway_asn(gateway.asn),
        Side::CustomerGateway => CUSTOMER_ASN.check(u64::from(gateway.asn)),
    };
    violations.check("gateway.asn", asn);
    violations.check(
        "gateway.outside_mtu",
        OUTSIDE_MTU.check(u64::from(gateway.outside_mtu)),
    );
    if gateway.cloudhub && gateway.side == Side::CustomerGateway {
        violations.refuse(
            "gateway.cloudhub",
            "true",
            "false, as a customer gateway is not where sites meet",
        );
    }
    let place = "gateway.outside_addresses";
    let (least, expected) = match gateway.side {
        Side::VirtualPrivateGateway => (
            2,
            "two or more, as a connection's tunnels end on different ones",
        ),
        Side::CustomerGateway => (1, "one at least"),
    };
    if gateway.outside_addresses.len() < least {
        let count = gateway.outside_addresses.len();
        violations.refuse(place, format!("{count} addresses"), expected);
    }
    outside_addresses(violations, place, &gateway.outside_addresses);
    let place = match gateway.side {
        Side::VirtualPrivateGateway => "vpc.cidrs",
        Side::CustomerGateway => "on_premises.cidrs",
    };
    for (index, net) in gateway.cidrs.iter().enumerate() {
        let this = item(place, index);
        if net.prefix_len() == 0 {
            violations.refuse(&this, net.to_string(), "a network, not everything");
        }
        violations.check(&this, network::prefix(*net));
        first_overlap(violations, place, index, &gateway.cidrs);
    }
}

fn outside_addresses(violations: &mut Violations, place: &str, ours: &[OutsideAddress]) {
    let mut seen = BTreeSet::new();
    for (index, OutsideAddress { address, public }) in ours.iter().enumerate() {
        let this = item(place, index);
        for address in std::iter::once(address).chain(public) {
            violations.check(&this, network::outside_address(*address));
            if !seen.insert(*address) {
                violations.refuse(&this, format!("{address} again"), "each address once");
            }
        }
        if let Some(public) = public.filter(|public| public.is_ipv4() != address.is_ipv4()) {
            violations.refuse(
                &this,
                format!("{public} as public address of {address}"),
                "one of the same family",
            );
        }
    }
}

fn first_overlap(violations: &mut Violations, place: &str, index: usize, nets: &[IpNet]) {
    let Some(net) = nets.get(index) else { return };
    let earlier = nets.iter().take(index).enumerate();
    if let Some((at, other)) = earlier
        .into_iter()
        .find(|(_, other)| network::overlap(net, other))
    {
        violations.clash(
            &item(place, index),
            &item(place, at),
            net.to_string(),
            format!("no overlap with {other}"),
        );
    }
}

fn check_connection(
    violations: &mut Violations,
    place: &str,
    gateway: &Gateway,
    connection: &Connection,
) {
    violations.check(&field(place, "id"), options::id(&connection.id));
    violations.0.extend(customer_gateway(
        &field(place, "customer_gateway"),
        &connection.customer_gateway,
    ));
    asns(violations, place, gateway, connection);
    static_routes(
        violations,
        &field(place, "static_routes"),
        gateway,
        connection,
    );
    vpc_cidrs(violations, &field(place, "vpc_cidrs"), gateway, connection);
    selectors(
        violations,
        &field(place, "local"),
        &connection.local_network_cidrs,
    );
    selectors(
        violations,
        &field(place, "remote"),
        &connection.remote_network_cidrs,
    );
    for (index, this) in connection.tunnels.iter().enumerate() {
        let place = item(&field(place, "tunnel"), index);
        tunnel::check(violations, &place, gateway, connection, this);
    }
    let [first, second] = &connection.tunnels;
    if first.outside_address == second.outside_address {
        violations.clash(
            &field(place, "tunnel[2].outside_address"),
            &field(place, "tunnel[1].outside_address"),
            first.outside_address.to_string(),
            "another outside address than tunnel 1 has",
        );
    }
}

fn asns(violations: &mut Violations, place: &str, gateway: &Gateway, connection: &Connection) {
    let customer = connection.customer_gateway.asn;
    let place = field(place, "customer_gateway");
    match gateway.side {
        Side::VirtualPrivateGateway if customer == gateway.asn => violations.clash(
            &place,
            "gateway.asn",
            format!("bgp_asn {customer}"),
            "another ASN than the gateway's own",
        ),
        Side::CustomerGateway if customer != gateway.asn => violations.clash(
            &place,
            "gateway.asn",
            format!("bgp_asn {customer}"),
            format!(
                "our own ASN, {}, as we are the customer gateway",
                gateway.asn
            ),
        ),
        _ => {}
    }
}

fn static_routes(
    violations: &mut Violations,
    place: &str,
    gateway: &Gateway,
    connection: &Connection,
) {
    let routes = &connection.static_routes;
    if routes.len() > MAX_STATIC_ROUTES {
        violations.refuse(
            place,
            format!("{} prefixes", routes.len()),
            format!("at most {MAX_STATIC_ROUTES}"),
        );
    }
    let own = match gateway.side {
        Side::VirtualPrivateGateway => gateway.cidrs.as_slice(),
        Side::CustomerGateway => connection.vpc_cidrs.as_slice(),
    };
    for (index, route) in routes.iter().enumerate() {
        let this = item(place, index);
        violations.check(&this, network::prefix(*route));
        if let Some(local) = own.iter().find(|local| local.contains(route)) {
            violations.refuse(
                &this,
                route.to_string(),
                format!("a prefix outside the VPC's {local}"),
            );
        }
        if routes.iter().take(index).any(|earlier| earlier == route) {
            violations.refuse(&this, format!("{route} again"), "each prefix once");
        }
    }
}

fn vpc_cidrs(violations: &mut Violations, place: &str, gateway: &Gateway, connection: &Connection) {
    if connection.vpc_cidrs.is_empty() && gateway.side == Side::CustomerGateway {
        violations.refuse(
            place,
            "nothing",
            "the VPC's prefixes, which a customer gateway sends into the tunnels",
        );
    }
    if gateway.side == Side::VirtualPrivateGateway && connection.vpc_cidrs == gateway.cidrs {
        return;
    }
    for (index, net) in connection.vpc_cidrs.iter().enumerate() {
        let this = item(place, index);
        violations.check(&this, network::prefix(*net));
        let within = gateway.cidrs.iter().any(|cidr| cidr.contains(net));
        match gateway.side {
            Side::VirtualPrivateGateway if !within => violations.clash(
                &this,
                "vpc.cidrs",
                net.to_string(),
                "one of vpc.cidrs or a part of it",
            ),
            Side::CustomerGateway if within => violations.clash(
                &this,
                "on_premises.cidrs",
                net.to_string(),
                "a prefix outside on_premises.cidrs",
            ),
            _ => {}
        }
        first_overlap(violations, place, index, &connection.vpc_cidrs);
    }
}

/// `place` ends in `local` or `remote`.
fn selectors(violations: &mut Violations, place: &str, nets: &[IpNet]) {
    for net in nets {
        let family = match net.addr() {
            IpAddr::V4(_) => "ipv4",
            IpAddr::V6(_) => "ipv6",
        };
        violations.check(
            &format!("{place}_{family}_network_cidr"),
            network::prefix(*net),
        );
    }
}
