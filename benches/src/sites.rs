//! Case 5: from site to site through one gateway.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use vgw_harness::gateway::Gateway;
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::workspace;
use vgw_lab::probe::ping;
use vgw_lab::topology::{BRANCH_HOST, BRANCH_OUTSIDE, Branch, CUSTOMER_OUTSIDE, ON_PREMISES_HOST};
use vgw_lab::{Lab, interrupt};

use crate::Plan;
use crate::entrant::transfer_of;
use crate::rounds::Rounds;
use crate::say;
use crate::subject::Subject;

/// As it stands in the results.
pub const CASE: &str = "site to site through one gateway, one TCP flow, AES-128-GCM";

const NETWORKS: [&str; 2] = ["192.168.10.0/24", "192.168.20.0/24"];
const TUNNELS: usize = 4;

/// Two sites and the gateway between them.
struct Hub {
    subject: Subject,
    // End before the networks do.
    gateways: [Gateway; 3],
    second: Branch,
    stage: Stage,
    files: String,
}

/// Measures ours and the floor, turn and turn about.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    let mut hubs = Vec::new();
    for subject in plan.subjects() {
        let program = match subject {
            Subject::Vgw => &plan.programs.vgw,
            Subject::Floor => &plan.programs.floor,
            _ => continue,
        };
        let hub = Hub::start(subject, program);
        let hub = hub.with_context(|| format!("{}: {CASE}", subject.name()));
        hubs.extend(rounds.keep(hub)?);
    }
    for round in 1..=plan.rounds {
        say(&format!("site to site, round {round} of {}", plan.rounds));
        rounds.each(&mut hubs, |hub, rounds| hub.measure(plan.seconds, rounds))?;
        plan.save(rounds)?;
    }
    hubs.into_iter().try_for_each(Hub::end)
}

impl Hub {
    fn start(subject: Subject, program: &Path) -> Result<Self> {
        interrupt::check()?;
        say(&format!("starting {}, site to site", subject.name()));
        let files = format!("bench-{}-sites", subject.name());
        let stage = Stage::unwatched(&files)?;
        let second = stage.topology.add_branch(&Lab::new(&files)?)?;
        let hub = {
            let config = stage.workspace.write("vgw.toml", &hub_file()?)?;
            Gateway::start_as(program, &stage.topology.vpc, &config)?
        };
        let site = |index: usize, namespace, outside| {
            let name = format!("site{index}");
            std::fs::create_dir_all(stage.workspace.directory().join(&name))?;
            let text = site_file(index, outside)?;
            let config = stage.workspace.write(&format!("{name}/vgw.toml"), &text)?;
            Gateway::start_as(program, namespace, &config)
        };
        let first = site(0, &stage.topology.on_premises, CUSTOMER_OUTSIDE)?;
        let other = site(1, &second.gateway, BRANCH_OUTSIDE)?;
        hub.await_tunnels(TUNNELS, SOON)?;
        ping(&second.host, BRANCH_HOST, ON_PREMISES_HOST, SOON)?
            .context("no answer to a ping from one site to the other")?;
        Ok(Self {
            subject,
            gateways: [hub, first, other],
            second,
            stage,
            files,
        })
    }

    fn measure(&self, seconds: u8, rounds: &mut Rounds) -> Result<()> {
        let processes = self.gateways.each_ref().map(Gateway::id);
        transfer_of(self.subject, &processes, CASE, rounds, || {
            Transfer { flows: 1, seconds }.run(
                (&self.second.host, BRANCH_HOST),
                (&self.stage.topology.on_premises_host, ON_PREMISES_HOST),
                self.stage.workspace.directory(),
            )
        })
    }

    fn end(self) -> Result<()> {
        let files = self.files.clone();
        drop(self);
        workspace::forget(&files)
    }
}

fn hub_file() -> Result<String> {
    let mut text = String::from(
        "[gateway]\ncloudhub = true\noutside_addresses = [\"203.0.113.1\", \"198.51.100.1\"]\n\
         [vpc]\ncidrs = [\"10.0.0.0/16\"]\n\
         [control]\nsocket = \"@DIR@/control.sock\"\n",
    );
    for (index, outside) in [CUSTOMER_OUTSIDE, BRANCH_OUTSIDE].into_iter().enumerate() {
        connection(&mut text, index, outside, "")?;
    }
    Ok(text)
}

fn site_file(index: usize, outside: IpAddr) -> Result<String> {
    let own = NETWORKS.get(index).context("no such site")?;
    let other = NETWORKS.get(1 - index).context("no such site")?;
    let mut text = format!(
        "[gateway]\nside = \"customer-gateway\"\nasn = 65000\noutside_addresses = [\"{outside}\"]\n\
         [on_premises]\ncidrs = [\"{own}\"]\n\
         [control]\nsocket = \"@DIR@/site{index}/control.sock\"\n",
    );
    let far = format!("vpc_cidrs = [\"10.0.0.0/16\", \"{other}\"]\n");
    connection(&mut text, index, outside, &far)?;
    Ok(text)
}

fn connection(text: &mut String, index: usize, outside: IpAddr, more: &str) -> Result<()> {
    let network = NETWORKS.get(index).context("no such site")?;
    write!(
        text,
        "[[customer_gateway]]\nid = \"cgw-{index}\"\nip_address = \"{outside}\"\n\
         [[vpn_connection]]\nid = \"vpn-{index}\"\ncustomer_gateway = \"cgw-{index}\"\n\
         static_routes = [\"{network}\"]\n{more}"
    )?;
    for (tunnel, outside) in ["203.0.113.1", "198.51.100.1"].iter().enumerate() {
        write!(
            text,
            "[[vpn_connection.tunnel]]\noutside_address = \"{outside}\"\n\
             tunnel_inside_cidr = \"169.254.{}.{}/30\"\n\
             pre_shared_key = \"key_{index}_{tunnel}_x\"\nencapsulation = \"udp\"\n\
             phase2_encryption_algorithms = [\"AES128-GCM-16\"]\n",
            10 + index,
            4 * tunnel
        )?;
    }
    Ok(())
}
