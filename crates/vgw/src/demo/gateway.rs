//! One end: a daemon, its process and what it says.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vgw_admin::client::ask;
use vgw_admin::wire::{Connection, RekeyTarget, Reply, Request, Status};
use vgw_lab::{Namespace, Process, wait_until};

use super::setup::Files;
use crate::status_table;

/// How long a daemon may take to answer after its start.
const START: Duration = Duration::from_secs(10);

/// A running daemon.
#[derive(Debug)]
pub(super) struct GatewayProcess {
    name: &'static str,
    process: Process,
    socket: PathBuf,
}

impl GatewayProcess {
    /// Starts this very program as a daemon in `namespace`, and waits until it answers.
    pub(super) fn start(name: &'static str, namespace: &Namespace, files: &Files) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program's file")?;
        let mut command = namespace.command(&program);
        command.arg("run").arg("--config").arg(&files.config);
        let mut end = Self {
            name,
            process: Process::start(name, command, &files.log)?,
            socket: files.socket.clone(),
        };
        wait_until(&format!("the {name} to answer"), START, || {
            end.check()?;
            Ok(end.status().ok())
        })?;
        Ok(end)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Fails when the daemon has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        self.process.last_words(20)
    }

    pub(super) fn status(&self) -> Result<Status> {
        match self.ask(&Request::Status)? {
            Reply::Status { status } => Ok(*status),
            other => bail!(
                "the {} answered {other:?} to a request for its status",
                self.name
            ),
        }
    }

    /// Its only connection.
    pub(super) fn connection(&mut self) -> Result<Option<Connection>> {
        self.check()?;
        Ok(self.status()?.connections.into_iter().next())
    }

    /// Replaces an SA of a tunnel by a new one.
    pub(super) fn rekey(&self, tunnel: &str, what: RekeyTarget) -> Result<()> {
        let request = Request::Rekey {
            tunnel: tunnel.to_owned(),
            what,
        };
        match self.ask(&request)? {
            Reply::Done { .. } => Ok(()),
            other => bail!("the {} would not rekey {tunnel}: {other:?}", self.name),
        }
    }

    /// The table that an operator sees.
    pub(super) fn status_table(&self) -> Result<String> {
        Ok(status_table::render(&self.status()?))
    }

    fn ask(&self, request: &Request) -> Result<Reply> {
        ask(&self.socket, request).with_context(|| format!("asking the {}", self.name))
    }
}
