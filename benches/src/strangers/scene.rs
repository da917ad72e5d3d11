//! Where the attacks are made: a gateway with many connections, of which two are a
//! customer's whose address is configured, and the attackers' network.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use vgw_admin::wire::Request;
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::workspace;
use vgw_lab::probe::ping;
use vgw_lab::topology::{Branch, ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::{Lab, interrupt, wait_until};

use super::clients::METRICS;
use super::daemon::Daemon;
use super::socket::own_prefix;

/// Up all the time, and rekeyed again and again.
pub const HELD: &str = "held/1";
/// Taken down and brought up again and again; the connection's other one is down.
pub const TRIED: &str = "tried/2";

/// The customer's connections, by the networks behind both ends.
const CUSTOMERS: [(&str, &str, &str); 2] = [
    ("held", "10.0.0.0/24", "192.168.10.0/24"),
    ("tried", "10.1.0.0/24", "192.168.11.0/24"),
];

/// Everything that one attack needs, and nothing of the one before.
#[derive(Debug)]
pub struct Scene {
    // End before the networks do.
    pub customer: Daemon,
    pub gateway: Daemon,
    pub attackers: Branch,
    pub stage: Stage,
    files: String,
}

impl Scene {
    /// Starts both ends of the customer's connections, beside which the gateway has so
    /// many whose customer gateways may come from anywhere.
    ///
    /// # Errors
    /// When a tunnel does not come up.
    pub fn start(program: &Path, files: &str, strangers: u16) -> Result<Self> {
        interrupt::check()?;
        let stage = Stage::unwatched(files)?;
        let attackers = stage.topology.add_branch(&Lab::new(files)?)?;
        own_prefix(&stage.topology.internet, &attackers.gateway)?;
        let customer = stage.workspace.directory().join("customer");
        std::fs::create_dir_all(customer)?;
        let write = |name: &str, text: String| stage.workspace.write(name, &text);
        let config = write("vgw.toml", gateway_file(strangers)?)?;
        let gateway = Daemon::start(program, &stage.topology.vpc, &config)?;
        let config = write("customer/vgw.toml", customer_file()?)?;
        let customer = Daemon::start(program, &stage.topology.on_premises, &config)?;
        let scene = Self {
            customer,
            gateway,
            attackers,
            stage,
            files: files.to_owned(),
        };
        for tunnel in [HELD, "tried/1", TRIED] {
            scene.await_tunnel(tunnel, true)?;
        }
        let tunnel = "tried/1".to_owned();
        scene
            .customer
            .control()
            .order(&Request::TunnelDown { tunnel })?;
        scene.await_tunnel("tried/1", false)?;
        // The routes of many connections take longer than a tunnel.
        let host = &scene.stage.topology.on_premises_host;
        ping(host, ON_PREMISES_HOST, VPC_HOST, SOON)?.context("no answer to a ping")?;
        Ok(scene)
    }

    fn await_tunnel(&self, name: &str, up: bool) -> Result<()> {
        wait_until(&format!("tunnel {name}"), SOON, || {
            let tunnel = self.customer.control().tunnel(name)?;
            Ok((tunnel.up == up).then_some(()))
        })
    }

    /// Ends everything and removes the files.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn end(self) -> Result<()> {
        let files = self.files.clone();
        drop(self);
        workspace::forget(&files)
    }
}

/// Who a connection's customer gateway says it is, and the gateway.
pub fn identities(connection: &str) -> [String; 2] {
    [
        format!("{connection}.customer.example"),
        format!("{connection}.gateway.example"),
    ]
}

fn gateway_file(strangers: u16) -> Result<String> {
    let mut text = format!(
        "[gateway]\noutside_addresses = [\"203.0.113.1\", \"198.51.100.1\"]\n\
         [vpc]\ncidrs = [\"10.0.0.0/16\", \"10.1.0.0/16\"]\n\
         [control]\nsocket = \"@DIR@/control.sock\"\n\
         [metrics]\nlisten = \"{METRICS}\"\n"
    );
    let mut inside = Inside::default();
    for (name, vpc, site) in CUSTOMERS {
        connection(&mut text, &mut inside, name, true, (vpc, site))?;
    }
    for number in 0..strangers {
        let [high, low] = number.to_be_bytes();
        let site = format!("172.{}.{low}.0/24", 16 + high);
        let name = format!("any-{number}");
        connection(&mut text, &mut inside, &name, false, ("10.0.0.0/16", &site))?;
    }
    Ok(text)
}

fn customer_file() -> Result<String> {
    let mut text = String::from(
        "[gateway]\nside = \"customer-gateway\"\nasn = 65000\n\
         outside_addresses = [\"192.0.2.1\"]\n\
         [on_premises]\ncidrs = [\"192.168.10.0/24\", \"192.168.11.0/24\"]\n\
         [control]\nsocket = \"@DIR@/customer/control.sock\"\n",
    );
    let mut inside = Inside::default();
    for (name, vpc, site) in CUSTOMERS {
        connection(&mut text, &mut inside, name, true, (vpc, site))?;
    }
    Ok(text)
}

/// Networks inside tunnels: from 169.254.10.0 up, where AWS reserves none of the first
/// 10,000.
#[derive(Debug, Default)]
struct Inside(u16);

impl Inside {
    fn next(&mut self) -> String {
        let [high, low] = self.0.to_be_bytes();
        self.0 += 4;
        format!("169.254.{}.{low}/30", 10 + high)
    }
}

fn connection(
    text: &mut String,
    inside: &mut Inside,
    name: &str,
    addressed: bool,
    (vpc, site): (&str, &str),
) -> Result<()> {
    let [customer, gateway] = identities(name);
    // Who may come from anywhere may do so without asking for NATs on the way.
    let (address, encapsulation) = if addressed {
        ("ip_address = \"192.0.2.1\"\n", "udp")
    } else {
        ("", "auto")
    };
    write!(
        text,
        "[[customer_gateway]]\nid = \"cgw-{name}\"\nidentity = \"fqdn:{customer}\"\n{address}\
         [[vpn_connection]]\nid = \"{name}\"\ncustomer_gateway = \"cgw-{name}\"\n\
         static_routes = [\"{site}\"]\nvpc_cidrs = [\"{vpc}\"]\n"
    )?;
    for outside in ["203.0.113.1", "198.51.100.1"] {
        let inside = inside.next();
        write!(
            text,
            "[[vpn_connection.tunnel]]\noutside_address = \"{outside}\"\n\
             identity = \"fqdn:{gateway}\"\ntunnel_inside_cidr = \"{inside}\"\n\
             pre_shared_key = \"key_of_{name}_x\"\n\
             encapsulation = \"{encapsulation}\"\n",
            name = name.replace('-', "_")
        )
        .context("writing to memory")?;
    }
    Ok(())
}
