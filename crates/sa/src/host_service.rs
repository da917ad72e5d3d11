//! Services of the gateway's own machine, which tunnels reach only where they are opened.

/// A service that is open to tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostService {
    /// Everything, whatever the protocol.
    All,
    /// A port, or several.
    Ports {
        /// Over which protocol.
        protocol: Transport,
        /// Lowest port.
        first: u16,
        /// Highest port.
        last: u16,
    },
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl HostService {
    /// Whether it is served at this port.
    #[must_use]
    pub fn is_at(self, transport: Transport, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Ports {
                protocol,
                first,
                last,
            } => protocol == transport && (first..=last).contains(&port),
        }
    }
}
