//! What happens when the surroundings fail.

use std::net::{SocketAddr, UdpSocket};
use std::panic::resume_unwind;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use vgw_dataplane::{Config, DataPlane, DataPlaneEvent, DropReason, Features, Tun};
use vgw_lab::{Lab, wait_until};

use crate::features::transfer;
use crate::rig::{GATEWAY, GCM, PATIENCE, Rig, TUNNEL, open};

#[test]
#[ignore = "needs root"]
fn a_deleted_tun_device_is_reported_as_a_failure() {
    let rig = Rig::new("gone");
    rig.left.ip_link(&["delete", "tun0"]);
    assert_eq!(
        rig.left.event(),
        DataPlaneEvent::Failed {
            what: "TUN device tun0 is gone".to_owned()
        }
    );
}

#[test]
#[ignore = "needs root"]
fn dropping_a_data_plane_gives_its_addresses_and_its_device_back() {
    let Rig {
        left,
        right: _cable,
    } = Rig::new("again");
    drop(left.plane);
    let config = left.namespace.run(|| open(left.outside, Features::ALL, 2));
    assert_eq!(config.unwrap().tun.name(), "tun0");
}

#[test]
#[ignore = "needs root"]
fn a_send_that_the_kernel_refuses_is_counted_and_the_next_one_goes() {
    let rig = Rig::new("unreachable");
    rig.connect(1, GCM, 0, true);
    let sender = rig.left.inside_socket(0);
    let receiver = rig.right.inside_socket(0);
    let send = || {
        sender
            .send_to(b"data", (rig.right.inside[0], 7000))
            .unwrap()
    };
    let good = rig.left.path_to(&rig.right, 0, true);
    for (count, udp_encapsulation) in [(1, true), (2, false)] {
        let mut path = good;
        path.remote = SocketAddr::from(([203, 0, 113, 1], 4500));
        path.udp_encapsulation = udp_encapsulation;
        rig.left.plane.set_path(TUNNEL, path).unwrap();
        send();
        rig.left.await_drops(DropReason::SendFailed, count);
    }
    rig.left.plane.set_path(TUNNEL, good).unwrap();
    send();
    let mut buffer = [0; 100];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
}

#[test]
#[ignore = "needs root"]
fn packets_for_a_tun_device_that_is_down_are_counted_and_later_ones_arrive() {
    let rig = Rig::new("down");
    rig.connect(1, GCM, 0, true);
    let sender = rig.left.inside_socket(0);
    let receiver = rig.right.inside_socket(0);
    let send = || {
        sender
            .send_to(b"data", (rig.right.inside[0], 7000))
            .unwrap()
    };
    rig.right.ip_link(&["set", "tun0", "down"]);
    send();
    rig.right.await_drops(DropReason::TunWrite, 1);
    // Ten datagrams that the device gets as one.
    setsockopt(&sender, UdpGsoSegment, &100).unwrap();
    sender
        .send_to(&[7; 1000], (rig.right.inside[0], 7000))
        .unwrap();
    rig.right.await_drops(DropReason::TunWrite, 11);
    rig.right.ip_link(&["set", "tun0", "up"]);
    send();
    let mut buffer = [0; 100];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
}

