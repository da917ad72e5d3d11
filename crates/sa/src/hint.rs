//! Hints from outside the tunnels that packets may not arrive. Some of them anyone can forge, so
//! nothing follows from a hint but a question to the peers that it concerns.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::TunnelId;

/// What is told, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Whose packets may not arrive.
    pub concerns: Concerned,
    /// Why.
    pub sign: Sign,
}

/// Tunnels, by what is known of their packets outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerned {
    /// These.
    Tunnels(BTreeSet<TunnelId>),
    /// All from this outside address.
    Local(IpAddr),
    /// All to these addresses.
    Remote(IpNet),
    /// The one that sent this packet.
    Sender(SentPacket),
}

/// A packet of ours, as far as one who tells of it quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentPacket {
    /// Where it came from; the port is 0 for protocol 50.
    pub local: SocketAddr,
    /// Where it went; the port is 0 for protocol 50.
    pub remote: SocketAddr,
    /// The SPI, if it is quoted and the packet was ESP.
    pub spi: Option<u32>,
}

/// Why packets may not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// The link of this name, by which they leave, is down.
    LinkDown(Arc<str>),
    /// This outside address is the machine's no more.
    AddressGone(IpAddr),
    /// A route to these destinations is gone.
    RouteGone(IpNet),
    /// The kernel did not send one of them, for this reason.
    NotSent(Arc<str>),
    /// An ICMP error came.
    Icmp {
        /// What it says.
        says: &'static str,
        /// Who says it.
        by: IpAddr,
    },
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkDown(link) => write!(f, "the link {link} is down"),
            Self::AddressGone(address) => write!(f, "this machine has no address {address} now"),
            Self::RouteGone(prefix) => write!(f, "a route to {prefix} is gone"),
            Self::NotSent(why) => write!(f, "a packet was not sent: {why}"),
            Self::Icmp { says, by } => write!(f, "{says}, says {by}"),
        }
    }
}
