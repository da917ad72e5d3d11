//! Algorithms that are used when none are listed, most wanted first.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use vgw_crypto::{Encryption, Group, Integrity};

/// All of AWS's ciphers: AEAD before CBC, because it is faster and safer, then
/// longer keys before shorter ones.
pub const DEFAULT_ENCRYPTION: &[Encryption] = &[
    Encryption::AesGcm256,
    Encryption::AesGcm128,
    Encryption::AesCbc256,
    Encryption::AesCbc128,
];

/// AWS's without SHA1, which RFC 8247 section 2.3 only keeps for the sake of
/// old peers; it is there for who lists it. The least overhead comes first.
pub const DEFAULT_INTEGRITY: &[Integrity] = &[
    Integrity::HmacSha256_128,
    Integrity::HmacSha384_192,
    Integrity::HmacSha512_256,
];

/// Elliptic curves first, then the MODP groups that are neither weak nor slow.
/// Only who lists them gets group 2 (RFC 8247 section 2.4: too short), 5 (the
/// same, and phase 2 only, as with AWS), and 17 and 18, whose cost anyone who
/// sends IKE_SA_INIT could make us pay.
pub const DEFAULT_GROUPS: &[Group] = &[
    Group::Curve25519,
    Group::Ecp256,
    Group::Ecp384,
    Group::Ecp521,
    Group::Modp2048,
    Group::Modp3072,
    Group::Modp4096,
];

/// Phase1DHGroupNumbers that can be listed: AWS's that are implemented, and 31.
pub const PHASE1_GROUPS: &[Group] = &[
    Group::Modp1024,
    Group::Modp2048,
    Group::Modp3072,
    Group::Modp4096,
    Group::Modp6144,
    Group::Modp8192,
    Group::Ecp256,
    Group::Ecp384,
    Group::Ecp521,
    Group::Curve25519,
];

/// Phase2DHGroupNumbers that can be listed: phase 1's and 5.
pub const PHASE2_GROUPS: &[Group] = Group::ALL;

/// LocalIpv4NetworkCidr and RemoteIpv4NetworkCidr when not set.
pub const DEFAULT_NETWORK_CIDR_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

/// LocalIpv6NetworkCidr and RemoteIpv6NetworkCidr when not set.
pub const DEFAULT_NETWORK_CIDR_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));

#[cfg(test)]
mod tests {
    use super::{DEFAULT_GROUPS, PHASE1_GROUPS, PHASE2_GROUPS};
    use vgw_crypto::Group;

    #[test]
    fn every_default_group_may_be_listed_in_either_phase() {
        for group in DEFAULT_GROUPS {
            assert!(PHASE1_GROUPS.contains(group) && PHASE2_GROUPS.contains(group));
        }
    }

    #[test]
    fn group_5_is_for_phase_2_only() {
        assert!(!PHASE1_GROUPS.contains(&Group::Modp1536));
        assert!(PHASE2_GROUPS.contains(&Group::Modp1536));
    }

    #[test]
    fn weak_and_costly_groups_are_used_only_where_they_are_listed() {
        for group in [
            Group::Modp1024,
            Group::Modp1536,
            Group::Modp6144,
            Group::Modp8192,
        ] {
            assert!(!DEFAULT_GROUPS.contains(&group));
        }
    }
}
