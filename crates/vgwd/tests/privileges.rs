//! What a daemon may still do after [`vgwd::privileges::drop_privileges`], as
//! the kernel tells it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::fs;

use caps::Capability;
use nix::sys::resource::{Resource, getrlimit};
use vgwd::privileges::{NETLINK, drop_privileges};

/// A capability set in `/proc/PID/status`, one bit a capability.
fn set(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(line.unwrap().trim_start_matches(':').trim(), 16).unwrap()
}

// The limits hold for the whole process, so this is the only test here.
#[test]
fn a_thread_and_those_it_starts_keep_what_is_named_and_nothing_else() {
    const NET_ADMIN: u64 = 1 << 12;
    for (kept, expected) in [(&NETLINK[..], NET_ADMIN), (&[], 0)] {
        see(kept, expected);
    }
    assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
    assert!(!nix::sys::prctl::get_dumpable().unwrap());
}

fn see(kept: &'static [Capability], expected: u64) {
    let read = || fs::read_to_string("/proc/thread-self/status").unwrap();
    let statuses = std::thread::spawn(move || {
        drop_privileges(kept).unwrap();
        let child = std::thread::spawn(read).join().unwrap();
        [read(), child]
    });
    for status in statuses.join().unwrap() {
        assert_eq!(set(&status, "CapEff"), expected);
        assert_eq!(set(&status, "CapPrm"), expected);
        assert_eq!(set(&status, "CapBnd"), expected);
        assert_eq!(set(&status, "CapInh"), 0);
        assert_eq!(set(&status, "CapAmb"), 0);
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}
