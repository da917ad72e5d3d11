//! The fast path: TUN, UDP and raw ESP sockets, worker threads, SA table and FIB.
//!
//! Workers carry packets, some for each direction. No lock is taken per packet:
//! keys and routes are immutable tables that the control side swaps whole.
//! Outbound sequence numbers are reserved once for a run of packets, by the one
//! worker that sends for the tunnel ([`sender_lease`]); others hand it their
//! packets ([`mailbox`]). Packets move in bursts: the kernel hands over, and
//! takes, many packets of a flow as one where it can.
//!
//! Outbound ([`outbound`]): TUN → FIB by destination → tunnel → first outbound
//! SA whose selectors match → cut into [`segment`]s where they will be sealed →
//! [`transmit`]: sealed in place, sent by as few calls as possible.
//! Inbound ([`inbound`]): `recvmmsg` → SA table by the slot in the SPI → opened
//! in place → selectors and local prefixes → [`coalesce`]d → TUN, or
//! [`relay`]ed into another tunnel.
//!
//! The [`engine`] is the part without devices and threads: the tables, and the
//! changes to them. [`forward`] decides what becomes of a packet, for the
//! workers and for a simulation, which uses the engine alone.
//!
//! [`coalesce`]: offload::coalesce
//! [`forward`]: engine::forward
//! [`inbound`]: workers::inbound
//! [`sender_lease`]: tables::sender_lease
//! [`mailbox`]: workers::mailbox
//! [`outbound`]: workers::outbound
//! [`relay`]: workers::relay
//! [`segment`]: offload::segment
//! [`transmit`]: workers::transmit

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the data plane is a shell that does I/O; the bans are for the pure crates"
)]

mod control;
mod engine;
mod event;
mod io;
mod links;
mod offload;
mod packet;
mod tables;
mod workers;

pub use control::{Config, DataPlane};
pub use engine::{Arrival, ChildState, ControlError, Dropped, Engine, EspPacket, SmallMtuLink};
pub use event::DataPlaneEvent;
pub use io::features::Features;
pub use io::sockets::OutsideSockets;
pub use io::tun::Tun;
pub use links::foreign_link::ForeignLink;
pub use links::netconf::NetConf;
pub use links::netlink::{Netlink, address_of};
pub use links::outside_link::OutsideLink;
pub use offload::coalesce::{Bundle, Coalesce, Coalescer, Kind, WriteOutcome};
pub use offload::segment::{SegmentError, Segments};
pub use packet::icmp_error::IcmpError;
pub use packet::inner::{InnerError, InnerPacket, UpperLayer};
pub use packet::mss::mss;
pub use packet::mtu::{Family, inner_mtu};
pub use packet::vnet::{VNET_HEADER_LEN, VnetHeader};
pub use tables::counters::DropReason;
pub use tables::lookup::Lookup;
pub use tables::misplaced::Misplaced;
pub use tables::sample::UnknownSpi;
pub use tables::seen_paths::SeenPath;
