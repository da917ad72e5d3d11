//! What travels over the control socket: one JSON object a line, each way.
//!
//! These types are an interface that scripts read: fields are added, never
//! renamed or given another meaning. Nothing here is a secret.

use serde::{Deserialize, Serialize};

mod status;

pub use status::*;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How everything is; answered by [`Reply::Status`].
    Status,
    /// Read the configuration again and apply what changed.
    Reload,
    /// Move traffic to the other tunnel, then take this one down for good.
    TunnelDown {
        /// `vpn-office/1`.
        tunnel: String,
    },
    /// Bring a tunnel back that was taken down.
    TunnelUp {
        /// `vpn-office/1`.
        tunnel: String,
    },
    /// Rekey now.
    Rekey {
        /// `vpn-office/1`.
        tunnel: String,
        /// Which SA.
        what: RekeyTarget,
    },
}

/// Which SA of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RekeyTarget {
    /// The IKE SA.
    Ike,
    /// The CHILD SA that it sends with.
    Child,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// How everything is.
    Status {
        /// Boxed because it is much larger than the others.
        status: Box<Status>,
    },
    /// Done.
    Done {
        /// What was done, a line each; may be empty.
        lines: Vec<String>,
    },
    /// Not done.
    Failed {
        /// Why, a line each.
        lines: Vec<String>,
    },
}
