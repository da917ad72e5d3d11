//! UDP ports.

/// IKE (RFC 7296 section 2).
pub const IKE_PORT: u16 = 500;

/// IKE and ESP in UDP (RFC 3948).
pub const NATT_PORT: u16 = 4500;
