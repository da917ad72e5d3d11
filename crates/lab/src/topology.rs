//! The network that demo, scenarios and benches run in.
//!
//! ```text
//! vpc_host ── vpc ── line A ┐
//!                           ├ internet ── on_premises ── on_premises_host
//!             vpc ── line B ┘        └─── branch ── branch's host
//! ```
//!
//! The virtual private gateway runs in `vpc` with an outside address on each of two
//! Internet lines, the customer gateway in `on_premises`. The private networks' hosts
//! are behind them, each in a namespace of its own, so that a gateway forwards as it
//! does for its users. Either gateway can have an address translator before it. Every
//! link carries 1,500 octets.
//!
//! Every gateway has a default route to the internet for both families, as
//! machines have. Packets of the private networks that a gateway does not hold
//! back get out, and a [`Watcher`](crate::Watcher) there sees them.
//!
//! All outside addresses are of the ranges that RFC 5737 reserves for documentation.
//! There are only three, so a branch's is of RFC 2544's range for benches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{Lab, Namespace, Veth};

/// The virtual private gateway's outside addresses, of tunnel 1 and of tunnel 2; with a
/// NAT before it, those of the NAT.
pub const GATEWAY_OUTSIDE: [IpAddr; 2] = [v4(203, 0, 113, 1), v4(198, 51, 100, 1)];
/// The virtual private gateway's own addresses behind its NAT.
pub const GATEWAY_BEHIND_NAT: [IpAddr; 2] = [v4(172, 31, 1, 1), v4(172, 31, 2, 1)];
/// The customer gateway's outside address; with a NAT before it, that of the NAT.
pub const CUSTOMER_OUTSIDE: IpAddr = v4(192, 0, 2, 1);
/// The customer gateway's own address behind its NAT.
pub const CUSTOMER_BEHIND_NAT: IpAddr = v4(172, 16, 0, 1);
/// A host in the VPC.
pub const VPC_HOST: IpAddr = v4(10, 0, 0, 1);
/// Its IPv6 address.
pub const VPC_HOST_V6: IpAddr = private_v6(0x10);
/// A host on the customer's premises.
pub const ON_PREMISES_HOST: IpAddr = v4(192, 168, 10, 1);
/// Its IPv6 address.
pub const ON_PREMISES_HOST_V6: IpAddr = private_v6(0x192);
/// The outside address of a branch's customer gateway.
pub const BRANCH_OUTSIDE: IpAddr = v4(198, 18, 0, 1);
/// A host in a branch.
pub const BRANCH_HOST: IpAddr = v4(192, 168, 20, 1);
/// Its IPv6 address.
pub const BRANCH_HOST_V6: IpAddr = private_v6(0x20);

/// The link of every host to its gateway, as the host calls it.
pub const HOST_LINK: &str = "eth0";
/// The same link as the gateway calls it.
pub const LAN: &str = "lan";

/// The VPC's network.
#[must_use]
pub fn vpc_cidr() -> IpNet {
    IpNet::new_assert(v4(10, 0, 0, 0), 16)
}

/// The network on the customer's premises.
#[must_use]
pub fn on_premises_cidr() -> IpNet {
    IpNet::new_assert(v4(192, 168, 10, 0), 24)
}

/// The network in a branch.
#[must_use]
pub fn branch_cidr() -> IpNet {
    IpNet::new_assert(v4(192, 168, 20, 0), 24)
}

/// In every network, the last octet of the address of the router that leads out of it.
const ROUTER: u8 = 254;

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn private_v6(network: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, 0, 1))
}

/// The namespaces; they go when this is dropped.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The virtual private gateway.
    pub vpc: Namespace,
    /// A host of the VPC, behind the gateway.
    pub vpc_host: Namespace,
    /// The address translator before the virtual private gateway, if there is
    /// one, as clouds have it: an outside address for each of the gateway's
    /// own. It routes; the caller decides what it translates.
    pub vpc_nat: Option<Namespace>,
    /// The router between all.
    pub internet: Namespace,
    /// The address translator before the customer gateway, if there is one. It
    /// routes; the caller decides what it translates.
    pub nat: Option<Namespace>,
    /// The customer gateway.
    pub on_premises: Namespace,
    /// A host on the premises, behind the customer gateway.
    pub on_premises_host: Namespace,
}

/// Another site.
#[derive(Debug, Clone)]
pub struct Branch {
    /// Its customer gateway.
    pub gateway: Namespace,
    /// A host behind that.
    pub host: Namespace,
}

impl Topology {
    /// Builds the network.
    ///
    /// # Errors
    /// When the caller is not root or the kernel refuses.
    pub fn build(lab: &Lab) -> Result<Self> {
        let topology = Self::private_networks(lab)?;
        topology.lay_lines(&topology.vpc)?;
        topology.join(&topology.on_premises, "customer", CUSTOMER_OUTSIDE)?;
        Ok(topology)
    }

