//! AES-GCM with 16-octet ICV, of 128 bits in one tunnel and 256 in the other.
//!
//! Seen: the peer's SAs are of these algorithms, and traffic passes through each
//! tunnel while the other is taken down by hand.

use anyhow::Result;
use vgw_harness::stage::Stage;

pub fn run() -> Result<()> {
    Stage::new("aes_gcm")?.see_suites([("AES_GCM_16", ""), ("AES_GCM_16", "")])
}
