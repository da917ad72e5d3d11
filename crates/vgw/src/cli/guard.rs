//! Guard routes by hand: put up before there is a daemon, taken down after the
//! last one.

use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context;
use ipnet::IpNet;
use tokio::runtime::Builder;
use vgw_ike::bounded_text::few;

use super::print;
use vgwd::config::{self, Outline, Settings};
use vgwd::failure::Failure;
use vgwd::kernel::{self, GuardRoutes, KernelError, Netlink};
use vgwd::namespace::run_in;

/// Sees that nothing leaves in clear that is for a tunnel, with or without a
/// daemon. What the file has right counts, also where the rest is wrong.
pub(super) fn guard(file: &Path) -> Result<(), Failure> {
    let Outline {
        settings,
        desired,
        problems,
    } = config::outline(file).map_err(Failure::Configuration)?;
    let guard = GuardRoutes::of(&settings.tun.name);
    with_netlink(&settings, async |netlink| {
        guard.put_up(&netlink, &desired).await
    })?;
    let guarded = desired.guarded();
    let guarded = guarded.iter().map(|prefix| prefix.net());
    print::line(&words(guarded.collect()));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Configuration(problems))
    }
}

/// What is guarded: the first few prefixes, those of networks before the tunnels' own.
fn words(mut guarded: Vec<IpNet>) -> String {
    guarded.sort_by_key(|prefix| matches!(prefix.addr(), IpAddr::V4(at) if at.is_link_local()));
    let named = few(&guarded, guarded.len(), ", ", IpNet::to_string);
    format!("guarded, to leave by a tunnel or not at all: {named}")
}

/// Removes what a daemon that is gone left, so that packets may leave in clear.
pub(super) fn flush(file: &Path, force: bool) -> Result<(), Failure> {
    let settings = config::outline(file)
        .map_err(Failure::Configuration)?
        .settings;
    let socket = &settings.control.socket;
    if !force && UnixStream::connect(socket).is_ok() {
        return Err(Failure::Refused(vec![format!(
            "a daemon answers at {}, expected none: stop it first (--force does it all the same, \
             and a daemon that is well puts everything back)",
            socket.display()
        )]));
    }
    let removed = with_netlink(&settings, async |netlink| {
        kernel::flush(&netlink, &settings.tun.name).await
    })?;
    for prefix in &removed {
        print::line(&format!("{prefix}: not guarded any more"));
    }
    if removed.is_empty() {
        print::line("nothing was guarded");
    }
    Ok(())
}

/// Does it with a netlink socket in the VPC's namespace.
fn with_netlink<T: Send>(
    settings: &Settings,
    work: impl AsyncFnOnce(Netlink) -> Result<T, KernelError> + Send,
) -> Result<T, Failure> {
    let outcome = run_in(settings.network_namespace.as_ref(), || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let netlink = Netlink::open(runtime.handle())?;
        let outcome = runtime.block_on(work(netlink));
        outcome.map_err(io::Error::other)
    });
    let outcome = outcome.context("changing the VPC's routes");
    outcome.map_err(Failure::Other)
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::words;

    #[test]
    fn what_is_guarded_is_said_by_its_prefixes_those_of_sites_first() {
        let prefixes = |list: &[&str]| -> Vec<IpNet> {
            list.iter().map(|prefix| prefix.parse().unwrap()).collect()
        };
        assert_eq!(
            words(prefixes(&[
                "169.254.10.0/30",
                "192.168.0.0/24",
                "fd00::/64"
            ])),
            "guarded, to leave by a tunnel or not at all: 192.168.0.0/24, fd00::/64, 169.254.10.0/30"
        );
        let many: Vec<String> = (0..9).map(|net| format!("192.168.{net}.0/24")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(words(prefixes(&many)).ends_with(", 192.168.5.0/24 and 3 more"));
        assert!(words(Vec::new()).ends_with(": none"));
    }
}
