//! What AWS allows in a VPN connection, and the few rules that our own options add.
//!
//! [`check`] makes a [`Checked`] gateway, or names everything that is wrong with it: each
//! [`Violation`] by the object's id and the option's name.

mod addresses;
mod checked;
mod customer_gateway;
mod defaults;
mod gateway;
mod host_services;
mod options;
mod tunnel;
mod uniqueness;
mod violation;

#[cfg(test)]
mod tests;

pub use addresses::{RESERVED_INSIDE_CIDRS, inside_cidr, prefix};
pub use checked::{Checked, check};
pub use customer_gateway::customer_gateway;
pub use defaults::{
    DEFAULT_ENCRYPTION, DEFAULT_GROUPS, DEFAULT_INTEGRITY, DEFAULT_NETWORK_CIDR_V4,
    DEFAULT_NETWORK_CIDR_V6, PHASE1_GROUPS, PHASE2_GROUPS,
};
pub use gateway::{GENERATED_PSK_LENGTH, MAX_STATIC_ROUTES, gateway};
pub use host_services::host_service;
pub use options::{
    BANDWIDTH_LIMIT_MBPS, Bounds, CUSTOMER_ASN, DPD_TIMEOUT_SECONDS, GATEWAY_ASN,
    GATEWAY_ASN_32_BIT, OUTSIDE_MTU, PHASE1_LIFETIME_SECONDS, PHASE2_LIFETIME_BYTES,
    PHASE2_LIFETIME_PACKETS, PHASE2_LIFETIME_SECONDS, PSK_LENGTH, REKEY_FUZZ_PERCENTAGE,
    REKEY_MARGIN_TIME_SECONDS, REPLAY_WINDOW_SIZE, id, psk, repeated_id,
};
pub use violation::{Code, Field, Refusal, Subject, Violation};

use violation::Findings;
