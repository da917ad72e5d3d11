//! Ranges, defaults and alphabets of single values.

use std::fmt;

use super::Refusal;

/// A whole-number option: its range and what holds when it is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Least allowed value.
    pub least: u64,
    /// Greatest allowed value.
    pub most: u64,
    /// Value when not set; None: the option is then off.
    pub default: Option<u64>,
}

impl Bounds {
    const fn new(least: u64, most: u64, default: Option<u64>) -> Self {
        Self {
            least,
            most,
            default,
        }
    }

    /// Refuses a value outside the range.
    ///
    /// # Errors
    /// Says the value and the range.
    pub fn check(&self, value: u64) -> Result<(), Refusal> {
        if (self.least..=self.most).contains(&value) {
            return Ok(());
        }
        Err(Refusal::new(value.to_string(), self.to_string()))
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.least, self.most)
    }
}

/// Phase1LifetimeSeconds.
pub const PHASE1_LIFETIME_SECONDS: Bounds = Bounds::new(900, 28_800, Some(28_800));
/// Phase2LifetimeSeconds; also less than phase 1's.
pub const PHASE2_LIFETIME_SECONDS: Bounds = Bounds::new(900, 3_600, Some(3_600));
/// RekeyMarginTimeSeconds; also at most half of the phase 2 lifetime.
pub const REKEY_MARGIN_TIME_SECONDS: Bounds = Bounds::new(60, 1_800, Some(270));
/// RekeyFuzzPercentage.
pub const REKEY_FUZZ_PERCENTAGE: Bounds = Bounds::new(0, 100, Some(100));
/// ReplayWindowSize in packets. AWS ends at 2048; ours may be wider for fast,
/// reordering paths.
pub const REPLAY_WINDOW_SIZE: Bounds = Bounds::new(64, 8_192, Some(1_024));
/// DPDTimeoutSeconds. AWS names no upper end; a day is ours.
pub const DPD_TIMEOUT_SECONDS: Bounds = Bounds::new(30, 86_400, Some(40));
/// Ours: rekey a CHILD SA after so many octets. Below the least value it would
/// do nothing but rekey.
pub const PHASE2_LIFETIME_BYTES: Bounds = Bounds::new(1_048_576, 1 << 62, None);
/// Ours: rekey a CHILD SA after so many packets.
pub const PHASE2_LIFETIME_PACKETS: Bounds = Bounds::new(1_000, 1 << 62, None);
/// Ours: the largest packet that the outside carries whole. IPv6 needs the
/// least value (RFC 8200 section 5); the most is what jumbo frames have.
pub const OUTSIDE_MTU: Bounds = Bounds::new(1_280, 9_216, Some(1_500));
/// Ours: the most that a tunnel carries in each direction, Mbit/s. AWS's end at
/// 1,250; ours has no limit unless it is set.
pub const BANDWIDTH_LIMIT_MBPS: Bounds = Bounds::new(1, 100_000, None);
/// BgpAsn and BgpAsnExtended of a customer gateway.
pub const CUSTOMER_ASN: Bounds = Bounds::new(1, 4_294_967_295, Some(65_000));
/// AmazonSideAsn, the 16-bit private range (RFC 6996).
pub const GATEWAY_ASN: Bounds = Bounds::new(64_512, 65_534, Some(64_512));
/// AmazonSideAsn, the 32-bit private range (RFC 6996).
pub const GATEWAY_ASN_32_BIT: Bounds = Bounds::new(4_200_000_000, 4_294_967_294, None);
/// Characters of a pre-shared key.
pub const PSK_LENGTH: Bounds = Bounds::new(8, 64, None);

/// The option with our outside addresses.
pub(super) const OUTSIDE_ADDRESSES: &str = "outside_addresses";

/// Longest name of a customer gateway or connection.
const ID_LENGTH: usize = 63;

/// Checks a virtual private gateway's ASN.
pub(super) fn gateway_asn(asn: u32) -> Result<(), Refusal> {
    let asn = u64::from(asn);
    if GATEWAY_ASN.check(asn).is_ok() || GATEWAY_ASN_32_BIT.check(asn).is_ok() {
        return Ok(());
    }
    Err(Refusal::new(
        asn.to_string(),
        format!("{GATEWAY_ASN} or {GATEWAY_ASN_32_BIT}"),
    ))
}

