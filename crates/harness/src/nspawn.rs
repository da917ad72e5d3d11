//! A Debian machine with systemd as its first process, in namespaces of this one
//! (systemd-nspawn). Its network is a namespace of a lab's, which outlives it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use vgw_lab::{Cgroup, Namespace, Process, wait_until};

use crate::tools::succeeded;

/// How long the machine may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the machine has of Debian, with all that it depends on.
const PACKAGES: &str = "systemd-sysv,dbus,iproute2";
/// Directories of files that nobody reads there, a third of the whole.
const LEFT_OUT: [&str; 3] = ["doc", "locale", "man"];

/// The file system of a machine, removed when this is dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

/// A running machine, which is switched off when this is dropped.
#[derive(Debug)]
pub struct Machine {
    // In this order: what is left of it ends with the group.
    process: Process,
    _cgroup: Cgroup,
    /// Its first process.
    init: u32,
}

impl Disk {
    /// A fresh one at `path`, a copy of what is installed once and kept in `cache`.
    ///
    /// # Errors
    /// When a package cannot be had.
    pub fn create(cache: &Path, path: PathBuf) -> Result<Self> {
        let installed = cache.join("machine");
        if !installed.exists() {
            install(&installed).context("installing Debian for the machine")?;
        }
        let disk = Self(path);
        let mut copy = Command::new("cp");
        run(copy.arg("-a").args([&installed, &disk.0]))?;
        Ok(disk)
    }

    /// Writes a file, whose path is the machine's. One that exists keeps its owner and mode.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.0.join(path.trim_start_matches('/'));
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Has the machine start a unit when it boots.
    ///
    /// # Errors
    /// When it has no such unit.
    pub fn enable(&self, unit: &str) -> Result<()> {
        let mut systemctl = Command::new("systemctl");
        run(systemctl
            .arg("--quiet")
            .arg("--root")
            .arg(&self.0)
            .args(["enable", unit]))?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left: {error}", self.0.display());
        }
    }
}

/// Installs Debian from the package sources of this machine. The directory gets its name once it
/// is complete.
fn install(directory: &Path) -> Result<()> {
    let unfinished = directory.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    // Its mounts are undone however it ends.
    let mut debian = Command::new("unshare");
    debian
        .args(["--mount", "mmdebstrap"])
        .args(["--quiet", "--mode=root", "--variant=essential"])
        // A directory that a power failure leaves incomplete does not have its name either.
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={PACKAGES}"))
        .args(LEFT_OUT.map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")))
        .arg(release()?)
        .arg(&unfinished)
        .args(sources()?);
    run(&mut debian)?;
    std::fs::rename(&unfinished, directory)?;
    Ok(())
}

/// The name of this machine's Debian release, `bookworm`.
fn release() -> Result<String> {
    let about = std::fs::read_to_string("/etc/os-release")?;
    let name = about
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no release")?.to_owned())
}

/// The files that say where apt gets packages from.
fn sources() -> Result<Vec<PathBuf>> {
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    for part in parts {
        files.push(part?.path());
    }
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        file.is_file() && matches!(extension, Some("list" | "sources"))
    });
    Ok(files)
}

impl Machine {
    /// Boots the machine and waits until it has started everything. It finds `shared`
    /// directories, which it cannot change, at the second path of each. What its console
    /// shows is appended to `log`.
    ///
    /// # Errors
    /// When it does not start, or a unit fails.
    pub fn boot(
        cgroup: Cgroup,
        namespace: &Namespace,
        disk: &Disk,
        shared: &[(&Path, String)],
        log: &Path,
    ) -> Result<Self> {
        let mut command = cgroup.command(namespace, "systemd-nspawn");
        command
            .args(["--quiet", "--boot", "--register=no", "--keep-unit"])
            .args(["--console=read-only", "--link-journal=no"])
            .arg("--directory")
            .arg(&disk.0)
            .arg("--network-namespace-path")
            .arg(namespace.path())
            .arg("--capability=CAP_NET_ADMIN")
            .arg(format!("--machine=vgw-{}", std::process::id()))
            // Its /proc/sys/net is its own.
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            // A host whose cgroups are of both versions would give it both.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        for (directory, name) in shared {
            command.arg(format!("--bind-ro={}:{name}", directory.display()));
        }
        let mut process = Process::start("systemd-nspawn", command, log)?;
        let init = wait_until("the machine's first process", PATIENCE, || {
            process.check()?;
            first_below(process.id())
        })?;
        let mut machine = Self {
            process,
            _cgroup: cgroup,
            init,
        };
        machine.await_start()?;
        Ok(machine)
    }

    fn await_start(&mut self) -> Result<()> {
        let mut state = String::new();
        let outcome = wait_until("the machine's start", PATIENCE, || {
            self.process.check()?;
            // It also fails while systemd does not answer yet.
            let output = self
                .command("systemctl")
                .arg("is-system-running")
                .output()?;
            state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Ok(matches!(state.as_str(), "running" | "degraded").then_some(()))
        });
        outcome.with_context(|| format!("its state is {state}"))?;
        if state == "degraded" {
            let failed = self.run("systemctl", &["--failed", "--no-legend", "--plain"])?;
            anyhow::bail!("units failed:\n{failed}");
        }
        Ok(())
    }

    /// A command that will run in the machine, as its root.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--all",
                "--root",
                "--wd",
                "--target",
                &self.init.to_string(),
                "--",
            ])
            .arg(program)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("SYSTEMD_COLORS", "0")
            .env("SYSTEMD_PAGER", "");
        command
    }

    /// Runs a program in the machine; gives what it prints.
    ///
    /// # Errors
    /// When it fails, with what it prints.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
    }

    /// A property of a unit.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let text = self.run("systemctl", &["show", "--value", "--property", name, unit])?;
        Ok(text.trim().to_owned())
    }

    /// A file that the running machine has, also in `/proc` and `/run`.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.init));
        root.join(path.trim_start_matches('/'))
    }

    /// Switches it off in good order.
    ///
    /// # Errors
    /// When it does not end.
    pub fn power_off(mut self) -> Result<()> {
        self.run("systemctl", &["poweroff"])?;
        wait_until("the machine's end", PATIENCE, || {
            Ok(self.process.check().is_err().then_some(()))
        })
    }
}

/// The child of a process that is the first one of a namespace for processes.
fn first_below(process: u32) -> Result<Option<u32>> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let first = children.split_whitespace().find(|child| {
        // proc_pid_status(5): its number in each namespace, in the innermost at the end.
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        let mut lines = status.lines();
        lines.any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    });
    Ok(first.map(str::parse).transpose()?)
}

fn run(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}").replace('"', "");
    let output = command
        .output()
        .with_context(|| format!("starting {line}"))?;
    succeeded(&line, &output)
}
