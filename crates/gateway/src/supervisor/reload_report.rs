//! What a new configuration changes, in words for `vgw reload`.

use std::fmt;

use super::LONGEST_WAIT;
use crate::domain::TunnelName;

/// One difference between the configuration before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The gateway itself; names the fields.
    Gateway(Vec<&'static str>),
    /// A new connection.
    ConnectionAdded(String),
    /// A connection that was removed; its SAs are deleted.
    ConnectionRemoved(String),
    /// A connection's own fields; none of them restarts a tunnel by itself.
    Connection {
        /// Which.
        id: String,
        /// Its fields.
        fields: Vec<&'static str>,
    },
    /// Options of a tunnel that take effect while it stays up.
    TunnelAdjusted {
        /// Which.
        tunnel: TunnelName,
        /// Its fields.
        fields: Vec<&'static str>,
    },
    /// Options of a tunnel, or its connection's, that make it restart.
    TunnelRestarted {
        /// Which.
        tunnel: TunnelName,
        /// Its fields, and those of the connection that both tunnels depend on.
        fields: Vec<&'static str>,
        /// Whether it waits until the other tunnel, which restarts first, is up.
        waits: bool,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(fields) => write!(f, "gateway: changed {}", fields.join(", ")),
            Self::ConnectionAdded(id) => write!(f, "{id}: added"),
            Self::ConnectionRemoved(id) => write!(f, "{id}: removed"),
            Self::Connection { id, fields } => write!(f, "{id}: changed {}", fields.join(", ")),
            Self::TunnelAdjusted { tunnel, fields } => {
                write!(f, "{tunnel}: changed {}, stays up", fields.join(", "))
            }
            Self::TunnelRestarted {
                tunnel,
                fields,
                waits,
            } => {
                write!(f, "{tunnel}: changed {}, restarts", fields.join(", "))?;
                if *waits {
                    let longest = LONGEST_WAIT.as_secs();
                    write!(
                        f,
                        " when the other tunnel has and is up, in {longest} seconds at the latest"
                    )?;
                }
                Ok(())
            }
        }
    }
}
