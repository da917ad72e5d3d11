//! A peer with the kernel's native ESP, in a virtual machine: protocol 50 without
//! UDP, AES-GCM in one tunnel and AES-CBC with HMAC in the other.
//!
//! Seen: neither end encapsulates in UDP; traffic begun at either end passes
//! through each tunnel; rekeys begun at either end leave it flowing. When the internet
//! drops protocol 50 in one direction, either of them, the status says so, and ESP goes in UDP
//! from then on.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::qemu::{Guest, GuestSite};
use vgw_harness::stage::{SOON, Stage, await_echoes};
use vgw_harness::tools::cut_only;
use vgw_lab::probe::{EchoFlow, ping};
use vgw_lab::topology::{GATEWAY_OUTSIDE, ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::{Namespace, wait_until};

/// As nftables matches it.
const ESP: [&str; 1] = ["meta l4proto esp"];

pub fn run() -> Result<()> {
    let stage = Stage::new("native_esp")?;
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/native_esp/guest");
    let GuestSite { mut guest, host } = GuestSite::boot(&stage, &recipe)?;
    let hosts = [
        (&stage.topology.vpc_host, VPC_HOST),
        (&host, ON_PREMISES_HOST),
    ];
    guest.write(
        "/etc/swanctl/swanctl.conf",
        &std::fs::read_to_string(stage.workspace.file("swanctl.conf")?)?,
    )?;
    guest.run("swanctl --load-all")?;

    let mut gateway = stage.start_gateway()?;
    up(&mut gateway, &mut guest, 1)?;
    carries(&gateway, hosts, 1)?;

    gateway.ask(&["tunnel", "rekey", "vpn-site/1"])?;
    gateway.ask(&["tunnel", "rekey", "--ike", "vpn-site/1"])?;
    guest.run("swanctl --rekey --child net1")?;
    wait_until("three rekeys of tunnel 1", SOON, || {
        let counters = gateway.tunnel(1)?.counters;
        Ok((counters.ike_rekeys >= 1 && counters.child_rekeys >= 2).then_some(()))
    })?;
    carries(&gateway, hosts, 1)?;

    // This peer has no device for a tunnel: with both up, its policies would take
    // only what comes through the one it installed last.
    gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
    gateway.await_tunnel(1, false, SOON)?;
    up(&mut gateway, &mut guest, 2)?;
    carries(&gateway, hosts, 2)?;

    let internet = &stage.topology.internet;
    let [first, second] = GATEWAY_OUTSIDE;
    cut_only(internet, second, &["saddr"], &ESP)?;
    goes_to_udp(&gateway, hosts, 2)?;
    carries(&gateway, hosts, 2)?;

    gateway.ask(&["tunnel", "down", "vpn-site/2"])?;
    gateway.await_tunnel(2, false, SOON)?;
    gateway.ask(&["tunnel", "up", "vpn-site/1"])?;
    does_without_udp(&mut gateway, 1)?;
    cut_only(internet, first, &["daddr"], &ESP)?;
    goes_to_udp(&gateway, hosts, 1)?;
    carries(&gateway, hosts, 1)
}

/// Sees that a conversation between the hosts goes on, by this tunnel, in UDP.
fn goes_to_udp(gateway: &Gateway, hosts: [(&Namespace, IpAddr); 2], number: usize) -> Result<()> {
    let ends = hosts.map(|(namespace, address)| (namespace, (address, 7000).into()));
    let [vpc, site] = ends;
    let flow = EchoFlow::start(vpc, site, Duration::from_millis(100))?;
    await_echoes(&flow, 20, SOON)?;
    flow.finish()?;
    let tunnel = gateway.tunnel(number)?;
    let sent_in_udp = tunnel
        .children
        .iter()
        .any(|child| child.outbound && child.udp_encapsulation);
    ensure!(sent_in_udp, "{tunnel:?}");
    let why = tunnel
        .udp_fallback
        .context("the status does not say why ESP goes in UDP")?
        .why;
    println!("{why}");
    Ok(())
}

/// Has the guest bring a tunnel up, and sees that it does without UDP.
fn up(gateway: &mut Gateway, guest: &mut Guest, number: usize) -> Result<()> {
    guest.run(&format!("swanctl --initiate --child net{number}"))?;
    does_without_udp(gateway, number)
}

/// Waits until a tunnel is up, and sees that it does without UDP.
fn does_without_udp(gateway: &mut Gateway, number: usize) -> Result<()> {
    let tunnel = gateway.await_tunnel(number, true, SOON)?;
    let native = tunnel.children.iter().all(|child| !child.udp_encapsulation);
    ensure!(native, "{tunnel:?}");
    Ok(())
}

/// Pings between hosts behind either end, and sees in the counters that this tunnel
/// carried both.
fn carries(gateway: &Gateway, hosts: [(&Namespace, IpAddr); 2], tunnel: usize) -> Result<()> {
    let before = gateway.tunnel(tunnel)?.traffic;
    let [(vpc, vpc_host), (site, site_host)] = hosts;
    let answered = ping(vpc, vpc_host, site_host, SOON)?;
    answered.context("no answer to a ping from the VPC")?;
    let answered = ping(site, site_host, vpc_host, SOON)?;
    answered.context("no answer to a ping from the premises")?;
    wait_until("both pings in the counters", SOON, || {
        let after = gateway.tunnel(tunnel)?.traffic;
        let passed = after.packets_in >= before.packets_in + 2
            && after.packets_out >= before.packets_out + 2;
        Ok(passed.then_some(()))
    })
}
