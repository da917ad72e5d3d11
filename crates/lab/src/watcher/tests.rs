use std::net::UdpSocket;

use ipnet::IpNet;

use super::*;
use crate::probe::ping;
use crate::probe::tests::{NEVER, SURELY, line};
use crate::topology::{
    CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, ON_PREMISES_HOST, ON_PREMISES_HOST_V6, Topology, VPC_HOST,
    VPC_HOST_V6,
};
use crate::{Lab, wait_until};

/// What the first leak was, as soon as there is one.
fn seen(watcher: &mut Watcher) -> String {
    wait_until("a leak", SURELY, || {
        let (count, first) = watcher.leaks()?;
        assert_eq!(count > 0, !first.is_empty());
        Ok(first.first().map(ToString::to_string))
    })
    .unwrap()
}

fn send(namespace: &Namespace, from: IpAddr, to: IpAddr) {
    let socket = namespace.run(|| UdpSocket::bind((from, 0)));
    let socket = socket.unwrap().unwrap();
    socket.send_to(b"secret", (to, 9)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_outside_addresses_say_is_no_leak() {
    let lab = Lab::new("watchnone").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let mut watcher = Watcher::start(&topology.internet).unwrap();
    for address in GATEWAY_OUTSIDE {
        let reply = ping(&topology.vpc, address, CUSTOMER_OUTSIDE, SURELY).unwrap();
        assert!(reply.is_some(), "{address}");
    }
    // Nor is what stays in a private network.
    let gateway = "10.0.0.254".parse().unwrap();
    let reply = ping(&topology.vpc_host, VPC_HOST, gateway, SURELY).unwrap();
    assert!(reply.is_some());
    watcher.check().unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_a_host_sends_around_every_tunnel_is_seen() {
    let lab = Lab::new("watchhost").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let (vpc, site) = (&topology.vpc_host, &topology.on_premises_host);
    let ways = [
        (
            (vpc, VPC_HOST, ON_PREMISES_HOST),
            "IP protocol 1 from 10.0.0.1 to 192.168.10.1, by line-a",
        ),
        (
            (vpc, VPC_HOST_V6, ON_PREMISES_HOST_V6),
            "IP protocol 58 from fd00:10::1 to fd00:192::1, by line-a",
        ),
        (
            (site, ON_PREMISES_HOST, VPC_HOST),
            "IP protocol 1 from 192.168.10.1 to 10.0.0.1, by customer",
        ),
    ];
    for ((host, from, to), expected) in ways {
        let mut watcher = Watcher::start(&topology.internet).unwrap();
        let answered = ping(host, from, to, NEVER);
        assert!(!matches!(answered, Ok(Some(_))), "{answered:?}");
        assert_eq!(seen(&mut watcher), expected);
        let error = watcher.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_of_any_private_network_is_a_leak_as_source_and_as_destination() {
    let lab = Lab::new("watchnets").unwrap();
    let [left, router, _right] = line(&lab);
    let outside: IpAddr = "192.0.2.1".parse().unwrap();
    let far: IpAddr = "198.51.100.1".parse().unwrap();
    for inside in [
        "10.255.0.1",
        "172.31.255.1",
        "192.168.255.1",
        "169.254.10.1",
    ] {
        let address: IpAddr = inside.parse().unwrap();
        let mut watcher = Watcher::start(&router).unwrap();
        send(&left, outside, address);
        let expected = format!("IP protocol 17 from 192.0.2.1 to {inside}, by left");
        assert_eq!(seen(&mut watcher), expected);
        left.add_address("lo", IpNet::from(address)).unwrap();
        let mut watcher = Watcher::start(&router).unwrap();
        send(&left, address, far);
        let expected = format!("IP protocol 17 from {inside} to 198.51.100.1, by left");
        assert_eq!(seen(&mut watcher), expected);
    }
    let mut watcher = Watcher::start(&router).unwrap();
    for near_one in ["9.255.255.255", "11.0.0.1", "172.15.0.1", "172.32.0.1"] {
        send(&left, outside, near_one.parse().unwrap());
    }
    for near_one in ["192.167.0.1", "192.169.0.1", "169.253.0.1", "169.255.0.1"] {
        send(&left, outside, near_one.parse().unwrap());
    }
    let reply = ping(&left, outside, far, SURELY).unwrap();
    assert!(reply.is_some());
    watcher.check().unwrap();
}

#[test]
#[ignore = "needs root"]
fn who_asks_for_a_private_address_by_arp_is_seen() {
    let lab = Lab::new("watcharp").unwrap();
    let [left, router, _right] = line(&lab);
    let (from, to): (IpAddr, IpAddr) = (
        "192.168.77.1".parse().unwrap(),
        "192.168.77.2".parse().unwrap(),
    );
    left.add_address("wan", IpNet::new(from, 24).unwrap())
        .unwrap();
    let mut watcher = Watcher::start(&router).unwrap();
    send(&left, from, to);
    let expected = "ARP of 192.168.77.1 about 192.168.77.2, by left";
    assert_eq!(seen(&mut watcher), expected);
}

#[test]
#[ignore = "needs root"]
fn more_leaks_than_find_room_are_counted() {
    const MANY: u64 = 5000;
    let lab = Lab::new("watchmany").unwrap();
    let [left, router, _right] = line(&lab);
    let mut watcher = Watcher::start(&router).unwrap();
    let socket = left.run(|| UdpSocket::bind("192.0.2.1:0"));
    let socket = socket.unwrap().unwrap();
    for _ in 0..MANY {
        socket.send_to(b"secret", "10.0.0.1:9").unwrap();
    }
    wait_until("every leak", SURELY, || {
        let (count, first) = watcher.leaks()?;
        assert!(first.len() <= DESCRIBED);
        Ok((count == MANY).then_some(()))
    })
    .unwrap();
}
