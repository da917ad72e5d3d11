//! The header that a TUN device with `IFF_VNET_HDR` puts before each packet.

/// Octets of [`VnetHeader`], as long as TUNSETVNETHDRSZ says nothing else.
pub const VNET_HEADER_LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds only the sum of the
/// pseudo-header; the rest is left to the receiver.
pub(crate) const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum is there and has been verified.
pub(crate) const DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_NONE`: one packet.
pub(crate) const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
pub(crate) const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub(crate) const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: datagrams of equal length, no fragments.
pub(crate) const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: a bit beside the type; CWR is set.
pub(crate) const GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr` of linux/virtio_net.h, without `num_buffers`. All
/// zero, it says: one packet with nothing left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Octets of all headers, IP and above. A hint that may be wrong.
    pub hdr_len: u16,
    /// Octets of payload in each segment but the last.
    pub gso_size: u16,
    /// Where the octets to sum begin, from the start of the packet.
    pub csum_start: u16,
    /// Where the checksum goes, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Reads the header; its numbers are in the machine's own order.
    #[must_use]
    pub const fn from_octets(octets: [u8; VNET_HEADER_LEN]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = octets;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// How many packets the `len` octets behind the header hold, as it tells:
    /// for counting, not for cutting.
    #[must_use]
    pub(crate) fn packets(self, len: usize) -> usize {
        let payload = len.saturating_sub(usize::from(self.hdr_len));
        match self.gso_size {
            0 => 1,
            size => payload.div_ceil(usize::from(size)).max(1),
        }
    }

    /// The header as the kernel reads it.
    #[must_use]
    pub const fn to_octets(self) -> [u8; VNET_HEADER_LEN] {
        let [h0, h1] = self.hdr_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

#[cfg(test)]
mod tests {
    use super::VnetHeader;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = VnetHeader {
            flags: 1,
            gso_type: 4,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
        };
        let octets = header.to_octets();
        assert_eq!(VnetHeader::from_octets(octets), header);
        assert_eq!(octets[..2], [1, 4]);
        assert_eq!(octets[4..6], 0x0304u16.to_ne_bytes());
        assert_eq!(octets[8..], 0x0708u16.to_ne_bytes());
    }
}
