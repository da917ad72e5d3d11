//! Our program at both ends. The virtual private gateway is killed and started again; it
//! does not initiate, and the customer gateway believes the tunnels to be up.
//!
//! Seen: the customer gateway learns by the tokens of RFC 6290 that its SAs are lost, as
//! soon as it sends, and brings both tunnels up again long before dead peer detection
//! would; the key of the tokens is kept in a file for its owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{SOON, Stage, await_echoes};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("crash_token")?;
    let mut cloud = stage.start_gateway()?;
    fs::create_dir_all(stage.workspace.directory().join("customer"))?;
    let config = stage
        .workspace
        .file_as("customer.toml", "customer/vgw.toml")?;
    let mut customer = Gateway::start(&stage.topology.on_premises, &config)?;
    cloud.await_both(SOON)?;
    stage.ping_both_ways()?;
    let key = stage.workspace.directory().join("crash-detection.key");
    let mode = fs::metadata(key)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "the key has mode {mode:o}");

    let before = customer
        .await_both(SOON)?
        .map(|tunnel| tunnel.ike.map(|ike| ike.spi_i));
    let flow = stage.flow_from_premises(Duration::from_millis(20))?;
    await_echoes(&flow, 10, SOON)?;
    cloud.crash()?;
    cloud = stage.start_gateway()?;
    await_echoes(&flow, 10, SOON)?;
    flow.finish()?;
    let carrier = customer.connection()?.active_tunnel.unwrap_or_default();
    let old = before.get(usize::from(carrier) - 1).cloned().flatten();
    let back = wait_until("the customer's new IKE SA", SOON, || {
        let tunnel = customer.tunnel(carrier.into())?;
        let new = tunnel.ike.as_ref().map(|ike| &ike.spi_i) != old.as_ref();
        Ok((tunnel.up && new).then_some(tunnel))
    })?;
    let why = back.last.map(|last| last.why).unwrap_or_default();
    ensure!(why == "peer restarted and lost the SA", "{why}");
    cloud.stop()
}
