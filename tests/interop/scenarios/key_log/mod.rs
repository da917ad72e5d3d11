//! A capture of a tunnel's life, decrypted by tshark with our key log.
//!
//! Seen: the IKE_AUTH exchange and pings in the clear, and every ESP packet's integrity
//! check value found right by tshark.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vgw_harness::stage::{SOON, Stage, await_echoes, finish_whole};
use vgw_harness::tools::run as run_in;
use vgw_lab::{Process, wait_until};

pub fn run() -> Result<()> {
    let stage = Stage::new("key_log")?;
    let directory = stage.workspace.directory();
    let file = directory.join("capture.pcap");
    let file = file.to_str().context("a path that is not UTF-8")?;
    let internet = &stage.topology.internet;
    let mut tcpdump = internet.command("tcpdump");
    tcpdump.args(["-i", "customer", "--immediate-mode", "-U", "-Z", "root"]);
    tcpdump.args(["-w", file, "udp or esp"]);
    let log = directory.join("tcpdump.log");
    let tcpdump = Process::start("tcpdump", tcpdump, &log)?;
    wait_until("the capture", SOON, || {
        let ready = std::fs::read_to_string(&log)?.contains("listening on");
        Ok(ready.then_some(()))
    })?;

    let (gateway, peer) = stage.both_up()?;
    let flow = stage.flow(Duration::from_millis(5))?;
    await_echoes(&flow, 50, SOON)?;
    peer.rekey_child("net1")?;
    wait_until("the rekeying", SOON, || {
        Ok((gateway.tunnel(1)?.counters.child_rekeys >= 1).then_some(()))
    })?;
    await_echoes(&flow, 50, SOON)?;
    let report = finish_whole(flow)?;
    let expected = usize::try_from(report.sent + report.answered)?;
    gateway.stop()?;
    // What tcpdump has not read yet when it is ended is lost.
    wait_until("the flow in the capture", SOON, || {
        let text = run_in(internet, "tshark", &["-r", file, "-Y", "esp"]);
        Ok(text
            .is_ok_and(|text| text.lines().count() >= expected)
            .then_some(()))
    })?;
    tcpdump.signal(Signal::SIGINT)?;
    tcpdump.stop()?;

    let profile = directory.join("wireshark");
    std::fs::create_dir(&profile)?;
    for table in ["ikev2_decryption_table", "esp_sa"] {
        std::fs::copy(directory.join(table), profile.join(table))?;
    }
    let count = |filter: &str| -> Result<usize> {
        let profile = profile.to_str().context("a path that is not UTF-8")?;
        let profile = format!("WIRESHARK_CONFIG_DIR={profile}");
        let arguments = [
            profile.as_str(),
            "tshark",
            "-r",
            file,
            "-o",
            "esp.enable_encryption_decode:TRUE",
            "-o",
            "esp.enable_authentication_check:TRUE",
            "-Y",
            filter,
        ];
        Ok(run_in(internet, "env", &arguments)?.lines().count())
    };
    let authenticated = count("isakmp.exchangetype == 35 && isakmp.auth.method == 2")?;
    ensure!(
        authenticated >= 4,
        "AUTH payloads of two tunnels, found {authenticated}"
    );
    let clear = count("esp && udp.port == 7000")?;
    ensure!(
        clear == expected,
        "{clear} packets in the clear of {expected}"
    );
    let all = count("esp")?;
    let authentic = count("esp.icv_good == 1")?;
    ensure!(
        authentic == all,
        "{authentic} right integrity check values of {all}"
    );
    Ok(())
}
