//! What the filters of raw sockets have in common.

use std::io;
use std::net::IpAddr;

use libc::{BPF_ABS, BPF_B, BPF_IND, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET};
use socket2::SockFilter;

/// A step.
pub(super) fn step(
    code: u32,
    skip_if_equal: u8,
    skip_if_not: u8,
    value: u32,
) -> io::Result<SockFilter> {
    let code = u16::try_from(code).map_err(io::Error::other)?;
    Ok(SockFilter::new(code, skip_if_equal, skip_if_not, value))
}

/// Loads the first field, of this size (`BPF_B`, `BPF_W`), behind the IP header.
pub(super) fn load_first(size: u32, address: IpAddr) -> io::Result<Vec<SockFilter>> {
    Ok(match address {
        // A raw IPv4 socket sees the outer header, whose length is in it.
        IpAddr::V4(_) => vec![
            step(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0)?,
            step(BPF_LD | size | BPF_IND, 0, 0, 0)?,
        ],
        IpAddr::V6(_) => vec![step(BPF_LD | size | BPF_ABS, 0, 0, 0)?],
    })
}

/// Takes the packet; one step further, drops it.
pub(super) fn take_or_drop() -> io::Result<[SockFilter; 2]> {
    Ok([
        step(BPF_RET | BPF_K, 0, 0, u32::MAX)?,
        step(BPF_RET | BPF_K, 0, 0, 0)?,
    ])
}
