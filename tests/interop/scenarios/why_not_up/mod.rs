//! Two faults that look alike from here: at tunnel 1 UDP 4500 is dropped on the way, at
//! tunnel 2 both ends wait for each other.
//!
//! Seen: the status says of tunnel 1 that the peer's handshakes come without IKE_AUTH and
//! asks about the port, of tunnel 2 that nothing came and asks whether the peer begins;
//! the table of `vgw status` has both sentences.

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::tools::nft;
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("why_not_up")?;
    nft(
        &stage.topology.internet,
        "add table inet fault; \
         add chain inet fault forward { type filter hook forward priority 0; }; \
         add rule inet fault forward udp dport 4500 drop",
    )?;
    let gateway = stage.start_gateway()?;
    let peer = stage.start_peer()?;
    ensure!(peer.initiate("net1").is_err(), "the peer came up");

    let finding = |number: usize| -> Result<_> {
        let tunnel = gateway.tunnel(number)?;
        tunnel.awaited.context("it awaits nothing")
    };
    let dropped = wait_until("the finding", SOON, || {
        Ok(Some(finding(1)?).filter(|awaited| awaited.finding == "no_auth"))
    })?;
    let waiting = wait_until("the question", SOON, || {
        let asks = |text: &String| text.ends_with('?');
        Ok(Some(finding(2)?).filter(|awaited| awaited.sentence.as_ref().is_some_and(asks)))
    })?;
    ensure!(waiting.finding == "nothing_came", "{waiting:?}");
    let table = gateway.ask(&["status"])?;
    println!("{table}");
    for (awaited, words) in [
        (
            &dropped,
            [
                "begun by 192.0.2.1",
                "no IKE_AUTH came: is UDP 4500 let through",
            ],
        ),
        (
            &waiting,
            [
                "nothing came from 192.0.2.1 in",
                "does it begin, or wait as well?",
            ],
        ),
    ] {
        let sentence = awaited.sentence.as_deref().unwrap_or_default();
        let says = |text: &str| words.iter().all(|words| text.contains(words));
        ensure!(says(sentence), "{sentence:?} instead of {words:?}");
        ensure!(table.lines().any(says), "{words:?} in\n{table}");
    }
    Ok(())
}
