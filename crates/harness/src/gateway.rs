//! Our daemon in a namespace, seen through its command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use vgw_admin::wire::{Connection, Status, Tunnel};
use vgw_lab::{Namespace, Process, wait_until};

/// How long the daemon may take to answer after its start.
const START: Duration = Duration::from_secs(10);

/// A running daemon.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    socket: PathBuf,
    process: Process,
}

/// The program under test: `VGW_BIN`, which `cargo xtask test` sets.
///
/// # Errors
/// When it is not set or names no file.
pub fn program() -> Result<PathBuf> {
    let path = std::env::var_os("VGW_BIN").context(
        "VGW_BIN does not name the vgw binary to test: run cargo xtask test, or cargo build -p \
         vgw and set it to target/debug/vgw",
    )?;
    let path = PathBuf::from(path);
    ensure!(path.is_file(), "VGW_BIN: {} is no file", path.display());
    Ok(path)
}

impl Gateway {
    /// Starts `vgw run` in `namespace` with this configuration, whose control socket
    /// is `control.sock` beside it, and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer.
    pub fn start(namespace: &Namespace, config: &Path) -> Result<Self> {
        Self::start_as(&program()?, namespace, config)
    }

    /// As [`Self::start`], of this program.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(program: &Path, namespace: &Namespace, config: &Path) -> Result<Self> {
        let mut command = namespace.command(program);
        command.arg("run").arg("--config").arg(config);
        let mut gateway = Self {
            program: program.to_owned(),
            socket: config.with_file_name("control.sock"),
            process: Process::start("vgw run", command, &config.with_file_name("vgw.log"))?,
        };
        wait_until("the daemon's answer", START, || {
            gateway.process.check()?;
            Ok(gateway.status().ok())
        })?;
        Ok(gateway)
    }

    /// Its status.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status> {
        let text = self.ask(&["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("reading the status {text}"))
    }

    /// Its only connection.
    ///
    /// # Errors
    /// When it has another number of them or does not answer.
    pub fn connection(&self) -> Result<Connection> {
        let mut connections = self.status()?.connections;
        match (connections.pop(), connections.is_empty()) {
            (Some(connection), true) => Ok(connection),
            _ => bail!("the scenario's configuration has not one connection"),
        }
    }

    /// A tunnel of its only connection, 1 or 2.
    ///
    /// # Errors
    /// As [`Self::connection`].
    pub fn tunnel(&self, number: usize) -> Result<Tunnel> {
        let mut tunnels = self.connection()?.tunnels.into_iter();
        tunnels
            .nth(number.saturating_sub(1))
            .with_context(|| format!("the status has no tunnel {number}"))
    }

    /// A tunnel of any connection, by its name (`vpn-site/1`).
    ///
    /// # Errors
    /// When it has none of this name or does not answer.
    pub fn tunnel_named(&self, name: &str) -> Result<Tunnel> {
        let connections = self.status()?.connections.into_iter();
        connections
            .flat_map(|connection| connection.tunnels)
            .find(|tunnel| tunnel.name == name)
            .with_context(|| format!("the status has no tunnel {name}"))
    }

    /// How often the traffic of its only connection moved from one tunnel to the other.
    ///
    /// # Errors
    /// As [`Self::connection`].
    pub fn moves(&self) -> Result<u64> {
        let tunnels = self.connection()?.tunnels;
        Ok(tunnels.iter().map(|tunnel| tunnel.counters.takeovers).sum())
    }

    /// Waits until the traffic of its only connection goes by this tunnel, 1 or 2. Gives the time
    /// since `start` at which it moved there last, some milliseconds more rather than less; zero
    /// if it was there all the time.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_move(&self, to: u8, start: Instant, limit: Duration) -> Result<Duration> {
        wait_until(&format!("traffic on tunnel {to}"), limit, || {
            let connection = self.connection()?;
            let ago = connection.last_move.map(|moved| moved.ago_seconds);
            let ago = ago.map_or(Ok(Duration::MAX), Duration::try_from_secs_f64)?;
            let moved = start.elapsed().saturating_sub(ago);
            Ok((connection.active_tunnel == Some(to)).then_some(moved))
        })
    }

    /// How many packets it has dropped for this reason (`no_sa`).
    ///
    /// # Errors
    /// When it counts no such reason or does not answer.
    pub fn dropped(&self, reason: &str) -> Result<u64> {
        let drops = self.status()?.drops;
        let count = drops.get(reason).copied();
        count.with_context(|| format!("the status counts no {reason}"))
    }

    /// Waits until this tunnel is up, or down; gives it.
    ///
    /// # Errors
    /// When it is not in time, with what it is instead.
    pub fn await_tunnel(&mut self, number: usize, up: bool, limit: Duration) -> Result<Tunnel> {
        let what = format!("tunnel {number} {}", if up { "up" } else { "down" });
        let mut last = None;
        let outcome = wait_until(&what, limit, || {
            self.process.check()?;
            let tunnel = self.tunnel(number)?;
            last = Some(tunnel.clone());
            Ok((tunnel.up == up).then_some(tunnel))
        });
        outcome.with_context(|| format!("{last:?}"))
    }

    /// Waits until both tunnels are up.
    ///
    /// # Errors
    /// As [`Self::await_tunnel`].
    pub fn await_both(&mut self, limit: Duration) -> Result<[Tunnel; 2]> {
        Ok([
            self.await_tunnel(1, true, limit)?,
            self.await_tunnel(2, true, limit)?,
        ])
    }

    /// Waits until so many tunnels, over all connections, are up.
    ///
    /// # Errors
    /// When they are not in time, with how many are.
    pub fn await_tunnels(&self, wanted: usize, limit: Duration) -> Result<()> {
        let mut up = 0;
        wait_until("every tunnel", limit, || {
            let status = self.status()?;
            let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
            up = tunnels.filter(|tunnel| tunnel.up).count();
            Ok((up == wanted).then_some(()))
        })
        .with_context(|| format!("{up} of {wanted} tunnels are up"))
    }

    /// Runs `vgw` against the daemon; gives what it prints.
    ///
    /// # Errors
    /// When it fails, with what it prints.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .context("starting vgw")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("vgw {arguments:?}: {}\n{text}{errors}", output.status);
        }
        Ok(text)
    }

    /// Has the daemon read its configuration again, by SIGHUP.
    ///
    /// # Errors
    /// When it has ended.
    pub fn reload(&self) -> Result<()> {
        self.process.signal(Signal::SIGHUP)
    }

    /// Ends it, so that it tells its peers.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> Result<()> {
        let status = self.process.stop()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// Kills it; its peers are not told.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn crash(self) -> Result<()> {
        self.process.kill()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its resident memory, KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("/proc tells no VmRSS")?.parse()?)
    }

    /// The end of its log, for whoever looks into a failure.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.process.last_words(40)
    }
}