/// Checks a pre-shared key's alphabet, length and first character.
///
/// # Errors
/// Says what is wrong without showing any of the key.
pub fn psk(key: &[u8]) -> Result<(), Refusal> {
    let expected = || format!("{PSK_LENGTH} characters of A-Z a-z 0-9 . _, the first not 0");
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX);
    if PSK_LENGTH.check(length).is_err() {
        return Err(Refusal::new(
            format!("a key of {length} octets"),
            expected(),
        ));
    }
    let allowed = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_');
    if let Some(at) = key.iter().position(|octet| !allowed(octet)) {
        let place = at.saturating_add(1);
        return Err(Refusal::new(
            format!("another character at place {place} of the key"),
            expected(),
        ));
    }
    if key.first() == Some(&b'0') {
        return Err(Refusal::new("a key that begins with 0", expected()));
    }
    Ok(())
}

/// Checks the name of a customer gateway or connection, which appears in
/// commands, labels and logs.
///
/// # Errors
/// Says the name and the alphabet.
pub fn id(name: &str) -> Result<(), Refusal> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if first && rest && name.len() <= ID_LENGTH {
        return Ok(());
    }
    Err(Refusal::new(
        format!("{name:?}"),
        format!("1 to {ID_LENGTH} characters of A-Z a-z 0-9 . _ -, the first a letter or digit"),
    ))
}

/// Why an object may not have the id that another one has.
#[must_use]
pub fn repeated_id(name: &str) -> Refusal {
    Refusal::new(format!("{name:?} again"), "a name of its own")
}

#[cfg(test)]
mod tests {
    use super::{Bounds, gateway_asn, id, psk};

    fn edges(bounds: Bounds) {
        assert!(bounds.check(bounds.least).is_ok());
        assert!(bounds.check(bounds.most).is_ok());
        assert!(bounds.check(bounds.most + 1).is_err());
        if let Some(below) = bounds.least.checked_sub(1) {
            assert!(bounds.check(below).is_err());
        }
        if let Some(default) = bounds.default {
            assert!(bounds.check(default).is_ok());
        }
    }

    #[test]
    fn every_range_includes_both_its_ends_and_its_default() {
        edges(super::PHASE1_LIFETIME_SECONDS);
        edges(super::PHASE2_LIFETIME_SECONDS);
        edges(super::REKEY_MARGIN_TIME_SECONDS);
        edges(super::REKEY_FUZZ_PERCENTAGE);
        edges(super::REPLAY_WINDOW_SIZE);
        edges(super::DPD_TIMEOUT_SECONDS);
        edges(super::PHASE2_LIFETIME_BYTES);
        edges(super::PHASE2_LIFETIME_PACKETS);
        edges(super::CUSTOMER_ASN);
        edges(super::OUTSIDE_MTU);
        edges(super::BANDWIDTH_LIMIT_MBPS);
    }

    #[test]
    fn a_gateway_asn_comes_from_one_of_the_two_private_ranges() {
        for asn in [64_512, 65_534, 4_200_000_000, 4_294_967_294] {
            assert_eq!(gateway_asn(asn), Ok(()), "{asn}");
        }
        for asn in [0, 1, 64_511, 65_535, 65_536, 4_199_999_999, 4_294_967_295] {
            assert!(gateway_asn(asn).is_err(), "{asn}");
        }
    }

    #[test]
    fn a_pre_shared_key_has_eight_to_sixty_four_characters() {
        assert!(psk(b"abcdefg").is_err());
        assert!(psk(b"abcdefgh").is_ok());
        assert!(psk(&[b'a'; 64]).is_ok());
        assert!(psk(&[b'a'; 65]).is_err());
    }

    #[test]
    fn a_pre_shared_key_has_letters_digits_dots_and_underscores_only() {
        assert!(psk(b"Az09._Az09").is_ok());
        for bad in [
            " ", "-", "\n", "\0", "ä", "\"", "/", "@", "[", "`", "{", ":",
        ] {
            let key = format!("abcdefgh{bad}");
            assert!(psk(key.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pre_shared_key_does_not_begin_with_zero() {
        assert!(psk(b"0bcdefgh").is_err());
        assert!(psk(b"a0cdefgh").is_ok());
    }

    #[test]
    fn a_refused_pre_shared_key_is_not_shown() {
        for key in ["hunter2", "hunter2!hunter2", "0hunter2"] {
            let refusal = psk(key.as_bytes()).unwrap_err();
            assert!(!refusal.found.contains("hunter"), "{refusal:?}");
        }
    }

    #[test]
    fn a_name_is_fit_for_commands_and_labels() {
        for good in ["a", "vpn-office", "cgw_1.a", &"a".repeat(63)] {
            assert_eq!(id(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/1", "ä", "a\n", &"a".repeat(64)] {
            assert!(id(bad).is_err(), "{bad:?}");
        }
    }
}
