//! The source that a datagram counts for: the address of a known peer, or a network of strangers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest prefix that the internet routes: the holder of one address in it often has more of
/// them.
const IPV4_NETWORK: u32 = 24;
/// The most that one site gets (RFC 6177), and the longest prefix that the internet routes.
const IPV6_NETWORK: u32 = 48;

/// Whose share of our resources a datagram uses, by its source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An address of a peer: configured, or that of its last authentication.
    Peer(IpAddr),
    /// The IPv4 /24 or IPv6 /48 of any other address.
    Network(IpAddr),
}

impl Source {
    /// The network of a stranger.
    pub(crate) fn stranger(address: IpAddr) -> Self {
        Self::Network(match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX << (u32::BITS - IPV4_NETWORK);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX << (u128::BITS - IPV6_NETWORK);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        })
    }

    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Peer(_))
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn strangers_of_one_network_are_one_source() {
        let source = |address: &str| Source::stranger(address.parse().unwrap());
        assert_eq!(source("192.0.2.1"), source("192.0.2.254"));
        assert_ne!(source("192.0.2.1"), source("192.0.3.1"));
        assert_eq!(source("2001:db8:1::1"), source("2001:db8:1:ffff::1"));
        assert_ne!(source("2001:db8:1::1"), source("2001:db8:2::1"));
    }
}
