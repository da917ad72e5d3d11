//! A change of the tables counts for every packet that comes after it.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use vgw_dataplane::{DataPlaneEvent, DropReason, Features};
use vgw_lab::wait_until;

use crate::rig::{GATEWAY, GCM, PATIENCE, Rig, TUNNEL};

/// Changes that are made while other packets keep the worker busy.
const CHANGES: usize = 2000;
/// Packets of another flow before each.
const NOISE: usize = 100;

#[test]
#[ignore = "needs root"]
fn an_sa_that_is_installed_before_its_packet_is_read_opens_it() {
    let rig = Rig::with("installed", Features::ALL, 1);
    let Rig { left, right } = &rig;
    let (spi_left, spi_right) = (0x0010_0001, 0x0020_0001);
    left.install(spi_left, spi_right, GCM, left.path_to(right, 0, false));
    left.plane.use_outbound(TUNNEL, spi_left).unwrap();
    let [local, remote] = [left, right].map(|side| SocketAddr::from((side.outside[0], 4500)));
    let say = |message: &[u8]| left.plane.send_ike(local, remote, message).unwrap();
    let heard = || match right.event() {
        DataPlaneEvent::Ike { message, .. } => message,
        other => panic!("{other:?}"),
    };
    let go_on = right.hold_after_events();
    say(b"first");
    assert_eq!(heard(), b"first");
    // Both sockets become ready while the only worker is held up, so it takes both
    // in one round, that of the IKE message first.
    say(b"second");
    left.inside_socket(0)
        .send_to(b"data", (right.inside[0], 7000))
        .unwrap();
    wait_until("the packet to be sent", PATIENCE, || {
        Ok((left.child(spi_left).packets_out == 1).then_some(()))
    })
    .unwrap();
    go_on.send(()).unwrap();
    assert_eq!(heard(), b"second");
    // The round has begun, and the packet is not read yet.
    right.install(spi_right, spi_left, GCM, right.path_to(left, 0, false));
    drop(go_on);
    wait_until("the packet to be read", PATIENCE, || {
        let opened = right.child(spi_right).packets_in;
        let unknown = right.dropped(DropReason::UnknownSpi);
        Ok((opened + unknown == 1).then_some(()))
    })
    .unwrap();
    assert_eq!(right.child(spi_right).packets_in, 1);
}

#[test]
#[ignore = "needs root"]
fn a_route_that_is_changed_before_a_packet_is_sent_counts_for_it() {
    let rig = Rig::with("changed", Features::ALL, 1);
    rig.connect(1, GCM, 0, true);
    let Rig { left, right } = &rig;
    let (spi_left, spi_right) = (0x0010_0002, 0x0020_0002);
    let (other, path) = (&["10.8.0.0/24"], left.path_to(right, 0, true));
    left.install_in(GATEWAY.tunnel(2), other, spi_left, spi_right, GCM, path);
    left.plane
        .use_outbound(GATEWAY.tunnel(2), spi_left)
        .unwrap();
    // What becomes of a packet in tunnel 1 and in tunnel 2.
    let reasons = [DropReason::NoSa, DropReason::OutsideSelectors];
    let counted = || reasons.map(|reason| left.dropped(reason));
    let busy = "10.9.0.2/32".parse().unwrap();
    let changed = "10.9.0.77/32".parse().unwrap();
    let noise = left.socket((left.inside[0], 7001).into());
    let noise_to = SocketAddr::from((right.inside[0], 7001));
    let socket = left.inside_socket(0);
    let mut expected = counted();
    for change in 0..CHANGES {
        // The worker is in the middle of a burst when the route changes.
        for _ in 0..NOISE {
            noise.send_to(b"noise", noise_to).unwrap();
        }
        let (index, tunnel) = [(0, GATEWAY.tunnel(1)), (1, GATEWAY.tunnel(2))][change % 2];
        let routes = vec![(busy, TUNNEL.into()), (changed, tunnel.into())];
        left.plane.set_forwarding(GATEWAY, routes);
        let before: u64 = counted().iter().sum();
        socket.send_to(b"data", "10.9.0.77:7000").unwrap();
        expected[index] += 1;
        let start = Instant::now();
        while counted().iter().sum::<u64>() == before && start.elapsed() < PATIENCE {
            thread::yield_now();
        }
        assert_eq!(counted(), expected, "change {change}");
    }
}