    /// As [`Self::build`], with a router before the customer gateway that owns its
    /// outside address and is to translate.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_with_nat(lab: &Lab) -> Result<Self> {
        let mut topology = Self::private_networks(lab)?;
        topology.lay_lines(&topology.vpc)?;
        topology.put_nat_before_customer(lab)?;
        Ok(topology)
    }

    /// As [`Self::build_with_nat`], with a router before the virtual private gateway, too,
    /// that owns both of its outside addresses and is to translate.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_with_both_nats(lab: &Lab) -> Result<Self> {
        let mut topology = Self::private_networks(lab)?;
        topology.put_nat_before_customer(lab)?;
        topology.put_nat_before_vpc(lab)?;
        Ok(topology)
    }

    fn put_nat_before_customer(&mut self, lab: &Lab) -> Result<()> {
        let nat = lab.namespace("nat")?;
        self.join(&nat, "customer", CUSTOMER_OUTSIDE)?;
        lay(&self.on_premises, "wan", CUSTOMER_BEHIND_NAT, &nat, "lan")?;
        default_routes(&self.on_premises, CUSTOMER_BEHIND_NAT)?;
        nat.forward()?;
        self.nat = Some(nat);
        Ok(())
    }

    fn put_nat_before_vpc(&mut self, lab: &Lab) -> Result<()> {
        let nat = lab.namespace("vpcnat")?;
        self.lay_lines(&nat)?;
        nat.forward()?;
        for ((line, inside), (address, table)) in ["line-a", "line-b"]
            .into_iter()
            .zip(["in-a", "in-b"])
            .zip(GATEWAY_BEHIND_NAT.into_iter().zip([101, 102]))
        {
            lay(&self.vpc, line, address, &nat, inside)?;
            self.vpc.add_line(address, router(address), table)?;
        }
        let [first, _] = GATEWAY_BEHIND_NAT;
        default_routes(&self.vpc, first)?;
        // What the gateway sends from each address leaves by that one's line.
        for (behind, (outside, table)) in GATEWAY_BEHIND_NAT
            .into_iter()
            .zip(GATEWAY_OUTSIDE.into_iter().zip([103, 104]))
        {
            nat.add_line(behind, router(outside), table)?;
        }
        self.vpc_nat = Some(nat);
        Ok(())
    }

    /// Adds another site with a customer gateway of its own.
    ///
    /// # Errors
    /// When there is one already or the kernel refuses.
    pub fn add_branch(&self, lab: &Lab) -> Result<Branch> {
        let gateway = lab.namespace("branch")?;
        self.join(&gateway, "branch", BRANCH_OUTSIDE)?;
        let addresses = [BRANCH_HOST, BRANCH_HOST_V6];
        let host = host_behind(lab, &gateway, "branchhost", &addresses)?;
        Ok(Branch { gateway, host })
    }

    /// Both gateways with a host behind each, and nothing between them.
    fn private_networks(lab: &Lab) -> Result<Self> {
        let internet = lab.namespace("internet")?;
        internet.forward()?;
        let vpc = lab.namespace("vpc")?;
        let vpc_host = host_behind(lab, &vpc, "vpchost", &[VPC_HOST, VPC_HOST_V6])?;
        let on_premises = lab.namespace("onprem")?;
        let addresses = [ON_PREMISES_HOST, ON_PREMISES_HOST_V6];
        let on_premises_host = host_behind(lab, &on_premises, "onpremhost", &addresses)?;
        Ok(Self {
            vpc,
            vpc_host,
            vpc_nat: None,
            internet,
            nat: None,
            on_premises,
            on_premises_host,
        })
    }

    /// Lays the two Internet lines of the VPC to the device that owns its outside
    /// addresses.
    fn lay_lines(&self, device: &Namespace) -> Result<()> {
        let [a, b] = GATEWAY_OUTSIDE;
        for (line, address, table) in [("line-a", a, 101), ("line-b", b, 102)] {
            lay(device, line, address, &self.internet, line)?;
            device.add_line(address, router(address), table)?;
        }
        // For packets that have none of the outside addresses as their source.
        default_routes(device, a)
    }

    /// Joins a site's outermost device to the internet, which calls it `far_name`.
    fn join(&self, device: &Namespace, far_name: &str, address: IpAddr) -> Result<()> {
        lay(device, "wan", address, &self.internet, far_name)?;
        default_routes(device, address)
    }
}

/// Adds a host behind a gateway, which forwards for it: the link between them is
/// [`HOST_LINK`] at the host and [`LAN`] at the gateway, whose address in each of the
/// host's networks (a /24 or a /64) ends in 254. `role` is that of the host's namespace.
///
/// # Errors
/// When the gateway has such a host already or the kernel refuses.
pub fn host_behind(
    lab: &Lab,
    gateway: &Namespace,
    role: &str,
    addresses: &[IpAddr],
) -> Result<Namespace> {
    let host = lab.namespace(role)?;
    let own: Vec<_> = addresses.iter().copied().map(in_its_network).collect();
    let routers = addresses.iter().copied().map(router);
    let near = Veth {
        namespace: &host,
        name: HOST_LINK,
        addresses: &own,
    };
    near.connect(Veth {
        namespace: gateway,
        name: LAN,
        addresses: &routers.clone().map(in_its_network).collect::<Vec<_>>(),
    })?;
    for router in routers {
        host.add_route(everywhere(router), router)?;
    }
    gateway.forward()?;
    Ok(host)
}

