//! The fast path: TUN, UDP and raw ESP sockets, worker threads, SA table and FIB.
//!
//! Two threads carry packets, one for each direction. They share nothing that
//! is locked for a packet: keys and routes are immutable tables that the
//! control side swaps whole, outbound sequence numbers are reserved for a run
//! of packets with one atomic add, and every counter has a single writer.
//!
//! The way out: TUN → [`InnerPacket`] → FIB by destination → tunnel → first
//! outbound SA whose selectors match → seal in place → `sendmmsg`.
//! The way in: `recvmmsg` → SA table by the slot in the SPI → open in place →
//! selectors and local prefixes → TUN.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the data plane is a shell that does I/O; the bans are for the pure crates"
)]

mod burst;
mod control;
mod counters;
mod event;
mod inbound;
mod inner;
mod mtu;
mod outbound;
mod selector;
mod sockets;
mod tables;
mod tun;
mod worker;

pub use control::{ChildSpec, Config, ControlError, DataPlane, Path};
pub use counters::{ChildTraffic, DropReason, TunnelTraffic};
pub use event::DataPlaneEvent;
pub use inner::{InnerError, InnerPacket, UpperLayer};
pub use mtu::{Family, inner_mtu};
pub use selector::{Selector, Selectors};
pub use sockets::{IKE_PORT, NATT_PORT, OutsideSockets};
pub use tables::SLOT_BITS;
pub use tun::Tun;
