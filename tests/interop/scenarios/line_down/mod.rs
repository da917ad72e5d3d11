//! The link of the line that carries is taken down, and a router says that it cannot deliver:
//! traffic moves as soon as the kernel tells, before a silence would show.
//!
//! Seen, with our program at both ends: the status names the link that is down, and the router
//! and what it says; the flow goes on by the other line; once the link is back, the peer is no
//! longer suspect.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::our_pair::Setup;
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_harness::tools::{nft, run as run_tool};
use vgw_lab::topology::{GATEWAY_OUTSIDE, router};
use vgw_lab::wait_until;

/// The link of tunnel 1 at our end.
const LINK: &str = "line-a";

pub fn run() -> Result<()> {
    let stage = Stage::new("line_down")?;
    let setup = Setup {
        connections: 1,
        encapsulation: "udp",
        options: "",
    };
    let pair = setup.start(&stage)?;
    let [first, second] = GATEWAY_OUTSIDE;
    let (vpc, internet) = (&stage.topology.vpc, &stage.topology.internet);

    let flow = stage.flow(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    ensure!(pair.cloud.connection()?.active_tunnel == Some(1));
    run_tool(vpc, "ip", &["link", "set", LINK, "down"])?;
    await_carrier(&pair.cloud, 2)?;
    await_suspicion(&pair.cloud, 1, &format!("the link {LINK} is down"))?;
    await_echoes(&flow, 100, SOON)?;
    let report = flow.finish()?;
    println!("link down: {report:?}");
    ensure!(report.longest_gap < Duration::from_secs(2), "{report:?}");

    // What else goes with a link is for whoever takes it up to bring back.
    run_tool(vpc, "ip", &["link", "set", LINK, "up"])?;
    let line = router(first).to_string();
    let default = ["route", "add", "default", "via", &line, "dev", LINK];
    run_tool(vpc, "ip", &[&default[..], &["table", "101"]].concat())?;
    run_tool(vpc, "ip", &default)?;
    wait_until("an answer by tunnel 1", SOON, || {
        Ok(pair.cloud.tunnel(1)?.suspect.is_none().then_some(()))
    })?;
    ensure!(pair.cloud.tunnel(1)?.up, "tunnel 1 went down meanwhile");

    let reject = format!(
        "add table ip cut; \
         add chain ip cut forward {{ type filter hook forward priority 0; }}; \
         add rule ip cut forward ip saddr {second} reject with icmp host-unreachable"
    );
    nft(internet, &reject)?;
    let flow = stage.flow(Duration::from_millis(10))?;
    await_carrier(&pair.cloud, 1)?;
    let says = format!("host unreachable, says {}", router(second));
    await_suspicion(&pair.cloud, 2, &says)?;
    await_echoes(&flow, 100, SOON)?;
    println!("host unreachable: {:?}", flow.finish()?);
    nft(internet, "delete table ip cut")
}

fn await_carrier(gateway: &Gateway, number: u8) -> Result<()> {
    wait_until(&format!("traffic on tunnel {number}"), LATER, || {
        Ok((gateway.connection()?.active_tunnel == Some(number)).then_some(()))
    })
}

/// Waits until the status says why a tunnel is suspect.
fn await_suspicion(gateway: &Gateway, number: usize, why: &str) -> Result<()> {
    wait_until(&format!("{why:?} at tunnel {number}"), SOON, || {
        let suspect = gateway.tunnel(number)?.suspect;
        let said = suspect.is_some_and(|suspect| suspect.why.contains(why));
        Ok(said.then_some(()))
    })
}
