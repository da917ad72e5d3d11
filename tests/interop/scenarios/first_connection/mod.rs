//! The first connection as `docs/first-connection.md` has it, with both styles of
//! strongSwan's configuration, on a kernel with ESP in a virtual machine. What the page
//! says is done as it stands: only the addresses are those of the stage, and what the page
//! has a service manager do is done by hand.
//!
//! Seen, with either style: both tunnels up; pings both ways; and a flow that goes on when
//! tunnel 1 is taken down and brought back as the page has it. What an emulated machine
//! loses meanwhile is not judged.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use vgw_harness::gateway::Gateway;
use vgw_harness::qemu::{Guest, GuestSite};
use vgw_harness::stage::{SOON, Stage, await_echoes};
use vgw_lab::Namespace;
use vgw_lab::probe::{EchoFlow, ping};
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};

const PAGE: &str = include_str!("../../../../docs/first-connection.md");

/// Addresses of the page, and what they are here. The first must not be found in what
/// the second gives.
const ADDRESSES: [(&str, &str); 3] = [
    ("198.51.100.7", "198.18.1.1"),
    ("203.0.113.2", "198.51.100.1"),
    ("192.168.0.", "192.168.10."),
];

/// What the unit vgw-devices does; here any command that fails ends it.
const MAKE_DEVICES: &str = "sh -e /usr/local/sbin/vgw-devices";

/// What the service manager does for `systemctl restart strongswan`.
const START_CHARON: &str = "/usr/lib/ipsec/charon > /tmp/charon.log 2>&1 & \
                            while [ ! -S /var/run/charon.vici ]; do usleep 100000; done";

pub fn run() -> Result<()> {
    let stage = Stage::new("first_connection")?;
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/first_connection/guest");
    let mut site = GuestSite::boot(&stage, &recipe)?;
    let guest = &mut site.guest;
    let (mut gateway, keys) = start_gateway(&stage)?;

    let shared = Section::of("## 2. strongSwan")?;
    guest.write("/usr/local/sbin/vgw-updown", shared.block("sh", 0)?)?;
    shared.carry_out(guest, 1)?;
    guest.write("/etc/strongswan.d/vgw.conf", shared.block("text", 0)?)?;

    let swanctl = Section::of("### 2a. swanctl.conf")?.with_keys(&keys);
    guest.write("/usr/local/sbin/vgw-devices", swanctl.block("sh", 0)?)?;
    swanctl.carry_out(guest, 1)?;
    guest.write("/etc/swanctl/conf.d/vgw.conf", swanctl.block("text", 0)?)?;
    swanctl.carry_out(guest, 2)?;
    see_that_it_works(&stage, &site.host, &mut gateway)?;
    let guest = &mut site.guest;
    guest.run("kill $(cat /var/run/charon.pid)")?;
    for (number, device) in [(1, "vgw-1"), (2, "vgw-2")] {
        gateway.await_tunnel(number, false, SOON)?;
        guest.run(&format!("ip link delete {device}"))?;
    }

    let ipsec = Section::of("### 2b. ipsec.conf")?.with_keys(&keys);
    guest.write("/usr/local/sbin/vgw-devices", ipsec.block("sh", 0)?)?;
    ipsec.carry_out(guest, 1)?;
    guest.write("/etc/ipsec.conf", ipsec.block("text", 0)?)?;
    guest.write("/etc/ipsec.secrets", ipsec.block("text", 1)?)?;
    ipsec.carry_out(guest, 2)?;
    see_that_it_works(&stage, &site.host, &mut gateway)
}

/// Starts our end with the page's configuration; gives the keys that it made, too.
fn start_gateway(stage: &Stage) -> Result<(Gateway, [String; 2])> {
    let text = Section::of("## 1. vgw")?.block("toml", 0)?.to_owned();
    let text = text.replace("/var/lib/vgw", "@DIR@");
    let socket = "\n[control]\nsocket = \"@DIR@/control.sock\"\n";
    let config = stage.workspace.write("vgw.toml", &(text + socket))?;
    let gateway = Gateway::start(&stage.topology.vpc, &config)?;
    let key = |number: u8| -> Result<String> {
        let file = config.with_file_name(format!("vpn-office-{number}.psk"));
        Ok(std::fs::read_to_string(file)?.trim_end().to_owned())
    };
    Ok((gateway, [key(1)?, key(2)?]))
}

/// The page's third section.
fn see_that_it_works(stage: &Stage, host: &Namespace, gateway: &mut Gateway) -> Result<()> {
    let vpc = &stage.topology.vpc_host;
    gateway.await_both(SOON)?;
    let answered = ping(vpc, VPC_HOST, ON_PREMISES_HOST, SOON)?;
    answered.context("no answer to a ping from the VPC")?;
    let answered = ping(host, ON_PREMISES_HOST, VPC_HOST, SOON)?;
    answered.context("no answer to a ping from the premises")?;

    let from = (vpc, (VPC_HOST, 7000).into());
    let to = (host, (ON_PREMISES_HOST, 7000).into());
    let flow = EchoFlow::start(from, to, Duration::from_millis(20))?;
    let section = Section::of("## 3. See that it works")?;
    for command in section.block("sh", 2)?.lines() {
        await_echoes(&flow, 20, SOON)?;
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        gateway.ask(&arguments)?;
        if let ["tunnel", change, _] = arguments[..] {
            gateway.await_tunnel(1, change == "up", SOON)?;
        }
    }
    await_echoes(&flow, 20, SOON)?;
    println!("{:?}", flow.finish()?);
    Ok(())
}

/// A section of the page up to the next heading, with the addresses of the stage.
struct Section(String);

impl Section {
    fn of(heading: &str) -> Result<Self> {
        let found = PAGE.split_once(&format!("\n{heading}\n"));
        let (_, rest) = found.with_context(|| format!("the page has no {heading}"))?;
        let end = ["\n## ", "\n### "]
            .into_iter()
            .filter_map(|next| rest.find(next));
        let section = rest.get(..end.min().unwrap_or(rest.len())).unwrap_or(rest);
        let local = ADDRESSES
            .into_iter()
            .fold(section.to_owned(), |text, (page, here)| {
                text.replace(page, here)
            });
        Ok(Self(local))
    }

    fn with_keys(self, [first, second]: &[String; 2]) -> Self {
        let text = self.0.replace("KEY OF TUNNEL 1", first);
        Self(text.replace("KEY OF TUNNEL 2", second))
    }

    /// One of its fenced blocks of this language.
    fn block(&self, language: &str, index: usize) -> Result<&str> {
        let fence = format!("```{language}\n");
        let block = self.0.split(&fence).skip(1).nth(index);
        let block = block.and_then(|rest| rest.split("```").next());
        block.with_context(|| format!("no block {index} of {language}"))
    }

    /// Carries out the commands of a block.
    fn carry_out(&self, guest: &mut Guest, index: usize) -> Result<()> {
        for command in self.block("sh", index)?.lines() {
            let command = match command {
                "systemctl enable --now vgw-devices" => MAKE_DEVICES,
                "systemctl restart strongswan" => START_CHARON,
                "systemctl restart strongswan-starter" => "ipsec restart",
                other => other,
            };
            guest.run(command)?;
        }
        Ok(())
    }
}
