//! AES-CBC with HMAC: 128 bits and SHA1 in one tunnel, 256 bits and SHA2-512 in the other.
//!
//! Seen: the peer's SAs are of these algorithms, and traffic passes through each
//! tunnel while the other is taken down by hand.

use anyhow::{Context, Result, ensure};
use vgw_interop::stage::{CHILDREN, SOON, Stage};

const EXPECTED: &[(&str, &str)] = &[("AES_CBC", "HMAC_SHA1_96"), ("AES_CBC", "HMAC_SHA2_512_256")];

pub fn run() -> Result<()> {
    let stage = Stage::new("aes_cbc_hmac")?;
    let (mut gateway, peer) = stage.both_up()?;
    for (child, (encryption, integrity)) in CHILDREN.into_iter().zip(EXPECTED) {
        let installed = peer.installed(child)?;
        let sa = installed.first().context("no CHILD SA at the peer")?;
        ensure!(sa.encryption == *encryption && sa.integrity == *integrity, "{sa:?}");
    }
    stage.ping_both_ways()?;
    gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
    gateway.await_tunnel(1, false, SOON)?;
    stage.ping_both_ways()
}