/// Has this system call fail, where its third argument is at least so much, in the
/// calling thread and those that it starts.
#[allow(unsafe_code, reason = "no safe wrapper of seccomp filters is at hand")]
fn refuse(call: libc::c_long, least: u32, errno: i32) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_UNLESS_LESS: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7FFF_0000;
    const FAIL: u32 = 0x0005_0000;
    /// Where the low half of the third argument lies in `struct seccomp_data`.
    const THIRD: u32 = 32;
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let errno = u32::try_from(errno).unwrap();
    let mut program = [
        // The call's number.
        step(LOAD, 0, 0),
        step(JUMP_IF_EQUAL, 3, u32::try_from(call).unwrap()),
        step(LOAD, 0, THIRD),
        step(JUMP_UNLESS_LESS, 1, least),
        step(RETURN, 0, FAIL | errno),
        step(RETURN, 0, ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel reads the program, of the length given, during the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
#[ignore = "needs root"]
fn joined_packets_that_the_kernel_refuses_go_one_by_one_and_later_ones_are_not_joined() {
    let test = std::thread::spawn(move || {
        // A header and one packet are two parts; what is joined has more.
        refuse(libc::SYS_writev, 3, libc::EINVAL);
        let rig = Rig::new("unjoined");
        rig.connect(1, GCM, 0, true);
        let mut counted = [0; 2];
        for counted in &mut counted {
            transfer(&rig.left, &rig.right, 0);
            *counted = rig.right.refused_batches("tun_write");
        }
        assert!(counted[0] > 0);
        assert_eq!(counted[0], counted[1]);
        assert_eq!(rig.right.dropped(DropReason::TunWrite), 0);
    });
    if let Err(panic) = test.join() {
        resume_unwind(panic);
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_socket_costs_its_own_packets_alone_and_has_room_again() {
    const PACKET: usize = 1400;
    const BATCH: usize = 40;
    let rig = Rig::new("full");
    let Rig { left, right } = &rig;
    rig.connect(1, GCM, 1, true);
    let spi = 0x0010_0002;
    let mut path = left.path_to(right, 0, true);
    path.remote = left.silent_neighbour();
    left.install_in(
        GATEWAY.tunnel(1),
        &["0.0.0.0/0"],
        spi,
        0x0020_0002,
        GCM,
        path,
    );
    left.plane.use_outbound(GATEWAY.tunnel(1), spi).unwrap();
    let routes = [("10.9.0.2/32", TUNNEL), ("10.9.0.77/32", GATEWAY.tunnel(1))];
    let routes = routes.map(|(net, tunnel)| (net.parse().unwrap(), tunnel.into()));
    left.plane.set_forwarding(GATEWAY, routes.into());

    let sender = left.socket((left.inside[0], 7001).into());
    setsockopt(&sender, UdpGsoSegment, &i32::try_from(PACKET).unwrap()).unwrap();
    let mut offered = 0;
    let mut send_batch = || {
        let to = SocketAddr::from(([10, 9, 0, 77], 7001));
        sender.send_to(&[0; BATCH * PACKET], to).unwrap();
        offered += u64::try_from(BATCH).unwrap();
        wait_until(
            "each packet to be sent or counted as lost",
            PATIENCE,
            || {
                let lost = left.dropped(DropReason::SendFull);
                let sent = left.child(spi).packets_out;
                Ok((sent + lost == offered).then_some((sent, lost)))
            },
        )
        .unwrap()
    };
    let (_, lost) = (0..1000)
        .map(|_| send_batch())
        .find(|(_, lost)| *lost > 0)
        .unwrap();

    let receiver = right.inside_socket(0);
    let other = left.inside_socket(0);
    for number in 0..10 {
        other.send_to(&[number], (right.inside[0], 7000)).unwrap();
        let (_, more) = send_batch();
        assert!(more > lost);
        let mut datagram = [0; 2];
        assert_eq!(receiver.recv(&mut datagram).unwrap(), 1);
        assert_eq!(datagram[0], number);
    }

    left.hear_of_neighbour();
    let lost = left.dropped(DropReason::SendFull);
    assert_eq!(send_batch().1, lost);
}

/// What becomes of a data plane with a datagram to receive whose every attempt to
/// receive fails so.
fn unreadable(name: &'static str, errno: i32, see: fn(&Rig)) {
    let test = std::thread::spawn(move || {
        refuse(libc::SYS_recvmmsg, 0, errno);
        let rig = Rig::new(name);
        let [local, remote] =
            [&rig.left, &rig.right].map(|side| SocketAddr::from((side.outside[0], 500)));
        rig.left.plane.send_ike(local, remote, b"message").unwrap();
        see(&rig);
    });
    if let Err(panic) = test.join() {
        resume_unwind(panic);
    }
}

#[test]
#[ignore = "needs root"]
fn a_socket_that_cannot_be_read_is_reported_as_a_failure() {
    unreadable("unreadable", libc::EPERM, |rig| {
        let what = "receiving UDP port 500 on 192.0.2.2: \
                    EPERM: Operation not permitted"
            .to_owned();
        assert_eq!(rig.right.event(), DataPlaneEvent::Failed { what });
    });
}

#[test]
#[ignore = "needs root"]
fn failed_reads_that_may_pass_are_counted_and_end_nothing() {
    unreadable("nomemory", libc::ENOMEM, |rig| {
        wait_until("failures", PATIENCE, || {
            let failed = rig.right.dropped(DropReason::ReceiveFailed);
            Ok((failed > 2).then_some(()))
        })
        .unwrap();
        assert!(rig.right.events.try_recv().is_err());
    });
}

#[test]
#[ignore = "needs root"]
fn ike_messages_beyond_the_queue_are_counted_as_dropped() {
    let rig = Rig::new("queue");
    let [local, remote] =
        [&rig.left, &rig.right].map(|side| SocketAddr::from((side.outside[0], 500)));
    for _ in 0..20 {
        rig.left.plane.send_ike(local, remote, b"message").unwrap();
    }
    // The rig's queue holds 16.
    rig.right.await_drops(DropReason::IkeQueueFull, 4);
}

#[test]
#[ignore = "needs root"]
fn packets_that_nobody_reads_in_time_are_counted_by_the_kernel_and_told() {
    const SENT: u64 = 2000;
    let lab = Lab::new("unread").unwrap();
    let inside = lab.namespace("inside").unwrap();
    // Only what is sent here goes to the device.
    inside
        .set_parameter("ipv6/conf/default/disable_ipv6", "1")
        .unwrap();
    let open = || Config {
        gateway: GATEWAY,
        tun: Tun::open("tun%d", 1, Features::ALL).unwrap(),
        outside: Vec::new(),
        workers: 1,
    };
    let config = inside.run(open).unwrap();
    inside
        .add_address("tun0", "10.9.0.1/24".parse().unwrap())
        .unwrap();
    inside.link_up("tun0").unwrap();
    let socket = inside.run(|| UdpSocket::bind("10.9.0.1:7000"));
    let socket = socket.unwrap().unwrap();
    for _ in 0..SENT {
        socket.send_to(b"data", "10.9.0.2:7000").unwrap();
    }
    let plane = DataPlane::start(config, Box::new(|_| true)).unwrap();
    let dropped = |reason: DropReason| {
        let drops = plane.drops();
        drops.iter().find(|(r, _)| *r == reason).unwrap().1
    };
    let full = dropped(DropReason::TunReadFull);
    assert!(full > 0);
    wait_until("the rest of the packets", PATIENCE, || {
        Ok((dropped(DropReason::NoRoute) + full == SENT).then_some(()))
    })
    .unwrap();
    assert_eq!(dropped(DropReason::TunReadFull), full);
}
