//! AES-GCM with 16-octet ICV, of 128 bits in one tunnel and 256 in the other.
//!
//! Seen: the peer's SAs are of these algorithms, and traffic passes through each
//! tunnel while the other is taken down by hand.

use anyhow::{Context, Result, ensure};
use vgw_interop::stage::{CHILDREN, SOON, Stage};

const EXPECTED: &[(&str, &str)] = &[("AES_GCM_16", ""), ("AES_GCM_16", "")];

pub fn run() -> Result<()> {
    let stage = Stage::new("aes_gcm")?;
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
