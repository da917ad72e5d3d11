//! What the kernel and routers tell of packets outside: the peer is asked at once, and nothing
//! else follows.

use std::net::SocketAddr;
use std::time::Duration;

use vgw_gateway::domain::{DpdAction, FailureDetection, Tunnel};
use vgw_gateway::status::{State, TunnelIndex};
use vgw_sa::{Concerned, Hint, SentPacket, Sign};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{CGW, VGW, active, cut, missing, restore, seconds, tunnel, up};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn link_down(concerns: Concerned) -> Hint {
    Hint {
        concerns,
        sign: Sign::LinkDown("line-a".into()),
    }
}

/// What is by the line of a tunnel.
fn line(number: u8) -> Concerned {
    Concerned::Local(setup::outside(1, number))
}

fn hint(world: &mut World, concerns: Concerned) {
    world.operate(VGW, |s, now| s.handle_hints(now, &[link_down(concerns)]));
}

/// A packet that tunnel 1 has sent, as a router quotes it.
fn sent(world: &World) -> SentPacket {
    let tunnel = tunnel(world, VGW, 1);
    let path = tunnel.ike.first().unwrap().path;
    SentPacket {
        local: path.local,
        remote: path.remote,
        spi: None,
    }
}

/// Messages of IKE that the gateway sends meanwhile.
fn ike_sent(world: &mut World, meanwhile: impl FnOnce(&mut World)) -> u64 {
    let before = world.nodes[VGW].ike_sent;
    meanwhile(world);
    world.nodes[VGW].ike_sent - before
}

#[test]
fn traffic_leaves_a_line_that_is_down_before_a_silence_would_show() {
    let mut world = up(|_, _| {});
    world.run(seconds(30));
    // Nothing is sent meanwhile, so nothing is silent.
    cut(&mut world, 1);
    hint(&mut world, line(1));
    let said = tunnel(&world, VGW, 1).suspect.unwrap();
    assert_eq!(
        said.text,
        "the peer is being asked whether it is there (the link line-a is down)"
    );
    world.run(ms(199));
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
    let said = tunnel(&world, VGW, 1).suspect.unwrap();
    assert_eq!(
        said.text,
        "the peer does not answer (the link line-a is down)"
    );
    assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
}

#[test]
fn whichever_way_a_tunnel_is_named_its_peer_is_asked_and_no_other() {
    let mut world = up(|_, _| {});
    world.run(seconds(30));
    let packet = sent(&world);
    let spi = tunnel(&world, VGW, 1).children[0].spi_out;
    let esp = |at: SocketAddr| SocketAddr::new(at.ip(), 0);
    let quoted = |spi| SentPacket {
        local: esp(packet.local),
        remote: esp(packet.remote),
        spi: Some(spi),
    };
    let named = [
        line(1),
        Concerned::Tunnels([tunnel(&world, VGW, 1).id].into()),
        Concerned::Sender(packet),
        Concerned::Sender(quoted(spi)),
    ];
    for concerns in named {
        world.run(seconds(5));
        hint(&mut world, concerns.clone());
        assert!(tunnel(&world, VGW, 1).suspect.is_some(), "{concerns:?}");
        assert_eq!(tunnel(&world, VGW, 2).suspect, None, "{concerns:?}");
    }
    let elsewhere = |port| SocketAddr::new(packet.remote.ip(), port);
    let others = [
        Concerned::Local("203.0.113.77".parse().unwrap()),
        Concerned::Remote("203.0.113.77/32".parse().unwrap()),
        Concerned::Sender(quoted(spi.wrapping_add(1))),
        Concerned::Sender(SentPacket {
            remote: elsewhere(packet.remote.port().wrapping_add(1)),
            ..packet
        }),
        Concerned::Sender(SentPacket {
            spi: Some(spi.wrapping_add(1)),
            ..packet
        }),
    ];
    world.run(seconds(5));
    for concerns in others {
        hint(&mut world, concerns.clone());
        for number in [1, 2] {
            assert_eq!(tunnel(&world, VGW, number).suspect, None, "{concerns:?}");
        }
    }
    hint(&mut world, Concerned::Remote(packet.remote.ip().into()));
    for number in [1, 2] {
        assert!(tunnel(&world, VGW, number).suspect.is_some());
    }
}

