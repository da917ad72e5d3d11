//! Single values: from TOML's types to ours.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use toml::de::DeValue;
use vgw_crypto::{Encryption, Group, Integrity};
use vgw_gateway::domain::OutsideAddress;
use vgw_gateway::rules::{self, Bounds, Refusal};
use vgw_ike::identity::Identity;
use vgw_sa::HostService;

use super::suggestion;

/// What a value looks like in a message. Only for values that cannot be secret.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    const LONGEST: usize = 80;
    match value {
        DeValue::String(text) if text.chars().count() <= LONGEST => format!("{text:?}"),
        DeValue::String(_) => format!("a string of more than {LONGEST} characters"),
        DeValue::Integer(number) if number.as_str().len() <= LONGEST => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}

pub(super) fn text<'d>(value: &'d DeValue<'_>, expected: &str) -> Result<&'d str, Refusal> {
    value
        .as_str()
        .ok_or_else(|| Refusal::new(describe(value), expected))
}

/// Text that may be secret: a refusal names its type only.
pub(super) fn secret_text<'d>(value: &'d DeValue<'_>) -> Result<&'d str, Refusal> {
    value.as_str().ok_or_else(|| {
        Refusal::new(
            format!("a value of type {}", value.type_str()),
            "a string in quotes",
        )
    })
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Refusal> {
    value
        .as_bool()
        .ok_or_else(|| Refusal::new(describe(value), "true or false"))
}

/// A whole number within bounds.
pub(super) fn number<T: TryFrom<u64>>(
    bounds: Bounds,
) -> impl Fn(&DeValue<'_>) -> Result<T, Refusal> {
    move |value| {
        let refusal = || Refusal::new(describe(value), bounds.to_string());
        let number = value.as_integer().ok_or_else(refusal)?;
        let number = u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| refusal())?;
        bounds.check(number)?;
        T::try_from(number).map_err(|_| refusal())
    }
}

/// The default of an option that has one.
pub(super) fn default_number<T: TryFrom<u64> + Default>(bounds: Bounds) -> T {
    let default = bounds.default.and_then(|number| T::try_from(number).ok());
    default.unwrap_or_default()
}

/// One of several words, each with its meaning.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Refusal> {
    move |value| {
        let found = value.as_str().and_then(|given| {
            let mut words = words.iter();
            words.find(|(word, _)| *word == given)
        });
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            Refusal::new(describe(value), words.join(" or "))
        })
    }
}

pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, Refusal> {
    parsed(value, "an IPv4 or IPv6 address in quotes")
}

/// An outside address of ours: in quotes, or in a table with the public address that a
/// NAT has for it.
pub(super) fn outside_address(value: &DeValue<'_>) -> Result<OutsideAddress, Refusal> {
    let expected = "an address in quotes, or { address = \"10.0.0.5\", public = \"203.0.113.7\" }";
    let Some(table) = value.as_table() else {
        let address: IpAddr = parsed(value, expected)?;
        return Ok(address.into());
    };
    let found = |what: String| Refusal::new(what, expected);
    let part = |key: &str| match table.get(key) {
        Some(value) => address(value.get_ref()),
        None => Err(found(format!("a table without {key}"))),
    };
    if let Some((key, _)) = table
        .iter()
        .find(|(key, _)| !["address", "public"].contains(&key.get_ref().as_ref()))
    {
        let key = suggestion::shown(key.get_ref());
        return Err(found(format!("a table with {key}")));
    }
    Ok(OutsideAddress {
        address: part("address")?,
        public: Some(part("public")?),
    })
}

pub(super) fn prefix(value: &DeValue<'_>) -> Result<IpNet, Refusal> {
    parsed(value, "a prefix in quotes, \"10.0.0.0/16\"")
}

pub(super) fn prefix_v4(value: &DeValue<'_>) -> Result<IpNet, Refusal> {
    let net: Ipv4Net = parsed(value, "an IPv4 prefix in quotes, \"10.0.0.0/16\"")?;
    Ok(net.into())
}

pub(super) fn prefix_v6(value: &DeValue<'_>) -> Result<IpNet, Refusal> {
    let net: ipnet::Ipv6Net = parsed(value, "an IPv6 prefix in quotes, \"fd00::/48\"")?;
    Ok(net.into())
}

