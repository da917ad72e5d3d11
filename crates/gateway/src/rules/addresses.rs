//! Addresses and prefixes.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::Refusal;

const fn slash_30(a: u8, b: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, a, b), 30)
}

/// Where inside CIDRs come from.
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);

/// The inside CIDRs that AWS keeps for itself.
pub const RESERVED_INSIDE_CIDRS: [Ipv4Net; 7] = [
    slash_30(0, 0),
    slash_30(1, 0),
    slash_30(2, 0),
    slash_30(3, 0),
    slash_30(4, 0),
    slash_30(5, 0),
    slash_30(169, 252),
];

/// Checks a TunnelInsideCidr.
///
/// # Errors
/// Unless it is a /30 of 169.254.0.0/16 without host bits that is not reserved.
pub fn inside_cidr(cidr: Ipv4Net) -> Result<(), Refusal> {
    let found = cidr.to_string();
    if cidr.prefix_len() != 30 || !LINK_LOCAL.contains(&cidr) {
        return Err(Refusal::new(found, "a /30 in 169.254.0.0/16"));
    }
    if cidr.addr() != cidr.network() {
        return Err(Refusal::new(
            found,
            format!("its network, {}", cidr.trunc()),
        ));
    }
    if RESERVED_INSIDE_CIDRS.contains(&cidr) {
        let reserved: Vec<String> = RESERVED_INSIDE_CIDRS
            .iter()
            .map(Ipv4Net::to_string)
            .collect();
        return Err(Refusal::new(
            found,
            format!("a /30 that is not reserved ({})", reserved.join(", ")),
        ));
    }
    Ok(())
}

/// Checks a prefix that hosts live in or that is routed.
///
/// # Errors
/// If it has host bits or is not for unicast between networks. 0.0.0.0/0 and
/// ::/0 pass.
pub fn prefix(net: IpNet) -> Result<(), Refusal> {
    let found = net.to_string();
    if net.addr() != net.network() {
        return Err(Refusal::new(found, format!("its network, {}", net.trunc())));
    }
    if net.prefix_len() == 0 {
        return Ok(());
    }
    let first = net.network();
    let expected = match first {
        _ if first.is_multicast() => "unicast addresses, not multicast",
        _ if first.is_loopback() => "addresses of a network, not loopback",
        IpAddr::V4(a) if a.is_link_local() => "addresses outside link-local 169.254.0.0/16",
        IpAddr::V6(a) if a.is_unicast_link_local() => "addresses outside link-local fe80::/10",
        IpAddr::V4(a) if a.octets().starts_with(&[0]) && net.prefix_len() >= 8 => {
            "addresses outside 0.0.0.0/8"
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(found, expected))
}

/// Checks an outside address.
pub(super) fn outside_address(address: IpAddr) -> Result<(), Refusal> {
    let link_local = match address {
        IpAddr::V4(a) => a.is_link_local() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    if address.is_unspecified() || address.is_multicast() || link_local {
        return Err(Refusal::new(
            address.to_string(),
            "a unicast address that is not link-local",
        ));
    }
    Ok(())
}

/// Whether two prefixes share an address.
pub(super) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::{inside_cidr, outside_address, overlap, prefix};

    #[test]
    fn an_inside_cidr_is_a_slash_30_of_link_local() {
        for good in ["169.254.0.4/30", "169.254.6.0/30", "169.254.255.252/30"] {
            assert_eq!(inside_cidr(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in [
            "169.253.255.252/30",
            "169.255.0.0/30",
            "169.254.6.0/29",
            "169.254.6.0/31",
            "169.254.6.1/30",
            "10.0.0.0/30",
        ] {
            assert!(inside_cidr(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_reserved_inside_cidrs_are_refused_and_their_neighbours_are_not() {
        for reserved in [
            "169.254.0.0/30",
            "169.254.1.0/30",
            "169.254.2.0/30",
            "169.254.3.0/30",
            "169.254.4.0/30",
            "169.254.5.0/30",
            "169.254.169.252/30",
        ] {
            assert!(
                inside_cidr(reserved.parse().unwrap()).is_err(),
                "{reserved}"
            );
        }
        for free in [
            "169.254.1.4/30",
            "169.254.5.4/30",
            "169.254.169.248/30",
            "169.254.170.0/30",
        ] {
            assert_eq!(inside_cidr(free.parse().unwrap()), Ok(()), "{free}");
        }
    }

    #[test]
    fn a_prefix_with_host_bits_is_refused_and_the_network_is_suggested() {
        let refusal = prefix("10.0.0.1/16".parse().unwrap()).unwrap_err();
        assert_eq!(refusal.expected, "its network, 10.0.0.0/16");
        assert_eq!(prefix("10.0.0.1/32".parse().unwrap()), Ok(()));
    }

    #[test]
    fn a_routed_prefix_is_unicast_between_networks() {
        for good in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "::/0",
            "10.0.0.0/8",
            "223.255.255.0/24",
            "fd00::/8",
            "2001:db8::/32",
        ] {
            assert_eq!(prefix(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in [
            "224.0.0.0/4",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "0.0.0.0/8",
            "ff00::/8",
            "fe80::/10",
            "::1/128",
        ] {
            assert!(prefix(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_outside_address_is_unicast() {
        for good in ["203.0.113.1", "10.0.0.1", "2001:db8::1", "127.0.0.1"] {
            assert_eq!(outside_address(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.1.1",
            "::",
            "ff02::1",
            "fe80::1",
        ] {
            assert!(outside_address(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_overlap_when_one_holds_the_other() {
        let net = |s: &str| s.parse().unwrap();
        assert!(overlap(&net("10.0.0.0/8"), &net("10.1.0.0/16")));
        assert!(overlap(&net("10.1.0.0/16"), &net("10.1.0.0/16")));
        assert!(!overlap(&net("10.0.0.0/16"), &net("10.1.0.0/16")));
        assert!(!overlap(&net("0.0.0.0/0"), &net("::/0")));
    }
}
