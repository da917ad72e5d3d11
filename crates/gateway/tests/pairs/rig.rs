//! One virtual private gateway and its customer gateways.

use std::time::{Duration, Instant};

use vgw_gateway::domain::{Connection, TunnelName};
use vgw_gateway::status::{State, TunnelIndex, TunnelStatus};
use vgw_gateway::supervisor::Supervisor;
use vgw_ike::config::{Limits, PeerConfig};
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::Content;
use vgw_sa::GatewayId;
use vgw_sim::dice::Dice;
use vgw_sim::setup;
use vgw_sim::world::{Tally, World};

/// The virtual private gateway's place.
pub const VGW: usize = 0;
/// The first customer gateway's.
pub const CGW: usize = 1;
/// The connection of the first customer gateway.
pub const VPN: &str = "vpn-1-1";

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A gateway with so many customers, off. `change` gets each connection as it
/// stands in the file of the machine at that place.
pub fn world(customers: u8, change: impl Fn(usize, &mut Connection)) -> World {
    let mut world = World::new(1);
    let mut gateway = setup::gateway(1);
    for number in 1..=customers {
        let mut connection = setup::connection(1, number);
        change(VGW, &mut connection);
        gateway.connections.push(connection);
    }
    world.add("vgw", gateway, setup::vpc_host(1));
    for number in 1..=customers {
        let mut customer = setup::customer(number);
        let mut connection = setup::initiating(setup::connection(1, number));
        change(CGW, &mut connection);
        customer.connections.push(connection);
        world.add(&format!("cgw-{number}"), customer, setup::site_host(number));
    }
    world
}

/// A gateway and one customer, both tunnels up at both ends.
pub fn up(change: impl Fn(usize, &mut Connection)) -> World {
    let mut world = world(1, change);
    world.start_all();
    assert!(world.run_until(seconds(5), both_up));
    world
}

pub fn both_up(world: &World) -> bool {
    [VGW, CGW].iter().all(|end| {
        [1, 2]
            .iter()
            .all(|number| tunnel(world, *end, *number).state == State::Up)
    })
}

pub fn tunnel(world: &World, end: usize, number: u8) -> TunnelStatus {
    world.tunnel(end, VPN, number).unwrap()
}

/// The tunnel that carries at one end.
pub fn active(world: &World, end: usize) -> Option<TunnelIndex> {
    let connections = world.status(end).unwrap().connections;
    connections.iter().find(|c| c.id == VPN).unwrap().active
}

/// IKE and CHILD SPIs of a tunnel.
pub fn spis(tunnel: &TunnelStatus) -> (Vec<u64>, Vec<u32>) {
    (
        tunnel.ike.iter().map(|sa| sa.spi_i).collect(),
        tunnel.children.iter().map(|child| child.spi_in).collect(),
    )
}

/// Cuts the path of a tunnel.
pub fn cut(world: &mut World, number: u8) {
    world
        .network
        .cut(setup::outside(1, number), setup::customer_address(1));
}

pub fn restore(world: &mut World, number: u8) {
    world
        .network
        .restore(setup::outside(1, number), setup::customer_address(1));
}

/// Ten packets a second either way; gives the places of the two flows.
pub fn flows(world: &mut World) -> [usize; 2] {
    let pace = Duration::from_millis(100);
    [world.flow(VGW, CGW, pace), world.flow(CGW, VGW, pace)]
}

/// What the flows lost so far, all of it together.
pub fn missing(world: &World) -> u64 {
    let gone = |t: Tally| t.not_sent + t.lost + t.stale;
    world.flows.iter().map(|flow| gone(flow.tally)).sum()
}

/// Has a peer that is no gateway of ours initiate once, until neither has more to say.
pub fn initiate(now: Instant, supervisor: &mut Supervisor, peer: PeerConfig, seed: u64) {
    let mut endpoint = Endpoint::new(Limits::default(), Dice::new(seed).sources());
    endpoint.set_peer(now, GatewayId(0).tunnel(0), peer);
    endpoint.initiate(now, GatewayId(0).tunnel(0)).unwrap();
    while let Some(transmit) = endpoint.poll_transmit() {
        let (ours, theirs) = (transmit.remote, transmit.local);
        if let Content::Ike(message) = transmit.content {
            supervisor.handle_datagram(now, ours, theirs, &message);
        }
        while supervisor.poll_command().is_some() {}
        while let Some(answer) = supervisor.poll_transmit() {
            if let Content::Ike(message) = answer.content {
                endpoint.handle_datagram(now, answer.remote, answer.local, &message);
            }
        }
    }
}

pub fn name(number: u8) -> TunnelName {
    TunnelName {
        connection: VPN.to_owned(),
        number,
    }
}
