//! Whether this machine can run the demonstration, and what to do if not.

use std::fs::File;

use anyhow::{Context, Result, bail};

const TUN: &str = "/dev/net/tun";

pub(super) fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the demonstration makes network namespaces and TUN devices, for which it must be \
             root: run it with sudo, or as root. It removes all it makes, and touches no \
             network of this machine."
        );
    }
    File::options()
        .read(true)
        .write(true)
        .open(TUN)
        .with_context(|| {
            format!(
                "{TUN} cannot be opened. On a machine of your own, load its driver: modprobe tun. \
                 In a container, hand it in: docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN \
                 --device {TUN} …"
            )
        })?;
    Ok(())
}
