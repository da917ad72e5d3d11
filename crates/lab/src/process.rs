//! Processes of a lab: their log, their own `/run`, their end.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running process that ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to the file `log`.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {name} ({:?})", command.get_program()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended, with the last lines of its log.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!(
                "{} ended ({status}); its last words:\n{}",
                self.name,
                self.last_words(15)
            ),
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        let skip = all.len().saturating_sub(lines);
        all.get(skip..).unwrap_or_default().join("\n")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time and is killed.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.end()
    }

    /// Kills it without warning, as a crash would, and waits until it has ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        match kill(self.pid()?, Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("ending a process"),
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()?;
        anyhow::bail!(
            "{} did not end within {PATIENCE:?} and was killed",
            self.name
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the process {} did not end as asked: {error:#}", self.name);
        }
    }
}

/// Commands that see a `/run` of their own.
pub trait PrivateRun {
    /// Gives the command an empty `/run`, so that programs with fixed paths there can
    /// run several times and beside the host's own.
    fn private_run(&mut self) -> &mut Self;
}

impl PrivateRun for Command {
    fn private_run(&mut self) -> &mut Self {
        // SAFETY: between fork and exec this makes system calls with constant, short
        // paths, which nix copies to the stack, and allocates nothing.
        unsafe { self.pre_exec(|| Ok(separate_run()?)) }
    }
}

/// Gives the calling thread an empty `/run` that no other sees.
fn separate_run() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
}

/// Runs `work` on a thread with an empty `/run` of its own, as on a machine where nobody
/// has made a namespace yet.
#[cfg(test)]
pub(crate) fn with_private_run(work: impl FnOnce() + Send) {
    let private = || {
        separate_run().unwrap();
        work();
    };
    std::thread::scope(|scope| scope.spawn(private).join().unwrap());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    #[ignore = "needs root"]
    fn a_process_ends_with_its_owner() {
        let lab = Lab::new("process").unwrap();
        let namespace = lab.namespace("a").unwrap();
        let mut command = namespace.command("sleep");
        command.arg("1000");
        let process = Process::start("sleep", command, Path::new("/dev/null")).unwrap();
        let pid = process.pid().unwrap();
        assert_eq!(kill(pid, None), Ok(()));
        drop(process);
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }

    #[test]
    #[ignore = "needs root"]
    fn a_private_run_is_empty() {
        let output = Command::new("ls")
            .arg("-A")
            .arg("/run")
            .private_run()
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(output.stdout.is_empty());
    }
}
