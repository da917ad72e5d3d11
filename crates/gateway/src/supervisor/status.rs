//! What the supervisor knows, as [`Status`].

use std::time::Instant;

use vgw_ike::config::PeerConfig;
use vgw_ike::event::PeerCounters;
use vgw_ike::progress::Progress;
use vgw_sa::TunnelTraffic;

use super::failure_detection::Standing;
use super::last_error::LastError;
use super::sas::{Child, IkeSa};
use super::settle::Move;
use super::tunnel::Tunnel;
use super::{ConnectionState, State, Supervisor, TunnelIndex, udp_fallback};
use crate::status::{
    AgedText, ChildStatus, ConnectionStatus, IkeStatus, Status, TunnelEnds, TunnelStatus,
};
use crate::why_not_up::{WaitsFor, WhyNotUp};

impl Supervisor {
    /// Everything there is to see, as of `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let own = self.revision.own();
        let connections = self.revision.connections().iter();
        let connections =
            connections.filter_map(|connection| self.connection_status(now, &connection.id));
        let mut connections: Vec<_> = connections.collect();
        self.note_possible_peers(now, &mut connections);
        Status {
            side: own.side,
            asn: own.asn,
            outside_addresses: own
                .outside_addresses
                .iter()
                .map(|ours| ours.seen())
                .collect(),
            cidrs: own.cidrs.clone(),
            outside_mtu: own.outside_mtu,
            cloudhub: own.cloudhub,
            half_open: self.endpoint.half_open(),
            denied: self.endpoint.drops(),
            key_pairs: self.endpoint.key_pairs(),
            connections,
            unknown_peers: self.unknown_peers.status(now).collect(),
        }
    }

    /// The ends of every tunnel whose peer's address is known.
    pub fn ends(&self) -> impl Iterator<Item = TunnelEnds> {
        self.tunnels.values().filter_map(|tunnel| {
            let path = tunnel.sas.keeper().and_then(|sa| tunnel.sas.path(sa));
            Some(TunnelEnds {
                name: tunnel.name.clone(),
                up: tunnel.state.carries(),
                local: tunnel.peer.local,
                remote: path.map(|path| path.remote.ip()).or(tunnel.peer.remote)?,
            })
        })
    }

    fn connection_status(&self, now: Instant, id: &str) -> Option<ConnectionStatus> {
        let pair = self.connections.get(id)?;
        let connection = &pair.connection;
        let carrier = self.tunnels.get(pair.carrier.of(&pair.tunnels))?;
        let status = |which: TunnelIndex| {
            let tunnel = self.tunnels.get(which.of(&pair.tunnels))?;
            Some(self.tunnel_status(now, pair, tunnel))
        };
        Some(ConnectionStatus {
            id: connection.id.clone(),
            customer_gateway: connection.customer_gateway.id.clone(),
            remote_prefixes: self.revision.own().remote_prefixes(connection).to_vec(),
            failback: connection.failback,
            active: carrier.state.carries().then_some(pair.carrier),
            last_move: pair.last_move.map(|Move { at, from, why }| AgedText {
                text: format!("from tunnel {}: {why}", from.number()),
                age: now.saturating_duration_since(at),
            }),
            tunnels: [status(TunnelIndex::First)?, status(TunnelIndex::Second)?],
        })
    }

    fn tunnel_status(&self, now: Instant, pair: &ConnectionState, tunnel: &Tunnel) -> TunnelStatus {
        let own = self.revision.own();
        let (inside_local, inside_remote) = own.inside_addresses(&tunnel.options);
        let remote_address = own.remote_address(&pair.connection, &tunnel.options);
        let keeper = tunnel.sas.keeper().and_then(|sa| tunnel.sas.path(sa));
        let ike = tunnel.sas.ike();
        let children = tunnel.sas.children();
        let last_in = tunnel.last_in.map(|at| now.saturating_duration_since(at));
        // The negotiator keeps no notes of a tunnel that was taken down by hand.
        let progress = self.endpoint.progress(tunnel.id);
        let progress = progress.unwrap_or(Progress::none_since(tunnel.since));
        let ours = tunnel.peer.public.unwrap_or(tunnel.peer.local);
        let between = (ours, tunnel.peer.remote);
        let why_not_up = waiting_for(now, tunnel)
            .map(|awaits| WhyNotUp::new(now, awaits, between, &progress, last_in));
        TunnelStatus {
            id: tunnel.id,
            name: tunnel.name.clone(),
            state: tunnel.state,
            since: now.saturating_duration_since(tunnel.since),
            why: tunnel.why.clone(),
            last_error: tunnel.last_error.as_ref().map(|said| remark(now, said)),
            algorithms: tunnel.last_error.as_ref().map(|_| {
                let PeerConfig { ike, esp, .. } = &tunnel.peer;
                (ike.clone(), esp.clone())
            }),
            mismatches: self.mismatches_of(pair, tunnel),
            rekey_refused: tunnel.rekey_refused.as_ref().map(|said| remark(now, said)),
            suspect: suspect(now, tunnel),
            one_way: tunnel.one_way.found().and_then(|found| {
                let text = tunnel.one_way_words()?;
                let age = now.saturating_duration_since(found.at);
                Some(AgedText { text, age })
            }),
            udp_fallback: tunnel.udp_fallback.age(now).map(|age| AgedText {
                text: udp_fallback::WORDS.to_owned(),
                age,
            }),
            outside_local: tunnel.peer.local,
            outside_remote: keeper.map(|path| path.remote.ip()).or(remote_address),
            outside_address: tunnel.options.outside_address,
            local_id: tunnel.peer.local_id.clone(),
            remote_id: tunnel.peer.remote_id.clone(),
            inside_local,
            inside_remote,
            df_policy: tunnel.options.df_policy,
            copy_dscp: tunnel.options.copy_dscp,
            bandwidth_limit_mbps: tunnel.options.bandwidth_limit_mbps,
            waits_for: waits_for_in_words(now, tunnel),
            why_not_up,
            retry_in: tunnel
                .retry
                .at()
                .map(|at| at.saturating_duration_since(now)),
            failed_attempts: tunnel.retry.failures(),
            ike: ike.map(|(_, ike)| ike_status(now, tunnel, ike)).collect(),
            children: children
                .map(|(spi_in, child)| child_status(now, tunnel, spi_in, child))
                .collect(),
            traffic: carried_since(tunnel.traffic, tunnel.traffic_before),
            takeovers: tunnel.takeovers,
            changes_refused: tunnel.changes_refused,
            last_in,
            counters: counted_since(self.endpoint.counters(tunnel.id), tunnel.counters_before),
        }
    }
}

