//! Debian's own tools, run in a namespace.

use std::net::IpAddr;
use std::process::Output;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use vgw_lab::Namespace;
use vgw_lab::topology::{CUSTOMER_BEHIND_NAT, GATEWAY_BEHIND_NAT, GATEWAY_OUTSIDE, Topology};

/// Runs a program in a namespace; gives what it prints.
///
/// # Errors
/// When it fails, with what it prints.
pub fn run(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<String> {
    let output = namespace
        .command(program)
        .args(arguments)
        .output()
        .with_context(|| format!("starting {program}"))?;
    succeeded(program, &output)
}

pub(crate) fn succeeded(program: &str, output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}\n{text}{errors}", output.status);
    }
    Ok(text)
}

/// Applies nftables rules in a namespace.
///
/// # Errors
/// When `nft` refuses them.
pub fn nft(namespace: &Namespace, rules: &str) -> Result<()> {
    run(namespace, "nft", &[rules])?;
    Ok(())
}

/// The address translator before the customer: what the premises send gets its
/// outside address and a port of this range. What comes for nobody is dropped, so that
/// it takes no mapping.
///
/// # Errors
/// When the topology has no NAT or `nft` refuses.
pub fn masquerade(topology: &Topology, ports: &str) -> Result<()> {
    let nat = topology.nat.as_ref().context("this stage has no NAT")?;
    let rules = format!(
        "add table ip nat; flush table ip nat; \
         add chain ip nat out {{ type nat hook postrouting priority srcnat; }}; \
         add rule ip nat out oifname wan meta l4proto udp masquerade to :{ports}; \
         add chain ip nat own {{ type filter hook input priority 0; }}; \
         add rule ip nat own iifname wan meta l4proto udp drop"
    );
    nft(nat, &rules)
}

/// The address translator before the peer, with its line down for a moment: it has
/// forgotten its mappings. From now on it has these ports for others.
///
/// # Errors
/// As [`masquerade`].
pub fn change_mappings(topology: &Topology, ports: &str) -> Result<()> {
    masquerade(topology, ports)?;
    forget_mappings(topology)
}

/// What has no line forgets its mappings.
fn forget_mappings(topology: &Topology) -> Result<()> {
    let nat = topology.nat.as_ref().context("this stage has no NAT")?;
    run(nat, "ip", &["link", "set", "wan", "down"])?;
    run(nat, "ip", &["link", "set", "wan", "up"])?;
    run(
        nat,
        "ip",
        &["route", "add", "default", "via", "192.0.2.254"],
    )?;
    Ok(())
}

/// The address translator before the peer, as one that leads IKE to it and keeps its
/// ports; it has forgotten its mappings.
///
/// # Errors
/// As [`masquerade`].
pub fn lead_ike_to_peer(topology: &Topology) -> Result<()> {
    let nat = topology.nat.as_ref().context("this stage has no NAT")?;
    let rules = format!(
        "add table ip nat; flush table ip nat; \
         add chain ip nat in {{ type nat hook prerouting priority dstnat; }}; \
         add chain ip nat out {{ type nat hook postrouting priority srcnat; }}; \
         add rule ip nat in iifname wan udp dport {{ 500, 4500 }} dnat to {CUSTOMER_BEHIND_NAT}; \
         add rule ip nat out oifname wan meta l4proto udp masquerade"
    );
    nft(nat, &rules)?;
    forget_mappings(topology)
}

/// The address translator before our gateway: it has an outside address for each of the
/// gateway's own, and translates either into the other whatever the ports.
///
/// # Errors
/// When the topology has no such NAT or `nft` refuses.
pub fn translate_one_to_one(topology: &Topology) -> Result<()> {
    let nat = topology
        .vpc_nat
        .as_ref()
        .context("this stage has no NAT before our gateway")?;
    let mut rules = String::from(
        "add table ip nat; \
         add chain ip nat in { type nat hook prerouting priority dstnat; }; \
         add chain ip nat out { type nat hook postrouting priority srcnat; }; ",
    );
    for (outside, behind) in GATEWAY_OUTSIDE.into_iter().zip(GATEWAY_BEHIND_NAT) {
        rules += &format!(
            "add rule ip nat in ip daddr {outside} dnat to {behind}; \
             add rule ip nat out ip saddr {behind} snat to {outside}; "
        );
    }
    nft(nat, &rules)
}

