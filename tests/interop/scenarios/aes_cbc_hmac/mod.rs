//! AES-CBC with HMAC: 128 bits and SHA1 in one tunnel, 256 bits and SHA2-512 in the other.
//!
//! Seen: the peer's SAs are of these algorithms, and traffic passes through each
//! tunnel while the other is taken down by hand.

use anyhow::Result;
use vgw_harness::stage::Stage;

pub fn run() -> Result<()> {
    Stage::new("aes_cbc_hmac")?.see_suites([
        ("AES_CBC", "HMAC_SHA1_96"),
        ("AES_CBC", "HMAC_SHA2_512_256"),
    ])
}
