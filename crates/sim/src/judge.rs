//! What must hold: at any moment, and once everything has come to rest.

use std::collections::BTreeSet;

use vgw_gateway::domain::Side;
use vgw_gateway::status::{State, TunnelStatus};

use crate::world::World;

/// More CHILD SAs than this in one tunnel at once are a leak: two IKE SAs, each
/// in the middle of a rekey that both ends began, with old ones lingering.
const CHILDREN_PER_TUNNEL: usize = 10;

/// What is wrong at this moment, whatever is going on.
#[must_use]
pub fn always(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in &world.nodes {
        let Some(supervisor) = &node.supervisor else {
            continue;
        };
        let tunnels = 2 * node.config.connections.len();
        let installed: BTreeSet<u32> = node.plane.spis().collect();
        let limit = CHILDREN_PER_TUNNEL * tunnels.max(1);
        if installed.len() > limit {
            wrong.push(format!(
                "{}: {} CHILD SAs installed, {limit} at most",
                node.name,
                installed.len()
            ));
        }
        for spi in supervisor.children() {
            if !installed.contains(&spi) {
                wrong.push(format!("{}: {spi:08x} is up but not installed", node.name));
            }
        }
    }
    wrong
}

/// What is wrong though nothing has been going on for some minutes: every
/// tunnel must be up with one IKE SA and one CHILD SA, the same at both ends.
#[must_use]
pub fn at_rest(world: &World) -> Vec<String> {
    let mut wrong = always(world);
    let mut ends = Vec::new();
    for (place, node) in world.nodes.iter().enumerate() {
        let Some(status) = world.status(place) else {
            wrong.push(format!("{} is off", node.name));
            continue;
        };
        if status.half_open > 0 {
            wrong.push(format!(
                "{}: {} half-open IKE SAs",
                node.name, status.half_open
            ));
        }
        let known: BTreeSet<u32> = status
            .connections
            .iter()
            .flat_map(|connection| &connection.tunnels)
            .flat_map(|tunnel| tunnel.children.iter().map(|child| child.spi_in))
            .collect();
        let installed: BTreeSet<u32> = node.plane.spis().collect();
        if known != installed {
            wrong.push(format!(
                "{}: CHILD SAs {known:08x?} are up, {installed:08x?} installed",
                node.name
            ));
        }
        for connection in status.connections {
            for tunnel in connection.tunnels {
                ends.push((node.config.side, node.name.clone(), tunnel));
            }
        }
    }
    let of = |side| ends.iter().filter(move |(s, _, _)| *s == side);
    for (_, gateway, ours) in of(Side::VirtualPrivateGateway) {
        let theirs = of(Side::CustomerGateway).find(|(_, _, t)| t.name == ours.name);
        match theirs {
            Some((_, customer, theirs)) => {
                wrong.extend(differences(ours, theirs).into_iter().map(|difference| {
                    format!(
                        "{} between {gateway} and {customer}: {difference}",
                        ours.name
                    )
                }));
            }
            None => wrong.push(format!("{} has one end only, {gateway}", ours.name)),
        }
    }
    wrong
}

/// How the two ends of a tunnel at rest disagree.
fn differences(a: &TunnelStatus, b: &TunnelStatus) -> Vec<String> {
    let mut wrong = Vec::new();
    if (a.state, b.state) != (State::Up, State::Up) {
        wrong.push(format!(
            "{} ({}, {:?}) and {} ({}, {:?})",
            a.state, a.why, a.last_error, b.state, b.why, b.last_error
        ));
        return wrong;
    }
    let ike = |end: &TunnelStatus| -> Vec<(u64, u64)> {
        end.ike.iter().map(|sa| (sa.spi_i, sa.spi_r)).collect()
    };
    if ike(a) != ike(b) || a.ike.len() != 1 {
        wrong.push(format!("IKE SAs {:016x?} and {:016x?}", ike(a), ike(b)));
    }
    let children = |end: &TunnelStatus| -> BTreeSet<(u32, u32)> {
        let spis = end
            .children
            .iter()
            .map(|child| (child.spi_in, child.spi_out));
        spis.collect()
    };
    let mirrored: BTreeSet<(u32, u32)> = children(b).into_iter().map(|(i, o)| (o, i)).collect();
    // A rekey may be going on; what lingers at one end may have gone at the other.
    let common = children(a).intersection(&mirrored).count();
    if common == 0 || a.children.len() > 2 || b.children.len() > 2 {
        wrong.push(format!(
            "CHILD SAs {:08x?} and {mirrored:08x?}",
            children(a)
        ));
    }
    for (end, other) in [(a, b), (b, a)] {
        let sends = end.children.iter().find(|child| child.sends);
        let accepted = sends.is_some_and(|sends| {
            let mut theirs = other.children.iter();
            theirs.any(|child| child.spi_in == sends.spi_out)
        });
        if !accepted {
            wrong.push("one end sends with what the other does not have".to_owned());
        }
    }
    wrong
}
