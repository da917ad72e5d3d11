//! A gateway, and what is ours and what is the peer's at it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use vgw_ike::identity::Identity;
use vgw_sa::{GatewayId, HostService};

use super::{Connection, Side, Tunnel};

/// One gateway and everything it is configured to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// In the key of everything about it; stays the same while it is configured.
    pub id: GatewayId,
    /// Which end we are.
    pub side: Side,
    /// Our BGP autonomous system number.
    pub asn: u32,
    /// Our outside addresses. A virtual private gateway has two at least, a
    /// customer gateway one at least.
    pub outside_addresses: Vec<OutsideAddress>,
    /// The private networks behind us: a VPC's CIDRs, or on-premises networks.
    pub cidrs: Vec<IpNet>,
    /// The largest packet that the outside carries whole, octets.
    pub outside_mtu: u16,
    /// Whether what comes out of one tunnel may go into another: sites reach
    /// each other through this gateway (AWS: VPN CloudHub).
    pub cloudhub: bool,
    /// Services of this machine itself that tunnels may reach, beside what routing
    /// needs.
    pub host_services: Vec<HostService>,
    /// Whether a tunnel that waits for its peer (StartupAction add) initiates once
    /// after our start, when the peer may have SAs that we lost, and until it is up
    /// where we ended its SA, as it could not be replaced.
    pub initiate_to_recover: bool,
    /// VPN connections, in the order of the file.
    pub connections: Vec<Connection>,
}

/// An outside address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutsideAddress {
    /// The machine's own.
    pub address: IpAddr,
    /// The address that a NAT before us has for this one alone, as clouds do it. It keeps
    /// our ports.
    pub public: Option<IpAddr>,
}

impl OutsideAddress {
    /// By what others reach it.
    #[must_use]
    pub fn seen(self) -> IpAddr {
        self.public.unwrap_or(self.address)
    }
}

impl From<IpAddr> for OutsideAddress {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            public: None,
        }
    }
}

/// What is ours and what is the peer's, whichever side we are.
impl Gateway {
    /// The outside address of ours that others reach by this one, or that is this one.
    #[must_use]
    pub fn outside(&self, named: IpAddr) -> Option<OutsideAddress> {
        let ours = self.outside_addresses.iter().copied();
        let seen = ours.clone().find(|ours| ours.seen() == named);
        seen.or_else(|| ours.clone().find(|ours| ours.address == named))
    }

    /// Our end of a tunnel. A customer gateway uses the address its connection names
    /// if it owns it, and behind a NAT its first one of the family.
    #[must_use]
    pub fn local_outside(&self, connection: &Connection, tunnel: &Tunnel) -> OutsideAddress {
        let far = tunnel.outside_address;
        let named = match self.side {
            Side::VirtualPrivateGateway => Some(far),
            Side::CustomerGateway => connection.customer_gateway.ip_address,
        };
        let owned = named.and_then(|named| self.outside(named));
        let of_family = |ours: &OutsideAddress| ours.address.is_ipv4() == far.is_ipv4();
        owned
            .or_else(|| match self.side {
                Side::VirtualPrivateGateway => None,
                Side::CustomerGateway => self.outside_addresses.iter().copied().find(of_family),
            })
            .unwrap_or_else(|| named.unwrap_or(far).into())
    }

    /// Where our packets of a tunnel come from.
    #[must_use]
    pub fn local_address(&self, connection: &Connection, tunnel: &Tunnel) -> IpAddr {
        self.local_outside(connection, tunnel).address
    }

    /// Where the peer of a tunnel is; None: it is known by its identity only.
    #[must_use]
    pub fn remote_address(&self, connection: &Connection, tunnel: &Tunnel) -> Option<IpAddr> {
        match self.side {
            Side::VirtualPrivateGateway => connection.customer_gateway.ip_address,
            Side::CustomerGateway => Some(tunnel.outside_address),
        }
    }

    /// What we say we are, and what the peer must say it is.
    #[must_use]
    pub fn identities<'a>(
        &self,
        connection: &'a Connection,
        tunnel: &'a Tunnel,
    ) -> (&'a Identity, &'a Identity) {
        let customer = &connection.customer_gateway.identity;
        match self.side {
            Side::VirtualPrivateGateway => (&tunnel.identity, customer),
            Side::CustomerGateway => (customer, &tunnel.identity),
        }
    }

    /// Traffic selectors, our side and the peer's side.
    #[must_use]
    pub fn selectors<'a>(&self, connection: &'a Connection) -> (&'a [IpNet], &'a [IpNet]) {
        let customer = connection.local_network_cidrs.as_slice();
        let cloud = connection.remote_network_cidrs.as_slice();
        match self.side {
            Side::VirtualPrivateGateway => (cloud, customer),
            Side::CustomerGateway => (customer, cloud),
        }
    }

    /// What lies behind the peer and is sent into the connection's tunnels.
    #[must_use]
    pub fn remote_prefixes<'a>(&self, connection: &'a Connection) -> &'a [IpNet] {
        match self.side {
            Side::VirtualPrivateGateway => &connection.static_routes,
            Side::CustomerGateway => &connection.vpc_cidrs,
        }
    }

    /// What lies behind any peer, each prefix once: what the kernel leads to the
    /// TUN device. The inside addresses are not among it, because the device's own
    /// addresses bring their routes.
    #[must_use]
    pub fn tunnelled_prefixes(&self) -> Vec<IpNet> {
        let mut prefixes: Vec<IpNet> = self
            .connections
            .iter()
            .flat_map(|connection| self.remote_prefixes(connection))
            .map(IpNet::trunc)
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// Our inside address of each tunnel, with the length of its /30.
    #[must_use]
    pub fn own_inside_addresses(&self) -> Vec<(IpAddr, u8)> {
        let tunnels = self.connections.iter().flat_map(|c| &c.tunnels);
        tunnels
            .map(|tunnel| {
                let (ours, _) = self.inside_addresses(tunnel);
                (IpAddr::V4(ours), Ipv4Net::prefix_len(&tunnel.inside_cidr))
            })
            .collect()
    }

    /// A tunnel's inside addresses, ours and the peer's.
    #[must_use]
    pub fn inside_addresses(&self, tunnel: &Tunnel) -> (Ipv4Addr, Ipv4Addr) {
        let (gateway, customer) = tunnel.inside_addresses();
        match self.side {
            Side::VirtualPrivateGateway => (gateway, customer),
            Side::CustomerGateway => (customer, gateway),
        }
    }
}