/// Lays a cable from `device`, which has `address` there and an IPv6 address beside it,
/// to the router of that network.
fn lay(
    device: &Namespace,
    name: &str,
    address: IpAddr,
    router_of_it: &Namespace,
    far_name: &str,
) -> Result<()> {
    let both = [address, beside(address)];
    let near = Veth {
        namespace: device,
        name,
        addresses: &both.map(in_its_network),
    };
    near.connect(Veth {
        namespace: router_of_it,
        name: far_name,
        addresses: &both.map(router).map(in_its_network),
    })
}

/// Leads everything to the router of the network that `address` is of.
fn default_routes(device: &Namespace, address: IpAddr) -> Result<()> {
    for address in [address, beside(address)] {
        device.add_route(everywhere(address), router(address))?;
    }
    Ok(())
}

/// All addresses of the family that this one is of.
fn everywhere(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

fn in_its_network(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, if address.is_ipv4() { 24 } else { 64 })
}

/// The router of the network that an address is of.
#[must_use]
pub fn router(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, ROUTER])
        }
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[15] = ROUTER;
            IpAddr::from(octets)
        }
    }
}

/// The IPv6 address of a device that has this IPv4 address outside: of the range that
/// RFC 3849 reserves for documentation, in a network for each IPv4 network.
fn beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let network = [u16::from_be_bytes([a, b]), u16::from(c)];
            let [high, low] = network;
            IpAddr::from([0x2001, 0xdb8, high, low, 0, 0, 0, u16::from(d)])
        }
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ping;
    use crate::probe::tests::{NEVER, SURELY};

    #[test]
    #[ignore = "needs root"]
    fn each_line_of_the_vpc_reaches_the_customer_and_no_private_network_does() {
        let lab = Lab::new("topology").unwrap();
        let topology = Topology::build(&lab).unwrap();
        for address in GATEWAY_OUTSIDE {
            let reply = ping(&topology.vpc, address, CUSTOMER_OUTSIDE, SURELY).unwrap();
            assert!(reply.is_some(), "{address}");
        }
        let private = ping(&topology.vpc_host, VPC_HOST, ON_PREMISES_HOST, NEVER);
        assert!(!matches!(private, Ok(Some(_))), "{private:?}");
    }

    #[test]
    #[ignore = "needs root"]
    fn a_branch_is_reached_from_each_line_and_from_the_other_site() {
        let lab = Lab::new("branch").unwrap();
        let topology = Topology::build(&lab).unwrap();
        let branch = topology.add_branch(&lab).unwrap();
        let [a, b] = GATEWAY_OUTSIDE;
        let from = [
            (&topology.vpc, a),
            (&topology.vpc, b),
            (&topology.on_premises, CUSTOMER_OUTSIDE),
        ];
        for (namespace, address) in from {
            let reply = ping(namespace, address, BRANCH_OUTSIDE, SURELY).unwrap();
            assert!(reply.is_some(), "{address}");
        }
        let private = ping(&branch.host, BRANCH_HOST, ON_PREMISES_HOST, NEVER);
        assert!(!matches!(private, Ok(Some(_))), "{private:?}");
    }

    #[test]
    #[ignore = "needs root"]
    fn a_cut_address_leaves_the_other_line_whole() {
        let lab = Lab::new("lines").unwrap();
        let topology = Topology::build(&lab).unwrap();
        let [a, b] = GATEWAY_OUTSIDE;
        let _cut = topology.internet.cut(a).unwrap();
        let reply = |from, limit| ping(&topology.vpc, from, CUSTOMER_OUTSIDE, limit).unwrap();
        assert!(reply(a, NEVER).is_none());
        assert!(reply(b, SURELY).is_some());
    }

    #[test]
    #[ignore = "needs root"]
    fn a_nat_before_the_gateway_owns_its_outside_addresses() {
        let lab = Lab::new("vpcnat").unwrap();
        let topology = Topology::build_with_both_nats(&lab).unwrap();
        let nat = topology.nat.as_ref().unwrap();
        for (outside, behind) in GATEWAY_OUTSIDE.into_iter().zip(GATEWAY_BEHIND_NAT) {
            let reply = ping(nat, CUSTOMER_OUTSIDE, outside, SURELY).unwrap();
            assert!(reply.is_some(), "{outside}");
            let reply = ping(&topology.vpc, behind, router(behind), SURELY).unwrap();
            assert!(reply.is_some(), "{behind}");
        }
    }
}
