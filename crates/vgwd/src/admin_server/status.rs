//! Turns the supervisor's [`Status`](vgw_gateway::status::Status) into what travels over the
//! control socket.

use std::collections::BTreeMap;
use std::time::Duration;

use vgw_admin::wire;
use vgw_crypto::Group;
use vgw_dataplane::{Family, Features, mss};
use vgw_gateway::domain;
use vgw_gateway::status::{
    AgedText, ChildStatus, ConnectionStatus, IkeStatus, Status, Telemetry, TunnelStatus,
    UnknownPeerStatus,
};
use vgw_gateway::supervisor;
use vgw_gateway::why_not_up::{Streak, WhyNotUp};
use vgw_ike::config::{EspAlgorithms, IkeAlgorithms};
use vgw_ike::event::{PeerCounters, Role};
use vgw_sa::TunnelId;

use crate::inbox::MessageCounts;
use crate::logging::LostLines;

/// What the daemon knows beside the supervisor.
#[derive(Debug)]
pub struct DaemonFacts {
    /// How long the daemon has been running.
    pub uptime: Duration,
    /// Packets dropped, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Packets dropped because networks differ, an example each.
    pub misplaced: Vec<wire::Misplaced>,
    /// Batches that the kernel refused, by where.
    pub refused_batches: [(&'static str, u64); 2],
    /// Log lines that were not written.
    pub log: LostLines,
    /// IKE messages that arrived.
    pub ike: MessageCounts,
    /// The MTU of each tunnel that can send.
    pub mtus: BTreeMap<TunnelId, Mtus>,
    /// The TUN device's MTU, octets, if it is known.
    pub tun_mtu: Option<usize>,
    /// Threads of the data plane: in, out.
    pub workers: (usize, usize),
    /// What the kernel does for them.
    pub offloads: Features,
    /// What needs somebody's attention.
    pub problems: Vec<String>,
}

/// What a tunnel carries.
#[derive(Debug, Clone, Copy)]
pub struct Mtus {
    /// The largest inner packet that is not fragmented outside, octets.
    pub inside: usize,
    /// The largest outer packet that goes whole, octets.
    pub outside: usize,
}

/// The whole status.
#[must_use]
pub fn status(status: Status, facts: DaemonFacts) -> wire::Status {
    wire::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: facts.uptime.as_secs(),
        gateway: wire::Gateway {
            side: match status.side {
                domain::Side::VirtualPrivateGateway => wire::Side::VirtualPrivateGateway,
                domain::Side::CustomerGateway => wire::Side::CustomerGateway,
            },
            asn: status.asn,
            outside_addresses: status.outside_addresses,
            cidrs: status.cidrs.iter().map(ToString::to_string).collect(),
            outside_mtu: status.outside_mtu,
            cloudhub: status.cloudhub,
        },
        connections: status
            .connections
            .into_iter()
            .map(|status| connection(status, &facts.mtus, facts.tun_mtu))
            .collect(),
        data_plane: data_plane(&facts),
        half_open: status.half_open,
        denied: by_name(status.denied.iter()),
        drops: by_name(facts.drops.into_iter()),
        misplaced: facts.misplaced,
        log: wire::Log {
            lines_lost: facts.log.lost,
            lines_held_back: facts.log.held_back,
        },
        ike_messages: ike_messages(&facts.ike),
        problems: facts.problems,
        refusals: status.unknown_peers.into_iter().map(refusal).collect(),
    }
}

fn ike_messages(counted: &MessageCounts) -> wire::IkeMessages {
    wire::IkeMessages {
        received: by_name(counted.received.iter().copied()),
        begin: counted.begins,
        unknown_spi: counted.unknown_spi,
        dropped: by_name(counted.dropped.iter().copied()),
    }
}

fn by_name(counted: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counted
        .map(|(reason, count)| (reason.to_owned(), count))
        .collect()
}

fn data_plane(facts: &DaemonFacts) -> wire::DataPlane {
    let (workers_in, workers_out) = facts.workers;
    let offloads = facts.offloads;
    wire::DataPlane {
        workers_in,
        workers_out,
        offloads: wire::Offloads {
            tun_vnet_header: offloads.tun_vnet_header,
            tun_tso: offloads.tun_tso,
            tun_uso: offloads.tun_uso,
            tun_multi_queue: offloads.tun_multi_queue,
            udp_gso: offloads.udp_gso,
            udp_gro: offloads.udp_gro,
        },
        accelerated: vgw_crypto::accelerated()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        tun_mtu: facts.tun_mtu,
        refused_batches: by_name(facts.refused_batches.into_iter()),
    }
}

fn connection(
    connection: ConnectionStatus,
    mtus: &BTreeMap<TunnelId, Mtus>,
    tun_mtu: Option<usize>,
) -> wire::Connection {
    let active = connection.active.map(supervisor::TunnelIndex::number);
    wire::Connection {
        id: connection.id,
        customer_gateway: connection.customer_gateway,
        active_tunnel: active,
        last_move: connection.last_move.map(last),
        tunnels: connection
            .tunnels
            .into_iter()
            .map(|status| {
                let mtu = mtus.get(&status.id).copied();
                tunnel(status, active, mtu, tun_mtu)
            })
            .collect(),
    }
}

fn tunnel(
    tunnel: TunnelStatus,
    active: Option<u8>,
    mtus: Option<Mtus>,
    tun_mtu: Option<usize>,
) -> wire::Tunnel {
    let mtu = mtus.map(|mtus| mtus.inside);
    // TCP keeps to the least MTU of the way.
    let least = mtu.map(|mtu| tun_mtu.unwrap_or(usize::MAX).min(mtu));
    // The newest is the one that stays.
    let ike = tunnel.ike.last();
    let udp_encapsulation = ike.is_some_and(|ike| ike.path.udp_encapsulation);
    let peer = ike.map(|ike| ike.path.remote.to_string());
    let mut children: Vec<wire::Child> = tunnel
        .children
        .iter()
        .map(|status| child(status, udp_encapsulation))
        .collect();
    children.sort_by_key(|child| !child.outbound);
    wire::Tunnel {
        name: tunnel.name.to_string(),
        number: tunnel.name.number,
        state: tunnel.state.to_string(),
        up: tunnel.telemetry() == Telemetry::Up,
        active: active == Some(tunnel.name.number),
        since_seconds: tunnel.since.as_secs_f64(),
        why: tunnel.why,
        waits_for: tunnel.waits_for,
        awaited: tunnel.why_not_up.as_ref().map(awaited),
        outside_address: tunnel.outside_address,
        inside_address: tunnel.inside_local.into(),
        mtu,
        mss_ipv4: least.map(|mtu| mss(mtu, Family::V4)),
        mss_ipv6: least.map(|mtu| mss(mtu, Family::V6)),
        outside_mtu: mtus.map(|mtus| mtus.outside),
        df_policy: match tunnel.df_policy {
            vgw_sa::DfPolicy::Honor => "honor",
            vgw_sa::DfPolicy::Ignore => "ignore",
        }
        .to_owned(),
        copy_dscp: tunnel.copy_dscp,
        bandwidth_limit_mbps: tunnel.bandwidth_limit_mbps,
        peer: peer.or_else(|| tunnel.outside_remote.map(|address| address.to_string())),
        ike: ike.map(ike_sa),
        children,
        traffic: wire::Traffic {
            packets_in: tunnel.traffic.packets_in,
            bytes_in: tunnel.traffic.bytes_in,
            packets_out: tunnel.traffic.packets_out,
            bytes_out: tunnel.traffic.bytes_out,
        },
        counters: counters(tunnel.counters, tunnel.changes_refused, tunnel.takeovers),
        dropped: by_name(tunnel.counters.dropped.iter().filter(|(_, n)| *n > 0)),
        last: tunnel.last_error.map(last),
        algorithms: tunnel.algorithms.map(algorithms),
        rekey_refused: tunnel.rekey_refused.map(last),
        problems: tunnel.mismatches,
        suspect: tunnel.suspect.map(last),
        one_way: tunnel.one_way.map(last),
        udp_fallback: tunnel.udp_fallback.map(last),
    }
}

fn algorithms((ike, esp): (IkeAlgorithms, EspAlgorithms)) -> wire::Algorithms {
    let groups = |groups: &[Group]| groups.iter().map(|group| group.iana()).collect();
    wire::Algorithms {
        phase1_encryption_algorithms: names(&ike.encryption),
        phase1_integrity_algorithms: names(&ike.integrity),
        phase1_dh_group_numbers: groups(&ike.groups),
        phase2_encryption_algorithms: names(&esp.encryption),
        phase2_integrity_algorithms: names(&esp.integrity),
        phase2_dh_group_numbers: groups(&esp.groups),
        phase2_extended_sequence_numbers: match esp.esn.as_slice() {
            [true] => "require",
            [false] => "off",
            _ => "prefer",
        }
        .to_owned(),
    }
}

fn names<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn awaited(awaited: &WhyNotUp) -> wire::Awaited {
    let row = |row: Streak| wire::Row {
        count: row.count,
        first_ago_seconds: row.since.as_secs_f64(),
        last_ago_seconds: row.ago.as_secs_f64(),
    };
    wire::Awaited {
        what: awaited.what.name().to_owned(),
        from: awaited.from,
        finding: awaited.finding().name().to_owned(),
        sentence: awaited.sentence(),
        noted_seconds: awaited.noted.as_secs_f64(),
        last_came: awaited.last.map(|last| wire::LastCame {
            what: last.what.name().to_owned(),
            remote: last.remote,
            ago_seconds: last.ago.as_secs_f64(),
        }),
        handshakes_begun: awaited.begun.map(|begun| row(begun.handshakes)),
        init_repeated: awaited.begun.map_or(0, |begun| begun.repeated),
        init_unanswered: awaited.init_unanswered.map(row),
        auth_unanswered: awaited.auth_unanswered.map(row),
        unknown: awaited.possible_peer.map(|unknown| wire::Unknown {
            remote: unknown.remote,
            handshakes: row(unknown.handshakes),
        }),
    }
}

fn ike_sa(ike: &IkeStatus) -> wire::Ike {
    wire::Ike {
        role: match ike.role {
            Role::Initiator => "initiator",
            Role::Responder => "responder",
        }
        .to_owned(),
        spi_i: format!("{:016x}", ike.spi_i),
        spi_r: format!("{:016x}", ike.spi_r),
        suite: ike.suite.to_string(),
        age_seconds: ike.age.as_secs_f64(),
        local: ike.path.local,
        remote: ike.path.remote,
        remote_id: ike.remote_id.to_string(),
        nat_local: ike.nat.local,
        nat_remote: ike.nat.remote,
    }
}

fn child(child: &ChildStatus, udp_encapsulation: bool) -> wire::Child {
    let text =
        |selectors: &[vgw_sa::TrafficSelector]| selectors.iter().map(ToString::to_string).collect();
    wire::Child {
        spi_in: format!("{:#010x}", child.spi_in),
        spi_out: format!("{:#010x}", child.spi_out),
        suite: child.suite.to_string(),
        udp_encapsulation,
        outbound: child.sends,
        age_seconds: child.age.as_secs_f64(),
        local_selectors: text(&child.local_selectors),
        remote_selectors: text(&child.remote_selectors),
    }
}

fn counters(counters: PeerCounters, changes_refused: u64, takeovers: u64) -> wire::Counters {
    wire::Counters {
        ike_established: counters.ike_established,
        ike_rekeys: counters.ike_rekeys,
        child_rekeys: counters.child_rekeys,
        rekeys_refused: counters.rekeys_refused,
        retransmissions: counters.retransmissions,
        duplicates: counters.duplicates,
        dropped: counters.dropped.total(),
        path_changes: counters.path_changes,
        changes_refused,
        takeovers,
    }
}

fn last(remark: AgedText) -> wire::Last {
    wire::Last {
        ago_seconds: remark.age.as_secs_f64(),
        why: remark.text,
    }
}

fn refusal(stranger: UnknownPeerStatus) -> wire::Refusal {
    wire::Refusal {
        ago_seconds: stranger.refused.age.as_secs_f64(),
        remote: stranger.remote,
        why: stranger.refused.text,
    }
}

#[cfg(test)]
mod tests {
    use vgw_crypto::{Encryption, Group, Integrity, Prf};
    use vgw_ike::config::{EspAlgorithms, IkeAlgorithms};

    use super::algorithms;

    #[test]
    fn algorithms_have_the_names_by_which_they_are_configured() {
        let ike = IkeAlgorithms {
            encryption: vec![Encryption::AesGcm256, Encryption::AesCbc128],
            integrity: vec![Integrity::HmacSha1_96],
            prf: vec![Prf::HmacSha1],
            groups: vec![Group::Curve25519, Group::Modp2048],
        };
        let esp = EspAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            groups: Vec::new(),
            esn: vec![true, false],
        };
        let named = algorithms((ike, esp));
        assert_eq!(
            named.phase1_encryption_algorithms,
            ["AES256-GCM-16", "AES128"]
        );
        assert_eq!(named.phase1_integrity_algorithms, ["SHA1"]);
        assert_eq!(named.phase1_dh_group_numbers, [31, 14]);
        assert_eq!(named.phase2_integrity_algorithms, ["SHA2-256"]);
        assert_eq!(named.phase2_dh_group_numbers, [0_u16; 0]);
        assert_eq!(named.phase2_extended_sequence_numbers, "prefer");
    }
}
