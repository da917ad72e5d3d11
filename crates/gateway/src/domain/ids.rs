//! What names an object in commands, labels and logs.

use super::Connection;

/// Names a tunnel: a connection and which of its two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelName {
    /// The connection's id.
    pub connection: String,
    /// 1 or 2.
    pub number: u8,
}

impl TunnelName {
    /// One of a connection's tunnels.
    #[must_use]
    pub fn of(connection: &Connection, number: u8) -> Self {
        Self {
            connection: connection.id.clone(),
            number,
        }
    }
}

impl std::fmt::Display for TunnelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.connection, self.number)
    }
}
