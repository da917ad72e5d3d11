//! What leads where, and how: the forwarding table and the tunnels' treatment
//! that follow from the configuration and from which tunnels carry.
//!
//! A prefix keeps leading to its connection's carrier, and the kernel keeps
//! leading it to the TUN device, while both tunnels are down. Its packets are
//! then dropped and counted; they never leave in clear by another route. (AWS
//! does not withdraw a propagated static route on a failure either.)

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::selection::Which;
use crate::command::{InsideAddress, NextHop, Treatment, TunnelId};
use crate::domain::{Connection, Gateway};

/// A connection with its tunnels' numbers and the one that carries.
pub(super) struct Carried<'a> {
    pub(super) connection: &'a Connection,
    pub(super) tunnels: [TunnelId; 2],
    pub(super) carrier: Which,
}

/// The forwarding table: the networks behind the peer by the carrier, and each
/// peer's inside address by its own tunnel, whether that carries or not. Where
/// two connections claim the same prefix, the first in the file has it.
pub(super) fn forwarding(gateway: &Gateway, carried: &[Carried<'_>]) -> Vec<(IpNet, NextHop)> {
    let mut table = BTreeMap::new();
    for one in carried {
        for (tunnel, id) in one.connection.tunnels.iter().zip(one.tunnels) {
            let (_, peer) = gateway.inside_addresses(tunnel);
            let hop = NextHop {
                carrier: id,
                standby: None,
            };
            table.entry(IpNet::from(IpAddr::V4(peer))).or_insert(hop);
        }
    }
    for one in carried {
        for prefix in gateway.remote_prefixes(one.connection) {
            let hop = NextHop {
                carrier: *one.carrier.of(&one.tunnels),
                standby: Some(*one.carrier.other().of(&one.tunnels)),
            };
            table.entry(prefix.trunc()).or_insert(hop);
        }
    }
    table.into_iter().collect()
}

/// Our inside addresses, each with its tunnel and its other end.
pub(super) fn own_inside_addresses(
    gateway: &Gateway,
    carried: &[Carried<'_>],
) -> Vec<InsideAddress> {
    let of_connection = |one: &Carried<'_>| {
        Which::BOTH.map(|which| {
            let (ours, peer) = gateway.inside_addresses(which.of(&one.connection.tunnels));
            InsideAddress {
                ours: IpAddr::V4(ours),
                peer: IpAddr::V4(peer),
                tunnels: NextHop {
                    carrier: *which.of(&one.tunnels),
                    standby: Some(*which.other().of(&one.tunnels)),
                },
            }
        })
    };
    carried.iter().flat_map(of_connection).collect()
}

/// How the packets of each tunnel are treated.
pub(super) fn treatments(
    gateway: &Gateway,
    carried: &[Carried<'_>],
) -> BTreeMap<TunnelId, Treatment> {
    const BITS_PER_MEGABIT: u64 = 1_000_000;
    let tunnels = carried.iter().flat_map(|one| {
        let tunnels = one.tunnels.into_iter().zip(&one.connection.tunnels);
        tunnels.map(move |(id, tunnel)| (id, one.connection, tunnel))
    });
    tunnels
        .map(|(id, connection, tunnel)| {
            let limit = tunnel.bandwidth_limit_mbps.map(u64::from);
            let treatment = Treatment {
                outside_mtu: gateway.outside_mtu,
                df_policy: tunnel.df_policy,
                copy_dscp: tunnel.copy_dscp,
                bandwidth_limit: limit.map(|mbps| mbps * BITS_PER_MEGABIT),
                source_check: connection.source_check,
            };
            (id, treatment)
        })
        .collect()
}

/// Where decrypted packets may go: behind us, or to an inside address of ours.
pub(super) fn local_prefixes(gateway: &Gateway) -> Vec<IpNet> {
    let inside = gateway.own_inside_addresses();
    let ours = inside.into_iter().map(|(address, _)| IpNet::from(address));
    gateway.cidrs.iter().map(IpNet::trunc).chain(ours).collect()
}
