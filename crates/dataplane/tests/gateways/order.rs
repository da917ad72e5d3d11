//! In which order the packets of one SA leave, and arrive.

use std::net::SocketAddr;
use std::thread;

use vgw_dataplane::{DropReason, Features};
use vgw_lab::{Namespace, wait_until};
use vgw_sa::Path;

use crate::device::Device;
use crate::rig::{Forger, GATEWAY, GCM, PATIENCE, Rig, Side, inner};

/// Flows that share a tunnel.
const FLOWS: u16 = 8;
/// Datagrams of each.
const DATAGRAMS: u16 = 4000;
/// More workers than cores, so that the scheduler interrupts them anywhere.
const WORKERS: usize = 4;
/// Anti-replay windows of peers: Linux and strongSwan, Cisco and Juniper, ours.
const WINDOWS: [u64; 3] = [32, 64, 1024];

const ETHERNET: usize = 14;
const UDP: u8 = 17;
const ESP: u8 = 50;

/// The sequence numbers of an SA in the order in which they pass a device, until an
/// NAT keepalive passes, which ends the test.
fn numbers(wire: &Device, spi: u32) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let (header, frame) = wire.receive();
        let Some([0x45, .., protocol]) = frame.get(ETHERNET..ETHERNET + 10) else {
            continue;
        };
        let payload = &frame[ETHERNET + 20..];
        let esp = match *protocol {
            UDP if payload[8..] == [0xFF] => return numbers,
            UDP => &payload[8..],
            ESP => payload,
            _ => continue,
        };
        // The kernel cuts a message of several packets later.
        let step = match usize::from(header.gso_size) {
            0 => esp.len(),
            size => size,
        };
        for packet in esp.chunks(step) {
            if packet[..4] == spi.to_be_bytes() {
                let number = u32::from_be_bytes(packet[4..8].try_into().unwrap());
                numbers.push(number.into());
            }
        }
    }
}

/// Packets that a receiver drops, which has a window of this size.
fn late(numbers: &[u64], window: u64) -> usize {
    let mut top = 0;
    let late = numbers.iter().filter(|&&number| {
        top = top.max(number);
        top - number >= window
    });
    late.count()
}

fn wire(namespace: &Namespace) -> Device {
    let wire = Device::open(namespace, "out", libc::ETH_P_ALL);
    wire.set_room(256 << 20);
    wire
}

/// What left in its order, and how much of it arrived too late.
fn check(name: &str, left: &[u64], arrived: &[u64]) {
    let late = WINDOWS.map(|window| late(arrived, window));
    let disorder = left.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    println!(
        "{name}: {} packets left, {disorder} times a lower number after a higher; \
         of {} seen to arrive, too late for windows of {WINDOWS:?}: {late:?}",
        left.len(),
        arrived.len()
    );
    assert!(left.len() > 100);
    assert_eq!(disorder, 0);
    assert_eq!(late[0], 0);
}

/// Packets of a side that are sent or dropped on the way out.
fn gone(side: &Side, spi: u32) -> u64 {
    let dropped = [
        DropReason::TunReadFull,
        DropReason::HandoverFull,
        DropReason::SendFull,
        DropReason::ReceiveFull,
    ];
    let dropped: u64 = dropped.iter().map(|reason| side.dropped(*reason)).sum();
    side.child(spi).packets_out + dropped
}

