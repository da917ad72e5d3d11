//! Gateways with as many connections as wanted.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use vgw_gateway::domain::{Connection, CustomerGateway, DpdAction, Gateway, Side};
use vgw_ike::identity::Identity;
use vgw_sim::setup;

/// Where customer gateways are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sites {
    /// Each at an address that is configured.
    Addressed,
    /// Anywhere; they are known by identity.
    Anywhere,
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addressed => "by address",
            Self::Anywhere => "anywhere",
        })
    }
}

/// The virtual private gateway, without a connection yet.
pub fn gateway() -> Gateway {
    Gateway {
        initiate_to_recover: false,
        ..setup::gateway(1)
    }
}

/// The customer's own gateway of a connection.
pub fn customer(number: u32, connection: Connection) -> Gateway {
    Gateway {
        side: Side::CustomerGateway,
        outside_addresses: vec![address(number).into()],
        connections: vec![connection],
        ..setup::customer(1)
    }
}

pub fn connection(sites: Sites, number: u32) -> Connection {
    let mut connection = setup::connection(1, 1);
    let name = format!("site-{number}.example");
    connection.id = format!("vpn-{number}");
    connection.customer_gateway = CustomerGateway {
        id: format!("cgw-{number}"),
        ip_address: (sites == Sites::Addressed).then(|| address(number)),
        identity: Identity::Fqdn(name),
        ..connection.customer_gateway
    };
    connection.static_routes = vec![IpNet::V4(site(number))];
    for (inside, tunnel) in inside(number).into_iter().zip(&mut connection.tunnels) {
        tunnel.inside_cidr = inside;
        // Nobody is asked whether it lives.
        tunnel.dpd_action = DpdAction::None;
    }
    connection
}

/// The same as [`gateway`] with so many connections, but for identities, as a file.
pub fn file(connections: u32) -> String {
    let mut text = String::from(
        "[gateway]\noutside_addresses = [\"203.0.1.1\", \"203.0.1.2\"]\n\
         [vpc]\ncidrs = [\"10.1.0.0/16\"]\n",
    );
    for number in 0..connections {
        let (address, site) = (address(number), site(number));
        let _ = write!(
            text,
            "[[customer_gateway]]\nid = \"cgw-{number}\"\nip_address = \"{address}\"\n\
             [[vpn_connection]]\nid = \"vpn-{number}\"\ncustomer_gateway = \"cgw-{number}\"\n\
             static_routes = [\"{site}\"]\n"
        );
        for (which, inside) in (1..).zip(inside(number)) {
            let _ = write!(
                text,
                "[[vpn_connection.tunnel]]\noutside_address = \"203.0.1.{which}\"\n\
                 tunnel_inside_cidr = \"{inside}\"\npre_shared_key = \"key_of_{number}_{which}\"\n"
            );
        }
    }
    text
}

/// Of 198.18.0.0/15.
pub fn address(number: u32) -> IpAddr {
    IpAddr::V4(above(Ipv4Addr::new(198, 18, 0, 0), number))
}

/// Of 100.64.0.0/10.
fn site(number: u32) -> Ipv4Net {
    Ipv4Net::new_assert(above(Ipv4Addr::new(100, 64, 0, 0), number << 8), 24)
}

/// From 169.254.6.0 up: AWS reserves one for itself there.
fn inside(number: u32) -> [Ipv4Net; 2] {
    const RESERVED: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 252);
    [0, 1].map(|tunnel| {
        let network = above(Ipv4Addr::new(169, 254, 6, 0), (2 * number + tunnel) << 2);
        let after = u32::from(network >= RESERVED) << 2;
        Ipv4Net::new_assert(above(network, after), 30)
    })
}

fn above(first: Ipv4Addr, by: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + by)
}
