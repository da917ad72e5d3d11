//! Gateways and customer gateways that fit together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use vgw_crypto::{Encryption, Group, Integrity, Secret};
use vgw_gateway::domain::{
    Connection, CustomerGateway, DpdAction, FailureDetection, Gateway, Phase1, Phase2, Side,
    StartupAction, Tunnel,
};
use vgw_gateway::rules::{self, Checked};
use vgw_ike::config::{Encapsulation, Psk};
use vgw_ike::identity::Identity;
use vgw_sa::{DfPolicy, GatewayId};

/// A virtual private gateway by its number: two outside addresses and a VPC.
#[must_use]
pub fn gateway(number: u8) -> Gateway {
    Gateway {
        id: GatewayId(number.into()),
        side: Side::VirtualPrivateGateway,
        asn: 64_512,
        outside_addresses: [1, 2].map(|tunnel| outside(number, tunnel).into()).to_vec(),
        cidrs: vec![vpc(number)],
        outside_mtu: 1_500,
        cloudhub: false,
        host_services: Vec::new(),
        initiate_to_recover: true,
        connections: Vec::new(),
    }
}

/// A customer gateway by its number, at [`customer_address`].
#[must_use]
pub fn customer(number: u8) -> Gateway {
    Gateway {
        id: GatewayId(0),
        side: Side::CustomerGateway,
        asn: 65_000,
        outside_addresses: vec![customer_address(number).into()],
        cidrs: vec![site(number)],
        outside_mtu: 1_500,
        cloudhub: false,
        host_services: Vec::new(),
        initiate_to_recover: true,
        connections: Vec::new(),
    }
}

/// The gateway, which must keep every rule.
///
/// # Panics
/// If it does not.
#[must_use]
#[expect(
    clippy::panic,
    reason = "a simulation with such a gateway is wrong itself"
)]
pub fn checked(gateway: Gateway) -> Checked<Gateway> {
    rules::check(gateway).unwrap_or_else(|broken| panic!("not allowed: {broken:#?}"))
}

/// An outside address of a virtual private gateway; `tunnel` is 1 or 2.
#[must_use]
pub const fn outside(gateway: u8, tunnel: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, gateway, tunnel))
}

/// The outside address of a customer gateway.
#[must_use]
pub const fn customer_address(customer: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, customer))
}

/// The address of a customer gateway that is behind a NAT with
/// [`customer_address`].
#[must_use]
pub const fn private_address(customer: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, customer, 2))
}

/// The network behind a virtual private gateway.
#[must_use]
pub fn vpc(gateway: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, gateway, 0, 0), 16))
}

/// The network behind a customer gateway.
#[must_use]
pub fn site(customer: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 16, customer, 0), 24))
}

/// A host behind a virtual private gateway.
#[must_use]
pub const fn vpc_host(gateway: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, gateway, 0, 10)
}

/// A host behind a customer gateway.
#[must_use]
pub const fn site_host(customer: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, customer, 10)
}

/// The address over IPv6 of a host, by that over IPv4.
#[must_use]
pub fn ipv6_of(host: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = host.octets();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, pair(a, b), pair(c, d))
}

/// Adds to each of these IPv4 prefixes that of the same hosts over IPv6.
pub fn add_ipv6(prefixes: &mut Vec<IpNet>) {
    const SHORTEST: u8 = 96;
    let ipv6 = |prefix: &IpNet| match prefix {
        IpNet::V4(v4) if v4.prefix_len() == 0 => Ipv6Net::default(),
        IpNet::V4(v4) => Ipv6Net::new_assert(ipv6_of(v4.addr()), SHORTEST + v4.prefix_len()),
        IpNet::V6(v6) => *v6,
    };
    let more: Vec<IpNet> = prefixes.iter().map(|p| ipv6(p).into()).collect();
    prefixes.extend(more);
}

/// Has a connection carry IPv6, too.
pub fn carry_ipv6(connection: &mut Connection) {
    for prefixes in [
        &mut connection.static_routes,
        &mut connection.vpc_cidrs,
        &mut connection.local_network_cidrs,
        &mut connection.remote_network_cidrs,
    ] {
        add_ipv6(prefixes);
    }
}

/// The connection between two of them, as it stands in both files but for
/// StartupAction, which is start on the customer's side only.
#[must_use]
pub fn connection(gateway: u8, customer: u8) -> Connection {
    let everything = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
    let address = customer_address(customer);
    Connection {
        id: format!("vpn-{gateway}-{customer}"),
        customer_gateway: CustomerGateway {
            id: format!("cgw-{customer}"),
            ip_address: Some(address),
            identity: Identity::Address(address),
            asn: 65_000,
        },
        static_routes: vec![site(customer)],
        vpc_cidrs: vec![vpc(gateway)],
        local_network_cidrs: vec![everything],
        remote_network_cidrs: vec![everything],
        failback: false,
        source_check: true,
        tunnels: [1, 2].map(|number| tunnel(gateway, customer, number)),
    }
}

fn tunnel(gateway: u8, customer: u8, number: u8) -> Tunnel {
    let inside = Ipv4Addr::new(169, 254, customer, gateway * 8 + (number - 1) * 4);
    let psk = format!("psk.{gateway}.{customer}.{number}");
    Tunnel {
        outside_address: outside(gateway, number),
        identity: Identity::Address(outside(gateway, number)),
        inside_cidr: Ipv4Net::new_assert(inside, 30),
        psk: Psk(Secret::new(psk.into_bytes())),
        phase1: Phase1 {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            groups: vec![Group::Curve25519],
            lifetime: Duration::from_secs(28_800),
        },
        phase2: Phase2 {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            groups: vec![Group::Curve25519],
            esn: vec![true, false],
            lifetime: Duration::from_secs(3_600),
            lifetime_bytes: None,
            lifetime_packets: None,
        },
        rekey_margin: Duration::from_secs(270),
        rekey_fuzz_percent: 100,
        replay_window: 1024,
        dpd_timeout: Duration::from_secs(40),
        dpd_action: DpdAction::Clear,
        failure_detection: FailureDetection::Fast,
        startup_action: StartupAction::Add,
        encapsulation: Encapsulation::Auto,
        df_policy: DfPolicy::Honor,
        copy_dscp: false,
        bandwidth_limit_mbps: None,
    }
}

/// Makes our side of a connection initiate.
#[must_use]
pub fn initiating(mut connection: Connection) -> Connection {
    for tunnel in &mut connection.tunnels {
        tunnel.startup_action = StartupAction::Start;
    }
    connection
}