fn await_gone(side: &Side, spi: u32, count: u64) {
    wait_until("everything to be sent", PATIENCE, || {
        Ok((gone(side, spi) >= count).then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root"]
fn eight_flows_in_one_tunnel_leave_in_order_and_arrive_within_the_smallest_window() {
    for udp_encapsulation in [true, false] {
        let rig = Rig::with("order", Features::ALL, WORKERS);
        rig.connect(1, GCM, 0, udp_encapsulation);
        let Rig { left, right } = &rig;
        let to = SocketAddr::from((right.inside[0], 7000));
        let receiver = right.inside_socket(0);
        let sockets: Vec<_> = (0..FLOWS)
            .map(|flow| left.socket((left.inside[0], 8000 + flow).into()))
            .collect();
        // Resolves the neighbour outside.
        sockets[0].send_to(b"first", to).unwrap();
        receiver.recv(&mut [0; 8]).unwrap();
        let wires = [left, right].map(|side| wire(&side.namespace));
        let [left_by, arrived] = thread::scope(|scope| {
            let readers = wires.map(|wire| scope.spawn(move || numbers(&wire, 0x0020_0001)));
            let senders: Vec<_> = sockets
                .iter()
                .map(|socket| {
                    scope.spawn(move || {
                        for number in 0..DATAGRAMS {
                            let len = 100 + usize::from(number % 3) * 400;
                            socket.send_to(&[0; 900][..len], to).unwrap();
                        }
                    })
                })
                .collect();
            for sender in senders {
                sender.join().unwrap();
            }
            let sent = 1 + u64::from(FLOWS) * u64::from(DATAGRAMS);
            await_gone(left, 0x0010_0001, sent);
            let path = left.path_to(right, 0, true);
            left.plane
                .send_nat_keepalive(path.local, path.remote)
                .unwrap();
            readers.map(|reader| reader.join().unwrap())
        });
        let name = if udp_encapsulation { "UDP" } else { "native" };
        check(name, &left_by, &arrived);
    }
}

#[test]
#[ignore = "needs root"]
fn what_several_workers_relay_into_one_tunnel_and_the_vpc_sends_leaves_in_order() {
    const SITE: [u8; 4] = [192, 168, 99, 1];
    const PACKETS: usize = 1500;
    let target = u32::from(FLOWS);
    let (spi_in, spi_out) = (0x0020_0100 | target, 0x0010_0100 | target);
    for udp_encapsulation in [true, false] {
        let rig = Rig::with("relayorder", Features::ALL, WORKERS);
        let Rig { left, right: hub } = &rig;
        let path = |port: u16, udp_encapsulation| Path {
            local: (hub.outside[0], 4500).into(),
            remote: (left.outside[0], port).into(),
            udp_encapsulation,
        };
        // Sites by different ports, which the kernel spreads over the workers.
        let sites: Vec<_> = (0..FLOWS)
            .map(|number| {
                let (tunnel, port) = (u32::from(number), 6000 + number);
                let spi = 0x0020_0100 | tunnel;
                let any = &["0.0.0.0/0"];
                hub.install_in(
                    GATEWAY.tunnel(tunnel),
                    any,
                    spi,
                    0x0010_0100 | tunnel,
                    GCM,
                    path(port, true),
                );
                Forger::new(&rig, spi, port)
            })
            .collect();
        let _peer = left.socket((left.outside[0], 7100).into());
        hub.install_in(
            GATEWAY.tunnel(target),
            &["0.0.0.0/0"],
            spi_in,
            spi_out,
            GCM,
            path(7100, udp_encapsulation),
        );
        hub.plane
            .use_outbound(GATEWAY.tunnel(target), spi_in)
            .unwrap();
        // The VPC's packets for it come by the route of the TUN device's own network.
        let vpc = [10, 9, 0, 77];
        let routes = [
            ("192.168.99.0/24".to_owned(), target),
            ("10.9.0.77/32".to_owned(), target),
        ];
        let behind = (0..target).map(|tunnel| (format!("192.168.{tunnel}.0/24"), tunnel));
        let routes = behind.chain(routes);
        let routes =
            routes.map(|(net, tunnel)| (net.parse().unwrap(), GATEWAY.tunnel(tunnel).into()));
        hub.plane.set_forwarding(GATEWAY, routes.collect());
        hub.plane.set_site_to_site(GATEWAY, true);
        let sealed: Vec<Vec<_>> = (0..)
            .zip(&sites)
            .map(|(number, site)| {
                let packet = inner([192, 168, number, 5], SITE);
                (0..PACKETS).map(|_| site.seal(&packet, 4)).collect()
            })
            .collect();
        let local = hub.inside_socket(0);
        local
            .send_to(b"first", SocketAddr::from((vpc, 7000)))
            .unwrap();
        await_gone(hub, spi_in, 1);
        let wires = [hub, left].map(|side| wire(&side.namespace));
        let [left_by, arrived] = thread::scope(|scope| {
            let readers = wires.map(|wire| scope.spawn(move || numbers(&wire, spi_out)));
            let mut senders: Vec<_> = sites
                .iter()
                .zip(&sealed)
                .map(|(site, sealed)| {
                    scope.spawn(move || sealed.iter().for_each(|packet| site.send(packet)))
                })
                .collect();
            senders.push(scope.spawn(|| {
                for _ in 0..PACKETS {
                    let to = SocketAddr::from((vpc, 7000));
                    local.send_to(b"from the VPC", to).unwrap();
                }
            }));
            for sender in senders {
                sender.join().unwrap();
            }
            let sent = 1 + (sites.len() + 1) * PACKETS;
            await_gone(hub, spi_in, u64::try_from(sent).unwrap());
            let path = path(7100, true);
            hub.plane
                .send_nat_keepalive(path.local, path.remote)
                .unwrap();
            readers.map(|reader| reader.join().unwrap())
        });
        let name = if udp_encapsulation {
            "relay, UDP"
        } else {
            "relay, native"
        };
        check(name, &left_by, &arrived);
    }
}
