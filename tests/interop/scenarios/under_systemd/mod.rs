//! The daemon as a service of a Debian machine whose first process is systemd, with
//! its network by systemd-networkd. It is installed as README.md says; the machine is
//! switched off and on, one of its addresses comes long after the service, and the service
//! is reloaded, killed, held, restarted with a wrong configuration and with its keys as
//! credentials, stopped, and moved to a network namespace. From the first start on, a host
//! of the VPC sends all the time.
//!
//! Seen: nothing leaves but in a tunnel, which the stage's watcher sees to, and the
//! guard routes stand; both tunnels carry traffic after each of it; a configuration
//! that is refused changes nothing and is told why, or has the service fail for good; each thread has the privileges
//! that it needs and no more.

mod confinement;
mod late_address;
mod namespace;
mod site;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_lab::probe::EchoFlow;
use vgw_lab::wait_until;

use self::site::{CONFIG, DAEMON, GUARD, Site};

/// Requests that must find a way, or none.
const MANY: u64 = 40;
/// Until systemd has missed the daemon, ten seconds after it was heard last, and started
/// it again.
const MISSED: Duration = Duration::from_secs(45);

pub fn run() -> Result<()> {
    let stage = Stage::new("under_systemd")?;
    let _peer = stage.start_peer()?;
    let site = Site::new(&stage)?;
    let config = std::fs::read_to_string(stage.workspace.file("vgw.toml")?)?;
    site.install(&config)?;
    site.await_both()?;
    site.see_guarded()?;
    let flow = stage.flow(Duration::from_millis(5))?;
    confinement::see_units(&site)?;
    confinement::see_threads(&site)?;

    reloaded(&site, &flow, &config)?;
    late_address::take_address(&site)?;
    let site = site.switch_off_and_on()?;
    booted(&site)?;
    late_address::address_comes(&site, &flow)?;
    killed(&site, &flow)?;
    held(&site, &flow)?;
    late_address::wrong_configuration(&site, &flow, &config)?;
    with_credentials(&site, &flow, &config)?;
    stopped(&site, &flow)?;
    namespace::moved(&site, &flow, &config)?;

    let report = flow.finish()?;
    ensure!(
        report.lost() > MANY,
        "sent without a daemon, yet: {report:?}"
    );
    site.machine.power_off()
}

/// Waits until both tunnels are up and the flow passes.
fn passing(site: &Site<'_>, flow: &EchoFlow) -> Result<()> {
    site.await_both()?;
    await_echoes(flow, MANY, LATER).context("with both tunnels up")
}

/// Waits until the host has sent a while.
fn await_sent(flow: &EchoFlow) -> Result<()> {
    let before = flow.sent();
    wait_until("requests", SOON, || {
        Ok((flow.sent() >= before + MANY).then_some(()))
    })
}

