//! Lifetimes by octets, packets and sequence numbers.

use std::time::Duration;

use vgw_crypto::EspSuite;
use vgw_sa::ChildTraffic;

use crate::domain::Phase2;

/// Without extended sequence numbers a CHILD SA is rekeyed after 2^31 packets,
/// half of its number space (RFC 4303 section 3.3.3): at a million packets a
/// second the other half lasts 35 minutes.
pub const SEQUENCE_LIMIT: u64 = 1 << 31;

/// With extended sequence numbers, after half of theirs.
pub const EXTENDED_SEQUENCE_LIMIT: u64 = 1 << 63;

/// A rekey that did not come about is asked for again after this long.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Why a CHILD SA must be rekeyed now for what it carried. Lifetimes by octets
/// and packets count either direction by itself, and the rekey comes at nine
/// tenths of them.
pub(super) fn rekey_due(
    phase2: &Phase2,
    suite: EspSuite,
    traffic: &ChildTraffic,
) -> Option<&'static str> {
    let nearly = |limit: u64| limit - limit / 10;
    let bytes = traffic.bytes_in.max(traffic.bytes_out);
    let packets = traffic.packets_in.max(traffic.packets_out);
    let sequences = if suite.esn {
        EXTENDED_SEQUENCE_LIMIT
    } else {
        SEQUENCE_LIMIT
    };
    if traffic.sequence >= sequences || packets >= sequences {
        Some("half of its sequence numbers are used")
    } else if phase2.lifetime_bytes.is_some_and(|l| bytes >= nearly(l)) {
        Some("its lifetime in octets is nearly over")
    } else if phase2
        .lifetime_packets
        .is_some_and(|l| packets >= nearly(l))
    {
        Some("its lifetime in packets is nearly over")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vgw_crypto::{Encryption, EspSuite};
    use vgw_sa::ChildTraffic;

    use super::{SEQUENCE_LIMIT, rekey_due};
    use crate::domain::Phase2;

    fn phase2(bytes: Option<u64>, packets: Option<u64>) -> Phase2 {
        Phase2 {
            encryption: Vec::new(),
            integrity: Vec::new(),
            groups: Vec::new(),
            esn: Vec::new(),
            lifetime: Duration::from_secs(3600),
            lifetime_bytes: bytes,
            lifetime_packets: packets,
        }
    }

    fn suite(esn: bool) -> EspSuite {
        EspSuite {
            encryption: Encryption::AesGcm128,
            integrity: None,
            esn,
        }
    }

    #[test]
    fn a_child_sa_is_rekeyed_at_nine_tenths_of_its_octets_in_either_direction() {
        let options = phase2(Some(1000), None);
        let mut traffic = ChildTraffic {
            bytes_in: 899,
            bytes_out: 899,
            ..ChildTraffic::default()
        };
        assert_eq!(rekey_due(&options, suite(true), &traffic), None);
        traffic.bytes_in = 900;
        assert!(rekey_due(&options, suite(true), &traffic).is_some());
    }

    #[test]
    fn a_child_sa_is_rekeyed_at_nine_tenths_of_its_packets() {
        let options = phase2(None, Some(100));
        let traffic = ChildTraffic {
            packets_out: 90,
            ..ChildTraffic::default()
        };
        assert!(rekey_due(&options, suite(true), &traffic).is_some());
    }

    #[test]
    fn short_sequence_numbers_are_replaced_at_half_of_them_and_long_ones_are_not() {
        let options = phase2(None, None);
        let mut traffic = ChildTraffic {
            sequence: SEQUENCE_LIMIT - 1,
            ..ChildTraffic::default()
        };
        assert_eq!(rekey_due(&options, suite(false), &traffic), None);
        traffic.sequence = SEQUENCE_LIMIT;
        assert!(rekey_due(&options, suite(false), &traffic).is_some());
        assert_eq!(rekey_due(&options, suite(true), &traffic), None);
    }
}
