//! Debian packages that the tests need, installed where they are missing.

use anyhow::{Context, Result, bail};

use crate::run::{command, finish};

/// What the bench needs. Why each is needed stands beside it.
const BENCH: &[&str] = &[
    // the real IKE peer, with its user-space ESP
    "strongswan-charon",
    "strongswan-swanctl",
    "libstrongswan-standard-plugins",
    "libcharon-extra-plugins",
    "libstrongswan-extra-plugins",
    // traffic, links
    "iperf3",
    "iproute2",
    // what arrives, NAT, loss
    "nftables",
];

/// What the tests need besides.
const TESTS: &[&str] = &[
    // the documents' first connection, with the older style of configuration, too
    "strongswan-starter",
    // the peer with the kernel's native ESP, in a virtual machine
    "qemu-system-x86",
    "busybox-static",
    "cpio",
    "iputils-ping",
    // captures, decrypted and checked with the key log
    "tcpdump",
    "tshark",
    // the unit's checks, and a machine that runs it
    "systemd",
    "systemd-container",
    "mmdebstrap",
    // libFuzzer is C++
    "g++",
];

/// Everything that tests and benches need.
pub fn install() -> Result<()> {
    install_missing(&[BENCH, TESTS].concat())
}

/// What the bench needs.
pub fn install_for_bench() -> Result<()> {
    install_missing(BENCH)
}

fn install_missing(names: &[&str]) -> Result<()> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    finish(&mut command("apt-get", &["-qq", "update"]))?;
    let mut install = command(
        "apt-get",
        &["-qq", "-y", "--no-install-recommends", "install"],
    );
    install
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    finish(&mut install).context("these packages are needed, and root to install them")?;
    match missing.iter().find(|name| !installed(name)) {
        Some(name) => bail!("{name} is still missing after apt-get install"),
        None => Ok(()),
    }
}

fn installed(name: &str) -> bool {
    command("dpkg-query", &["-W", "-f=${db:Status-Status}", name])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}