pub(super) fn host_service(value: &DeValue<'_>) -> Result<HostService, Refusal> {
    let expected = "services in quotes, \"tcp/22\"";
    rules::host_service(text(value, expected)?)
}

pub(super) fn inside_cidr(value: &DeValue<'_>) -> Result<Ipv4Net, Refusal> {
    parsed(value, "a /30 in 169.254.0.0/16, in quotes")
}

pub(super) fn parsed<T: std::str::FromStr>(
    value: &DeValue<'_>,
    expected: &str,
) -> Result<T, Refusal> {
    text(value, expected)?
        .parse()
        .map_err(|_| Refusal::new(describe(value), expected))
}

pub(super) fn encryption(value: &DeValue<'_>) -> Result<Encryption, Refusal> {
    algorithm(value, Encryption::ALL, Encryption::name)
}

pub(super) fn integrity(value: &DeValue<'_>) -> Result<Integrity, Refusal> {
    algorithm(value, Integrity::ALL, Integrity::name)
}

/// AWS's names, in any case.
fn algorithm<T: Copy>(
    value: &DeValue<'_>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Refusal> {
    let given = value.as_str();
    let found = given.and_then(|given| {
        let mut all = all.iter().copied();
        all.find(|a| name(*a).eq_ignore_ascii_case(given))
    });
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|a| name(*a)).collect();
        Refusal::new(describe(value), format!("one of {}", names.join(", ")))
    })
}

/// A Diffie-Hellman group by its number.
pub(super) fn group(allowed: &'static [Group]) -> impl Fn(&DeValue<'_>) -> Result<Group, Refusal> {
    move |value| {
        let number = value
            .as_integer()
            .and_then(|number| u16::from_str_radix(number.as_str(), number.radix()).ok());
        let group = number
            .and_then(Group::from_iana)
            .filter(|group| allowed.contains(group));
        group.ok_or_else(|| {
            let numbers: Vec<&str> = allowed.iter().map(|group| group.name()).collect();
            let why = match number {
                Some(22..=24) => {
                    " (22 to 24 are not offered: RFC 8247 section 2.4 advises against them)"
                }
                Some(35..=37) => " (35 to 37 are not supported yet)",
                _ => "",
            };
            Refusal::new(
                describe(value),
                format!("one of {}{why}", numbers.join(", ")),
            )
        })
    }
}

/// An identity as [`Identity`] reads it.
pub(super) fn identity(value: &DeValue<'_>) -> Result<Identity, Refusal> {
    parsed(
        value,
        "an address, \"fqdn:NAME\", \"email:USER@HOST\" or \"keyid:TEXT\"",
    )
}

#[cfg(test)]
mod tests {
    use super::{group, identity, number};
    use toml::de::DeValue;
    use vgw_gateway::rules::{PHASE1_GROUPS, REPLAY_WINDOW_SIZE};

    fn value(text: &str) -> DeValue<'_> {
        DeValue::parse(text).unwrap().into_inner()
    }

    #[test]
    fn an_identity_reads_as_it_is_shown() {
        for given in [
            "203.0.113.9",
            "fqdn:gw.example",
            "email:a@b",
            "keyid:0x00ff",
        ] {
            let quoted = format!("{given:?}");
            assert_eq!(identity(&value(&quoted)).unwrap().to_string(), given);
        }
        assert!(identity(&value("\"keyid:0x0\"")).is_err());
        assert!(identity(&value("7")).is_err());
    }

    #[test]
    fn a_number_may_be_written_in_any_way_that_toml_knows() {
        let read = number(REPLAY_WINDOW_SIZE);
        for given in ["1024", "1_024", "0x400", "+1024"] {
            assert_eq!(read(&value(given)), Ok(1024), "{given}");
        }
        for given in [
            "-1",
            "63",
            "8193",
            "99999999999999999999999",
            "1.5",
            "\"64\"",
            "true",
        ] {
            assert!(read(&value(given)).is_err(), "{given}");
        }
    }

    #[test]
    fn a_group_that_aws_has_and_we_do_not_says_so() {
        let refusal = group(PHASE1_GROUPS)(&value("22")).unwrap_err();
        assert!(refusal.expected.contains("RFC 8247"), "{refusal:?}");
        let refusal = group(PHASE1_GROUPS)(&value("5")).unwrap_err();
        assert_eq!(refusal.found, "5");
    }
}
