//! Where the parts of an ESP packet lie.

use vgw_crypto::EspSuite;

/// Octets of SPI and sequence number, with which a packet begins (RFC 4303 sections 2.1
/// and 2.2).
pub(crate) const SPI_AND_SEQUENCE_LEN: usize = 8;

/// Octets of pad length and next header (RFC 4303 sections 2.5 and 2.6).
pub(crate) const TRAILER_LEN: usize = 2;

/// The sizes that a suite gives its packets, from the SPI to the ICV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Octets before the inner packet: SPI, sequence number and IV.
    pub header_len: usize,
    /// What inner packet, padding and trailer together are a multiple of, in octets.
    pub block_len: usize,
    /// Octets of integrity check value at the end.
    pub icv_len: usize,
}

impl Layout {
    /// The layout of packets under `suite`.
    #[must_use]
    pub fn of(suite: EspSuite) -> Self {
        Self {
            header_len: SPI_AND_SEQUENCE_LEN + suite.encryption.iv_len(),
            block_len: suite.encryption.block_len(),
            icv_len: suite.icv_len(),
        }
    }

    /// Octets of ESP packet, from the SPI on, around an inner packet of `inner_len`.
    #[must_use]
    pub const fn sealed_len(&self, inner_len: usize) -> usize {
        let payload_len = (inner_len + TRAILER_LEN).next_multiple_of(self.block_len);
        self.header_len + payload_len + self.icv_len
    }

    /// The longest inner packet whose ESP packet has at most `outer_payload`
    /// octets; 0 if none fits.
    #[must_use]
    pub const fn max_inner_len(&self, outer_payload: usize) -> usize {
        let room = outer_payload.saturating_sub(self.header_len + self.icv_len);
        (room - room % self.block_len).saturating_sub(TRAILER_LEN)
    }
}

/// A packet of a burst before it is sealed: the inner packet lies at
/// `at + header_len` of the buffer, the ESP packet will be
/// `at..at + sealed_len(inner_len)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// Where in the buffer the ESP packet will begin.
    pub at: usize,
    /// Octets of inner packet.
    pub inner_len: usize,
    /// What the inner packet is (RFC 4303 section 2.6).
    pub next_header: u8,
}

#[cfg(test)]
mod tests {
    use vgw_crypto::{Encryption, EspSuite, Integrity};

    use super::Layout;
    use crate::tests::suites;

    #[test]
    fn sizes_are_those_of_rfc_4106_and_of_rfc_3602_with_rfc_4868() {
        let gcm = Layout::of(EspSuite {
            encryption: Encryption::AesGcm128,
            integrity: None,
            esn: true,
        });
        // 8 + 8 octets before, 1400 + 2 padded to 1404, 16 after.
        assert_eq!(gcm.header_len, 16);
        assert_eq!(gcm.sealed_len(1400), 16 + 1404 + 16);
        let cbc = Layout::of(EspSuite {
            encryption: Encryption::AesCbc128,
            integrity: Some(Integrity::HmacSha256_128),
            esn: false,
        });
        // 8 + 16 octets before, 1400 + 2 padded to 1408, 16 after.
        assert_eq!(cbc.header_len, 24);
        assert_eq!(cbc.sealed_len(1400), 24 + 1408 + 16);
    }

    #[test]
    fn the_longest_inner_packet_fits_and_one_octet_more_does_not() {
        for suite in suites() {
            let layout = Layout::of(suite);
            for outer_payload in 100..1600 {
                let inner_len = layout.max_inner_len(outer_payload);
                assert!(layout.sealed_len(inner_len) <= outer_payload, "{suite}");
                assert!(layout.sealed_len(inner_len + 1) > outer_payload, "{suite}");
            }
            assert_eq!(layout.max_inner_len(0), 0);
        }
    }
}
