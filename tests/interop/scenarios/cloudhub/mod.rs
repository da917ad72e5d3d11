//! Two customers' sites reach each other through the gateway, as long as that is allowed.
//!
//! Seen: not allowed, what one site sends to the other is dropped for want of a
//! destination and the other tunnel sends nothing; allowed by a reload, pings and bulk
//! data pass either way, what the gateway receives on one tunnel it sends on the other,
//! packet for packet; forbidden by another reload, all is as before. The gateway's kernel
//! sees none of it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::{SOON, await_echoes};
use vgw_harness::tools::{count_packets, counted_packets};
use vgw_harness::two_sites::Sites;
use vgw_lab::probe::{EchoFlow, ping};
use vgw_lab::topology::{BRANCH_HOST, ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::{Namespace, wait_until};

const TRANSFER: Transfer = Transfer {
    flows: 2,
    seconds: 1,
};

/// From site to site, as nftables matches it.
const BETWEEN_SITES: &str = "ip saddr 192.168.0.0/16 ip daddr 192.168.0.0/16";

pub fn run() -> Result<()> {
    let sites = Sites::start("cloudhub")?;
    count_packets(
        &sites.stage.topology.vpc,
        "between_sites",
        "prerouting",
        BETWEEN_SITES,
    )?;
    let hosts = [
        (&sites.stage.topology.on_premises_host, ON_PREMISES_HOST),
        (&sites.branch.host, BRANCH_HOST),
    ];
    for host in hosts {
        answers(host, VPC_HOST)?;
    }

    let flow = kept_apart(&sites, hosts)?;
    let workspace = &sites.stage.workspace;
    let config = std::fs::read_to_string(workspace.file("vgw.toml")?)?;
    workspace.write(
        "vgw.toml",
        &config.replace("cloudhub = false", "cloudhub = true"),
    )?;
    sites.gateway.ask(&["reload"])?;
    await_echoes(&flow, 100, SOON)?;
    flow.finish()?;
    joined(&sites, hosts)?;

    workspace.file("vgw.toml")?;
    sites.gateway.ask(&["reload"])?;
    kept_apart(&sites, hosts)?.finish()?;
    Ok(())
}

type Host<'a> = (&'a Namespace, IpAddr);

fn answers((namespace, from): Host<'_>, to: IpAddr) -> Result<()> {
    let answered = ping(namespace, from, to, SOON)?;
    answered.with_context(|| format!("no answer to a ping from {from} to {to}"))?;
    Ok(())
}

/// Sees that nothing passes, and gives the flow that tries to.
fn kept_apart(
    sites: &Sites,
    [(site, site_host), (branch, branch_host)]: [Host<'_>; 2],
) -> Result<EchoFlow> {
    let dropped = sites.gateway.dropped("unknown_destination")?;
    let [_, before] = sites.traffic()?;
    let to = (branch, (branch_host, 7000).into());
    let flow = EchoFlow::start(
        (site, (site_host, 7000).into()),
        to,
        Duration::from_millis(10),
    )?;
    wait_until("drops", SOON, || {
        let now = sites.gateway.dropped("unknown_destination")?;
        Ok((now >= dropped + 50).then_some(()))
    })?;
    let [_, after] = sites.traffic()?;
    ensure!(flow.answered() == 0, "the sites reach each other");
    ensure!(
        after.packets_out == before.packets_out,
        "the branch is sent packets"
    );
    see_none_in_the_kernel(sites)?;
    Ok(flow)
}

/// Sees that all passes, from tunnel to tunnel.
fn joined(sites: &Sites, hosts: [Host<'_>; 2]) -> Result<()> {
    let [site, branch] = hosts;
    let before = sites.traffic()?;
    for (from, to) in [(site, branch), (branch, site)] {
        answers(from, to.1)?;
        let gbps = TRANSFER
            .run(from, to, sites.stage.workspace.directory())?
            .gbps;
        println!("iperf3 from {} to {}: {gbps:.2} Gbit/s", from.1, to.1);
    }
    let mut carried = [(0, 0); 2];
    wait_until("as many packets sent as received", SOON, || {
        let after = sites.traffic()?;
        for ((carried, before), after) in carried.iter_mut().zip(before).zip(after) {
            let received = after.packets_in - before.packets_in;
            *carried = (received, after.packets_out - before.packets_out);
        }
        let [(from_site, to_site), (from_branch, to_branch)] = carried;
        Ok((from_site == to_branch && from_branch == to_site).then_some(()))
    })
    .with_context(|| format!("received and sent, site and branch: {carried:?}"))?;
    println!("received and sent, site and branch: {carried:?}");
    ensure!(
        carried
            .iter()
            .all(|(received, sent)| *received.min(sent) > 1000),
        "{carried:?}"
    );
    see_none_in_the_kernel(sites)?;
    Ok(())
}

fn see_none_in_the_kernel(sites: &Sites) -> Result<()> {
    let seen = counted_packets(&sites.stage.topology.vpc, "between_sites")?;
    ensure!(seen == 0, "the kernel got {seen} packets from site to site");
    Ok(())
}
