//! The command line's end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::wire::{Reply, Request};

/// The daemon answers within a control loop's turn; a reload takes longest.
const PATIENCE: Duration = Duration::from_secs(30);
/// An answer may not be longer, octets; a status of a thousand connections is shorter.
const MAX_REPLY: u64 = 64 << 20;

/// Asks the daemon one thing.
///
/// # Errors
/// When nobody listens there, or what answers is no daemon of ours.
pub fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream)
        .take(MAX_REPLY)
        .read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the daemon closed the connection without an answer",
        ));
    }
    Ok(serde_json::from_slice(&answer)?)
}
