//! Packets built field by field, slowly and plainly, to compare the code with.

use crate::packet::checksum::tests::naive;
use crate::packet::vnet::{GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader};

/// The fields of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub ipv6: bool,
    pub hosts: (u8, u8),
    pub ports: (u16, u16),
    /// Type of service or traffic class.
    pub class: u8,
    /// Time to live or hop limit.
    pub hops: u8,
    pub flow_label: u32,
    pub id: u16,
    pub dont_fragment: bool,
    /// Of IPv4, a multiple of 4 octets.
    pub ip_options: Vec<u8>,
    /// Of IPv6: each a type and octets 2.. of the header, 8 n + 6 of them.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub upper: Upper,
    pub payload: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upper {
    Udp,
    Tcp {
        sequence: u32,
        acknowledgment: u32,
        /// With NS or AE and the reserved bits above.
        flags: u16,
        window: u16,
        options: Vec<u8>,
    },
}

pub(crate) const FIN: u16 = 0x01;
pub(crate) const SYN: u16 = 0x02;
pub(crate) const RST: u16 = 0x04;
pub(crate) const PSH: u16 = 0x08;
pub(crate) const ACK: u16 = 0x10;
pub(crate) const URG: u16 = 0x20;
pub(crate) const ECE: u16 = 0x40;
pub(crate) const CWR: u16 = 0x80;

impl Draft {
    pub(crate) fn udp(payload: Vec<u8>) -> Self {
        Self {
            ipv6: false,
            hosts: (1, 2),
            ports: (40_000, 443),
            class: 0,
            hops: 64,
            flow_label: 0,
            id: 77,
            dont_fragment: true,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            upper: Upper::Udp,
            payload,
        }
    }

    pub(crate) fn tcp(payload: Vec<u8>) -> Self {
        Self {
            upper: Upper::Tcp {
                sequence: 1000,
                acknowledgment: 2000,
                flags: ACK,
                window: 500,
                options: Vec::new(),
            },
            ..Self::udp(payload)
        }
    }

    pub(crate) fn over_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    pub(crate) fn flags(mut self, add: u16) -> Self {
        if let Upper::Tcp { flags, .. } = &mut self.upper {
            *flags |= add;
        }
        self
    }

    /// The segment `octets` further on.
    pub(crate) fn after(mut self, octets: u32) -> Self {
        if let Upper::Tcp { sequence, .. } = &mut self.upper {
            *sequence = sequence.wrapping_add(octets);
        }
        self
    }

    pub(crate) fn options(mut self, octets: &[u8]) -> Self {
        if let Upper::Tcp { options, .. } = &mut self.upper {
            *options = octets.to_vec();
        }
        self
    }

    fn protocol(&self) -> u8 {
        match self.upper {
            Upper::Udp => 17,
            Upper::Tcp { .. } => 6,
        }
    }

    fn addresses(&self) -> Vec<u8> {
        let (source, destination) = self.hosts;
        if self.ipv6 {
            let mut octets = vec![0xfd; 16];
            octets.extend([0xfc; 16]);
            octets[15] = source;
            octets[31] = destination;
            octets
        } else {
            vec![10, 0, 0, source, 10, 1, 0, destination]
        }
    }

    /// Octets of the upper layer's header.
    fn upper_header_len(&self) -> usize {
        match &self.upper {
            Upper::Udp => 8,
            Upper::Tcp { options, .. } => 20 + options.len(),
        }
    }

