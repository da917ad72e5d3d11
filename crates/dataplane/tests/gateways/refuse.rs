//! What must not get through, each with its reason.

use std::net::SocketAddr;

use ipnet::IpNet;
use vgw_dataplane::{DataPlaneEvent, DropReason, SeenPath};
use vgw_sa::{ChildSa, GatewayId, HostService, InsideAddress, Transport, TunnelId};

use crate::rig::{Forger, GATEWAY, GCM, Rig, TUNNEL, inner};

const SPI: u32 = 0x0020_0001;
const LEFT: [u8; 4] = [10, 9, 0, 1];
const RIGHT: [u8; 4] = [10, 9, 0, 2];

#[test]
#[ignore = "needs root"]
fn every_packet_that_is_not_as_negotiated_is_dropped_with_its_reason() {
    let rig = Rig::new("refuse");
    rig.connect(1, GCM, 0, true);
    let forger = Forger::new(&rig, SPI, 4600);
    let right = &rig.right;

    // One good packet shows that the forger's others fail for their own reason.
    let good = forger.seal(&inner(LEFT, RIGHT), 4);
    let receiver = right.inside_socket(0);
    forger.send(&good);
    let mut buffer = [0; 100];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);

    forger.send(&good);
    right.await_drops(DropReason::Replayed, 1);

    let mut altered = forger.seal(&inner(LEFT, RIGHT), 4);
    altered[20] ^= 1;
    forger.send(&altered);
    right.await_drops(DropReason::NotAuthentic, 1);

    let mut stranger = forger.seal(&inner(LEFT, RIGHT), 4);
    stranger[0] ^= 0x40;
    forger.send(&stranger);
    right.await_drops(DropReason::UnknownSpi, 1);

    forger.send(&forger.seal(&inner([10, 8, 0, 1], RIGHT), 4));
    right.await_drops(DropReason::SourceNotAllowed, 1);

    forger.send(&forger.seal(&inner(LEFT, [10, 8, 0, 1]), 4));
    right.await_drops(DropReason::OutsideSelectors, 1);

    forger.send(&forger.seal(&inner(LEFT, [10, 9, 0, 77]), 4));
    right.await_drops(DropReason::UnknownDestination, 1);

    forger.send(&forger.seal(&[], 59));
    right.await_drops(DropReason::Dummy, 1);

    forger.send(&forger.seal(&inner(LEFT, RIGHT), 41));
    right.await_drops(DropReason::BadNextHeader, 1);

    let malformed: [&[u8]; 3] = [&forger.seal(&inner(LEFT, RIGHT)[..31], 4), &good[..3], &[1]];
    for packet in malformed {
        forger.send(packet);
    }
    right.await_drops(DropReason::Malformed, 3);

    // The authentic packets, also those dropped for what is in them, are the
    // SA's traffic.
    assert_eq!(right.child(SPI).packets_in, 5);
}

#[test]
#[ignore = "needs root"]
fn the_gateway_s_own_host_is_open_for_what_is_configured_and_no_tunnel_reaches_another_s_address() {
    let rig = Rig::new("host");
    rig.connect(1, GCM, 0, true);
    let forger = Forger::new(&rig, SPI, 4600);
    let right = &rig.right;
    let receiver = right.inside_socket(0);
    let mut buffer = [0; 100];
    let send = || forger.send(&forger.seal(&inner(LEFT, RIGHT), 4));

    let host = vec![IpNet::from(right.inside[0])];
    right.plane.set_host_addresses(GATEWAY, host);
    send();
    right.await_drops(DropReason::HostClosed, 1);

    let open = HostService::Ports {
        protocol: Transport::Udp,
        first: 7000,
        last: 7000,
    };
    right.plane.set_host_services(GATEWAY, vec![open]);
    send();
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);

    let inside = |tunnel: TunnelId| InsideAddress {
        ours: right.inside[0],
        peer: rig.left.inside[0],
        tunnels: tunnel.into(),
    };
    for service in [open, HostService::All] {
        right.plane.set_host_services(GATEWAY, vec![service]);
        let of_tunnel = |tunnel| vec![(GATEWAY.inside(right.inside[0]), Some(inside(tunnel)))];
        right.plane.change_inside_addresses(of_tunnel(TUNNEL));
        send();
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
        let before = right.dropped(DropReason::HostClosed);
        right
            .plane
            .change_inside_addresses(of_tunnel(GATEWAY.tunnel(1)));
        send();
        right.await_drops(DropReason::HostClosed, before + 1);
    }
}

