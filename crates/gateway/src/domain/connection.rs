//! VPN connections and the customer gateways that they lead to.

use std::net::IpAddr;

use ipnet::IpNet;
use vgw_ike::identity::Identity;

use super::Tunnel;

/// The customer's end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerGateway {
    /// Its name, `cgw-office`.
    pub id: String,
    /// Its outside address, or that of the NAT before it; None: anywhere.
    pub ip_address: Option<IpAddr>,
    /// What it says in its ID payload; by default its address.
    pub identity: Identity,
    /// Its BGP autonomous system number.
    pub asn: u32,
}

/// One VPN connection: a customer gateway, us, and two tunnels.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Its name, `vpn-office`.
    pub id: String,
    /// The customer's end.
    pub customer_gateway: CustomerGateway,
    /// Prefixes behind the customer gateway (static routing): what a virtual
    /// private gateway sends into the tunnels.
    pub static_routes: Vec<IpNet>,
    /// Prefixes of the VPC behind the virtual private gateway: what a customer
    /// gateway sends into the tunnels. On a virtual private gateway they are
    /// [`Gateway::cidrs`] or part of them, and decide nothing.
    pub vpc_cidrs: Vec<IpNet>,
    /// Traffic selectors, customer side (AWS: LocalIpv4NetworkCidr and LocalIpv6NetworkCidr).
    pub local_network_cidrs: Vec<IpNet>,
    /// Traffic selectors, cloud side (AWS: RemoteIpv4NetworkCidr and RemoteIpv6NetworkCidr).
    pub remote_network_cidrs: Vec<IpNet>,
    /// Whether traffic returns to the first tunnel once it is well again;
    /// otherwise it stays where it is.
    pub failback: bool,
    /// Whether packets from its tunnels must have a source that one of its
    /// prefixes holds.
    pub source_check: bool,
    /// Both tunnels.
    pub tunnels: [Tunnel; 2],
}
