//! Case 5: from site to site through one gateway.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use ipnet::IpNet;
use vgw_interop::gateway::Gateway;
use vgw_interop::iperf3::Transfer;
use vgw_interop::stage::{SOON, Stage};
use vgw_interop::workspace;
use vgw_lab::probe::ping;
use vgw_lab::topology::{CUSTOMER_OUTSIDE, ON_PREMISES_HOST};
use vgw_lab::{Lab, Namespace, Veth, interrupt};

use crate::Plan;
use crate::entrant::transfer_of;
use crate::rounds::Rounds;
use crate::say;
use crate::subject::Subject;

/// As it stands in the results.
pub const CASE: &str = "site to site through one gateway, one TCP flow, AES-128-GCM";

/// The second site's outside address, of the range that RFC 2544 reserves for benches.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 254));
/// A host of the second site.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 20, 1));

const NETWORKS: [&str; 2] = ["192.168.10.0/24", "192.168.20.0/24"];
const TUNNELS: usize = 4;

/// Two sites and the gateway between them.
struct Hub {
    subject: Subject,
    // End before the networks do.
    gateways: [Gateway; 3],
    second: Namespace,
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
        // As with entrants, one that fails is out.
        for hub in std::mem::take(&mut hubs) {
            let measured = hub.measure(plan.seconds, rounds);
            if rounds.keep(measured)?.is_some() {
                hubs.push(hub);
            }
        }
        plan.save(rounds)?;
    }
    hubs.into_iter().try_for_each(Hub::end)
}

impl Hub {
    fn start(subject: Subject, program: &Path) -> Result<Self> {
        interrupt::check()?;
        say(&format!("starting {}, site to site", subject.name()));
        let files = format!("bench-{}-sites", subject.name());
        let stage = Stage::new(&files)?;
        let second = second_site(&files, &stage)?;
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
        let other = site(1, &second, OUTSIDE)?;
        hub.await_tunnels(TUNNELS, SOON)?;
        ping(&second, HOST, ON_PREMISES_HOST, SOON)?
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
                (&self.second, HOST),
                (&self.stage.topology.on_premises, ON_PREMISES_HOST),
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

/// A second customer's premises beside the stage's own.
fn second_site(name: &str, stage: &Stage) -> Result<Namespace> {
    let site = Lab::new(name)?.namespace("site2")?;
    let near = Veth {
        namespace: &site,
        name: "wan",
        addresses: &[IpNet::new(OUTSIDE, 24)?],
    };
    near.connect(Veth {
        namespace: &stage.topology.internet,
        name: "site2",
        addresses: &[IpNet::new(ROUTER, 24)?],
    })?;
    site.add_route("0.0.0.0/0".parse()?, ROUTER)?;
    site.add_address("lo", IpNet::from(HOST))?;
    Ok(site)
}

fn hub_file() -> Result<String> {
    let mut text = String::from(
        "[gateway]\ncloudhub = true\noutside_addresses = [\"203.0.113.1\", \"198.51.100.1\"]\n\
         [vpc]\ncidrs = [\"10.0.0.0/16\"]\n\
         [control]\nsocket = \"@DIR@/control.sock\"\n",
    );
    for (index, outside) in [CUSTOMER_OUTSIDE, OUTSIDE].into_iter().enumerate() {
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
