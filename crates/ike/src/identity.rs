//! Who a peer says it is: the ID payload's content (RFC 7296 section 3.5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An identity of one of the types that a site-to-site peer uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN: a host name, not resolved.
    Fqdn(String),
    /// ID_RFC822_ADDR: an e-mail address.
    Email(String),
    /// ID_KEY_ID: octets without structure.
    KeyId(Vec<u8>),
}

/// IANA ID type numbers.
mod id_type {
    pub(super) const IPV4_ADDR: u8 = 1;
    pub(super) const FQDN: u8 = 2;
    pub(super) const RFC822_ADDR: u8 = 3;
    pub(super) const IPV6_ADDR: u8 = 5;
    pub(super) const KEY_ID: u8 = 11;
}

impl Identity {
    /// The ID type octet and identification data.
    #[must_use]
    pub fn to_wire(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(a)) => (id_type::IPV4_ADDR, a.octets().to_vec()),
            Self::Address(IpAddr::V6(a)) => (id_type::IPV6_ADDR, a.octets().to_vec()),
            Self::Fqdn(name) => (id_type::FQDN, name.as_bytes().to_vec()),
            Self::Email(address) => (id_type::RFC822_ADDR, address.as_bytes().to_vec()),
            Self::KeyId(octets) => (id_type::KEY_ID, octets.clone()),
        }
    }

    /// Reads identification data. None for a type we do not know, an address
    /// of the wrong length or a name that is not printable ASCII.
    #[must_use]
    pub fn from_wire(kind: u8, data: &[u8]) -> Option<Self> {
        match kind {
            id_type::IPV4_ADDR => {
                let octets: [u8; 4] = data.try_into().ok()?;
                Some(Self::Address(Ipv4Addr::from(octets).into()))
            }
            id_type::IPV6_ADDR => {
                let octets: [u8; 16] = data.try_into().ok()?;
                Some(Self::Address(Ipv6Addr::from(octets).into()))
            }
            id_type::FQDN => printable(data).map(Self::Fqdn),
            id_type::RFC822_ADDR => printable(data).map(Self::Email),
            id_type::KEY_ID => Some(Self::KeyId(data.to_vec())),
            _ => None,
        }
    }
}

/// Names go to logs and status, so nothing but visible ASCII passes.
fn printable(data: &[u8]) -> Option<String> {
    (!data.is_empty() && data.iter().all(u8::is_ascii_graphic))
        .then(|| String::from_utf8_lossy(data).into_owned())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a) => write!(f, "{a}"),
            Self::Fqdn(name) => write!(f, "fqdn:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::KeyId(octets) => {
                f.write_str("keyid:")?;
                octets.iter().try_for_each(|o| write!(f, "{o:02x}"))
            }
        }
    }
}