#[test]
#[ignore = "needs root"]
fn the_newest_authentic_packet_from_elsewhere_is_news_and_an_older_one_is_not() {
    let rig = Rig::new("path");
    rig.connect(1, GCM, 0, true);
    let forger = Forger::new(&rig, SPI, 4600);
    let old = forger.seal(&inner(LEFT, RIGHT), 4);
    let new = forger.seal(&inner(LEFT, RIGHT), 4);
    let elsewhere = SocketAddr::from((rig.left.outside[0], 4600));
    let news = [SeenPath {
        spi_in: SPI,
        remote: elsewhere,
    }];
    forger.send(&new);
    assert_eq!(rig.right.event(), DataPlaneEvent::PathsSeen);
    assert_eq!(rig.right.plane.take_paths(), news);

    // The older packet, and a newer one once the path has followed, tell nothing.
    forger.send(&old);
    let mut path = rig.right.path_to(&rig.left, 0, true);
    path.remote = elsewhere;
    let receiver = rig.right.inside_socket(0);
    forger.send(&forger.seal(&inner(LEFT, RIGHT), 4));
    assert_eq!(rig.right.event(), DataPlaneEvent::PathsSeen);
    rig.right.plane.set_path(TUNNEL, path).unwrap();
    assert_eq!(rig.right.plane.take_paths(), news);
    forger.send(&forger.seal(&inner(LEFT, RIGHT), 4));
    let mut buffer = [0; 100];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
    assert!(rig.right.events.try_recv().is_err());
    assert_eq!(rig.right.plane.take_paths(), []);
}

#[test]
#[ignore = "needs root"]
fn a_peer_that_changes_its_port_with_every_packet_is_one_event_and_one_path() {
    const PACKETS: u16 = 200;
    let rig = Rig::new("ports");
    rig.connect(1, GCM, 0, true);
    let forger = Forger::new(&rig, SPI, 4600);
    let receiver = rig.right.inside_socket(0);
    for port in 10_000..10_000 + PACKETS {
        let sender = rig.left.socket((rig.left.outside[0], port).into());
        let to = (rig.right.outside[0], 4500);
        let packet = forger.seal(&inner(LEFT, RIGHT), 4);
        sender.send_to(&packet, to).unwrap();
    }
    // A packet's path is noted before the packet is delivered.
    let mut buffer = [0; 100];
    for _ in 0..PACKETS {
        receiver.recv(&mut buffer).unwrap();
    }
    assert_eq!(rig.right.event(), DataPlaneEvent::PathsSeen);
    assert!(rig.right.events.try_recv().is_err());
    let newest = SeenPath {
        spi_in: SPI,
        remote: (rig.left.outside[0], 10_000 + PACKETS - 1).into(),
    };
    assert_eq!(rig.right.plane.take_paths(), [newest]);
}

#[test]
#[ignore = "needs root"]
fn packets_without_a_way_out_are_dropped_with_their_reason() {
    let rig = Rig::new("noway");
    let left = &rig.left;
    let sender = left.inside_socket(0);
    let send = || {
        sender
            .send_to(b"data", (rig.right.inside[0], 7000))
            .unwrap()
    };
    send();
    left.await_drops(DropReason::NoSa, 1);

    rig.connect(1, GCM, 0, true);
    left.plane.set_forwarding(GATEWAY, Vec::new());
    let before = left.dropped(DropReason::NoRoute);
    send();
    vgw_lab::wait_until("no_route", crate::rig::PATIENCE, || {
        Ok((left.dropped(DropReason::NoRoute) > before).then_some(()))
    })
    .unwrap();
    assert_eq!(left.child(0x0010_0001).packets_out, 0);
}

#[test]
#[ignore = "needs root"]
fn an_sa_is_refused_whose_slot_is_taken_whose_path_starts_nowhere_or_whose_gateway_has_no_device() {
    use vgw_dataplane::ControlError;

    let rig = Rig::new("control");
    rig.connect(1, GCM, 0, true);
    let path = rig.right.path_to(&rig.left, 0, true);
    let child = |path| ChildSa {
        spi_in: 0x0FE0_0001,
        spi_out: 1,
        suite: GCM,
        keys_in: crate::rig::keys(1, GCM),
        keys_out: crate::rig::keys(2, GCM),
        local_selectors: Vec::new(),
        remote_selectors: Vec::new(),
        path,
    };
    let taken = rig.right.plane.install_child(TUNNEL, child(path), 64);
    assert!(matches!(
        taken,
        Err(ControlError::SlotTaken { taken_by: SPI, .. })
    ));
    let mut nowhere = path;
    nowhere.local = SocketAddr::from(([203, 0, 113, 1], 4500));
    let refused = rig.right.plane.install_child(TUNNEL, child(nowhere), 64);
    assert!(matches!(refused, Err(ControlError::NoOutsideAddress(_))));
    let elsewhere = GatewayId(1).tunnel(0);
    let refused = rig.right.plane.install_child(elsewhere, child(path), 64);
    assert!(matches!(refused, Err(ControlError::NoDevice(1))));
    assert!(matches!(
        rig.right.plane.remove_child(0x0FE0_0001),
        Err(ControlError::UnknownChild(0x0FE0_0001))
    ));
    assert!(matches!(
        rig.right.plane.use_outbound(GATEWAY.tunnel(1), SPI),
        Err(ControlError::UnknownChild(SPI))
    ));
}
