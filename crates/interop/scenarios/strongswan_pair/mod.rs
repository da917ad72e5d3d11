//! Two strongSwan peers, none of ours: the lab and the probes can be trusted.
//!
//! The customer initiates; pings pass both ways, bulk data and a steady flow pass,
//! and both peers count the packets.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_interop::Workspace;
use vgw_interop::strongswan::StrongSwan;
use vgw_lab::probe::{EchoFlow, ping};
use vgw_lab::topology::{ON_PREMISES_HOST, Topology, VPC_HOST, on_premises_cidr, vpc_cidr};
use vgw_lab::{Lab, wait_until};

pub fn run() -> Result<()> {
    let workspace = Workspace::new("strongswan_pair")?;
    let lab = Lab::new("strongswan")?;
    let topology = Topology::build(&lab)?;
    let start = |namespace, name: &str, far_side| {
        let conf = workspace.file(&format!("{name}.swanctl.conf"))?;
        let directory = workspace.directory().join(name);
        StrongSwan::start(namespace, &directory, &conf, far_side, "")
    };
    let cloud = start(&topology.vpc, "cloud", on_premises_cidr())?;
    let customer = start(&topology.on_premises, "customer", vpc_cidr())?;
    customer.initiate("net")?;
    let limit = Duration::from_secs(2);
    let (vpc, site) = (VPC_HOST, ON_PREMISES_HOST);
    ensure!(ping(&topology.vpc, vpc, site, limit)?.is_some());
    ensure!(ping(&topology.on_premises, site, vpc, limit)?.is_some());

    let client = (&topology.on_premises, (site, 7000).into());
    let server = (&topology.vpc, (vpc, 7000).into());
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
