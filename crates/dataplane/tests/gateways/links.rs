//! What others change in the kernel while a data plane runs: the MTU of links and
//! of the TUN device, and what somebody says of the path.

use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use socket2::{Domain, Protocol, Socket, Type};
use vgw_dataplane::{OutsideLink, SmallMtuLink, VnetHeader};

use crate::device::Device;
use crate::features::transfer;
use crate::rig::{GCM, Rig, Side, TUNNEL};

/// Fragments that the kernel has made of outer packets.
fn fragments(side: &Side) -> u64 {
    let snmp = || std::fs::read_to_string("/proc/thread-self/net/snmp");
    let text = side.namespace.run(snmp).unwrap().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Ip: "));
    let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
    let place = names.split(' ').position(|name| name == "FragCreates");
    values
        .split(' ')
        .nth(place.unwrap())
        .unwrap()
        .parse()
        .unwrap()
}

fn set_outside_mtu(rig: &Rig, mtu: usize) {
    for side in [&rig.left, &rig.right] {
        side.ip_link(&["set", "out", "mtu", &mtu.to_string()]);
    }
}

/// What a tunnel carries outside and inside.
fn mtus(side: &Side) -> (usize, usize) {
    let (outside, inside) = (
        side.plane.outside_mtu(TUNNEL),
        side.plane.tunnel_mtu(TUNNEL),
    );
    (outside.unwrap(), inside.unwrap())
}

#[test]
#[ignore = "needs root"]
fn tunnels_keep_to_a_link_that_becomes_narrower_and_grow_with_it_again() {
    let rig = Rig::new("links");
    rig.connect(1, GCM, 0, true);
    set_outside_mtu(&rig, 1400);
    // Until it is looked at.
    let receiver = rig.right.inside_socket(0);
    rig.left
        .inside_socket(0)
        .send_to(&[0; 1400], (rig.right.inside[0], 7000))
        .unwrap();
    receiver.recv(&mut [0; 1500]).expect("by fragments");
    let before = fragments(&rig.left);
    assert_eq!(before, 2);
    for (mtu, inside) in [(1400, 1338), (1500, 1438), (1460, 1398)] {
        set_outside_mtu(&rig, mtu);
        for side in [&rig.left, &rig.right] {
            side.plane.look_outside();
            assert_eq!(mtus(side), (mtu, inside));
        }
        let narrow = rig.left.plane.small_mtu_links();
        let expected = SmallMtuLink {
            link: OutsideLink {
                name: "out".into(),
                mtu,
                by_route: false,
            },
            settings_mtu: 1500,
            tunnels: [TUNNEL].into(),
        };
        assert_eq!(narrow, if mtu < 1500 { vec![expected] } else { vec![] });
        for family in [0, 1] {
            transfer(&rig.left, &rig.right, family);
        }
        assert_eq!(fragments(&rig.left), before, "with a link of {mtu}");
    }
    // A new SA has it from the start.
    set_outside_mtu(&rig, 1300);
    rig.connect(2, GCM, 0, true);
    assert_eq!(mtus(&rig.left), (1300, 1238));
}

#[test]
#[ignore = "needs root"]
fn a_batch_that_no_longer_fits_the_link_goes_by_single_packets_and_is_the_last_of_its_size() {
    const PACKET: usize = 1400;
    const BATCH: usize = 10;
    let rig = Rig::new("uncut");
    rig.connect(1, GCM, 0, true);
    let sender = rig.left.inside_socket(0);
    let receiver = rig.right.inside_socket(0);
    setsockopt(&sender, UdpGsoSegment, &i32::try_from(PACKET).unwrap()).unwrap();
    for (mtu, refused) in [(1500, 0), (1400, 1), (1400, 1)] {
        set_outside_mtu(&rig, mtu);
        let batch: Vec<u8> = (0..)
            .take(BATCH)
            .flat_map(|number| [number; PACKET])
            .collect();
        sender.send_to(&batch, (rig.right.inside[0], 7000)).unwrap();
        for packet in batch.chunks(PACKET) {
            let mut datagram = [0; PACKET + 1];
            assert_eq!(receiver.recv(&mut datagram).unwrap(), PACKET);
            assert_eq!(datagram[..PACKET], *packet);
        }
        assert_eq!(rig.left.refused_batches("send"), refused, "{mtu}");
    }
}

