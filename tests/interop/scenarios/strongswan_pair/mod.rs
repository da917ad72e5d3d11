//! Two strongSwan peers, none of ours: the lab and the probes can be trusted.
//!
//! The customer initiates; pings pass both ways, bulk data and a steady flow pass,
//! and both peers count the packets.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::stage::Stage;
use vgw_lab::probe::{EchoFlow, ping};
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("strongswan_pair")?;
    let (cloud, customer) = stage.strongswan_pair()?;
    let topology = &stage.topology;
    let limit = Duration::from_secs(2);
    let (vpc, site) = (VPC_HOST, ON_PREMISES_HOST);
    ensure!(ping(&topology.vpc_host, vpc, site, limit)?.is_some());
    ensure!(ping(&topology.on_premises_host, site, vpc, limit)?.is_some());

    let client = (&topology.on_premises_host, (site, 7000).into());
    let server = (&topology.vpc_host, (vpc, 7000).into());
    let flow = EchoFlow::start(client, server, Duration::from_millis(2))?;
    wait_until("a hundred echoes", Duration::from_secs(10), || {
        Ok((flow.answered() >= 100).then_some(()))
    })?;
    let report = flow.finish()?;
    ensure!(report.lost() == 0, "{report:?}");

    for (peer, at_least) in [(&cloud, report.answered), (&customer, report.answered)] {
        let children = peer.installed("net")?;
        let [child] = children.as_slice() else {
            anyhow::bail!("expected one CHILD SA, found {children:?}");
        };
        ensure!(child.encryption == "AES_GCM_16", "{child:?}");
        ensure!(child.packets_in >= at_least, "{child:?}");
    }
    customer.stop()?;
    wait_until("the customer's deletion", Duration::from_secs(5), || {
        Ok(cloud.children()?.is_empty().then_some(()))
    })
}
