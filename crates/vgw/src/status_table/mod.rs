//! `vgw status` for people: what is up, which tunnel carries the traffic, and why
//! the others do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vgw_admin::wire::{Connection, IkeMessages, Log, Side, Status, Traffic, Tunnel};
use vgw_dataplane::DropReason;
use vgw_gateway::status::State;

const HEADINGS: [&str; 10] = [
    "CONNECTION",
    "TUNNEL",
    "STATE",
    "SENDS",
    "SINCE",
    "PEER",
    "CIPHER",
    "MTU",
    "IN",
    "OUT",
];
/// What stands under SENDS for the tunnel that carries the outbound traffic.
const ACTIVE: &str = "<--";

/// The whole table, with a newline at its end.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut text = heading(status);
    text.push('\n');
    let rows: Vec<Row> = status.connections.iter().flat_map(rows).collect();
    if rows.is_empty() {
        text.push_str("no VPN connection is configured\n");
    } else {
        text.push_str(&table(&rows));
    }
    text.push_str(&footer(status));
    text
}

fn heading(status: &Status) -> String {
    let side = match status.gateway.side {
        Side::VirtualPrivateGateway => "virtual private gateway",
        Side::CustomerGateway => "customer gateway",
    };
    let outside: Vec<String> = status
        .gateway
        .outside_addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    let up = status
        .connections
        .iter()
        .flat_map(|c| &c.tunnels)
        .filter(|t| t.up)
        .count();
    let all: usize = status.connections.iter().map(|c| c.tunnels.len()).sum();
    let running = span(std::time::Duration::from_secs(status.uptime_seconds).as_secs_f64());
    format!(
        "vgw {}, {side}, AS {}, outside {}, inside {}\n{up} of {all} tunnels up, running for {running}\n",
        status.version,
        status.gateway.asn,
        outside.join(" "),
        status.gateway.cidrs.join(" "),
    )
}

/// Dropped as they must be: no tunnel could carry them and nobody misses them.
const LINK_LOCAL: &str = DropReason::LinkLocal.name();

/// One line of the table, and what is said below it.
struct Row {
    cells: [String; HEADINGS.len()],
    notes: Vec<String>,
}

fn rows(connection: &Connection) -> impl Iterator<Item = Row> {
    connection.tunnels.iter().enumerate().map(|(at, tunnel)| {
        // The name once, so that the two tunnels are seen to belong together.
        let name = if at == 0 { connection.id.as_str() } else { "" };
        let mut row = row(name, tunnel);
        if let Some(moved) = connection.last_move.as_ref().filter(|_| tunnel.active) {
            let ago = span(moved.ago_seconds);
            row.notes
                .push(format!("traffic moved here {ago} ago, {}", moved.why));
        }
        row
    })
}

fn row(connection: &str, tunnel: &Tunnel) -> Row {
    let Traffic {
        bytes_in,
        bytes_out,
        ..
    } = tunnel.traffic;
    let cipher = tunnel.children.first().map(|child| child.suite.clone());
    let cells = [
        connection.to_owned(),
        tunnel.number.to_string(),
        tunnel.state.clone(),
        if tunnel.active { ACTIVE } else { "" }.to_owned(),
        span(tunnel.since_seconds),
        tunnel.peer.clone().unwrap_or_else(|| "anywhere".to_owned()),
        cipher.unwrap_or_else(|| "-".to_owned()),
        tunnel
            .mtu
            .map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
        octets(bytes_in),
        octets(bytes_out),
    ];
    Row {
        cells,
        notes: notes(tunnel),
    }
}

/// What is said below a tunnel: of one that is down, why; of one that is up, what may end it
/// soon, and what it does not carry. What went wrong before it came up is not said any more.
fn notes(tunnel: &Tunnel) -> Vec<String> {
    if tunnel.up {
        let remarks = [
            ("suspect for …", &tunnel.suspect),
            ("one way for …", &tunnel.one_way),
            ("rekey refused … ago", &tunnel.rekey_refused),
            ("in UDP for …", &tunnel.udp_fallback),
        ];
        let notes = remarks.into_iter().filter_map(|(what, last)| {
            let last = last.as_ref()?;
            let what = what.replace('…', &span(last.ago_seconds));
            Some(format!("{what}: {}", last.why))
        });
        return notes.chain(tunnel.problems.iter().cloned()).collect();
    }
    // Of one that was taken down by hand, what was before that is history, too.
    let by_hand = tunnel.state == State::AdminDown.name();
    let news = tunnel.last.as_ref();
    let news = news.filter(|last| !by_hand || last.ago_seconds < tunnel.since_seconds);
    let mut note = match news {
        Some(last) => format!("{} ago: {}", span(last.ago_seconds), last.why),
        None => tunnel.why.clone(),
    };
    if let Some(awaited) = &tunnel.waits_for {
        let _ = write!(note, "; waits for {awaited}");
    }
    let explained = tunnel.awaited.iter().filter_map(|it| it.sentence.clone());
    std::iter::once(note).chain(explained).collect()
}

