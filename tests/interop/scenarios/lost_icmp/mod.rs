//! TCP from a host of the VPC, whose network loses the ICMP that tells how large a
//! packet may be.
//!
//! Seen, with a configuration that says nothing of sizes and with a TUN device that
//! takes less than the tunnels: bulk data arrives from the host and at it, and not one
//! such ICMP was needed.

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::{CHILDREN, SOON, Stage};
use vgw_harness::tools::{counted_packets, nft};
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::wait_until;

const TRANSFER: Transfer = Transfer {
    flows: 1,
    seconds: 1,
};
/// Of AES-GCM in UDP over IPv4 (AWS's user guide, "MTU and MSS").
const MTU: usize = 1438;
/// IPv4 and TCP.
const HEADERS: usize = 40;
/// Octets that a sender starts with, or somewhat more (RFC 6928).
const FIRST_WINDOW: f64 = 15e3;

pub fn run() -> Result<()> {
    let stage = Stage::new("lost_icmp")?;
    let lose = "add table ip seen; add counter ip seen lost; \
                add chain ip seen lost { type filter hook postrouting priority 0; }; \
                add rule ip seen lost icmp type destination-unreachable icmp code \
                frag-needed counter name lost drop";
    nft(&stage.topology.vpc, lose)?;
    let peer = stage.start_peer()?;
    let config = std::fs::read_to_string(stage.workspace.file("vgw.toml")?)?;
    for (tun, mtu) in [("", MTU), ("[tun]\nmtu = 1300\n", 1300)] {
        let config = stage
            .workspace
            .write("vgw.toml", &format!("{config}{tun}"))?;
        let mut gateway = Gateway::start(&stage.topology.vpc, &config)?;
        for child in CHILDREN {
            peer.initiate(child)?;
        }
        for tunnel in gateway.await_both(SOON)? {
            ensure!(tunnel.mtu == Some(MTU), "{tunnel:?}");
        }
        // Of the TUN device the daemon learns by looking every second.
        wait_until("the MSS that fits the TUN device", SOON, || {
            let least = gateway.tunnel(1)?.mss_ipv4;
            Ok((least == Some(mtu - HEADERS)).then_some(()))
        })?;
        let host = (&stage.topology.vpc_host, VPC_HOST);
        let far_host = (&stage.topology.on_premises_host, ON_PREMISES_HOST);
        let sent = TRANSFER.run(host, far_host, stage.workspace.directory())?;
        let received = TRANSFER.to_vpc(&stage)?;
        println!(
            "TUN device of {mtu}: {:.2} Gbit/s from the VPC, {:.2} to it",
            sent.gbps, received.gbps
        );
        // More than the first window, of which a sender must hear that it arrived.
        let arrived = sent.octets.min(received.octets);
        ensure!(arrived > FIRST_WINDOW, "{sent:?} {received:?}");
        let lost = counted_packets(&stage.topology.vpc, "lost")?;
        ensure!(lost == 0, "{lost} times a sender would have had to be told");
        gateway.stop()?;
    }
    Ok(())
}
