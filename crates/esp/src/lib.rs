//! The ESP packet transform (RFC 4303, tunnel mode): sequence numbers,
//! anti-replay, seal and open in place.
//!
//! An [`OutboundSa`] is shared between threads: numbers are reserved for a
//! burst with one atomic operation, sealing needs no lock. An [`InboundSa`] is
//! opened through an [`Opener`], which takes the anti-replay window's lock once
//! per burst. Neither allocates while packets pass.

#![forbid(unsafe_code)]

#[cfg(all(feature = "floor", not(vgw_floor)))]
compile_error!(
    "the feature `floor` sends packets in clear: only benches may have it, with RUSTFLAGS=\"--cfg vgw_floor\""
);

mod drop_reason;
mod frame;
mod inbound;
mod layout;
mod outbound;
mod replay;
mod suites;
#[cfg(test)]
mod tests;

pub use drop_reason::DropReason;
pub use inbound::{InboundSa, Opened, Opener};
pub use layout::{Layout, Plain};
pub use outbound::{Exhausted, OutboundSa, SealError};
pub use replay::ReplayWindow;
pub use suites::cbc_hmac::GROUP;
pub use vgw_crypto::KeyError;

/// Next header of an IPv4 packet inside (IANA protocol number, IP-in-IP).
pub const NEXT_HEADER_IPV4: u8 = 4;

/// Next header of an IPv6 packet inside (IANA protocol number).
pub const NEXT_HEADER_IPV6: u8 = 41;

/// Next header of a dummy packet, which the receiver discards (RFC 4303 section 2.6).
pub const NEXT_HEADER_NONE: u8 = 59;