fn table(rows: &[Row]) -> String {
    let mut widths = HEADINGS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADINGS.map(str::to_owned), &widths);
    for row in rows {
        text.push_str(&line(&row.cells, &widths));
        for note in &row.notes {
            let _ = writeln!(text, "    {note}");
        }
    }
    text
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:<width$}  ");
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn footer(status: &Status) -> String {
    let mut text = String::new();
    for problem in &status.problems {
        let _ = writeln!(text, "\nATTENTION: {problem}");
    }
    let drops = listed(&status.drops);
    if !drops.is_empty() {
        let _ = writeln!(text, "\npackets dropped: {drops}");
    }
    for (reason, meaning) in misplaced(status.gateway.side) {
        if status
            .drops
            .get(reason.name())
            .is_some_and(|count| *count > 0)
        {
            let example = example(status, reason.name());
            let _ = writeln!(text, "    {}: {meaning}{example}", reason.name());
        }
    }
    text.push_str(&ike_messages(&status.ike_messages));
    let denied = listed(&status.denied);
    if !denied.is_empty() {
        let _ = writeln!(text, "\nIKE messages refused or dropped: {denied}");
    }
    let Log {
        lines_lost,
        lines_held_back,
    } = status.log;
    if lines_lost + lines_held_back > 0 {
        let _ = writeln!(
            text,
            "\nlog lines missing: {lines_lost} lost, {lines_held_back} held back as too many"
        );
    }
    if !status.refusals.is_empty() {
        let _ = writeln!(text, "\nrefused, of no configured tunnel:");
    }
    for refusal in &status.refusals {
        let ago = span(refusal.ago_seconds);
        let _ = writeln!(
            text,
            "    {ago} ago from {}: {}",
            refusal.remote, refusal.why
        );
    }
    text
}

/// A packet that was dropped for this reason, to be told at the end of a line.
fn example(status: &Status, reason: &str) -> String {
    let mut packets = status.misplaced.iter();
    let packet = packets.find(|packet| packet.reason == reason);
    packet.map_or_else(String::new, |packet| {
        format!(
            " (as a packet from {} to {} by {})",
            packet.source, packet.destination, packet.tunnel
        )
    })
}

/// The drops that come of networks which are not the same at both ends, and what to do.
const fn misplaced(side: Side) -> [(DropReason, &'static str); 3] {
    let (not_for_us, not_from_there) = match side {
        Side::VirtualPrivateGateway => (
            "a peer sends to what is not in vpc.cidrs; add it here, or correct the routes there",
            "a peer sends from what is not in its static_routes; add it here, or correct it there",
        ),
        Side::CustomerGateway => (
            "the peer sends to what is not in on_premises.cidrs; add it here, or correct the \
             routes there",
            "the peer sends from what is not in vpc_cidrs; add it here, or correct it there",
        ),
    };
    let not_selected = "the traffic selectors of the tunnel do not cover it; compare the networks \
                        at both ends";
    [
        (DropReason::OutsideSelectors, not_selected),
        (DropReason::UnknownDestination, not_for_us),
        (DropReason::SourceNotRouted, not_from_there),
    ]
}

/// Empty while every message could be read.
fn ike_messages(messages: &IkeMessages) -> String {
    let dropped = listed(&messages.dropped);
    if dropped.is_empty() {
        return String::new();
    }
    let received = listed(&messages.received);
    format!("\nIKE messages: {received}; dropped unread: {dropped}\n")
}

/// What was counted at all, as in "no_sa 2, replayed 1".
fn listed(counts: &BTreeMap<String, u64>) -> String {
    let counted = counts
        .iter()
        .filter(|(name, count)| **count > 0 && name.as_str() != LINK_LOCAL);
    let each: Vec<_> = counted
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    each.join(", ")
}

/// A time span with its two largest units.
fn span(seconds: f64) -> String {
    let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    vgw_gateway::span::span(time)
}

/// Octets with a binary unit and three digits or so.
fn octets(octets: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if octets < 1024 {
        return format!("{octets} B");
    }
    let mut tenths = u128::from(octets) * 10;
    let mut name = "B";
    for unit in UNITS {
        if tenths < 10240 {
            break;
        }
        tenths /= 1024;
        name = unit;
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
