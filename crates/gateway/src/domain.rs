//! The nouns of a site-to-site VPN: what a configuration means.
//!
//! Anyone may put one together; [`crate::rules`] says whether it is allowed, and alone
//! makes the [`Checked`](crate::rules::Checked) gateway that can be put in force.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use vgw_crypto::{Encryption, Group, Integrity};
use vgw_ike::config::{Encapsulation, Psk};
use vgw_ike::identity::Identity;
use vgw_sa::{DfPolicy, HostService};

/// Which end of the connections this daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The cloud side: a virtual private gateway.
    VirtualPrivateGateway,
    /// The on-premises side: a customer gateway. The same connection stands in
    /// both files; what is "ours" in it is swapped.
    CustomerGateway,
}

/// What the options of the configuration are called that say which networks there are.
#[derive(Debug, Clone, Copy)]
pub struct NetworkOptions {
    /// The networks behind us.
    pub our_networks: &'static str,
    /// Those behind the peer.
    pub their_networks: &'static str,
    /// Our side of the traffic selectors.
    pub our_selectors: SelectorOptions,
    /// The peer's side of them.
    pub their_selectors: SelectorOptions,
}

/// What the options are called that set one side of the traffic selectors.
#[derive(Debug, Clone, Copy)]
pub struct SelectorOptions {
    ipv4: &'static str,
    ipv6: &'static str,
}

impl SelectorOptions {
    const LOCAL: Self = Self {
        ipv4: "local_ipv4_network_cidr",
        ipv6: "local_ipv6_network_cidr",
    };
    const REMOTE: Self = Self {
        ipv4: "remote_ipv4_network_cidr",
        ipv6: "remote_ipv6_network_cidr",
    };

    /// The one for addresses of this family.
    #[must_use]
    pub const fn of(self, v6: bool) -> &'static str {
        if v6 { self.ipv6 } else { self.ipv4 }
    }
}

impl Side {
    /// What the options are called at this side.
    #[must_use]
    pub const fn network_options(self) -> NetworkOptions {
        match self {
            Self::VirtualPrivateGateway => NetworkOptions {
                our_networks: "vpc.cidrs",
                their_networks: "static_routes",
                our_selectors: SelectorOptions::REMOTE,
                their_selectors: SelectorOptions::LOCAL,
            },
            Self::CustomerGateway => NetworkOptions {
                our_networks: "on_premises.cidrs",
                their_networks: "vpc_cidrs",
                our_selectors: SelectorOptions::LOCAL,
                their_selectors: SelectorOptions::REMOTE,
            },
        }
    }
}

/// One gateway and everything it is configured to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
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

/// One of the two tunnels, with AWS's tunnel options.
#[derive(Debug, Clone, PartialEq)]
pub struct Tunnel {
    /// The virtual private gateway's end, as its peers reach it.
    pub outside_address: IpAddr,
    /// What the virtual private gateway says in its ID payload; by default `outside_address`.
    pub identity: Identity,
    /// TunnelInsideCidr: first host is the gateway, second the customer gateway.
    pub inside_cidr: Ipv4Net,
    /// PreSharedKey.
    pub psk: Psk,
    /// Phase1 algorithms.
    pub phase1: Phase1,
    /// Phase2 algorithms.
    pub phase2: Phase2,
    /// RekeyMarginTimeSeconds.
    pub rekey_margin: Duration,
    /// RekeyFuzzPercentage.
    pub rekey_fuzz_percent: u32,
    /// ReplayWindowSize, packets.
    pub replay_window: u32,
    /// DPDTimeoutSeconds.
    pub dpd_timeout: Duration,
    /// DPDTimeoutAction.
    pub dpd_action: DpdAction,
    /// StartupAction.
    pub startup_action: StartupAction,
    /// ESP in UDP or as protocol 50.
    pub encapsulation: Encapsulation,
    /// What becomes of packets that do not fit.
    pub df_policy: DfPolicy,
    /// Whether the outer header has the inner one's DSCP.
    pub copy_dscp: bool,
    /// The most that it carries in each direction, in 1,000,000 bits of inner
    /// packets per second; None: no limit.
    pub bandwidth_limit_mbps: Option<u32>,
}

/// Algorithms and lifetime of the IKE SA, lists most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase1 {
    /// Phase1EncryptionAlgorithms.
    pub encryption: Vec<Encryption>,
    /// Phase1IntegrityAlgorithms; the PRF follows them.
    pub integrity: Vec<Integrity>,
    /// Phase1DHGroupNumbers.
    pub groups: Vec<Group>,
    /// Phase1LifetimeSeconds.
    pub lifetime: Duration,
}

/// Algorithms and lifetimes of the CHILD SA, lists most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase2 {
    /// Phase2EncryptionAlgorithms.
    pub encryption: Vec<Encryption>,
    /// Phase2IntegrityAlgorithms.
    pub integrity: Vec<Integrity>,
    /// Phase2DHGroupNumbers, for PFS; none of them: no PFS.
    pub groups: Vec<Group>,
    /// Extended sequence numbers, most wanted first.
    pub esn: Vec<bool>,
    /// Phase2LifetimeSeconds.
    pub lifetime: Duration,
    /// Rekey after this many octets, either way.
    pub lifetime_bytes: Option<u64>,
    /// Rekey after this many packets, either way.
    pub lifetime_packets: Option<u64>,
}

/// What follows when a peer is found dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DpdAction {
    /// Take the tunnel down and wait for the peer.
    #[default]
    Clear,
    /// Nothing: keep the SAs.
    None,
    /// Take the tunnel down and initiate anew.
    Restart,
}

/// Whether we initiate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartupAction {
    /// Wait for the peer.
    #[default]
    Add,
    /// Initiate at start.
    Start,
}

/// Names a tunnel: a connection and which of its two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelName {
    /// The connection's id.
    pub connection: String,
    /// 1 or 2.
    pub number: u8,
}

impl TunnelName {
    /// One of a connection's tunnels.
    #[must_use]
    pub fn of(connection: &Connection, number: u8) -> Self {
        Self {
            connection: connection.id.clone(),
            number,
        }
    }
}

impl std::fmt::Display for TunnelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.connection, self.number)
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

    /// The same without a connection.
    #[must_use]
    pub fn without_connections(&self) -> Self {
        Self {
            side: self.side,
            asn: self.asn,
            outside_addresses: self.outside_addresses.clone(),
            cidrs: self.cidrs.clone(),
            outside_mtu: self.outside_mtu,
            cloudhub: self.cloudhub,
            host_services: self.host_services.clone(),
            initiate_to_recover: self.initiate_to_recover,
            connections: Vec::new(),
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

impl Tunnel {
    /// The gateway's and the customer gateway's inside addresses.
    #[must_use]
    pub fn inside_addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        let network = u32::from(self.inside_cidr.network());
        (
            Ipv4Addr::from(network.wrapping_add(1)),
            Ipv4Addr::from(network.wrapping_add(2)),
        )
    }
}
