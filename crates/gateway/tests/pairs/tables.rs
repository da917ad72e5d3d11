//! Tables are changed entry by entry, and must come to what a start would make of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use vgw_gateway::domain::{Connection, Gateway, TunnelName};
use vgw_sa::{NextHop, TunnelId, TunnelPolicy};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::VGW;

const CUSTOMERS: u8 = 8;

fn alone(gateway: Gateway) -> World {
    let mut world = World::new(1);
    world.add("vgw", gateway, setup::vpc_host(1));
    world.start(VGW);
    world
}

/// Everything that can be asked of the data plane, by the tunnels' names.
type Seen = (
    BTreeMap<IpAddr, Vec<TunnelName>>,
    Vec<IpNet>,
    BTreeMap<TunnelName, Option<TunnelPolicy>>,
);

fn seen(world: &World) -> Seen {
    let status = world.status(VGW).unwrap();
    let tunnels = status.connections.into_iter().flat_map(|c| c.tunnels);
    let names: BTreeMap<TunnelId, TunnelName> = tunnels.map(|t| (t.id, t.name)).collect();
    let plane = &world.nodes[VGW].plane;
    let named = |hop: NextHop| {
        let ids = std::iter::once(hop.carrier).chain(hop.standby);
        ids.map(|id| names[&id].clone()).collect()
    };
    let sites = (1..=CUSTOMERS).map(|number| setup::site_host(number).into());
    let peers = (1..=CUSTOMERS).flat_map(|number| {
        let tunnels = setup::connection(1, number).tunnels;
        tunnels.map(|tunnel| IpAddr::V4(tunnel.inside_addresses().1))
    });
    let hops = sites.chain(peers);
    let hops = hops.map(|host| (host, plane.next_hop(host).map(named).unwrap_or_default()));
    let policies = names
        .iter()
        .map(|(id, name)| (name.clone(), plane.policy(*id)));
    (
        hops.collect(),
        plane.kernel_routes().to_vec(),
        policies.collect(),
    )
}

/// One of many configurations, in which connections are there or not and take over
/// prefixes and inside networks from each other.
fn configuration(step: usize) -> Gateway {
    let mut gateway = setup::gateway(1);
    let mut all: Vec<Connection> = (1..=CUSTOMERS).map(|n| setup::connection(1, n)).collect();
    for (number, connection) in all.iter_mut().enumerate() {
        let with = u8::try_from((number + step / 2) % usize::from(CUSTOMERS)).unwrap() + 1;
        let other = setup::connection(1, with);
        connection.static_routes = other.static_routes;
        if step.is_multiple_of(3) {
            for (ours, theirs) in connection.tunnels.iter_mut().zip(&other.tunnels) {
                ours.inside_cidr = theirs.inside_cidr;
            }
        }
        connection.source_check = !(number + step).is_multiple_of(4);
    }
    let stays = |number: usize| !(step * 7 + number * 5).is_multiple_of(3);
    gateway.connections = all;
    let mut number = 0..;
    gateway
        .connections
        .retain(|_| number.next().is_some_and(stays));
    gateway.outside_mtu = if step.is_multiple_of(5) { 9_000 } else { 1_500 };
    gateway.cloudhub = step.is_multiple_of(2);
    gateway
}

#[test]
fn whatever_came_and_went_the_tables_are_those_of_a_start() {
    let mut world = alone(configuration(0));
    for step in 1..60 {
        let config = configuration(step);
        world.reload(VGW, config.clone());
        let fresh = alone(config);
        assert_eq!(seen(&world), seen(&fresh), "step {step}");
        let cloudhub = |world: &World| world.nodes[VGW].plane.cloudhub();
        assert_eq!(cloudhub(&world), cloudhub(&fresh));
    }
}

#[test]
fn a_change_of_one_connection_is_no_command_about_another() {
    let mut gateway = setup::gateway(1);
    gateway.connections = (1..=100).map(|n| setup::connection(1, n)).collect();
    let mut world = alone(gateway.clone());
    let before = world.nodes[VGW].plane.commands;
    gateway.connections[50].static_routes = vec!["192.0.2.0/24".parse().unwrap()];
    world.reload(VGW, gateway);
    // The forwarding table's, and the kernel's routes.
    assert_eq!(world.nodes[VGW].plane.commands, before + 2);
}
