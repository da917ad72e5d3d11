//! Which ICMP messages we want to hear of: errors that say that a packet did not arrive.

use std::io;
use std::net::IpAddr;

use libc::{BPF_B, BPF_JEQ, BPF_JMP, BPF_K};
use socket2::{SockFilter, Socket};

use crate::io::filter::{load_first, step, take_or_drop};

/// Makes a raw ICMP socket receive "destination unreachable" and "time exceeded" alone (RFC 792,
/// RFC 4443).
///
/// # Errors
/// What the kernel says.
pub(crate) fn take_errors(socket: &Socket, address: IpAddr) -> io::Result<()> {
    socket.attach_filter(&program(address)?)
}

fn program(address: IpAddr) -> io::Result<Vec<SockFilter>> {
    let [unreachable, time_exceeded] = match address {
        IpAddr::V4(_) => [3, 11],
        IpAddr::V6(_) => [1, 3],
    };
    let mut steps = load_first(BPF_B, address)?;
    steps.extend([
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, unreachable)?,
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, time_exceeded)?,
    ]);
    steps.extend(take_or_drop()?);
    Ok(steps)
}
