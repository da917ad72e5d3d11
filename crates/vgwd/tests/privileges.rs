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
use vgwd::privileges::{NETLINK, check_start, drop_privileges};

/// A capability set in `/proc/PID/status`, one bit a capability.
fn set(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(line.unwrap().trim_start_matches(':').trim(), 16).unwrap()
}

// The limits hold for the whole process, so this is the only test here.
#[test]
#[ignore = "needs root"]
fn a_thread_and_those_it_starts_keep_what_is_named_and_nothing_else() {
    const NET_ADMIN: u64 = 1 << 12;
    for (kept, expected, lacking) in [
        (&NETLINK[..], NET_ADMIN, "this takes CAP_NET_RAW:"),
        (&[], 0, "this takes CAP_NET_ADMIN and CAP_NET_RAW:"),
    ] {
        see(kept, expected, lacking);
    }
    assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
    assert!(!nix::sys::prctl::get_dumpable().unwrap());
}

fn see(kept: &'static [Capability], expected: u64, lacking: &str) {
    let read = || fs::read_to_string("/proc/thread-self/status").unwrap();
    let statuses = std::thread::spawn(move || {
        check_start().unwrap();
        drop_privileges(kept).unwrap();
        let refused = check_start().unwrap_err().to_string();
        let child = std::thread::spawn(read).join().unwrap();
        ([read(), child], refused)
    });
    let (statuses, refused) = statuses.join().unwrap();
    // A daemon that was started so would say what it lacks, and how to start it.
    assert!(refused.starts_with(lacking), "{refused}");
    assert!(
        refused.ends_with("as root, or by systemctl start vgwd"),
        "{refused}"
    );
    for status in statuses {
        assert_eq!(set(&status, "CapEff"), expected);
        assert_eq!(set(&status, "CapPrm"), expected);
        assert_eq!(set(&status, "CapBnd"), expected);
        assert_eq!(set(&status, "CapInh"), 0);
        assert_eq!(set(&status, "CapAmb"), 0);
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}