/// A route is added and taken back, without another process; between that, a mistake
/// changes nothing and is shown.
fn reloaded(site: &Site<'_>, flow: &EchoFlow, config: &str) -> Result<()> {
    const BOTH: &str = r#"["192.168.10.0/24", "192.168.30.0/24"]"#;
    let process = site.main_pid()?;
    let routes = || site.machine.run("ip", &["route", "show", "dev", "vgw0"]);
    site.disk
        .write(CONFIG, &config.replace(r#"["192.168.10.0/24"]"#, BOTH))?;
    site.systemctl(&["reload", DAEMON])?;
    wait_until("the new route", SOON, || {
        Ok(routes()?.contains("192.168.30.0/24").then_some(()))
    })?;

    site.disk.write(
        CONFIG,
        &config.replace("192.168.10.0/24", "192.168.10.0/33"),
    )?;
    ensure!(
        site.systemctl(&["reload", DAEMON]).is_err(),
        "a wrong file was taken"
    );
    site.await_state(DAEMON, "active")?;
    wait_until("the mistake in the status", SOON, || {
        let shown = site.systemctl(&["status", DAEMON])?;
        Ok(shown.contains("192.168.10.0/33").then_some(()))
    })?;
    ensure!(
        routes()?.contains("192.168.30.0/24"),
        "the old configuration does not go on"
    );
    await_echoes(flow, MANY, SOON)?;

    site.disk.write(CONFIG, config)?;
    site.systemctl(&["reload", DAEMON])?;
    // A guard goes after its route.
    wait_until("only the old routes and guards", SOON, || {
        let old = !routes()?.contains("192.168.30.0/24") && site.see_guarded().is_ok();
        Ok(old.then_some(()))
    })?;
    ensure!(
        site.main_pid()? == process,
        "a reload has started another process"
    );
    Ok(())
}

/// The machine has come up alone, and was closed before it had a network.
fn booted(site: &Site<'_>) -> Result<()> {
    let entered = |unit| -> Result<u64> {
        Ok(site
            .machine
            .property(unit, "ActiveEnterTimestampMonotonic")?
            .parse()?)
    };
    let guarded = entered(GUARD)?;
    ensure!(guarded > 0, "the guard is not active");
    let open = entered("network-pre.target")?;
    ensure!(
        guarded <= open,
        "guarded at {guarded} µs, open for links at {open}"
    );
    site.see_guarded()
}

fn killed(site: &Site<'_>, flow: &EchoFlow) -> Result<()> {
    let process = site.main_pid()?;
    site.systemctl(&["kill", "--signal=KILL", DAEMON])?;
    site.await_restart(process, SOON)?;
    passing(site, flow)
}

/// systemd hears from the daemon, until that is stopped by a signal.
fn held(site: &Site<'_>, flow: &EchoFlow) -> Result<()> {
    let heard = || site.property("WatchdogTimestampMonotonic");
    let first = heard()?;
    wait_until("a word for the watchdog", SOON, || {
        Ok((heard()? != first).then_some(()))
    })?;
    let process = site.main_pid()?;
    site.systemctl(&["kill", "--signal=STOP", "--kill-whom=main", DAEMON])?;
    site.await_restart(process, MISSED)?;
    ensure!(
        !site.machine.file("/core").exists(),
        "the daemon's memory was dumped"
    );
    passing(site, flow)
}

/// One key as it is, one encrypted for this machine; both tunnels come up by a restart.
fn with_credentials(site: &Site<'_>, flow: &EchoFlow, config: &str) -> Result<()> {
    const UNIT: &str = "[Service]
LoadCredential=site-1:/etc/vgw/site-1.psk
LoadCredentialEncrypted=site-2:/etc/vgw/site-2.cred
";
    site.disk
        .write("/etc/systemd/system/vgwd.service.d/credentials.conf", UNIT)?;
    site.disk
        .write("/etc/vgw/site-1.psk", "one_key_for_tunnel_1\n")?;
    site.disk
        .write("/root/site-2.psk", "one_key_for_tunnel_2\n")?;
    let encrypt = ["encrypt", "--with-key=host", "--name=site-2"];
    let files = ["/root/site-2.psk", "/etc/vgw/site-2.cred"];
    site.machine
        .run("systemd-creds", &[&encrypt[..], &files].concat())?;
    site.machine.run("rm", &[files[0]])?;
    site.machine.run("chmod", &["600", "/etc/vgw/site-1.psk"])?;
    let config = (1..=2).fold(config.to_owned(), |config, tunnel| {
        config.replace(
            &format!("pre_shared_key = \"one_key_for_tunnel_{tunnel}\""),
            &format!("pre_shared_key_credential = \"site-{tunnel}\""),
        )
    });
    site.disk.write(CONFIG, &config)?;
    site.machine.run("vgw", &["check"])?;
    site.systemctl(&["daemon-reload"])?;
    let process = site.main_pid()?;
    site.systemctl(&["restart", DAEMON])?;
    ensure!(site.main_pid()? != process);
    passing(site, flow)
}

/// Without a daemon the guard routes stand, also when the network is set up anew.
fn stopped(site: &Site<'_>, flow: &EchoFlow) -> Result<()> {
    site.systemctl(&["stop", DAEMON])?;
    site.await_state(DAEMON, "inactive")?;
    site.see_guarded()?;
    await_sent(flow)?;
    site.systemctl(&["restart", "systemd-networkd.service"])?;
    site.machine
        .run("networkctl", &["reconfigure", "lan", "line-a", "line-b"])?;
    site.machine
        .run("/lib/systemd/systemd-networkd-wait-online", &[])?;
    await_sent(flow)?;
    site.see_guarded()?;
    site.systemctl(&["start", DAEMON])?;
    passing(site, flow)
}
