//! The same traffic with every offload on and off gives the same packets.
//!
//! Outwards the kernel itself is the reference: without the TUN's offloads it
//! cuts super-packets before it hands them over. Inwards, what was joined is
//! cut again and must be what was sent.

use std::net::{IpAddr, UdpSocket};

use vgw_dataplane::{Features, Segments, VnetHeader};
use vgw_esp::InboundSa;

use crate::device::Device;
use crate::rig::{Forger, GCM, Rig, Side, TUNNEL, keys};

const IPV4: i32 = 0x0800;
const IPV6: i32 = 0x86DD;
/// Both, and what else passes; to receive only.
const ETH_P_ALL: i32 = 3;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const NEEDS_CSUM: u8 = 1;

const FROM_PORT: u16 = 7001;
const TO_PORT: u16 = 7002;

const SPI_LEFT: u32 = 0x0010_0001;
const SPI_RIGHT: u32 = 0x0020_0001;

/// What a stack hands to its device.
struct Handed {
    header: VnetHeader,
    packet: Vec<u8>,
}

/// TCP and UDP with payloads from one octet to a whole super-packet.
fn traffic(from: &Side, to: &Side) -> Vec<Handed> {
    const ACK: u8 = 0x10;
    const PSH_FIN: u8 = 0x09;
    const ECE_CWR: u8 = 0xC0;
    let mut traffic = Vec::new();
    for family in [0, 1] {
        let hosts = (from.inside[family], to.inside[family]);
        for (flags, payload_len, segment) in [
            (ACK, 62_000, 1300),
            (ACK | PSH_FIN, 2601, 1300),
            (ACK | ECE_CWR, 13_000, 1000),
            (ACK, 4000, 88),
            (ACK | PSH_FIN, 700, 1300),
            (ACK, 0, 1300),
        ] {
            traffic.push(tcp(hosts, flags, payload_len, segment));
        }
        for (payload_len, segment) in [(60_000, 1380), (1201, 100), (1, 1380), (900, 1380)] {
            traffic.push(udp(hosts, payload_len, segment));
        }
    }
    traffic
}

#[test]
#[ignore = "needs root"]
fn outwards_every_offload_gives_the_packets_that_the_kernel_itself_cuts() {
    let off = sent_with("outwards", Features::NONE);
    assert!(off.len() > 300, "{}", off.len());
    let all = Features::ALL;
    for features in [
        all,
        Features {
            tun_uso: false,
            ..all
        },
        Features {
            udp_gso: false,
            ..all
        },
        Features {
            tun_multi_queue: false,
            ..all
        },
    ] {
        let on = sent_with("outwards", features);
        assert_eq!(on.len(), off.len());
        for (on, off) in on.iter().zip(&off) {
            assert_eq!(on, off);
        }
    }
}

/// The inner packets that arrive of [`traffic`], in order.
fn sent_with(name: &str, features: Features) -> Vec<Vec<u8>> {
    let Rig { left, right } = Rig::with(name, features, 1);
    // Not to the data plane there, but to a socket beside it.
    let mut path = left.path_to(&right, 0, true);
    path.remote.set_port(4501);
    left.install(SPI_LEFT, SPI_RIGHT, GCM, path);
    left.plane.use_outbound(TUNNEL, SPI_LEFT).unwrap();
    let traffic = traffic(&left, &right);
    let receiver = right.socket((right.outside[0], 4501).into());
    let sa = InboundSa::new(SPI_RIGHT, GCM, &keys(SPI_RIGHT, GCM), 1024).unwrap();
    let devices = [IPV4, IPV6].map(|ether_type| Device::open(&left.namespace, "tun0", ether_type));
    let mut arrived = Vec::new();
    for handed in &traffic {
        let device = if handed.packet[0] >> 4 == 4 {
            &devices[0]
        } else {
            &devices[1]
        };
        device.send(handed.header, &handed.packet);
        for _ in 0..segments_of(handed) {
            arrived.push(receive(&receiver, &sa));
        }
    }
    arrived
}

/// Opens the next ESP packet.
fn receive(socket: &UdpSocket, sa: &InboundSa) -> Vec<u8> {
    let mut packet = vec![0; 2000];
    let len = socket.recv(&mut packet).unwrap();
    packet.truncate(len);
    let opened = sa.opener().open(&mut packet).unwrap();
    packet[opened.inner].to_vec()
}

#[test]
#[ignore = "needs root"]
fn inwards_what_was_joined_is_what_was_sent() {
    let sent = sent_with("inwards", Features::ALL);
    for features in [
        Features::ALL,
        Features {
            tun_uso: false,
            ..Features::ALL
        },
        Features::NONE,
    ] {
        let rig = Rig::with("inwards", features, 1);
        rig.connect(1, GCM, 0, true);
        let device = Device::open(&rig.right.namespace, "tun0", ETH_P_ALL);
        let forger = Forger::new(&rig, SPI_RIGHT, 5000);
        let mut arrived = Vec::new();
        let mut reads = 0;
        for burst in sent.chunks(40) {
            let sealed: Vec<_> = burst
                .iter()
                .map(|packet| forger.seal(packet, if packet[0] >> 4 == 4 { 4 } else { 41 }))
                .collect();
            for packet in &sealed {
                forger.send(packet);
            }
            let expected = arrived.len() + burst.len();
            while arrived.len() < expected {
                let (header, mut packet) = device.receive();
                // The stack's own packets, such as router solicitations, pass too.
                if !is_of(&packet) {
                    continue;
                }
                reads += 1;
                arrived.extend(cut(header, &mut packet));
            }
        }
        assert_eq!(arrived.len(), sent.len());
        for (arrived, sent) in arrived.iter().zip(&sent) {
            assert_eq!(arrived, sent);
        }
        assert_eq!(reads < sent.len(), features.tun_tso, "{reads} reads");
    }
}

