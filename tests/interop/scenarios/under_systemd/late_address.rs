//! A machine whose second line comes long after the service, and a service whose
//! configuration is wrong.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{LATER, SOON, await_echoes};
use vgw_lab::probe::EchoFlow;
use vgw_lab::wait_until;

use super::site::{CONFIG, DAEMON, LINE_B, Site};
use super::{MANY, passing};

/// Line B while nobody has given it an address.
const WITHOUT_ADDRESS: &str = "[Match]
Name=line-b

[Link]
RequiredForOnline=no

[Network]
LinkLocalAddressing=no
IPv6AcceptRA=no
";
const PROBLEM: &str = "outside address 198.51.100.1 is not an address of this machine";
/// So many requests of the host later the address comes: 21 seconds at least.
const LATE: u64 = 4_200;
/// A service that were started again would be within so many: five seconds at least.
const RESTARTED: u64 = 1_000;
/// How long the host may take for them.
const PATIENCE: Duration = Duration::from_secs(120);

/// Has line B be without its address from the next boot on.
pub fn take_address(site: &Site<'_>) -> Result<()> {
    site.disk.write(LINE_B.0, WITHOUT_ADDRESS)
}

/// The first tunnel carries traffic without line B's address, which is asked for; the
/// second comes up with it, and the service is the one that was started.
pub fn address_comes(site: &Site<'_>, flow: &EchoFlow) -> Result<()> {
    let process = site.main_pid()?;
    let mut up = Vec::new();
    wait_until("tunnel 1 alone", LATER, || {
        let status = site.status()?;
        let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
        up = tunnels.map(|tunnel| tunnel.up).collect();
        Ok((up == [true, false]).then_some(()))
    })
    .with_context(|| format!("up are {up:?}"))?;
    await_echoes(flow, MANY, LATER).context("by tunnel 1")?;
    let late = flow.sent() + LATE;
    wait_until("a late address", PATIENCE, || {
        Ok((flow.sent() > late).then_some(()))
    })?;
    let problems = site.status()?.problems;
    ensure!(
        problems.len() == 1 && problems.concat().contains(PROBLEM),
        "{problems:?}"
    );

    site.disk.write(LINE_B.0, LINE_B.1)?;
    site.machine.run("networkctl", &["reload"])?;
    site.machine.run("networkctl", &["reconfigure", "line-b"])?;
    passing(site, flow)?;
    wait_until("nothing that needs attention", SOON, || {
        Ok(site.status()?.problems.is_empty().then_some(()))
    })?;
    ensure!(site.main_pid()? == process, "another process serves");
    see_restarts(site, "0")
}

/// A service that cannot start because of its configuration has failed, and stays so
/// until somebody has put that right.
pub fn wrong_configuration(site: &Site<'_>, flow: &EchoFlow, config: &str) -> Result<()> {
    let wrong = config.replace("192.168.10.0/24", "192.168.10.0/33");
    site.disk.write(CONFIG, &wrong)?;
    ensure!(
        site.systemctl(&["restart", DAEMON]).is_err(),
        "it started with a wrong file"
    );
    let restarted = flow.sent() + RESTARTED;
    wait_until("the end of a pause", PATIENCE, || {
        site.await_state(DAEMON, "failed")?;
        Ok((flow.sent() > restarted).then_some(()))
    })?;
    let status = site.property("ExecMainStatus")?;
    ensure!(status == "3", "its exit status is {status}");
    see_restarts(site, "0")?;
    site.see_guarded()?;
    site.disk.write(CONFIG, config)?;
    site.systemctl(&["start", DAEMON])?;
    passing(site, flow)
}

fn see_restarts(site: &Site<'_>, expected: &str) -> Result<()> {
    let restarts = site.property("NRestarts")?;
    ensure!(restarts == expected, "NRestarts is {restarts}");
    Ok(())
}
