//! The fast path: TUN, UDP and raw ESP sockets, worker threads, SA table and FIB.
//!
//! Workers carry packets, some for each direction. They share nothing that is
//! locked for a packet: keys and routes are immutable tables that the control
//! side swaps whole, and outbound sequence numbers are reserved once for a run of
//! packets, by the one worker that sends for the tunnel ([`lease`]); others hand
//! it what they have ([`mailbox`]). What moves is a burst: the kernel hands over,
//! and takes, many packets of a flow as one where it can.
//!
//! The way out ([`outbound`]): TUN → FIB by destination → tunnel → first
//! outbound SA whose selectors match → cut into [`segment`]s where they will be
//! sealed → [`transmit`]: sealed in place, sent by as few calls as may be.
//! The way in ([`inbound`]): `recvmmsg` → SA table by the slot in the SPI →
//! opened in place → selectors and local prefixes → [`coalesce`]d → TUN, or
//! [`relay`]ed into another tunnel.
//!
//! The [`engine`] is what of all this is no device and no thread: the tables, and the
//! changes that are made to them. What becomes of a packet is decided by [`forward`],
//! for the workers and for a simulation, which uses the engine alone.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the data plane is a shell that does I/O; the bans are for the pure crates"
)]

mod burst;
mod checksum;
mod coalesce;
mod control;
mod counters;
mod deliver;
mod ecn;
mod engine;
mod event;
mod features;
mod foreign_link;
mod forward;
mod headers;
mod hop;
mod host;
mod icmp;
mod inbound;
mod inner;
mod kernel_drops;
mod lease;
mod lookup;
mod mailbox;
mod mss;
mod mtu;
mod netconf;
mod netlink;
mod outbound;
mod outside_link;
mod paths;
mod rate;
mod receive;
mod relay;
mod segment;
mod selector;
mod send;
mod settings;
mod sockets;
mod spread;
mod strays;
mod tables;

mod transmit;
mod tun;
mod vnet;
mod worker;

pub use coalesce::{Bundle, Coalesce, Coalescer, Kind, Taken};
pub use control::{Config, DataPlane};
pub use counters::{ChildTraffic, DropReason, TunnelTraffic};
pub use engine::{Arrival, ChildSpec, ControlError, Dropped, Engine, EspPacket, NarrowLink, Path};
pub use event::DataPlaneEvent;
pub use features::Features;
pub use foreign_link::ForeignLink;
pub use host::{HostService, HostServices, InsideAddress};
pub use inner::{InnerError, InnerPacket, UpperLayer};
pub use lookup::Lookup;
pub use mss::mss;
pub use mtu::{Family, inner_mtu};
pub use netconf::NetConf;
pub use netlink::{Netlink, address_of};
pub use outside_link::OutsideLink;
pub use paths::SeenPath;
pub use segment::{SegmentError, Segments};
pub use selector::{Selector, Selectors};
pub use settings::{DfPolicy, TunnelSettings};
pub use sockets::{IKE_PORT, NATT_PORT, OutsideSockets};
pub use strays::StraySpi;
pub use tables::{Changes, NextHop, SLOT_BITS};
pub use tun::Tun;
pub use vnet::{VNET_HEADER_LEN, VnetHeader};