    fn upper(&self, checksum: u16) -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend(self.ports.0.to_be_bytes());
        octets.extend(self.ports.1.to_be_bytes());
        match &self.upper {
            Upper::Udp => {
                octets.extend(len(8 + self.payload.len()).to_be_bytes());
                octets.extend(checksum.to_be_bytes());
            }
            Upper::Tcp {
                sequence,
                acknowledgment,
                flags,
                window,
                options,
            } => {
                octets.extend(sequence.to_be_bytes());
                octets.extend(acknowledgment.to_be_bytes());
                let offset = len(5 + options.len() / 4) << 12;
                octets.extend((offset | flags).to_be_bytes());
                octets.extend(window.to_be_bytes());
                octets.extend(checksum.to_be_bytes());
                octets.extend([0, 0]);
                octets.extend(options);
            }
        }
        octets.extend(&self.payload);
        octets
    }

    fn pseudo_header(&self) -> Vec<u8> {
        let mut octets = self.addresses();
        octets.extend([0, self.protocol()]);
        let upper_len = self.upper_header_len() + self.payload.len();
        octets.extend(len(upper_len).to_be_bytes());
        octets
    }

    fn with_ip(&self, upper: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        if self.ipv6 {
            let mut extensions = Vec::new();
            for (index, (_, rest)) in self.extensions.iter().enumerate() {
                let next = self.extensions.get(index + 1);
                extensions.push(next.map_or(self.protocol(), |(kind, _)| *kind));
                extensions.push(u8::try_from((rest.len() - 6) / 8).unwrap());
                extensions.extend(rest);
            }
            let first = 6 << 28 | u32::from(self.class) << 20 | self.flow_label;
            octets.extend(first.to_be_bytes());
            octets.extend(len(extensions.len() + upper.len()).to_be_bytes());
            let next = self.extensions.first();
            octets.push(next.map_or(self.protocol(), |(kind, _)| *kind));
            octets.push(self.hops);
            octets.extend(self.addresses());
            octets.extend(extensions);
        } else {
            let header_len = 20 + self.ip_options.len();
            octets.push(0x40 | u8::try_from(header_len / 4).unwrap());
            octets.push(self.class);
            octets.extend(len(header_len + upper.len()).to_be_bytes());
            octets.extend(self.id.to_be_bytes());
            octets.extend([u8::from(self.dont_fragment) << 6, 0, self.hops]);
            octets.extend([self.protocol(), 0, 0]);
            octets.extend(self.addresses());
            octets.extend(&self.ip_options);
            let checksum = !naive(&octets);
            octets[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        octets.extend(upper);
        octets
    }

    /// The packet as it is on the wire.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut summed = self.pseudo_header();
        summed.extend(self.upper(0));
        let checksum = match !naive(&summed) {
            0 if self.upper == Upper::Udp => 0xFFFF,
            checksum => checksum,
        };
        self.with_ip(&self.upper(checksum))
    }

    /// The packet as the kernel gives it, to be cut every `gso_size` octets.
    pub(crate) fn build_super(&self, gso_size: u16) -> (VnetHeader, Vec<u8>) {
        let packet = self.with_ip(&self.upper(naive(&self.pseudo_header())));
        let upper_len = self.upper_header_len() + self.payload.len();
        let csum_start = len(packet.len() - upper_len);
        let (gso_type, csum_offset) = match &self.upper {
            Upper::Udp => (GSO_UDP_L4, 6),
            Upper::Tcp { flags, .. } => {
                let ecn = if flags & CWR == 0 { 0 } else { GSO_ECN };
                let gso_type = if self.ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
                (gso_type | ecn, 16)
            }
        };
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            gso_type,
            hdr_len: csum_start + len(self.upper_header_len()),
            gso_size,
            csum_start,
            csum_offset,
        };
        (header, packet)
    }

    /// The packets that it should be cut into.
    pub(crate) fn cut(&self, gso_size: u16) -> Vec<Self> {
        let pieces: Vec<_> = if self.payload.is_empty() {
            vec![Vec::new()]
        } else {
            let pieces = self.payload.chunks(usize::from(gso_size));
            pieces.map(<[u8]>::to_vec).collect()
        };
        let last = pieces.len() - 1;
        let mut done = 0;
        let mut drafts = Vec::new();
        for (index, payload) in pieces.into_iter().enumerate() {
            let mut draft = self.clone();
            draft.id = self.id.wrapping_add(len(index));
            if let Upper::Tcp {
                sequence, flags, ..
            } = &mut draft.upper
            {
                *sequence = sequence.wrapping_add(done);
                if index != 0 {
                    *flags &= !CWR;
                }
                if index != last {
                    *flags &= !(FIN | PSH);
                }
            }
            done += u32::from(len(payload.len()));
            draft.payload = payload;
            drafts.push(draft);
        }
        drafts
    }
}

fn len(octets: usize) -> u16 {
    u16::try_from(octets).unwrap()
}
