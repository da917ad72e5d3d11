//! Who a peer says it is: the ID payload's content (RFC 7296 section 3.5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An identity of one of the types that a site-to-site peer uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// Names go to logs and status, so only visible ASCII is allowed.
fn printable(data: &[u8]) -> Option<String> {
    (!data.is_empty() && data.iter().all(u8::is_ascii_graphic))
        .then(|| String::from_utf8_lossy(data).into_owned())
}

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// A character that a name or address cannot hold, or no characters.
    #[error("found {0:?}, expected a name of visible ASCII characters")]
    Name(String),
    /// After `keyid:`, neither hexadecimal octets nor text.
    #[error(
        "found key ID {0:?}, expected pairs of hexadecimal digits after 0x, or visible ASCII characters"
    )]
    KeyId(String),
    /// The text after `email:` is not a mailbox.
    #[error("found {0:?}, expected an e-mail address, as user@example.com")]
    Email(String),
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    /// Reads an identity as written in the configuration. An address is `203.0.113.7` or
    /// `2001:db8::7`; a host name `fqdn:cgw.example.com`, `@cgw.example.com` or `cgw.example.com`;
    /// a mailbox `email:cgw@example.com` or `cgw@example.com`; a key ID `keyid:0x0a0b` (octets) or
    /// `keyid:office` (the octets of a text). [`fmt::Display`] writes what this reads.
    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(name) = text
            .strip_prefix("fqdn:")
            .or_else(|| text.strip_prefix('@'))
        {
            return name_of(name).map(Self::Fqdn);
        }
        if let Some(address) = text.strip_prefix("email:") {
            return email(address);
        }
        if let Some(id) = text.strip_prefix("keyid:") {
            return key_id(id).ok_or_else(|| InvalidIdentity::KeyId(id.to_owned()));
        }
        match text.contains('@') {
            true => email(text),
            false => name_of(text).map(Self::Fqdn),
        }
    }
}

fn name_of(name: &str) -> Result<String, InvalidIdentity> {
    printable(name.as_bytes()).ok_or_else(|| InvalidIdentity::Name(name.to_owned()))
}

fn email(address: &str) -> Result<Identity, InvalidIdentity> {
    let address = name_of(address)?;
    match address.split_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() => Ok(Identity::Email(address)),
        _ => Err(InvalidIdentity::Email(address)),
    }
}

fn key_id(id: &str) -> Option<Identity> {
    let Some(digits) = id.strip_prefix("0x") else {
        return printable(id.as_bytes()).map(|text| Identity::KeyId(text.into_bytes()));
    };
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let pairs = digits.filter(|d| !d.is_empty() && d.len().is_multiple_of(2))?;
    let octets = pairs
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |all, d| (all << 4) | d));
    Some(Identity::KeyId(octets.collect()))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a) => write!(f, "{a}"),
            Self::Fqdn(name) => write!(f, "fqdn:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::KeyId(octets) => match printable(octets) {
                Some(text) if !text.starts_with("0x") => write!(f, "keyid:{text}"),
                _ => {
                    f.write_str("keyid:0x")?;
                    octets.iter().try_for_each(|o| write!(f, "{o:02x}"))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Identity, InvalidIdentity};

    fn read(text: &str) -> Result<Identity, InvalidIdentity> {
        text.parse()
    }

    #[test]
    fn each_form_of_configuration_names_its_type() {
        let address = "203.0.113.7".parse().unwrap();
        assert_eq!(read("203.0.113.7"), Ok(Identity::Address(address)));
        let address = "2001:db8::7".parse().unwrap();
        assert_eq!(read("2001:db8::7"), Ok(Identity::Address(address)));
        for text in [
            "cgw.example.com",
            "@cgw.example.com",
            "fqdn:cgw.example.com",
        ] {
            assert_eq!(read(text), Ok(Identity::Fqdn("cgw.example.com".into())));
        }
        for text in ["cgw@example.com", "email:cgw@example.com"] {
            assert_eq!(read(text), Ok(Identity::Email("cgw@example.com".into())));
        }
        assert_eq!(read("keyid:0x0aFF"), Ok(Identity::KeyId(vec![0x0a, 0xff])));
        assert_eq!(
            read("keyid:office"),
            Ok(Identity::KeyId(b"office".to_vec()))
        );
        // A prefix makes even an address a name.
        assert_eq!(read("fqdn:10.0.0.1"), Ok(Identity::Fqdn("10.0.0.1".into())));
    }

    #[test]
    fn a_text_that_is_no_identity_is_refused_with_what_was_expected() {
        for text in ["", "fqdn:", "@", "two words", "caf\u{e9}.example"] {
            assert!(
                matches!(read(text), Err(InvalidIdentity::Name(_))),
                "{text:?}"
            );
        }
        for text in ["email:cgw", "cgw@", "email:@example.com"] {
            assert!(
                matches!(read(text), Err(InvalidIdentity::Email(_))),
                "{text:?}"
            );
        }
        for text in [
            "keyid:",
            "keyid:0x",
            "keyid:0x0",
            "keyid:0xgg",
            "keyid:two words",
        ] {
            assert!(
                matches!(read(text), Err(InvalidIdentity::KeyId(_))),
                "{text:?}"
            );
        }
        assert_eq!(
            read("email:cgw").unwrap_err().to_string(),
            "found \"cgw\", expected an e-mail address, as user@example.com"
        );
    }

    #[test]
    fn an_identity_of_the_wire_with_unprintable_name_or_wrong_length_is_none() {
        assert_eq!(Identity::from_wire(2, b"cgw\n"), None);
        assert_eq!(Identity::from_wire(2, b""), None);
        assert_eq!(Identity::from_wire(1, &[10, 0, 0]), None);
        assert_eq!(Identity::from_wire(5, &[0; 4]), None);
        assert_eq!(Identity::from_wire(9, b"CN=cgw"), None);
    }

    fn identity() -> impl Strategy<Value = Identity> {
        prop_oneof![
            any::<std::net::IpAddr>().prop_map(Identity::Address),
            "[!-~]{1,40}".prop_map(Identity::Fqdn),
            "[a-z]{1,9}@[a-z.]{1,9}".prop_map(Identity::Email),
            proptest::collection::vec(any::<u8>(), 1..40).prop_map(Identity::KeyId),
            "[!-~]{1,9}".prop_map(|text| Identity::KeyId(text.into_bytes())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(identity in identity()) {
            prop_assert_eq!(read(&identity.to_string()), Ok(identity));
        }

        #[test]
        fn what_is_sent_reads_back(identity in identity()) {
            let (kind, data) = identity.to_wire();
            prop_assert_eq!(Identity::from_wire(kind, &data), Some(identity));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = read(&text);
        }
    }
}
