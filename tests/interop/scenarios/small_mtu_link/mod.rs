//! One of the gateway's lines carries less than the configuration says, and then as
//! much as it says.
//!
//! Seen: the tunnel over it, and it alone, has the smaller MTU; the status names the
//! line, the number and what to change, once in the log; bulk data leaves without one
//! outer fragment; when the line is widened all that is over.

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::tools::{count_packets, counted_packets, run as tool};
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::wait_until;

const TRANSFER: Transfer = Transfer {
    flows: 1,
    seconds: 2,
};
const LINE: &str = "line-a";
/// What leaves the gateway in pieces.
const FRAGMENTS: &str = "ip daddr 192.0.2.1 ip frag-off & 0x3fff != 0";

pub fn run() -> Result<()> {
    let stage = Stage::new("small_mtu_link")?;
    count_packets(&stage.topology.internet, "fragments", "forward", FRAGMENTS)?;
    let set_line = |mtu: &str| -> Result<()> {
        for end in [&stage.topology.vpc, &stage.topology.internet] {
            tool(end, "ip", &["link", "set", LINE, "mtu", mtu])?;
        }
        Ok(())
    };
    set_line("1400")?;
    let (gateway, _peer) = stage.both_up()?;

    await_mtus(&gateway, [(1400, 1338), (1500, 1438)])?;
    let problem = wait_until("the problem in the status", SOON, || {
        Ok(gateway.status()?.problems.first().cloned())
    })?;
    println!("{problem}");
    for word in [LINE, "carries 1400", "outside_mtu is 1500", "vpn-site/1"] {
        ensure!(problem.contains(word), "no {word} in: {problem}");
    }
    ensure!(!problem.contains("vpn-site/2"), "{problem}");
    transfer(&stage, "with a line of 1400")?;

    set_line("1500")?;
    await_mtus(&gateway, [(1500, 1438); 2])?;
    wait_until("the problem's end", SOON, || {
        Ok(gateway.status()?.problems.is_empty().then_some(()))
    })?;
    transfer(&stage, "with a line of 1500")?;
    let log = std::fs::read_to_string(stage.workspace.directory().join("vgw.log"))?;
    let warnings = log.matches("carries 1400").count();
    ensure!(warnings == 1, "{warnings} warnings in the log");
    Ok(())
}

/// Waits until the tunnels carry so much, outside and inside.
fn await_mtus(gateway: &Gateway, expected: [(usize, usize); 2]) -> Result<()> {
    wait_until("the tunnels' MTUs", SOON, || {
        let mut all = true;
        for (number, (outside, inside)) in (1..).zip(expected) {
            let tunnel = gateway.tunnel(number)?;
            all &= tunnel.outside_mtu == Some(outside) && tunnel.mtu == Some(inside);
        }
        Ok(all.then_some(()))
    })
}

fn transfer(stage: &Stage, how: &str) -> Result<()> {
    let host = (&stage.topology.vpc_host, VPC_HOST);
    let far_host = (&stage.topology.on_premises_host, ON_PREMISES_HOST);
    let arrived = TRANSFER.run(host, far_host, stage.workspace.directory())?;
    let fragments = counted_packets(&stage.topology.internet, "fragments")?;
    println!(
        "{how}: {:.2} Gbit/s, {fragments} outer fragments",
        arrived.gbps
    );
    ensure!(fragments == 0, "{fragments} outer fragments {how}");
    Ok(())
}
