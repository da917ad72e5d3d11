//! What the service may do, as the kernel tells it.

use std::fs::{metadata, read_dir, read_to_string};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use super::site::{DAEMON, GUARD, Site};

/// CAP_NET_ADMIN as a bit, which one thread keeps.
const NET_ADMIN: u64 = 1 << 12;
/// What a unit may have at all: CAP_NET_BIND_SERVICE and CAP_NET_RAW, too, and with the
/// drop-in CAP_SYS_ADMIN.
const OF_A_UNIT: u64 = NET_ADMIN | (1 << 10) | (1 << 13) | (1 << 21);
/// Tenths of exposure that a unit may have at most.
const THRESHOLD: &str = "--threshold=20";

/// Sees the units as systemd judges them where they are installed.
pub fn see_units(site: &Site<'_>) -> Result<()> {
    for unit in [DAEMON, GUARD] {
        site.machine
            .run("systemd-analyze", &["security", THRESHOLD, unit])?;
        let output = site
            .machine
            .command("systemd-analyze")
            .args(["verify", "--man=no", unit])
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(
            said.is_empty(),
            "verify: {}",
            String::from_utf8_lossy(&said)
        );
    }
    Ok(())
}

/// Sees every thread of the daemon confined, and that nobody gets at its memory.
pub fn see_threads(site: &Site<'_>) -> Result<()> {
    let process = site.machine.file(&format!("/proc/{}", site.main_pid()?));
    let user = site.machine.run("id", &["--user", "vgw"])?;
    let mut keepers = 0;
    let mut threads = 0;
    for thread in read_dir(process.join("task"))? {
        let status = read_to_string(thread?.path().join("status"))?;
        let of = |field: &str| -> Result<&str> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            Ok(line
                .with_context(|| format!("no {field} in {status}"))?
                .trim())
        };
        let bits = |field: &str| -> Result<u64> { Ok(u64::from_str_radix(of(field)?, 16)?) };
        let keeper = of("Name")? == "vgw-kernel";
        let kept = if keeper { NET_ADMIN } else { 0 };
        for set in ["CapEff", "CapPrm"] {
            ensure!(bits(set)? == kept, "{set} is not {kept:#x}:\n{status}");
        }
        for set in ["CapInh", "CapAmb"] {
            ensure!(bits(set)? == 0, "{set} is not 0:\n{status}");
        }
        ensure!(
            bits("CapBnd")? & !OF_A_UNIT == 0,
            "more than the unit's:\n{status}"
        );
        // Two filters are the thread's own; those of the unit come before them.
        let filters: u32 = of("Seccomp_filters")?.parse()?;
        ensure!(
            of("Seccomp")? == "2" && filters > 2,
            "not confined:\n{status}"
        );
        ensure!(of("NoNewPrivs")? == "1", "{status}");
        let ids: Vec<&str> = of("Uid")?.split_whitespace().collect();
        ensure!(ids == [user.trim(); 4], "not the user vgw:\n{status}");
        keepers += u32::from(keeper);
        threads += 1;
    }
    ensure!(
        keepers == 1 && threads > 4,
        "{threads} threads, {keepers} vgw-kernel"
    );
    // Of a process that can be dumped, they belong to its user (proc_pid(5)).
    ensure!(
        metadata(process.join("environ"))?.uid() == 0,
        "the daemon can be dumped"
    );
    let limits = read_to_string(process.join("limits"))?;
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.unwrap_or_default().split_whitespace().collect();
    ensure!(core == ["0", "0", "bytes"], "{limits}");
    Ok(())
}
