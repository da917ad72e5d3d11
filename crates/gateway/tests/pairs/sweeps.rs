//! An IKE SA that ends amid a rekey, at every moment of it. The network delivers in
//! order and loses nothing, so whatever was sent arrives.

use std::time::Duration;

use vgw_gateway::domain::FailureDetection;
use vgw_gateway::status::TunnelIndex;
use vgw_gateway::supervisor::{LONGEST_DRAIN, RekeyTarget};
use vgw_sim::network::Faults;
use vgw_sim::world::{Tally, World};

use crate::rig::{CGW, VGW, active, both_up, flows, name, seconds, up};

/// One way of the network.
const DELAY: Duration = Duration::from_millis(50);
/// From one moment to the next: a message arrives at every second of them and none
/// between, so that every order of things comes about.
const STEP: Duration = Duration::from_millis(25);
/// From packet to packet.
const PACE: Duration = Duration::from_millis(10);
/// A rekey has two exchanges, one of which may wait for another that is under way.
const REKEY: Duration = Duration::from_millis(350);

/// Who begins a rekey, and of what.
const REKEYS: [(&[usize], RekeyTarget); 6] = [
    (&[VGW], RekeyTarget::Child),
    (&[CGW], RekeyTarget::Child),
    (&[VGW, CGW], RekeyTarget::Child),
    (&[VGW], RekeyTarget::Ike),
    (&[CGW], RekeyTarget::Ike),
    (&[VGW, CGW], RekeyTarget::Ike),
];

/// Both tunnels up and packets in a hurry either way; nothing lost so far. No end follows
/// the other to another tunnel, so that a drain takes its whole time.
fn hurried() -> World {
    let mut world = up(|_, connection| {
        for tunnel in &mut connection.tunnels {
            tunnel.failure_detection = FailureDetection::Dpd;
        }
    });
    world.network.faults = Faults {
        delay: DELAY,
        ..Faults::NONE
    };
    for flow in flows(&mut world) {
        world.set_pace(flow, PACE);
    }
    world.run(2 * DELAY);
    world
}

/// Every moment of a rekey, from before its first message on.
fn moments() -> impl Iterator<Item = Duration> {
    let steps = (REKEY + DELAY).as_millis() / STEP.as_millis();
    (0..u32::try_from(steps).unwrap()).map(|step| step * STEP)
}

/// Has these ends rekey tunnel 1.
fn rekey(world: &mut World, (ends, what): (&[usize], RekeyTarget)) {
    for end in ends {
        // It may have none any more.
        world.operate(*end, |s, now| s.rekey(now, &name(1), what).ok());
    }
}

/// What arrived at nobody who could open it, and what was wrong otherwise.
fn lost(world: &World) -> (u64, &[String]) {
    let tallies = world.flows.iter().map(|flow| flow.tally);
    (
        tallies.map(|tally| tally.lost + tally.stale).sum(),
        &world.violations,
    )
}

fn not_sent(world: &World) -> u64 {
    let tallies = world.flows.iter().map(|flow| flow.tally);
    tallies.map(|tally| tally.not_sent).sum()
}

/// What became of what an end sent.
fn of(world: &World, end: usize) -> Tally {
    let mut flows = world.flows.iter();
    flows.find(|flow| flow.from == end).unwrap().tally
}

const NOTHING: (u64, &[String]) = (0, &[]);

#[test]
fn a_drain_that_ends_at_any_moment_of_a_rekey_loses_nothing() {
    for kind in REKEYS {
        for (end, moment) in [VGW, CGW]
            .into_iter()
            .flat_map(|end| moments().map(move |m| (end, m)))
        {
            let mut world = hurried();
            // The rekey begins as late as lets the drain end at this moment of it.
            world.operate(end, |s, now| s.tunnel_down(now, &name(1)).unwrap());
            world.run(LONGEST_DRAIN + DELAY - moment);
            rekey(&mut world, kind);
            world.run(seconds(4));
            assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
            let case = format!("{kind:?}, drained by {end}, {moment:?}");
            assert_eq!((lost(&world), not_sent(&world)), (NOTHING, 0), "{case}");
        }
    }
}

#[test]
fn a_delete_at_any_moment_of_a_rekey_loses_nothing_that_was_sent() {
    for kind in REKEYS {
        for (end, moment) in [VGW, CGW]
            .into_iter()
            .flat_map(|end| moments().map(move |m| (end, m)))
        {
            let mut world = hurried();
            // With no other tunnel there is nothing to drain to.
            world.operate(CGW, |s, now| s.tunnel_down(now, &name(2)).unwrap());
            world.run(seconds(2));
            rekey(&mut world, kind);
            world.run(moment);
            world.operate(end, |s, now| s.tunnel_down(now, &name(1)).unwrap());
            let sent = not_sent(&world);
            let before = of(&world, end);
            world.run(seconds(4));
            // Nothing leaves by an SA that the peer is told to forget.
            let after = of(&world, end);
            assert_eq!(after.offered - before.offered, after.not_sent);
            let case = format!("{kind:?}, deleted by {end}, {moment:?}");
            assert_eq!((lost(&world), sent), (NOTHING, 0), "{case}");
            assert_eq!(active(&world, VGW), None, "{case}");
        }
    }
}

#[test]
fn an_initial_contact_at_any_moment_of_a_rekey_loses_nothing_from_then_on() {
    for kind in REKEYS {
        for moment in moments() {
            let mut world = hurried();
            rekey(&mut world, kind);
            world.run(moment);
            // What was on the way to it is lost, and what is sent to what it was.
            world.nodes[CGW].crash();
            world.start(CGW);
            // Up at the peer is up here.
            assert!(world.run_until(seconds(5), both_up));
            world.run(2 * DELAY);
            let before = lost(&world).0;
            let case = format!("{kind:?}, {moment:?}");
            // What the peer sent, before it began anew and since.
            let peer = of(&world, CGW);
            assert_eq!((peer.lost, peer.stale), (0, 0), "{case}");
            world.run(seconds(4));
            assert_eq!(lost(&world), (before, NOTHING.1), "{case}");
        }
    }
}
