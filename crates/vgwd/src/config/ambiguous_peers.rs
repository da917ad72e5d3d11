//! Tunnels whose peers IKE cannot tell apart when it chooses algorithms, and that have
//! nothing in common.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vgw_gateway::domain::{Gateway, TunnelName};
use vgw_gateway::rules::Subject;
use vgw_gateway::supervisor::peer_config;
use vgw_ike::config::{Encapsulation, IkeAlgorithms, PeerConfig};
use vgw_ike::proposal::{Mismatch, offer_ike, select_ike};

use super::places::Places;
use super::report::Report;

/// A tunnel with what is chosen before its peer says who it is.
struct Tunnel {
    name: TunnelName,
    ike: IkeAlgorithms,
    encapsulation: Encapsulation,
}

/// Warns of tunnels whose peers may get what is chosen for another's, and be refused.
pub(super) fn warn_of_ambiguous_peers(report: &Report, places: &Places, gateway: &Gateway) {
    let mut alike: BTreeMap<(IpAddr, Option<IpAddr>), Vec<Tunnel>> = BTreeMap::new();
    for connection in &gateway.connections {
        for (number, tunnel) in (1..).zip(&connection.tunnels) {
            let name = TunnelName::of(connection, number);
            let PeerConfig {
                local,
                remote,
                ike,
                encapsulation,
                ..
            } = peer_config(gateway, connection, tunnel, &name);
            let others = alike.entry((local, remote)).or_default();
            let this = Tunnel {
                name,
                ike,
                encapsulation,
            };
            let same = |other: &Tunnel| {
                (&other.ike, other.encapsulation) == (&this.ike, this.encapsulation)
            };
            if others.iter().any(same) {
                continue;
            }
            let conflict = others.iter().find_map(|other| conflict(other, &this));
            if let Some(conflict) = conflict {
                let place = places.subject(&Subject::Tunnel(this.name.clone()));
                report.warn(&place, conflict);
            }
            others.push(this);
        }
    }
}

fn conflict(other: &Tunnel, this: &Tunnel) -> Option<String> {
    let what = match select_ike(&this.ike, &offer_ike(&other.ike, None)) {
        Ok(_) => {
            let wishes = [other.encapsulation, this.encapsulation];
            let conflict =
                wishes.contains(&Encapsulation::Udp) && wishes.contains(&Encapsulation::Native);
            conflict.then(|| "one has encapsulation \"udp\", the other \"native\"".to_owned())?
        }
        Err(Mismatch::NoCommon {
            kind,
            offered,
            accepted,
            ..
        }) => format!(
            "in phase 1 they have no {kind} in common: {} has {offered}, {} has {accepted}",
            other.name, this.name
        ),
        Err(mismatch) => mismatch.to_string(),
    };
    Some(format!(
        "{this} and {other} cannot be told apart until their peers say who they are (give \
         them an ip_address, or outside addresses of their own), but {what}. A peer that \
         offers more than its own gets what is chosen for the other, and is refused",
        this = this.name,
        other = other.name,
    ))
}
