//! What threads may still do after [`vgwd::seccomp::confine`], as the kernel tells it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::panic::catch_unwind;

use vgwd::seccomp::{ThreadKind, confine};

/// Does it on a thread that is confined.
fn confined<T: Send>(kind: ThreadKind, work: impl FnOnce() -> T + Send) -> T {
    let body = || {
        confine(kind).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap())
}

fn refused<T>(outcome: io::Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == ErrorKind::PermissionDenied)
}

fn start_thread() -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(|| ());
    thread.map(|thread| thread.join().unwrap())
}

#[test]
fn a_thread_that_reads_packets_opens_nothing_and_starts_nothing() {
    for part in [ThreadKind::Packets, ThreadKind::Kernel, ThreadKind::Log] {
        confined(part, || {
            assert!(refused(File::open("/proc/self/status")), "{part:?}");
            assert!(refused(UnixDatagram::unbound()), "{part:?}");
            assert!(refused(UdpSocket::bind("127.0.0.1:0")), "{part:?}");
            assert!(
                refused(std::process::Command::new("true").status()),
                "{part:?}"
            );
            assert!(start_thread().is_err(), "{part:?}");
        });
    }
}

#[test]
fn the_control_loop_reads_files_and_starts_no_process() {
    confined(ThreadKind::Control, || {
        File::open("/proc/self/status").unwrap();
        UnixDatagram::unbound().unwrap();
        assert!(refused(TcpListener::bind("127.0.0.1:0")));
        assert!(refused(std::process::Command::new("true").status()));
        start_thread().unwrap();
    });
}

#[test]
fn a_confined_thread_can_panic_and_wait() {
    confined(ThreadKind::Packets, || {
        let caught = catch_unwind(|| panic!("as a worker may"));
        assert!(caught.is_err());
        std::thread::sleep(std::time::Duration::from_millis(1));
        let (sender, receiver) = std::sync::mpsc::channel();
        sender.send(vec![0_u8; 1 << 22]).unwrap();
        assert_eq!(receiver.recv().unwrap().len(), 1 << 22);
    });
}
