//! The network that demo, scenarios and benches run in.
//!
//! ```text
//! vpc ── line A ┐
//!               ├ internet ── [nat] ── on_premises
//! vpc ── line B ┘            └ [branch]
//! ```
//!
//! The virtual private gateway runs in `vpc` with an outside address on each of two
//! Internet lines, the customer gateway in `on_premises`. The private networks'
//! hosts are addresses of the loopback. All outside addresses are of the ranges that
//! RFC 5737 reserves for documentation, but a branch's, which is of the range of
//! RFC 2544 for benches: there are only three.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ipnet::{IpNet, Ipv4Net};

use crate::{Lab, Namespace, Veth};

/// The virtual private gateway's outside addresses, of tunnel 1 and of tunnel 2.
pub const GATEWAY_OUTSIDE: [IpAddr; 2] = [v4(203, 0, 113, 1), v4(198, 51, 100, 1)];
/// The customer gateway's outside address; with a NAT, that of the NAT.
pub const CUSTOMER_OUTSIDE: IpAddr = v4(192, 0, 2, 1);
/// The customer gateway's own address behind the NAT.
pub const CUSTOMER_BEHIND_NAT: IpAddr = v4(172, 16, 0, 1);
/// A host in the VPC.
pub const VPC_HOST: IpAddr = v4(10, 0, 0, 1);
/// A host on the customer's premises.
pub const ON_PREMISES_HOST: IpAddr = v4(192, 168, 10, 1);
/// The outside address of a branch's customer gateway.
pub const BRANCH_OUTSIDE: IpAddr = v4(198, 18, 0, 1);
/// A host in a branch.
pub const BRANCH_HOST: IpAddr = v4(192, 168, 20, 1);

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

const NAT_INSIDE: IpAddr = v4(172, 16, 0, 254);
/// Every outside network is a /24 in which the internet has this host number.
const ROUTER: u8 = 254;

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The namespaces; they go when this is dropped.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The VPC with the virtual private gateway.
    pub vpc: Namespace,
    /// The router between all.
    pub internet: Namespace,
    /// The address translator before the customer gateway, if there is one. It routes;
    /// what it translates is up to whoever asked for it.
    pub nat: Option<Namespace>,
    /// The customer's premises with the customer gateway.
    pub on_premises: Namespace,
}

impl Topology {
    /// Builds it, with both private networks' hosts on the loopbacks.
    ///
    /// # Errors
    /// When the caller is not root or the kernel refuses.
    pub fn build(lab: &Lab) -> Result<Self> {
        let topology = Self::without_customer(lab)?;
        topology.join(&topology.on_premises, "customer", CUSTOMER_OUTSIDE)?;
        Ok(topology)
    }

    /// As [`Self::build`], with a router before the customer gateway that owns its
    /// outside address and is to translate.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_with_nat(lab: &Lab) -> Result<Self> {
        let mut topology = Self::without_customer(lab)?;
        let nat = lab.namespace("nat")?;
        topology.join(&nat, "customer", CUSTOMER_OUTSIDE)?;
        let inside = Veth {
            namespace: &topology.on_premises,
            name: "wan",
            addresses: &[in_24(CUSTOMER_BEHIND_NAT)],
        };
        inside.connect(Veth {
            namespace: &nat,
            name: "lan",
            addresses: &[in_24(NAT_INSIDE)],
        })?;
        topology.on_premises.add_route(everywhere(), NAT_INSIDE)?;
        nat.forward()?;
        topology.nat = Some(nat);
        Ok(topology)
    }

    /// Adds another site with a customer gateway of its own, and gives its namespace.
    ///
    /// # Errors
    /// When there is one already or the kernel refuses.
    pub fn add_branch(&self, lab: &Lab) -> Result<Namespace> {
        let branch = lab.namespace("branch")?;
        branch.add_address("lo", IpNet::from(BRANCH_HOST))?;
        self.join(&branch, "branch", BRANCH_OUTSIDE)?;
        Ok(branch)
    }

    fn without_customer(lab: &Lab) -> Result<Self> {
        let topology = Self {
            vpc: lab.namespace("vpc")?,
            internet: lab.namespace("internet")?,
            nat: None,
            on_premises: lab.namespace("onprem")?,
        };
        topology.internet.forward()?;
        topology.vpc.add_address("lo", IpNet::from(VPC_HOST))?;
        topology
            .on_premises
            .add_address("lo", IpNet::from(ON_PREMISES_HOST))?;
        let [a, b] = GATEWAY_OUTSIDE;
        for (line, address, table) in [("line-a", a, 101), ("line-b", b, 102)] {
            topology.lay(&topology.vpc, line, line, address)?;
            topology.vpc.add_line(address, router(address), table)?;
        }
        // For what names no outside address of its own.
        topology.vpc.add_route(everywhere(), router(a))?;
        Ok(topology)
    }

    /// Joins a site's outermost device to the internet, which calls it `far_name`.
    fn join(&self, device: &Namespace, far_name: &str, address: IpAddr) -> Result<()> {
        self.lay(device, "wan", far_name, address)?;
        device.add_route(everywhere(), router(address))
    }

    fn lay(&self, end: &Namespace, name: &str, far_name: &str, address: IpAddr) -> Result<()> {
        let near = Veth {
            namespace: end,
            name,
            addresses: &[in_24(address)],
        };
        near.connect(Veth {
            namespace: &self.internet,
            name: far_name,
            addresses: &[in_24(router(address))],
        })
    }
}

fn everywhere() -> IpNet {
    IpNet::V4(Ipv4Net::default())
}

fn in_24(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, 24)
}

fn router(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, ROUTER])
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
    fn each_line_of_the_vpc_reaches_the_customer_and_no_private_network_does() {
        let lab = Lab::new("topology").unwrap();
        let topology = Topology::build(&lab).unwrap();
        for address in GATEWAY_OUTSIDE {
            let reply = ping(&topology.vpc, address, CUSTOMER_OUTSIDE, SURELY).unwrap();
            assert!(reply.is_some(), "{address}");
        }
        let private = ping(&topology.vpc, VPC_HOST, ON_PREMISES_HOST, NEVER);
        assert!(!matches!(private, Ok(Some(_))), "{private:?}");
    }

    #[test]
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
        let private = ping(&branch, BRANCH_HOST, ON_PREMISES_HOST, NEVER);
        assert!(!matches!(private, Ok(Some(_))), "{private:?}");
    }

    #[test]
    fn a_cut_address_leaves_the_other_line_whole() {
        let lab = Lab::new("lines").unwrap();
        let topology = Topology::build(&lab).unwrap();
        let [a, b] = GATEWAY_OUTSIDE;
        let _cut = topology.internet.cut(a).unwrap();
        let reply = |from, limit| ping(&topology.vpc, from, CUSTOMER_OUTSIDE, limit).unwrap();
        assert!(reply(a, NEVER).is_none());
        assert!(reply(b, SURELY).is_some());
    }
}
