//! What the data plane's tables do with packets while tunnels change.

use std::net::Ipv4Addr;
use std::time::Duration;

use vgw_dataplane::DropReason;
use vgw_gateway::domain::TunnelName;
use vgw_gateway::supervisor::RekeyTarget;
use vgw_sim::host::Shape;
use vgw_sim::network::Load;
use vgw_sim::setup;
use vgw_sim::world::World;

const GATEWAY: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;

/// A gateway that relays between two customers, each of which sends to the other's site
/// too; all tunnels are up.
fn hub() -> World {
    let mut world = World::new(1);
    let mut gateway = setup::gateway(1);
    gateway.cloudhub = true;
    setup::add_ipv6(&mut gateway.cidrs);
    gateway.connections = vec![setup::connection(1, 1), setup::connection(1, 2)];
    gateway.connections.iter_mut().for_each(setup::carry_ipv6);
    world.add("gateway", gateway, setup::vpc_host(1));
    for (number, other) in [(1, 2), (2, 1)] {
        let mut customer = setup::customer(number);
        let mut connection = setup::initiating(setup::connection(1, number));
        connection.vpc_cidrs.push(setup::site(other));
        setup::carry_ipv6(&mut connection);
        setup::add_ipv6(&mut customer.cidrs);
        customer.connections.push(connection);
        world.add(
            &format!("customer {number}"),
            customer,
            setup::site_host(number),
        );
    }
    world.start_all();
    let all_up = |world: &World| {
        [
            ("vpn-1-1", 1),
            ("vpn-1-1", 2),
            ("vpn-1-2", 1),
            ("vpn-1-2", 2),
        ]
        .into_iter()
        .all(|(id, number)| {
            let tunnel = world.tunnel(GATEWAY, id, number);
            tunnel.is_some_and(|tunnel| tunnel.children.iter().any(|child| child.sends))
        })
    };
    assert!(world.run_until(Duration::from_secs(60), all_up));
    world.run(Duration::from_secs(5));
    world
}

#[test]
fn between_two_customers_nothing_is_lost_over_rekeys() {
    let mut world = hub();
    let every = Duration::from_millis(5);
    let flows = [(FIRST, SECOND), (SECOND, FIRST)]
        .map(|(a, b)| world.mixed_flow(a, b, Some(GATEWAY), every));
    for id in ["vpn-1-1", "vpn-1-2"] {
        for number in [1, 2] {
            let name = TunnelName {
                connection: id.to_owned(),
                number,
            };
            for what in [RekeyTarget::Child, RekeyTarget::Ike] {
                world.operate(GATEWAY, |s, now| s.rekey(now, &name, what));
                world.run(Duration::from_secs(20));
            }
        }
    }
    for id in ["vpn-1-1", "vpn-1-2"] {
        for number in [1, 2] {
            let counters = world.tunnel(GATEWAY, id, number).unwrap().counters;
            assert_eq!((counters.child_rekeys, counters.ike_rekeys), (1, 1));
        }
    }
    for flow in flows {
        let flow = &world.flows[flow];
        let on_the_way = flow.tally.offered - flow.tally.delivered;
        assert!(flow.tally.delivered > 10_000, "{flow:?}");
        // 10 ms for each of two hops, a packet each 5 ms.
        assert!(on_the_way <= 5, "{flow:?}");
        let gone = (flow.tally.not_sent, flow.tally.lost, flow.tally.stale);
        assert_eq!(gone, (0, 0, 0), "{flow:?}");
    }
    assert_eq!(world.violations, Vec::<String>::new());
}

#[test]
fn a_site_cannot_speak_as_another_site_or_as_the_vpc() {
    let mut world = hub();
    let now = Duration::from_secs(100);
    let to = setup::vpc_host(1).into();
    let send = |world: &mut World, source: Ipv4Addr| {
        let inner = Shape::SMALL.packet(source.into(), to, 7);
        let sent = world.nodes[FIRST].plane.send(now, inner, 7).unwrap();
        let Load::Esp(octets, _) = &sent.load else {
            unreachable!("a data plane sends ESP")
        };
        let gateway = &mut world.nodes[GATEWAY].plane;
        let received = gateway.receive(now, &sent, octets, 7);
        received.map(|_| ()).map_err(|dropped| dropped.reason)
    };
    assert_eq!(send(&mut world, setup::site_host(1)), Ok(()));
    for forged in [setup::site_host(2), setup::vpc_host(1)] {
        assert_eq!(send(&mut world, forged), Err(DropReason::SourceNotRouted));
    }
    let plane = &world.nodes[GATEWAY].plane;
    assert_eq!(plane.drops(DropReason::SourceNotRouted), 2);
}
