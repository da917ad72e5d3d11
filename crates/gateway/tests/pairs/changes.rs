//! What leads from one configuration to the next: found apart from the supervisor, which
//! does it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use vgw_crypto::Secret;
use vgw_gateway::domain::{Gateway, OutsideAddress, Side};
use vgw_gateway::revision::{ChangeSet, Revision};
use vgw_gateway::supervisor::Change;
use vgw_ike::config::Psk;
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{VGW, both_up, seconds, spis, tunnel, up};

fn three() -> Gateway {
    let mut gateway = setup::gateway(1);
    gateway.connections = (1..=3).map(|n| setup::connection(1, n)).collect();
    // A part of the VPC each, and the customers' own addresses, so that a customer gateway
    // may have all of them, too.
    let customers = (1..=3).map(setup::customer_address);
    let customers = customers.map(OutsideAddress::from);
    gateway.outside_addresses.extend(customers);
    for (part, connection) in (1..).zip(&mut gateway.connections) {
        let first = Ipv4Addr::new(10, 1, part, 0);
        connection.vpc_cidrs = vec![Ipv4Net::new_assert(first, 24).into()];
    }
    gateway
}

/// The same connections at their other end.
fn become_customer(gateway: &mut Gateway) {
    gateway.side = Side::CustomerGateway;
    gateway.asn = 65_000;
    gateway.cidrs = (1..=3).map(setup::site).collect();
}

/// Ids of what is to be no more, and of what is new or changed.
fn ids(changes: &ChangeSet) -> [Vec<&str>; 2] {
    let ids = [changes.removed(), changes.upserts()];
    ids.map(|all| {
        all.iter()
            .map(|connection| connection.id.as_str())
            .collect()
    })
}

#[test]
fn every_kind_of_change_names_the_connections_that_it_concerns_and_no_other() {
    const ALL: &[&str] = &["vpn-1-1", "vpn-1-2", "vpn-1-3"];
    type Case = (
        fn(&mut Gateway),
        &'static [&'static str],
        &'static [&'static str],
    );
    let cases: [Case; 17] = [
        (|_| {}, &[], &[]),
        (|g| g.connections.reverse(), &[], &[]),
        (|g| drop(g.connections.remove(1)), &["vpn-1-2"], &[]),
        (|g| g.connections.clear(), ALL, &[]),
        (
            |g| g.connections.insert(0, setup::connection(1, 9)),
            &[],
            &["vpn-1-9"],
        ),
        (
            |g| g.connections[1].id = "vpn-other".to_owned(),
            &["vpn-1-2"],
            &["vpn-other"],
        ),
        (|g| g.connections[1].failback ^= true, &[], &["vpn-1-2"]),
        (
            |g| g.connections[2].static_routes.clear(),
            &[],
            &["vpn-1-3"],
        ),
        (
            |g| g.connections[0].customer_gateway.asn += 1,
            &[],
            &["vpn-1-1"],
        ),
        (
            |g| g.connections[0].tunnels[1].replay_window += 1,
            &[],
            &["vpn-1-1"],
        ),
        (
            |g| g.connections[0].tunnels[1].psk = Psk(Secret::new(b"new.key.8".to_vec())),
            &[],
            &["vpn-1-1"],
        ),
        (|g| g.cidrs.push(setup::vpc(2)), &[], &[]),
        (|g| g.cloudhub ^= true, &[], &[]),
        (|g| g.initiate_to_recover ^= true, &[], &[]),
        (|g| g.outside_mtu -= 1, &[], ALL),
        (become_customer, &[], ALL),
        (
            |g| {
                let address: IpAddr = "192.0.2.1".parse().unwrap();
                g.outside_addresses.push(OutsideAddress::from(address));
            },
            &[],
            ALL,
        ),
    ];
    for (number, (change, removed, upserts)) in cases.into_iter().enumerate() {
        let base = Arc::new(Revision::from(setup::checked(three())));
        let mut next = three();
        change(&mut next);
        let next = setup::checked(next);
        let changes = ChangeSet::between(&base, next.clone());
        assert_eq!(ids(&changes), [removed, upserts], "case {number}");
        assert_eq!(**changes.next(), Revision::from(next), "case {number}");
    }
}

#[test]
fn connections_that_stay_as_they_are_are_shared_with_the_configuration_before() {
    let base = Arc::new(Revision::from(setup::checked(three())));
    let mut next = three();
    next.connections[1].failback ^= true;
    next.outside_mtu = 1_400;
    let changes = ChangeSet::between(&base, setup::checked(next));
    let pairs = base.connections().iter().zip(changes.next().connections());
    let shared: Vec<bool> = pairs.map(|(one, other)| Arc::ptr_eq(one, other)).collect();
    assert_eq!(shared, [true, false, true]);
}

/// Puts two configurations in force that were both compared with the one before.
fn overlap(world: &mut World, first: Gateway, second: Gateway) -> [Vec<Change>; 2] {
    let changed = world.operate(VGW, |supervisor, now| {
        let base = Arc::clone(supervisor.revision());
        let next = [first, second].map(setup::checked);
        let changes = next.map(|next| ChangeSet::between(&base, next));
        changes.map(|changes| supervisor.apply(now, changes))
    });
    changed.unwrap()
}

#[test]
fn of_two_reloads_that_overlap_the_later_one_is_in_force_as_a_whole() {
    let mut world = up(|_, _| {});
    let before = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    let config = world.nodes[VGW].config.clone();
    let mut first = config.clone();
    first.cloudhub = true;
    first.connections.push(setup::connection(1, 2));
    first.connections[0].static_routes = vec!["192.0.2.0/24".parse().unwrap()];
    let mut second = config.clone();
    second.connections.push(setup::connection(1, 3));
    let changes = overlap(&mut world, first, second);
    let said = changes.map(|changes| {
        let lines = changes.iter().map(ToString::to_string);
        lines.collect::<Vec<String>>()
    });
    assert_eq!(
        said,
        [
            vec![
                "gateway: changed cloudhub",
                "vpn-1-1: changed static_routes",
                "vpn-1-2: added"
            ],
            // What the first one did is undone.
            vec![
                "gateway: changed cloudhub",
                "vpn-1-2: removed",
                "vpn-1-1: changed static_routes",
                "vpn-1-3: added"
            ],
        ]
    );
    world.run(seconds(10));
    let plane = &world.nodes[VGW].plane;
    assert_eq!(plane.kernel_routes(), [setup::site(1), setup::site(3)]);
    assert!(!plane.cloudhub());
    assert!(both_up(&world));
    let after = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    assert_eq!(after, before);
}

#[test]
fn what_is_in_force_already_changes_nothing_a_second_time() {
    let mut world = up(|_, _| {});
    let mut config = world.nodes[VGW].config.clone();
    config.connections[0].tunnels[0].dpd_timeout += seconds(1);
    let changes = overlap(&mut world, config.clone(), config);
    assert_eq!(changes.map(|changes| changes.len()), [1, 0]);
}

#[test]
fn connections_are_shown_in_the_order_of_the_file_wherever_one_is_put() {
    let mut world = World::new(1);
    world.add("vgw", three(), setup::vpc_host(1));
    world.start(VGW);
    let mut config = three();
    config.connections.reverse();
    config.connections.insert(1, setup::connection(1, 9));
    world.reload(VGW, config);
    let shown = world.status(VGW).unwrap().connections;
    let shown: Vec<_> = shown.iter().map(|connection| &connection.id).collect();
    assert_eq!(shown, ["vpn-1-3", "vpn-1-9", "vpn-1-2", "vpn-1-1"]);
}
