//! What the kernel lacks costs speed and nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use vgw_dataplane::Features;

use crate::rig::{GCM, PATIENCE, Rig, Side};

/// Octets of a TCP transfer: several hundred super-packets.
const TRANSFER: usize = 16 << 20;
/// Datagrams of a UDP flow.
const DATAGRAMS: u32 = 200;

/// Everything, each feature refused on its own, and nothing.
fn cases() -> [(&'static str, Features); 8] {
    let all = Features::ALL;
    [
        ("all", all),
        (
            "no vnet header",
            Features {
                tun_vnet_header: false,
                ..all
            },
        ),
        (
            "no tso",
            Features {
                tun_tso: false,
                ..all
            },
        ),
        (
            "no uso",
            Features {
                tun_uso: false,
                ..all
            },
        ),
        (
            "no multi queue",
            Features {
                tun_multi_queue: false,
                ..all
            },
        ),
        (
            "no udp gso",
            Features {
                udp_gso: false,
                ..all
            },
        ),
        (
            "no udp gro",
            Features {
                udp_gro: false,
                ..all
            },
        ),
        ("nothing", Features::NONE),
    ]
}

#[test]
#[ignore = "needs root"]
fn tcp_and_udp_arrive_whole_and_in_order_whatever_feature_is_refused() {
    for (name, features) in cases() {
        println!("{name}");
        let rig = Rig::with("features", features, 3);
        let in_use = rig.left.plane.offloads();
        for (refused, used) in [
            (!features.tun_vnet_header, in_use.tun_vnet_header),
            (!features.tun_tso, in_use.tun_tso),
            (!features.tun_uso, in_use.tun_uso),
            (!features.tun_multi_queue, in_use.tun_multi_queue),
            (!features.udp_gso, in_use.udp_gso),
            (!features.udp_gro, in_use.udp_gro),
        ] {
            assert!(!(refused && used), "{name}: {in_use:?}");
        }
        rig.connect(1, GCM, 0, true);
        for family in [0, 1] {
            transfer(&rig.left, &rig.right, family);
            transfer(&rig.right, &rig.left, family);
            datagrams(&rig.left, &rig.right, family);
        }
        rig.connect(2, GCM, 0, false);
        transfer(&rig.left, &rig.right, 0);
    }
}

/// Sends a stream in which every position has its own octets, and compares.
pub fn transfer(from: &Side, to: &Side, family: usize) {
    let at = SocketAddr::from((to.inside[family], 7001));
    let listener = to.namespace.run(|| TcpListener::bind(at)).unwrap().unwrap();
    let mut sender = from
        .namespace
        .run(|| TcpStream::connect(at))
        .unwrap()
        .unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    sender.set_write_timeout(Some(PATIENCE)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream = stream();
    thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&stream).unwrap();
            drop(sender);
        });
        let mut arrived = Vec::with_capacity(TRANSFER);
        receiver.read_to_end(&mut arrived).unwrap();
        assert!(arrived == stream, "the stream differs");
    });
}

fn stream() -> Vec<u8> {
    let words = u32::try_from(TRANSFER / 4).unwrap();
    (0..words)
        .flat_map(|word| word.wrapping_mul(0x9E37_79B1).to_be_bytes())
        .collect()
}

/// Sends numbered datagrams of growing length in bursts.
fn datagrams(from: &Side, to: &Side, family: usize) {
    let sender = from.inside_socket(family);
    let receiver = to.inside_socket(family);
    for number in 0..DATAGRAMS {
        // Runs of one length, which can go together, and changes between them.
        let len = 100 + usize::try_from(number / 16).unwrap() * 90;
        let mut datagram = vec![0x5A; len];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        sender
            .send_to(&datagram, (to.inside[family], 7000))
            .unwrap();
        if number % 32 == 31 || number + 1 == DATAGRAMS {
            receive(&receiver, number - number % 32..=number);
        }
    }
}

fn receive(receiver: &std::net::UdpSocket, numbers: std::ops::RangeInclusive<u32>) {
    let mut buffer = [0; 2000];
    for number in numbers {
        let len = receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..4], number.to_be_bytes());
        assert_eq!(len, 100 + usize::try_from(number / 16).unwrap() * 90);
        assert!(buffer[4..len].iter().all(|&octet| octet == 0x5A));
    }
}
