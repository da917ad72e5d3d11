//! Which ICMP messages we want to hear of: errors that say that a packet did not arrive.

use std::io;
use std::net::IpAddr;

use socket2::{SockFilter, Socket};

/// Makes a raw ICMP socket receive "destination unreachable" and "time exceeded" alone (RFC 792,
/// RFC 4443).
///
/// # Errors
/// What the kernel says.
pub(crate) fn take_errors(socket: &Socket, address: IpAddr) -> io::Result<()> {
    socket.attach_filter(&program(address)?)
}

fn program(address: IpAddr) -> io::Result<Vec<SockFilter>> {
    use libc::{
        BPF_ABS, BPF_B, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
    };
    let step = |code: u32, skip_if_equal, skip_if_not, value| {
        let code = u16::try_from(code).map_err(io::Error::other)?;
        Ok::<_, io::Error>(SockFilter::new(code, skip_if_equal, skip_if_not, value))
    };
    let (mut steps, types) = match address {
        // A raw IPv4 socket sees the outer header, whose length is in it.
        IpAddr::V4(_) => (
            vec![
                step(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0)?,
                step(BPF_LD | BPF_B | BPF_IND, 0, 0, 0)?,
            ],
            [3, 11],
        ),
        IpAddr::V6(_) => (vec![step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0)?], [1, 3]),
    };
    let [unreachable, time_exceeded] = types;
    steps.extend([
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, unreachable)?,
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, time_exceeded)?,
        step(BPF_RET | BPF_K, 0, 0, u32::MAX)?,
        step(BPF_RET | BPF_K, 0, 0, 0)?,
    ]);
    Ok(steps)
}