#[test]
fn forged_hints_move_nothing_and_cost_a_question_every_two_seconds() {
    let mut world = up(|_, _| {});
    world.flow(VGW, CGW, ms(10));
    world.flow(CGW, VGW, ms(10));
    world.run(seconds(30));
    let quiet = ike_sent(&mut world, |world| world.run(seconds(20)));
    let forged = ike_sent(&mut world, |world| {
        let packet = Concerned::Sender(sent(world));
        for _ in 0..2000 {
            hint(world, packet.clone());
            world.run(ms(10));
            assert_eq!(active(world, VGW), Some(TunnelIndex::First));
        }
    });
    assert!(
        (9..=13).contains(&(forged - quiet)),
        "{forged}, else {quiet}"
    );
    assert_eq!(tunnel(&world, VGW, 1).takeovers, 0);
    assert_eq!(missing(&world), 0);
}

#[test]
fn a_hint_about_a_tunnel_that_does_not_carry_is_a_question_to_its_peer_alone() {
    let mut world = up(|_, _| {});
    world.run(seconds(30));
    let asked = ike_sent(&mut world, |world| {
        hint(world, line(2));
        world.run(seconds(1));
    });
    assert_eq!(asked, 1);
    cut(&mut world, 2);
    world.run(seconds(2));
    hint(&mut world, line(2));
    world.run(seconds(1));
    assert!(tunnel(&world, VGW, 2).suspect.is_some());
    assert_eq!(active(&world, VGW), Some(TunnelIndex::First));
}

#[test]
fn where_both_tunnels_share_a_line_that_is_down_nothing_moves() {
    let mut world = up(|_, _| {});
    world.run(seconds(30));
    for number in [1, 2] {
        cut(&mut world, number);
    }
    let both = [1, 2].map(|number| link_down(line(number)));
    world.operate(VGW, |s, now| s.handle_hints(now, &both));
    world.run(seconds(5));
    assert_eq!(active(&world, VGW), Some(TunnelIndex::First));
    assert_eq!(tunnel(&world, VGW, 1).takeovers, 0);
    assert_eq!(tunnel(&world, VGW, 2).takeovers, 0);
}

#[test]
fn a_peer_is_asked_again_when_its_line_is_back_and_answers_at_once() {
    let mut world = up(|_, _| {});
    world.run(seconds(30));
    cut(&mut world, 1);
    hint(&mut world, line(1));
    world.run(seconds(10));
    assert!(tunnel(&world, VGW, 1).suspect.is_some());
    restore(&mut world, 1);
    world.operate(VGW, |s, now| s.handle_repairs(now, &[line(1)]));
    world.run(ms(100));
    assert_eq!(tunnel(&world, VGW, 1).suspect, None);
}

#[test]
fn nobody_is_asked_where_dead_peer_detection_is_to_do_it_or_nothing_is() {
    let by_dpd = |tunnel: &mut Tunnel| tunnel.failure_detection = FailureDetection::Dpd;
    let by_nothing = |tunnel: &mut Tunnel| tunnel.dpd_action = DpdAction::None;
    for change in [by_dpd, by_nothing] {
        let mut world = up(|_, connection| connection.tunnels.iter_mut().for_each(change));
        world.run(seconds(1));
        let asked = ike_sent(&mut world, |world| {
            hint(world, line(1));
            world.run(seconds(1));
        });
        assert_eq!(asked, 0);
        assert_eq!(tunnel(&world, VGW, 1).suspect, None);
    }
}