#[test]
#[ignore = "needs root"]
fn what_icmp_says_of_the_path_over_ipv4_is_not_believed() {
    let rig = Rig::new("forged");
    rig.connect(1, GCM, 0, true);
    let [left, right] = [&rig.left, &rig.right].map(|side| match side.outside[0] {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("the first outside address is of IPv4"),
    });
    // Fragmentation needed, 600 octets: of a packet from left's port 4500 to right's.
    let mut icmp = vec![3, 4, 0, 0, 0, 0, 2, 88];
    icmp.extend([0x45, 0, 5, 220, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    icmp.extend([left, right].concat());
    icmp.extend([0x11, 0x94, 0x11, 0x94, 5, 200, 0, 0]);
    let sum: u32 = icmp
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    icmp[2..4].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    let forge = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    let forger = rig.right.namespace.run(forge).unwrap().unwrap();
    let to = SocketAddr::from((left, 0));
    forger.send_to(&icmp, &to.into()).unwrap();

    rig.left.plane.look_outside();
    assert_eq!(mtus(&rig.left), (1500, 1438));
    transfer(&rig.left, &rig.right, 0);
    assert_eq!(fragments(&rig.left), 0);
}

/// A SYN from host to host that announces segments of 1,460 octets.
fn syn(hosts: (IpAddr, IpAddr)) -> Vec<u8> {
    let tcp = [
        0x1B, 0x58, 0x1B, 0x59, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 1, 0, 0, 0, 0, 0, 2, 4, 5, 180,
    ];
    let ip = match hosts {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let start = [0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0];
            [&start[..], &from.octets(), &to.octets()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let start = [0x60, 0, 0, 0, 0, 24, 6, 64];
            [&start[..], &from.octets(), &to.octets()].concat()
        }
        _ => panic!("two families"),
    };
    [&ip[..], &tcp].concat()
}

/// The segment size that the next SYN announces that passes the device.
fn announced(device: &Device, headers: usize) -> u16 {
    loop {
        let (_, packet) = device.receive();
        if packet.len() == headers + 24 && packet[headers + 13] == 0x02 {
            return u16::from_be_bytes([packet[headers + 22], packet[headers + 23]]);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn tcp_is_held_to_the_least_of_the_tunnels_mtu_and_both_tun_devices() {
    let rig = Rig::new("clamp");
    rig.connect(1, GCM, 0, true);
    for (family, ether_type, headers) in [(0, libc::ETH_P_IP, 20), (1, libc::ETH_P_IPV6, 40)] {
        let [from, to] =
            [&rig.left, &rig.right].map(|side| Device::open(&side.namespace, "tun0", ether_type));
        let syn = syn((rig.left.inside[family], rig.right.inside[family]));
        for (left, right, least) in [
            (1500, 1500, 1438),
            (1300, 1500, 1300),
            (1500, 1350, 1350),
            (1500, 1500, 1438),
        ] {
            for (side, mtu) in [(&rig.left, left), (&rig.right, right)] {
                side.ip_link(&["set", "tun0", "mtu", &i32::to_string(&mtu)]);
                side.plane.look_at_tun();
                assert_eq!(side.plane.tun_mtu(), usize::try_from(mtu).ok());
            }
            from.send(VnetHeader::default(), &syn);
            let expected = least - u16::try_from(headers).unwrap() - 20;
            assert_eq!(announced(&to, headers), expected, "{left} {right}");
        }
    }
}
