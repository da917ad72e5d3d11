//! A daemon under attack, or the customer's: asked by its control socket, so that
//! every question ends in time, whatever the daemon is doing.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, SockAddr, Socket, Type};
use vgw_admin::wire::{Reply, Request, Status, Tunnel};
use vgw_lab::{Namespace, Process, wait_until};

/// With 500 connections it takes a while.
const START: Duration = Duration::from_secs(20);
/// A daemon that is not attacked answers at once.
const QUIET: Duration = Duration::from_secs(10);

/// A running daemon; killed when dropped, as one that is overwhelmed ends in no time
/// of its own.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    control: Control,
}

impl Daemon {
    /// Starts it and waits until it answers. Its control socket and its log are beside
    /// its configuration.
    ///
    /// # Errors
    /// When it ends or does not answer.
    pub fn start(program: &Path, namespace: &Namespace, config: &Path) -> Result<Self> {
        let mut command = namespace.command(program);
        command.arg("run").arg("--config").arg(config);
        let log = config.with_file_name("vgw.log");
        let mut daemon = Self {
            process: Process::start("vgw run", command, &log)?,
            control: Control(config.with_file_name("control.sock")),
        };
        wait_until("the daemon's answer", START, || {
            daemon.process.check()?;
            Ok(daemon.control.status(QUIET).ok())
        })?;
        Ok(daemon)
    }

    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// # Errors
    /// When it has ended, with its last words.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.process.id()) {
            // It may have ended, and then there is nothing to do.
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// A daemon's control socket.
#[derive(Debug, Clone)]
pub struct Control(PathBuf);

impl Control {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The whole status.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub fn status(&self, limit: Duration) -> Result<Status> {
        match serde_json::from_str(&self.ask(&Request::Status, limit)?)? {
            Reply::Status { status } => Ok(*status),
            other => bail!("the daemon answered {other:?} to a request for its status"),
        }
    }

    /// How long a status takes that is not read. None: longer than `limit`.
    pub fn time_of_status(&self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let answer = self.ask(&Request::Status, limit);
        answer.is_ok().then(|| began.elapsed())
    }

    /// Has something done, of a daemon that is not attacked.
    ///
    /// # Errors
    /// When it is not.
    pub fn order(&self, request: &Request) -> Result<()> {
        match serde_json::from_str(&self.ask(request, QUIET)?)? {
            Reply::Done { .. } => Ok(()),
            other => bail!("{request:?} was answered by {other:?}"),
        }
    }

    /// One tunnel of its status (`held/1`), of a daemon that is not attacked.
    ///
    /// # Errors
    /// When it does not answer or has no such tunnel.
    pub fn tunnel(&self, name: &str) -> Result<Tunnel> {
        let connections = self.status(QUIET)?.connections.into_iter();
        let mut tunnels = connections.flat_map(|connection| connection.tunnels);
        tunnels
            .find(|tunnel| tunnel.name == name)
            .with_context(|| format!("the status has no tunnel {name}"))
    }

    fn ask(&self, request: &Request, limit: Duration) -> Result<String> {
        let until = Instant::now() + limit;
        let left = || {
            let left = until.saturating_duration_since(Instant::now());
            // Zero would mean for ever.
            Some(left.max(Duration::from_millis(1)))
        };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_write_timeout(left())?;
        socket.connect(&SockAddr::unix(&self.0)?)?;
        let mut stream = UnixStream::from(std::os::fd::OwnedFd::from(socket));
        writeln!(stream, "{}", serde_json::to_string(request)?)?;
        stream.set_read_timeout(left())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        stream.shutdown(Shutdown::Both)?;
        ensure!(!answer.is_empty(), "the daemon closed the connection");
        Ok(answer)
    }
}