/// What a tunnel that does not carry waits for.
fn waiting_for(now: Instant, tunnel: &Tunnel) -> Option<WaitsFor> {
    Some(match (tunnel.state, tunnel.retry.at()) {
        (State::Up | State::Draining, _) => return None,
        (State::AdminDown, _) => WaitsFor::Operator,
        (State::Connecting, _) if tunnel.sas.has_ike() => WaitsFor::ChildSa,
        (State::Connecting, _) => WaitsFor::InitResponse,
        (State::Down, Some(at)) => WaitsFor::Pause(at.saturating_duration_since(now)),
        (State::Down, None) => WaitsFor::Peer,
    })
}

/// The same in words.
pub(super) fn waits_for_in_words(now: Instant, tunnel: &Tunnel) -> Option<String> {
    Some(match waiting_for(now, tunnel)? {
        WaitsFor::Operator => format!("`vgw tunnel up {}`", tunnel.name),
        WaitsFor::ChildSa => "a CHILD SA".to_owned(),
        WaitsFor::InitResponse | WaitsFor::AuthResponse => "the peer's answer".to_owned(),
        // Rounded up: less than a second left is not 0s.
        WaitsFor::Pause(pause) => {
            format!("our next attempt in {}s", pause.as_millis().div_ceil(1000))
        }
        WaitsFor::Peer => "the peer to initiate".to_owned(),
    })
}

fn suspect(now: Instant, tunnel: &Tunnel) -> Option<AgedText> {
    if tunnel.state != State::Up {
        return None;
    }
    let (since, text) = match tunnel.failure_detection.doubt()? {
        Standing::Well | Standing::Moved(_) => return None,
        Standing::Suspect(since) => (since, "the peer is being asked whether it is there"),
        Standing::Unanswering(since) => (since, "the peer does not answer"),
    };
    Some(AgedText {
        text: match tunnel.failure_detection.sign() {
            Some(sign) => format!("{text} ({sign})"),
            None => text.to_owned(),
        },
        age: now.saturating_duration_since(since),
    })
}

fn remark(now: Instant, said: &LastError) -> AgedText {
    AgedText {
        text: match said.of {
            Some(remote) => format!("{} (from {remote})", said.why),
            None => said.why.to_string(),
        },
        age: now.saturating_duration_since(said.at),
    }
}

fn ike_status(now: Instant, tunnel: &Tunnel, ike: &IkeSa) -> IkeStatus {
    let age = now.saturating_duration_since(ike.established);
    let lifetime = tunnel.peer.ike_lifetime;
    IkeStatus {
        spi_i: ike.details.spi_i,
        spi_r: ike.details.spi_r,
        role: ike.details.role,
        suite: ike.details.suite,
        nat: ike.details.nat,
        path: ike.details.path,
        remote_id: ike.details.remote_id.clone(),
        age,
        rekeyed_within: lifetime
            .time
            .saturating_sub(lifetime.margin)
            .saturating_sub(age),
    }
}

fn child_status(now: Instant, tunnel: &Tunnel, spi_in: u32, child: &Child) -> ChildStatus {
    let age = now.saturating_duration_since(child.installed);
    let lifetime = tunnel.peer.child_lifetime;
    ChildStatus {
        spi_in,
        spi_out: child.spi_out,
        suite: child.suite,
        local_selectors: child.local_selectors.clone(),
        remote_selectors: child.remote_selectors.clone(),
        sends: tunnel.outbound_spis.contains(&spi_in),
        age,
        rekeyed_within: lifetime
            .time
            .saturating_sub(lifetime.margin)
            .saturating_sub(age),
        traffic: child.traffic,
    }
}

/// What was carried after `before`.
fn carried_since(counted: TunnelTraffic, before: TunnelTraffic) -> TunnelTraffic {
    TunnelTraffic {
        packets_in: counted.packets_in.saturating_sub(before.packets_in),
        bytes_in: counted.bytes_in.saturating_sub(before.bytes_in),
        packets_out: counted.packets_out.saturating_sub(before.packets_out),
        bytes_out: counted.bytes_out.saturating_sub(before.bytes_out),
    }
}

/// What the negotiator counted after `before`.
fn counted_since(counted: PeerCounters, before: PeerCounters) -> PeerCounters {
    PeerCounters {
        ike_established: counted.ike_established - before.ike_established,
        ike_rekeys: counted.ike_rekeys - before.ike_rekeys,
        child_rekeys: counted.child_rekeys - before.child_rekeys,
        rekeys_refused: counted.rekeys_refused - before.rekeys_refused,
        retransmissions: counted.retransmissions - before.retransmissions,
        duplicates: counted.duplicates - before.duplicates,
        dropped: counted.dropped.since(&before.dropped),
        path_changes: counted.path_changes - before.path_changes,
    }
}