/// Whether a packet is of the flows that were sent, by the port they go to.
fn is_of(packet: &[u8]) -> bool {
    let transport = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet
        .get(transport + 2..transport + 4)
        .is_some_and(|port| port == TO_PORT.to_be_bytes())
}

fn cut(header: VnetHeader, packet: &mut [u8]) -> Vec<Vec<u8>> {
    let segments = Segments::new(header, packet).unwrap();
    let count = segments.count();
    (0..count)
        .map(|index| {
            let last = index + 1 == count;
            let len = if last {
                segments.last_len()
            } else {
                segments.segment_len()
            };
            let mut out = vec![0; len];
            segments.write(index, &mut out).unwrap();
            out
        })
        .collect()
}

fn segments_of(handed: &Handed) -> usize {
    let header = handed.header;
    if header.gso_type == 0 {
        return 1;
    }
    let payload = handed.packet.len() - usize::from(header.hdr_len);
    payload.div_ceil(usize::from(header.gso_size))
}

fn tcp(hosts: (IpAddr, IpAddr), flags: u8, payload_len: usize, segment: usize) -> Handed {
    let mut header = Vec::new();
    header.extend(FROM_PORT.to_be_bytes());
    header.extend(TO_PORT.to_be_bytes());
    header.extend(0xFFFF_F000_u32.to_be_bytes());
    header.extend(0x0102_0304_u32.to_be_bytes());
    header.extend([0x80, flags, 0x12, 0x34, 0, 0, 0, 0]);
    // RFC 7323: two NOPs, then timestamps.
    header.extend([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    let gso = if hosts.0.is_ipv4() {
        GSO_TCPV4
    } else {
        GSO_TCPV6
    };
    handed(hosts, TCP, (&header, 16), payload_len, (gso, segment))
}

fn udp(hosts: (IpAddr, IpAddr), payload_len: usize, segment: usize) -> Handed {
    let mut header = Vec::new();
    header.extend(FROM_PORT.to_be_bytes());
    header.extend(TO_PORT.to_be_bytes());
    header.extend(u16::try_from(8 + payload_len).unwrap().to_be_bytes());
    header.extend([0, 0]);
    handed(hosts, UDP, (&header, 6), payload_len, (GSO_UDP_L4, segment))
}

/// A packet whose transport checksum, at `header.1`, is left to the device.
fn handed(
    hosts: (IpAddr, IpAddr),
    protocol: u8,
    header: (&[u8], usize),
    payload_len: usize,
    (gso_type, segment): (u8, usize),
) -> Handed {
    let (transport, checksum_at) = header;
    let len = transport.len() + payload_len;
    let mut packet = ip(hosts, protocol, u16::try_from(len).unwrap());
    let start = packet.len();
    packet.extend(transport);
    packet.extend((0..payload_len).map(|at| u8::try_from(at % 251).unwrap()));
    let pseudo = pseudo_header(hosts, protocol, len);
    packet[start + checksum_at..start + checksum_at + 2]
        .copy_from_slice(&sum(&pseudo).to_be_bytes());
    let whole = payload_len <= segment;
    let narrow = |len: usize| u16::try_from(len).unwrap();
    Handed {
        header: VnetHeader {
            flags: NEEDS_CSUM,
            gso_type: if whole { 0 } else { gso_type },
            hdr_len: if whole {
                0
            } else {
                narrow(start + transport.len())
            },
            gso_size: if whole { 0 } else { narrow(segment) },
            csum_start: narrow(start),
            csum_offset: narrow(checksum_at),
        },
        packet,
    }
}

fn ip(hosts: (IpAddr, IpAddr), protocol: u8, payload_len: u16) -> Vec<u8> {
    match hosts {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // ECT(0), ID 65,530, DF.
            let mut packet = vec![0x45, 0x02];
            packet.extend((20 + payload_len).to_be_bytes());
            packet.extend([0xFF, 0xFA, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let checksum = !sum(&packet);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut packet = vec![0x60, 0x20, 0x12, 0x34];
            packet.extend(payload_len.to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            packet
        }
        _ => panic!("hosts of two families"),
    }
}

fn pseudo_header(hosts: (IpAddr, IpAddr), protocol: u8, len: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for host in [hosts.0, hosts.1] {
        match host {
            IpAddr::V4(host) => octets.extend(host.octets()),
            IpAddr::V6(host) => octets.extend(host.octets()),
        }
    }
    octets.extend(u32::try_from(len).unwrap().to_be_bytes());
    octets.extend([0, 0, 0, protocol]);
    octets
}

/// The ones' complement sum of RFC 1071.
fn sum(octets: &[u8]) -> u16 {
    let words = octets
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap()
}
