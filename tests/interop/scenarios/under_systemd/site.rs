//! The machine at the place of the stage's VPC, and the service on it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vgw_admin::wire::Status;
use vgw_harness::gateway::program;
use vgw_harness::nspawn::{Disk, Machine};
use vgw_harness::stage::{LATER, SOON, Stage};
use vgw_harness::tools::run as tool;
use vgw_lab::{Lab, wait_until};

pub const DAEMON: &str = "vgwd.service";
pub const GUARD: &str = "vgwd-guard.service";
pub const CONFIG: &str = "/etc/vgw/vgw.toml";

/// Where the machine has what is checked out and built here.
const SOURCE: &str = "/usr/src/vgw";

/// The links that the machine finds in its network namespace.
const LINKS: [&str; 3] = ["lan", "line-a", "line-b"];
/// What brings them up.
const NETWORK: [(&str, &str); 2] = [
    (
        "/etc/systemd/network/lan.network",
        include_str!("network/lan.network"),
    ),
    (
        "/etc/systemd/network/line-a.network",
        include_str!("network/line-a.network"),
    ),
];
pub const LINE_B: (&str, &str) = (
    "/etc/systemd/network/line-b.network",
    include_str!("network/line-b.network"),
);

/// What must never leave in clear.
const GUARDED: [&str; 3] = ["169.254.10.0/30", "169.254.10.4/30", "192.168.10.0/24"];

pub struct Site<'a> {
    pub machine: Machine,
    pub disk: Disk,
    stage: &'a Stage,
}

impl<'a> Site<'a> {
    /// A Debian machine that has never heard of us, with a network by systemd-networkd.
    pub fn new(stage: &'a Stage) -> Result<Self> {
        let disk = stage.workspace.directory().join("disk");
        let disk = Disk::create(Path::new(env!("CARGO_TARGET_TMPDIR")), disk)?;
        for (path, network) in NETWORK.into_iter().chain([LINE_B]) {
            disk.write(path, network)?;
        }
        disk.enable("systemd-networkd.service")?;
        // What it logs is then in this run's files, too.
        let forward = "[Journal]\nForwardToConsole=yes\n";
        disk.write("/etc/systemd/journald.conf.d/console.conf", forward)?;
        Self::switch_on(stage, disk)
    }

    fn switch_on(stage: &'a Stage, disk: Disk) -> Result<Self> {
        without_network(stage)?;
        let binaries = program()?;
        let binaries = binaries.parent().context("VGW_BIN is in no directory")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let shared = [
            (binaries, "target/release"),
            (&root.join("systemd"), "systemd"),
            (&root.join("config"), "config"),
        ];
        let machine = Machine::boot(
            Lab::new("under-systemd")?.cgroup()?,
            &stage.topology.vpc,
            &disk,
            &shared.map(|(directory, name)| (directory, format!("{SOURCE}/{name}"))),
            &stage.workspace.directory().join("console.log"),
        )?;
        Ok(Self {
            machine,
            disk,
            stage,
        })
    }

    /// Switches the machine off in good order and on again; its kernel then knows
    /// nothing of what was before.
    pub fn switch_off_and_on(self) -> Result<Self> {
        self.machine.power_off()?;
        Self::switch_on(self.stage, self.disk)
    }

    /// Installs the service and starts it, by what README.md tells to do for it, but for
    /// the build.
    pub fn install(&self, config: &str) -> Result<()> {
        let readme = include_str!("../../../../README.md");
        let (_, readme) = readme
            .split_once("## Run it\n\n")
            .context("README.md: no Run it")?;
        let mut blocks = readme
            .split("\n\n")
            .filter(|block| block.starts_with("    "));
        let install = blocks.next().context("README.md: nothing to install")?;
        let (build, install) = install.trim_start().split_once('\n').unwrap_or_default();
        ensure!(build.starts_with("cargo build"), "README.md: {build}");
        self.script(install)?;
        self.disk.write(CONFIG, config)?;
        self.script(blocks.next().context("README.md: nothing to start")?)
    }

    fn script(&self, lines: &str) -> Result<()> {
        let script = format!("set -e; cd {SOURCE}\n{lines}");
        self.machine.run("sh", &["-c", &script])?;
        Ok(())
    }

    pub fn systemctl(&self, arguments: &[&str]) -> Result<String> {
        self.machine.run("systemctl", arguments)
    }

    pub fn property(&self, name: &str) -> Result<String> {
        self.machine.property(DAEMON, name)
    }

    /// The daemon's process, as the machine numbers it.
    pub fn main_pid(&self) -> Result<u32> {
        Ok(self.property("MainPID")?.parse()?)
    }

    pub fn status(&self) -> Result<Status> {
        let text = self.machine.run("vgw", &["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("reading the status {text}"))
    }

    /// Waits until both tunnels are up and hosts reach each other through them.
    pub fn await_both(&self) -> Result<()> {
        let mut last = String::new();
        let outcome = wait_until("both tunnels", LATER, || {
            // The daemon may not answer yet.
            let Ok(status) = self.status() else {
                return Ok(None);
            };
            last = format!("{:?}", status.connections);
            let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
            Ok((tunnels.filter(|tunnel| tunnel.up).count() == 2).then_some(()))
        });
        outcome.context(last)?;
        self.stage.ping_both_ways()
    }

    /// Waits until systemd says of a unit that it is `active`, or what else.
    pub fn await_state(&self, unit: &str, wanted: &str) -> Result<()> {
        let mut state = String::new();
        let outcome = wait_until(&format!("{unit} {wanted}"), SOON, || {
            state = self.machine.property(unit, "ActiveState")?;
            Ok((state == wanted).then_some(()))
        });
        outcome.with_context(|| format!("{unit} is {state}"))
    }

    /// Waits until systemd has started the daemon once more by itself, and it is ready.
    /// All the while the guard routes stand.
    pub fn await_restart(&self, killed: u32, limit: std::time::Duration) -> Result<()> {
        wait_until("the daemon's restart", limit, || {
            self.see_guarded()?;
            let active = self.property("ActiveState")? == "active";
            Ok((active && self.main_pid()? != killed).then_some(()))
        })
    }

    /// Sees that the guard routes stand.
    pub fn see_guarded(&self) -> Result<()> {
        let listed = tool(
            &self.stage.topology.vpc,
            "ip",
            &["-json", "route", "show", "type", "unreachable"],
        )?;
        let listed: Vec<Value> = serde_json::from_str(&listed)?;
        let found: BTreeSet<&str> = listed
            .iter()
            .filter_map(|route| route["dst"].as_str())
            .collect();
        ensure!(found == GUARDED.into(), "guarded are {found:?}");
        Ok(())
    }
}

/// As the kernel of a machine is that was just switched on.
fn without_network(stage: &Stage) -> Result<()> {
    let vpc = &stage.topology.vpc;
    for link in LINKS {
        tool(vpc, "ip", &["link", "set", link, "down"])?;
        tool(vpc, "ip", &["address", "flush", "dev", link])?;
    }
    for family in ["-4", "-6"] {
        tool(vpc, "ip", &[family, "route", "flush", "table", "main"])?;
    }
    for table in ["101", "102"] {
        // A line's rule is gone with the machine's network manager.
        let _ = tool(vpc, "ip", &["rule", "delete", "table", table]);
    }
    Ok(())
}
