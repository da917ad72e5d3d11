//! What holds for every suite, length and packet.

use proptest::prelude::*;

use super::{ipv4, pair, seal_as, suites};
use crate::{DropReason, NEXT_HEADER_IPV4};

proptest! {
    #[test]
    fn what_is_sealed_opens_again(
        which in 0..suites().len(),
        inner_len in 1_usize..2000,
        sequence in prop_oneof![1_u64..1000, (1_u64 << 31)..0xffff_ff00],
    ) {
        let suite = suites()[which];
        let (outbound, inbound) = pair(suite);
        let inner = ipv4(inner_len);
        let mut packet = seal_as(&outbound, sequence, &inner, NEXT_HEADER_IPV4);
        prop_assert_eq!(packet.len(), outbound.sealed_len(inner_len));
        let opened = inbound.opener().open(&mut packet).unwrap();
        prop_assert_eq!(&packet[opened.inner.clone()], &inner[..]);
        prop_assert_eq!(opened.sequence, sequence);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused(
        which in 0..suites().len(),
        inner_len in 1_usize..300,
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let suite = suites()[which];
        let (outbound, inbound) = pair(suite);
        let mut packet = seal_as(&outbound, 0x1000_0001, &ipv4(inner_len), NEXT_HEADER_IPV4);
        let at = at.index(packet.len());
        packet[at] ^= 1 << bit;
        let expected = if at < 4 { DropReason::WrongSpi } else { DropReason::NotAuthentic };
        prop_assert_eq!(inbound.opener().open(&mut packet), Err(expected));
        prop_assert_eq!(inbound.sequence(), 0);
    }

    #[test]
    fn opening_is_total_on_random_octets(
        which in 0..suites().len(),
        mut packet in proptest::collection::vec(any::<u8>(), 0..200),
        with_spi in any::<bool>(),
    ) {
        let (_, inbound) = pair(suites()[which]);
        if with_spi && packet.len() >= 4 {
            packet[..4].copy_from_slice(&super::SPI.to_be_bytes());
        }
        prop_assert!(inbound.opener().open(&mut packet).is_err());
    }
}
