//! How large an inner packet may be so that its ESP packet is not fragmented.

use std::net::IpAddr;

use vgw_crypto::EspSuite;
use vgw_esp::Layout;

use crate::packet::headers::{IPV4_HEADER, IPV6_HEADER, UDP_HEADER};

/// An address family, inside or outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// 20 octets of header.
    V4,
    /// 40 octets of header.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Octets of a header without options.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::V4 => IPV4_HEADER,
            Self::V6 => IPV6_HEADER,
        }
    }
}

/// The largest inner packet, in octets, that fits one outer packet of
/// `link_mtu` octets; 0 if none does. Of an extended sequence number only the
/// low half travels (RFC 4303 section 2.2.1), so ESN costs nothing.
#[must_use]
pub fn inner_mtu(
    suite: EspSuite,
    udp_encapsulation: bool,
    outside: Family,
    link_mtu: usize,
) -> usize {
    mtu_of(Layout::of(suite), udp_encapsulation, outside, link_mtu)
}

/// [`inner_mtu`] of a suite's layout.
pub(crate) const fn mtu_of(
    layout: Layout,
    udp_encapsulation: bool,
    outside: Family,
    link_mtu: usize,
) -> usize {
    layout.max_inner_len(outer_payload(udp_encapsulation, outside, link_mtu))
}

/// Octets that an outer packet of `link_mtu` octets has for ESP.
pub(crate) const fn outer_payload(
    udp_encapsulation: bool,
    outside: Family,
    link_mtu: usize,
) -> usize {
    let udp = if udp_encapsulation { UDP_HEADER } else { 0 };
    link_mtu.saturating_sub(outside.header_len() + udp)
}

#[cfg(test)]
mod tests {
    use vgw_crypto::{Encryption, EspSuite, Integrity};

    use super::{Family, inner_mtu};

    fn suite(encryption: Encryption, integrity: Option<Integrity>) -> EspSuite {
        EspSuite {
            encryption,
            integrity,
            esn: true,
        }
    }

    #[test]
    fn the_mtu_is_what_aws_publishes_for_each_suite_with_and_without_nat_traversal() {
        // AWS Site-to-Site VPN user guide, "MTU and MSS": native, then NAT-T.
        use Encryption::{AesCbc128, AesCbc256, AesGcm128, AesGcm256};
        use Integrity::{HmacSha1_96, HmacSha256_128, HmacSha384_192, HmacSha512_256};
        let rows = [
            (AesGcm128, None, 1446, 1438),
            (AesGcm256, None, 1446, 1438),
            (AesCbc128, Some(HmacSha1_96), 1438, 1422),
            (AesCbc256, Some(HmacSha256_128), 1438, 1422),
            (AesCbc128, Some(HmacSha384_192), 1422, 1422),
            (AesCbc256, Some(HmacSha512_256), 1422, 1406),
        ];
        for (encryption, integrity, native, nat_t) in rows {
            let suite = suite(encryption, integrity);
            assert_eq!(inner_mtu(suite, false, Family::V4, 1500), native, "{suite}");
            assert_eq!(
                inner_mtu(suite, true, Family::V4, 1500),
                nat_t,
                "{suite} NAT-T"
            );
        }
    }

    #[test]
    fn an_ipv6_outside_costs_twenty_octets_more() {
        let suite = suite(Encryption::AesGcm128, None);
        assert_eq!(inner_mtu(suite, false, Family::V6, 1500), 1426);
    }

    #[test]
    fn a_link_too_small_for_esp_carries_nothing() {
        let suite = suite(Encryption::AesCbc256, Some(Integrity::HmacSha512_256));
        assert_eq!(inner_mtu(suite, true, Family::V6, 60), 0);
    }
}
