//! What AWS allows in a VPN connection, and the few rules that our own options add.
//!
//! [`gateway`] checks a whole [`Gateway`](crate::domain::Gateway) and names
//! everything that is wrong with it. Field names are those of the configuration,
//! which are AWS's in snake case; lists count from 1, as tunnels do.

use std::fmt;

mod customer_gateway;
mod defaults;
mod gateway;
mod host_services;
mod network;
mod options;
mod tunnel;
mod uniqueness;

#[cfg(test)]
mod tests;

pub use customer_gateway::customer_gateway;
pub use defaults::{
    DEFAULT_ENCRYPTION, DEFAULT_GROUPS, DEFAULT_INTEGRITY, DEFAULT_NETWORK_CIDR_V4,
    DEFAULT_NETWORK_CIDR_V6, PHASE1_GROUPS, PHASE2_GROUPS,
};
pub use gateway::{GENERATED_PSK_LENGTH, MAX_STATIC_ROUTES, gateway};
pub use host_services::host_service;
pub use network::{RESERVED_INSIDE_CIDRS, inside_cidr, prefix};
pub use options::{
    BANDWIDTH_LIMIT_MBPS, Bounds, CUSTOMER_ASN, DPD_TIMEOUT_SECONDS, GATEWAY_ASN,
    GATEWAY_ASN_32_BIT, OUTSIDE_MTU, PHASE1_LIFETIME_SECONDS, PHASE2_LIFETIME_BYTES,
    PHASE2_LIFETIME_PACKETS, PHASE2_LIFETIME_SECONDS, PSK_LENGTH, REKEY_FUZZ_PERCENTAGE,
    REKEY_MARGIN_TIME_SECONDS, REPLAY_WINDOW_SIZE, id, psk,
};

/// One rule broken by one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, `vpn_connection[1].tunnel[2].replay_window_size`.
    pub field: String,
    /// The other field that it clashes with, if there is one.
    pub clashes_with: Option<String>,
    /// What stands there; never a secret.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

/// Why a single value is refused: what was found and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What stands there; never a secret.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

impl Refusal {
    /// `found` and `expected` read as in "found X, expected Y".
    #[must_use]
    pub fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// Collects violations under the field names they belong to.
#[derive(Debug, Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn check(&mut self, field: &str, verdict: Result<(), Refusal>) {
        if let Err(refusal) = verdict {
            self.refuse(field, refusal.found, refusal.expected);
        }
    }

    fn refuse(&mut self, field: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.0.push(Violation {
            field: field.to_owned(),
            clashes_with: None,
            found: found.into(),
            expected: expected.into(),
        });
    }

    fn clash(
        &mut self,
        field: &str,
        with: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.0.push(Violation {
            field: field.to_owned(),
            clashes_with: Some(with.to_owned()),
            found: found.into(),
            expected: expected.into(),
        });
    }
}

/// `parent[n].field`-style names, built in one place.
fn field(parent: &str, name: &str) -> String {
    format!("{parent}.{name}")
}

/// `parent[n]`, counted from 1.
fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{}]", index.saturating_add(1))
}
