//! Two customers' sites, each with a strongSwan and a VPN connection of its own.

use anyhow::Result;
use vgw_admin::wire::Traffic;
use vgw_lab::Lab;
use vgw_lab::topology::{Branch, branch_cidr, on_premises_cidr, vpc_cidr};

use crate::gateway::Gateway;
use crate::stage::{SOON, Stage};
use crate::strongswan::StrongSwan;

/// The first tunnels of the two connections, the only ones that are up.
pub const TUNNELS: [&str; 2] = ["vpn-site/1", "vpn-branch/1"];

/// The premises and a branch, both connected to our daemon.
#[derive(Debug)]
pub struct Sites {
    /// In the VPC.
    pub gateway: Gateway,
    /// On the premises and in the branch.
    pub peers: [StrongSwan; 2],
    /// The second site.
    pub branch: Branch,
    /// All else.
    pub stage: Stage,
}

impl Sites {
    /// Starts our daemon with the scenario's `vgw.toml`, strongSwan in each site with
    /// `site.swanctl.conf` and `branch.swanctl.conf`, and has each bring up its child
    /// `net`. Each site leads packets to the VPC and to the other site to its peer.
    ///
    /// # Errors
    /// When that fails.
    pub fn start(scenario: &str) -> Result<Self> {
        let stage = Stage::new(scenario)?;
        let branch = stage
            .topology
            .add_branch(&Lab::new(&scenario.replace('_', "-"))?)?;
        let gateway = stage.start_gateway()?;
        let start = |namespace, name: &str, other| {
            let conf = stage.workspace.file(&format!("{name}.swanctl.conf"))?;
            let directory = stage.workspace.directory().join(name);
            let peer = StrongSwan::start(namespace, &directory, &conf, vpc_cidr(), "")?;
            peer.lead(other)?;
            peer.initiate("net")?;
            anyhow::Ok(peer)
        };
        let peers = [
            start(&stage.topology.on_premises, "site", branch_cidr())?,
            start(&branch.gateway, "branch", on_premises_cidr())?,
        ];
        gateway.await_tunnels(TUNNELS.len(), SOON)?;
        Ok(Self {
            gateway,
            peers,
            branch,
            stage,
        })
    }

    /// What each of [`TUNNELS`] has carried.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn traffic(&self) -> Result<[Traffic; 2]> {
        let [site, branch] = TUNNELS.map(|name| self.gateway.tunnel_named(name));
        Ok([site?.traffic, branch?.traffic])
    }
}
