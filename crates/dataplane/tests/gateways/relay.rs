//! From tunnel to tunnel through one gateway.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use vgw_dataplane::{DropReason, InnerPacket};
use vgw_esp::InboundSa;
use vgw_lab::wait_until;
use vgw_sa::{ChildTraffic, NextHop, Path, TunnelPolicy};

use crate::rig::{Forger, GATEWAY, GCM, PATIENCE, Rig, Side, inner, keys};

/// Sites behind the tunnels 0 and 1.
const SITES: [&str; 2] = ["192.168.0.0/24", "192.168.1.0/24"];
const HOSTS: [[u8; 4]; 2] = [[192, 168, 0, 5], [192, 168, 1, 6]];
/// Inbound SPIs of the hub, by tunnel.
const HUB_SPIS: [u32; 2] = [0x0020_0001, 0x0020_0002];
/// SPIs of the sites, by tunnel.
const SITE_SPIS: [u32; 2] = [0x0010_0001, 0x0010_0002];

/// The right side is the hub; the sites are played by hand on the left.
struct Hub {
    rig: Rig,
    sites: [Site; 2],
}

struct Site {
    forger: Forger,
    socket: UdpSocket,
    sa: InboundSa,
}

impl Hub {
    fn new(name: &str) -> Self {
        let rig = Rig::new(name);
        let hub = &rig.right;
        let sites = [0_u16, 1].map(|number| {
            let tunnel = usize::from(number);
            let port = 6000 + number;
            let path = Path {
                local: (hub.outside[0], 4500).into(),
                remote: (rig.left.outside[0], port).into(),
                udp_encapsulation: true,
            };
            install(hub, u32::from(number), path);
            let forger = Forger::new(&rig, HUB_SPIS[tunnel], port);
            Site {
                socket: forger.socket(),
                forger,
                sa: InboundSa::new(SITE_SPIS[tunnel], GCM, &keys(SITE_SPIS[tunnel], GCM), 64)
                    .unwrap(),
            }
        });
        let routes = (0..)
            .zip(SITES)
            .map(|(tunnel, site)| (site.parse().unwrap(), NextHop::from(GATEWAY.tunnel(tunnel))));
        hub.plane.set_forwarding(GATEWAY, routes.collect());
        hub.plane.set_site_to_site(GATEWAY, true);
        Self { rig, sites }
    }

    fn send(&self, from: usize, packet: &[u8]) {
        let forger = &self.sites[from].forger;
        forger.send(&forger.seal(packet, 4));
    }

    /// The next packet that arrives at a site.
    fn receive(&self, at: usize) -> Vec<u8> {
        let site = &self.sites[at];
        let mut packet = vec![0; 2000];
        let len = site.socket.recv(&mut packet).unwrap();
        packet.truncate(len);
        let opened = site.sa.opener().open(&mut packet).unwrap();
        packet[opened.inner].to_vec()
    }
}

fn install(hub: &Side, tunnel: u32, path: Path) {
    let id = GATEWAY.tunnel(tunnel);
    let at = usize::try_from(tunnel).unwrap();
    let (spi_in, spi_out) = (HUB_SPIS[at], SITE_SPIS[at]);
    hub.install_in(id, &["0.0.0.0/0"], spi_in, spi_out, GCM, path);
    hub.plane.use_outbound(id, spi_in).unwrap();
}

