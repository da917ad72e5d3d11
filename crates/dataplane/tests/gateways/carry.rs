//! What must get through.

use std::net::SocketAddr;

use vgw_crypto::{Encryption, EspSuite, Integrity};
use vgw_dataplane::{DataPlaneEvent, DropReason};
use vgw_lab::wait_until;
use vgw_sa::{DfPolicy, TunnelPolicy};

use crate::rig::{GCM, INSIDE, PATIENCE, Rig, Side, TUNNEL};

/// Sends `count` datagrams of `len` octets from one side's inside to the other's.
fn carry(from: &Side, to: &Side, family: usize, count: usize, len: usize) {
    let sender = from.inside_socket(family);
    let receiver = to.inside_socket(family);
    let mut buffer = vec![0; len + 1];
    for number in 0..count {
        let mut datagram = vec![0x5A; len];
        datagram[0] = u8::try_from(number).unwrap();
        sender
            .send_to(&datagram, (to.inside[family], 7000))
            .unwrap();
        let (got, source) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..got], datagram);
        assert_eq!(source, SocketAddr::from((from.inside[family], 7000)));
    }
}

#[test]
#[ignore = "needs root"]
fn packets_travel_both_ways_in_every_suite_encapsulation_and_family() {
    use Encryption::{AesCbc128, AesCbc256, AesGcm128, AesGcm256};
    use Integrity::{HmacSha1_96, HmacSha256_128, HmacSha384_192, HmacSha512_256};
    let suites = [
        (AesGcm128, None),
        (AesGcm256, None),
        (AesCbc128, Some(HmacSha1_96)),
        (AesCbc256, Some(HmacSha256_128)),
        (AesCbc128, Some(HmacSha384_192)),
        (AesCbc256, Some(HmacSha512_256)),
    ];
    let rig = Rig::new("carry");
    let mut slot = 0;
    for (encryption, integrity) in suites {
        for (outside, udp_encapsulation, esn) in [
            (0, true, false),
            (0, false, true),
            (1, true, true),
            (1, false, false),
        ] {
            let suite = EspSuite {
                encryption,
                integrity,
                esn,
            };
            slot += 1;
            rig.connect(slot, suite, outside, udp_encapsulation);
            for inside in [0, 1] {
                carry(&rig.left, &rig.right, inside, 2, 100);
                carry(&rig.right, &rig.left, inside, 2, 100);
            }
            // 20 or 40 octets of IP header, 8 of UDP.
            let bytes = 2 * (128 + 148);
            for (side, spi) in [
                (&rig.left, 0x0010_0000 | slot),
                (&rig.right, 0x0020_0000 | slot),
            ] {
                let counted = wait_until("counters", PATIENCE, || {
                    let counted = side.child(spi);
                    Ok((counted.packets_out >= 4 && counted.packets_in >= 4).then_some(counted))
                })
                .unwrap();
                assert_eq!((counted.packets_in, counted.packets_out), (4, 4), "{suite}");
                assert_eq!(
                    (counted.bytes_in, counted.bytes_out),
                    (bytes, bytes),
                    "{suite}"
                );
                assert_eq!(counted.sequence, 4, "{suite}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_tunnel_counts_on_over_a_rekey_and_the_old_sa_receives_until_it_is_removed() {
    let rig = Rig::new("rekey");
    rig.connect(1, GCM, 0, true);
    carry(&rig.left, &rig.right, 0, 3, 50);

    // The responder's order: the new SA receives first, then the old one
    // sends no more, then it goes.
    let path = rig.right.path_to(&rig.left, 0, true);
    rig.right.install(0x0020_0002, 0x0010_0002, GCM, path);
    carry(&rig.left, &rig.right, 0, 1, 50);
    let path = rig.left.path_to(&rig.right, 0, true);
    rig.left.install(0x0010_0002, 0x0020_0002, GCM, path);
    rig.left.plane.use_outbound(TUNNEL, 0x0010_0002).unwrap();
    carry(&rig.left, &rig.right, 0, 2, 50);
    assert_eq!(rig.right.child(0x0020_0001).packets_in, 4);
    assert_eq!(rig.right.child(0x0020_0002).packets_in, 2);
    carry(&rig.right, &rig.left, 0, 1, 50);
    rig.right.plane.remove_child(0x0020_0001).unwrap();
    rig.left.plane.remove_child(0x0010_0001).unwrap();
    carry(&rig.left, &rig.right, 0, 1, 50);

    let traffic = rig.right.plane.tunnel_traffic();
    assert_eq!(traffic.len(), 1);
    assert_eq!(traffic[0].0, TUNNEL);
    assert_eq!(traffic[0].1.packets_in, 7);
    assert_eq!(rig.right.plane.child_traffic().len(), 1);
}

#[test]
#[ignore = "needs root"]
fn where_df_is_ignored_packets_too_large_for_the_path_arrive_by_outer_fragments() {
    let rig = Rig::new("fragment");
    for side in [&rig.left, &rig.right] {
        let settings = TunnelPolicy {
            df_policy: DfPolicy::Ignore,
            ..TunnelPolicy::default()
        };
        side.plane.set_policy(TUNNEL, settings);
    }
    for (slot, outside, udp_encapsulation) in
        [(1, 0, true), (2, 0, false), (3, 1, true), (4, 1, false)]
    {
        rig.connect(slot, GCM, outside, udp_encapsulation);
        // A full packet of the TUN device's 1500 octets.
        carry(&rig.left, &rig.right, 0, 2, 1472);
        carry(&rig.right, &rig.left, 1, 2, 1452);
    }
}

#[test]
#[ignore = "needs root"]
fn a_sender_learns_the_mtu_of_the_tunnel_and_then_its_packets_fit() {
    let rig = Rig::new("toobig");
    rig.connect(1, GCM, 0, true);
    for (family, headers) in [(0, 28), (1, 48)] {
        let sender = rig.left.inside_socket(family);
        sender.connect((rig.right.inside[family], 7000)).unwrap();
        sender.send(&vec![0; 1500 - headers]).unwrap();
        // The answer makes the kernel refuse what it let pass before.
        wait_until("the answer", PATIENCE, || {
            let refused = sender.send(&vec![0; 1500 - headers]).is_err();
            Ok(refused.then_some(()))
        })
        .unwrap();
        assert_eq!(rig.left.plane.tunnel_mtu(TUNNEL), Some(1438));
        let receiver = rig.right.inside_socket(family);
        sender.send(&vec![7; 1438 - headers]).unwrap();
        assert_eq!(receiver.recv(&mut [0; 1500]).unwrap(), 1438 - headers);
    }
    wait_until("drops", PATIENCE, || {
        Ok((rig.left.dropped(DropReason::TooBig) >= 2).then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root"]
fn ipv6_packets_of_its_smallest_mtu_arrive_however_narrow_the_path() {
    let rig = Rig::new("narrow");
    let settings = TunnelPolicy {
        outside_mtu: 1280,
        ..TunnelPolicy::default()
    };
    rig.left.plane.set_policy(TUNNEL, settings);
    rig.connect(1, GCM, 0, true);
    assert!(rig.left.plane.tunnel_mtu(TUNNEL) < Some(1280));
    carry(&rig.left, &rig.right, 1, 2, 1280 - 48);
}

#[test]
#[ignore = "needs root"]
fn a_burst_over_two_sas_arrives_whole_and_each_flow_in_order() {
    let rig = Rig::new("burst");
    let (left, right) = (&rig.left, &rig.right);
    for (family, network) in (0..).zip(INSIDE) {
        let (spi_left, spi_right) = (0x0010_0000 | family, 0x0020_0000 | family);
        let path = left.path_to(right, 0, true);
        left.install_for(&[network], spi_left, spi_right, GCM, path);
        let path = right.path_to(left, 0, true);
        right.install_for(&[network], spi_right, spi_left, GCM, path);
        left.plane.use_outbound(TUNNEL, spi_left).unwrap();
    }
    // Until the neighbour outside is resolved, the kernel drops what its short
    // queue cannot hold.
    carry(left, right, 0, 1, 1);
    carry(left, right, 1, 1, 1);
    let senders = [0, 1].map(|family| left.inside_socket(family));
    let receivers = [0, 1].map(|family| right.inside_socket(family));
    for number in 0..=99 {
        for (sender, to) in senders.iter().zip(right.inside) {
            sender.send_to(&[number], (to, 7000)).unwrap();
        }
    }
    for receiver in receivers {
        for number in 0..=99 {
            let mut datagram = [0; 2];
            assert_eq!(receiver.recv(&mut datagram).unwrap(), 1);
            assert_eq!(datagram[0], number);
        }
    }
    for spi in [0x0020_0000, 0x0020_0001] {
        assert_eq!(right.child(spi).packets_in, 101);
    }
}

#[test]
#[ignore = "needs root"]
fn ike_messages_travel_on_both_ports_and_lose_the_marker() {
    let rig = Rig::new("ike");
    for family in [0, 1] {
        for port in [500, 4500] {
            let local = SocketAddr::from((rig.left.outside[family], port));
            let remote = SocketAddr::from((rig.right.outside[family], port));
            rig.left.plane.send_ike(local, remote, b"message").unwrap();
            assert_eq!(
                rig.right.event(),
                DataPlaneEvent::Ike {
                    local: remote,
                    remote: local,
                    message: b"message".to_vec()
                }
            );
        }
    }
    let [local, remote] =
        [&rig.left, &rig.right].map(|side| SocketAddr::from((side.outside[0], 4500)));
    rig.left.plane.send_nat_keepalive(local, remote).unwrap();
    wait_until("keepalive", PATIENCE, || {
        Ok((rig.right.plane.nat_keepalives() == 1).then_some(()))
    })
    .unwrap();
    let elsewhere = SocketAddr::from(([203, 0, 113, 1], 500));
    assert!(
        rig.left
            .plane
            .send_ike(elsewhere, remote, b"message")
            .is_err()
    );
}
