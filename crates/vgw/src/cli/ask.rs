//! Commands that a running daemon carries out.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use vgw_admin::client;
use vgw_admin::wire::{Reply, Request, Status};
use vgw_gateway::status::State;
use vgwd::failure::Failure;

use super::print;
use crate::status_table;

/// How often `--watch` looks.
const AGAIN: Duration = Duration::from_secs(1);
/// How often to look whether a tunnel is drained, which takes a second or three.
const DRAINING: Duration = Duration::from_millis(500);
/// Cursor home, and everything below it erased (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Has something done and prints what was.
pub(super) fn act(socket: &Path, request: &Request) -> Result<(), Failure> {
    let lines = match ask(socket, request)? {
        Reply::Done { lines } => lines,
        Reply::Failed { lines } => return Err(Failure::Refused(lines)),
        Reply::Status { .. } => return Err(misunderstanding()),
    };
    lines.iter().for_each(|line| print::line(line));
    Ok(())
}

/// Does something to a tunnel. One that is taken down is waited for, to say what had become of
/// the peer's traffic by then.
pub(super) fn operate(socket: &Path, request: &Request) -> Result<(), Failure> {
    act(socket, request)?;
    let Request::TunnelDown { tunnel } = request else {
        return Ok(());
    };
    loop {
        let status = fetch(socket)?;
        let mut tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
        match tunnels.find(|found| found.name == *tunnel) {
            Some(found) if found.state == State::Draining.name() => thread::sleep(DRAINING),
            Some(found) => {
                print::line(&format!("{tunnel}: {}: {}", found.state, found.why));
                return Ok(());
            }
            // A reload removed it meanwhile.
            None => return Ok(()),
        }
    }
}

/// Prints the status, once or for ever.
pub(super) fn status(socket: &Path, json: bool, watch: bool) -> Result<(), Failure> {
    if !watch {
        let status = fetch(socket)?;
        let text = if json {
            serde_json::to_string_pretty(&status)
                .context("writing the status as JSON")
                .map_err(Failure::Other)?
        } else {
            status_table::render(&status).trim_end().to_owned()
        };
        print::line(&text);
        return Ok(());
    }
    // Into a file or a pipe go tables one after the other.
    let clear = if io::stdout().is_terminal() {
        CLEAR
    } else {
        ""
    };
    loop {
        // A daemon that is being restarted comes back.
        let text = match fetch(socket) {
            Ok(status) if json => serde_json::to_string(&status).unwrap_or_default(),
            Ok(status) => format!("{clear}{}", status_table::render(&status)),
            Err(failure) if json => return Err(failure),
            Err(failure) => format!("{clear}{}", failure.lines().join("\n")),
        };
        if print::try_line(&text).is_err() {
            return Ok(());
        }
        thread::sleep(AGAIN);
    }
}

fn fetch(socket: &Path) -> Result<Status, Failure> {
    match ask(socket, &Request::Status)? {
        Reply::Status { status } => Ok(*status),
        Reply::Failed { lines } => Err(Failure::Refused(lines)),
        Reply::Done { .. } => Err(misunderstanding()),
    }
}

fn ask(socket: &Path, request: &Request) -> Result<Reply, Failure> {
    client::ask(socket, request).map_err(|error| Failure::Unreachable {
        socket: socket.to_owned(),
        error,
    })
}

fn misunderstanding() -> Failure {
    let why = "the daemon answered something else; is it of another version?";
    Failure::Refused(vec![why.to_owned()])
}