/// Drops this share of a router's packets at random, in percent; 0 ends it.
///
/// # Errors
/// When `nft` refuses.
pub fn lose(router: &Namespace, percent: u8) -> Result<()> {
    let rules = format!(
        "add table ip loss; flush table ip loss; \
         add chain ip loss forward {{ type filter hook forward priority 0; }}; \
         add rule ip loss forward numgen random mod 100 < {percent} drop"
    );
    nft(router, &rules)
}

/// Drops what a router would forward from an address (`saddr` among `ends`), to it (`daddr`), or
/// both, until [`restore`]. Gives the time just before.
///
/// # Errors
/// When `nft` refuses.
pub fn cut(router: &Namespace, address: IpAddr, ends: &[&str]) -> Result<Instant> {
    cut_only(router, address, ends, &[""])
}

/// IKE, as nftables matches it, where ESP is in UDP (RFC 3948 section 2.2).
pub const IKE: [&str; 2] = ["udp dport 500", "udp dport 4500 @th,64,32 0"];

/// ESP in UDP, as nftables matches it.
pub const ESP_IN_UDP: [&str; 1] = ["udp dport 4500 @th,64,32 != 0"];

/// As [`cut`], of packets alone that match one of these expressions of nftables' (`udp dport 500`).
///
/// # Errors
/// As [`cut`].
pub fn cut_only(
    router: &Namespace,
    address: IpAddr,
    ends: &[&str],
    matching: &[&str],
) -> Result<Instant> {
    let mut rules = "add table ip cut; \
                     add chain ip cut forward { type filter hook forward priority 0; }"
        .to_owned();
    for end in ends {
        for packets in matching {
            rules.push_str(&format!(
                "; add rule ip cut forward ip {end} {address} {packets} drop"
            ));
        }
    }
    let before = Instant::now();
    nft(router, &rules)?;
    Ok(before)
}

/// Ends [`cut`] and [`cut_only`].
///
/// # Errors
/// When `nft` refuses.
pub fn restore(router: &Namespace) -> Result<()> {
    nft(router, "delete table ip cut")
}

/// Counts packets from now on, those that pass a hook of nftables' (`forward`) and
/// match an expression of its, by a name of ours.
///
/// # Errors
/// When `nft` refuses.
pub fn count_packets(namespace: &Namespace, name: &str, hook: &str, matching: &str) -> Result<()> {
    let rules = format!(
        "add table ip seen; add counter ip seen {name}; \
         add chain ip seen {name} {{ type filter hook {hook} priority 0; }}; \
         add rule ip seen {name} {matching} counter name {name}"
    );
    nft(namespace, &rules)
}

/// Packets that [`count_packets`] has counted by this name.
///
/// # Errors
/// When it counts none by it.
pub fn counted_packets(namespace: &Namespace, name: &str) -> Result<u64> {
    let arguments = ["--json", "list", "counter", "ip", "seen", name];
    let told: Value = serde_json::from_str(&run(namespace, "nft", &arguments)?)?;
    let counter = told.pointer("/nftables/1/counter/packets");
    let packets = counter.and_then(Value::as_u64);
    packets.with_context(|| format!("nft tells no packets of {name}: {told}"))
}

/// The path MTU to `to` that a namespace's kernel was told by ICMP; None when it was
/// told none.
///
/// # Errors
/// When there is no route.
pub fn told_mtu(namespace: &Namespace, to: IpAddr) -> Result<Option<u64>> {
    let arguments = ["-json", "route", "get", &to.to_string()];
    let route: Value = serde_json::from_str(&run(namespace, "ip", &arguments)?)?;
    let metrics = route.pointer("/0/metrics").and_then(Value::as_array);
    let mut metrics = metrics.into_iter().flatten();
    Ok(metrics.find_map(|metric| metric.get("mtu").and_then(Value::as_u64)))
}
