//! Which worker receives which SA by protocol 50. The kernel gives every raw
//! socket every packet, so each takes only those whose SPI is its own.

use std::io;
use std::net::IpAddr;

use libc::{BPF_ALU, BPF_JEQ, BPF_JMP, BPF_K, BPF_MOD, BPF_W};
use socket2::{SockFilter, Socket};

use crate::io::filter::{load_first, step, take_or_drop};

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
    let mut steps = load_first(BPF_W, address)?;
    steps.extend([
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, workers)?,
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number)?,
    ]);
    steps.extend(take_or_drop()?);
    Ok(steps)
}