/// A packet between the sites with this TTL, and `len` octets of UDP payload.
fn packet(from: usize, to: usize, ttl: u8, dont_fragment: bool, len: usize) -> Vec<u8> {
    let mut packet = inner(HOSTS[from], HOSTS[to]);
    packet.resize(28 + len, 0x5A);
    packet[2..4].copy_from_slice(&u16::try_from(28 + len).unwrap().to_be_bytes());
    packet[6] = if dont_fragment { 0x40 } else { 0 };
    packet[8] = ttl;
    packet[10..12].fill(0);
    let sum: u32 = packet[..20]
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let checksum = !u16::try_from(sum).unwrap();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn source(packet: &[u8]) -> IpAddr {
    InnerPacket::parse(packet).unwrap().source()
}

#[test]
#[ignore = "needs root"]
fn a_packet_for_another_site_arrives_there_one_hop_older_and_never_on_the_tun_device() {
    let hub = Hub::new("relay");
    for (from, to) in [(0, 1), (1, 0)] {
        for number in 1..20 {
            hub.send(from, &packet(from, to, 64, false, 10 * number));
        }
        for number in 1..20 {
            assert_eq!(hub.receive(to), packet(from, to, 63, false, 10 * number));
        }
    }
    // What was sent is counted after it was sent.
    wait_until("counters", PATIENCE, || {
        let counted = HUB_SPIS.map(|spi| hub.rig.right.child(spi));
        let all = |child: &ChildTraffic| (child.packets_in, child.packets_out) == (19, 19);
        Ok(counted.iter().all(all).then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root"]
fn no_site_speaks_as_another_or_as_the_vpc_unless_its_sources_are_not_checked() {
    let hub = Hub::new("spoof");
    let plane = &hub.rig.right.plane;
    let as_the_other = packet(1, 1, 64, false, 10);
    hub.send(0, &as_the_other);
    let vpc = hub.rig.right.inside[0];
    let IpAddr::V4(vpc) = vpc else {
        panic!("{vpc} is no IPv4 address");
    };
    hub.send(0, &inner(vpc.octets(), HOSTS[1]));
    hub.send(0, &inner([8, 8, 8, 8], HOSTS[1]));
    hub.rig.right.await_drops(DropReason::SourceNotRouted, 3);
    let [example] = plane.misplaced()[..] else {
        panic!("{:?}", plane.misplaced());
    };
    assert_eq!(
        (example.reason, example.tunnel),
        (DropReason::SourceNotRouted, GATEWAY.tunnel(0))
    );
    assert_eq!(example.source, source(&as_the_other));

    // What is routed to either tunnel of a connection may come by both.
    let hops = [(0, None), (1, Some(0))].map(|(carrier, standby)| NextHop {
        carrier: GATEWAY.tunnel(carrier),
        standby: standby.map(|number| GATEWAY.tunnel(number)),
    });
    let routes = SITES
        .map(|site| site.parse().unwrap())
        .into_iter()
        .zip(hops);
    plane.set_forwarding(GATEWAY, routes.collect());
    hub.send(0, &as_the_other);
    assert_eq!(source(&hub.receive(1)), IpAddr::from(HOSTS[1]));

    let unchecked = TunnelPolicy {
        source_check: false,
        ..TunnelPolicy::default()
    };
    plane.set_policy(GATEWAY.tunnel(0), unchecked);
    hub.send(0, &inner([8, 8, 8, 8], HOSTS[1]));
    assert_eq!(source(&hub.receive(1)), IpAddr::from([8, 8, 8, 8]));
    assert_eq!(hub.rig.right.dropped(DropReason::SourceNotRouted), 3);
}

#[test]
#[ignore = "needs root"]
fn what_may_not_be_relayed_is_dropped_with_its_reason() {
    let hub = Hub::new("norelay");
    let plane = &hub.rig.right;
    // Back to where it came from.
    hub.send(0, &packet(0, 0, 64, false, 10));
    plane.await_drops(DropReason::UnknownDestination, 1);
    // To nowhere.
    hub.send(0, &inner(HOSTS[0], [172, 16, 0, 1]));
    plane.await_drops(DropReason::UnknownDestination, 2);
    // With a tunnel that has no SA.
    plane.plane.remove_child(HUB_SPIS[1]).unwrap();
    hub.send(0, &packet(0, 1, 64, false, 10));
    plane.await_drops(DropReason::NoSa, 1);
    // When it is not allowed at all.
    plane.plane.set_site_to_site(GATEWAY, false);
    hub.send(0, &packet(0, 1, 64, false, 10));
    plane.await_drops(DropReason::UnknownDestination, 3);
}

#[test]
#[ignore = "needs root"]
fn the_sender_learns_that_its_packet_was_too_large_or_too_old() {
    let hub = Hub::new("relayicmp");
    for (sent, kind, why) in [
        (packet(0, 1, 64, true, 1411), [3, 4], DropReason::TooBig),
        (packet(0, 1, 1, false, 10), [11, 0], DropReason::HopLimit),
    ] {
        hub.send(0, &sent);
        let answer = hub.receive(0);
        assert_eq!(source(&answer), IpAddr::from(Ipv4Addr::from(HOSTS[1])));
        assert_eq!(answer[20..22], kind);
        hub.rig.right.await_drops(why, 1);
    }
    // One octet less fits.
    hub.send(0, &packet(0, 1, 64, true, 1410));
    assert_eq!(hub.receive(1), packet(0, 1, 63, true, 1410));
}

#[test]
#[ignore = "needs root"]
fn a_full_socket_costs_what_is_relayed_by_it_and_nothing_else() {
    const BATCH: u64 = 30;
    let hub = Hub::new("relayfull");
    let right = &hub.rig.right;
    let path = Path {
        local: (right.outside[0], 4500).into(),
        remote: right.silent_neighbour(),
        udp_encapsulation: true,
    };
    right.plane.set_path(GATEWAY.tunnel(1), path).unwrap();
    let mut offered = 0;
    let mut send_batch = || {
        for _ in 0..BATCH {
            hub.send(0, &packet(0, 1, 64, false, 1300));
        }
        offered += BATCH;
        wait_until(
            "each packet to be sent or counted as lost",
            PATIENCE,
            || {
                let lost = right.dropped(DropReason::SendFull);
                let sent = right.child(HUB_SPIS[1]).packets_out;
                Ok((sent + lost == offered).then_some(lost))
            },
        )
        .unwrap()
    };
    assert!((0..1000).map(|_| send_batch()).any(|lost| lost > 0));
    // By the worker whose packets find no room.
    let IpAddr::V4(inside) = right.inside[0] else {
        panic!("the first inside address is of IPv4");
    };
    let receiver = right.inside_socket(0);
    for _ in 0..10 {
        let before = right.dropped(DropReason::SendFull);
        assert_eq!(send_batch(), before + BATCH);
        hub.send(0, &inner(HOSTS[0], inside.octets()));
        assert_eq!(receiver.recv(&mut [0; 100]).unwrap(), 4);
    }
    right.hear_of_neighbour();
    let before = right.dropped(DropReason::SendFull);
    assert_eq!(send_batch(), before);
}

#[test]
#[ignore = "needs root"]
fn a_tunnel_beyond_its_rate_is_held_to_it_and_the_other_is_not() {
    let hub = Hub::new("rate");
    let plane = &hub.rig.right;
    let limited = TunnelPolicy {
        bandwidth_limit: Some(8_000),
        ..TunnelPolicy::default()
    };
    plane.plane.set_policy(GATEWAY.tunnel(0), limited);
    // The burst that a limit always lets pass is 128 KiB.
    for _ in 0..130 {
        hub.send(0, &packet(0, 1, 64, false, 1300));
    }
    hub.send(1, &packet(1, 0, 64, false, 10));
    assert_eq!(hub.receive(0), packet(1, 0, 63, false, 10));
    wait_until("drops", PATIENCE, || {
        Ok((plane.dropped(DropReason::OverRate) >= 20).then_some(()))
    })
    .unwrap();
    for _ in 0..50 {
        assert_eq!(
            source(&hub.receive(1)),
            IpAddr::from(Ipv4Addr::from(HOSTS[0]))
        );
    }
}
