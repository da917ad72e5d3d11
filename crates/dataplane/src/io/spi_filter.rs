//! Which worker receives which SA by protocol 50. The kernel gives every raw
//! socket every packet, so each takes only those whose SPI is its own.

use std::io;
use std::net::IpAddr;

use socket2::{SockFilter, Socket};

/// Makes the raw socket of worker `number` of `workers` receive only SPIs whose
/// remainder is its number.
///
/// # Errors
/// What the kernel says.
pub(crate) fn take_own_spis(
    socket: &Socket,
    address: IpAddr,
    number: usize,
    workers: usize,
) -> io::Result<()> {
    let number = u32::try_from(number).map_err(io::Error::other)?;
    let workers = u32::try_from(workers).map_err(io::Error::other)?;
    socket.attach_filter(&program(address, number, workers)?)
}

fn program(address: IpAddr, number: u32, workers: u32) -> io::Result<Vec<SockFilter>> {
    use libc::{
        BPF_ABS, BPF_ALU, BPF_B, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MOD,
        BPF_MSH, BPF_RET, BPF_W,
    };
    let step = |code: u32, skip_if_equal, skip_if_not, value| {
        let code = u16::try_from(code).map_err(io::Error::other)?;
        Ok::<_, io::Error>(SockFilter::new(code, skip_if_equal, skip_if_not, value))
    };
    let mut steps = match address {
        // A raw IPv4 socket sees the outer header, whose length is in it.
        IpAddr::V4(_) => vec![
            step(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0)?,
            step(BPF_LD | BPF_W | BPF_IND, 0, 0, 0)?,
        ],
        IpAddr::V6(_) => vec![step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0)?],
    };
    steps.extend([
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, workers)?,
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number)?,
        step(BPF_RET | BPF_K, 0, 0, u32::MAX)?,
        step(BPF_RET | BPF_K, 0, 0, 0)?,
    ]);
    Ok(steps)
}
