//! The VPC's routes as the kernel has them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use vgw_lab::{Lab, Namespace, Veth, wait_until};
use vgwd::config::{self, Loaded};
use vgwd::kernel::{
    Desired, GuardRoutes, Keeper, KernelHandle, Netlink, OwnTraffic, TunLink, flush,
};

use crate::{configuration, ip, own_routes};

const MTU: u16 = 1400;
/// Long enough on a busy machine, and shorter than any look by the clock.
pub const SOON: Duration = Duration::from_secs(20);

/// A VPC, and another namespace that two cables lead to: one stands for the TUN
/// device, the other for the way out.
pub fn vpc(lab: &Lab) -> (Namespace, Namespace) {
    let vpc = lab.namespace("vpc").unwrap();
    let far = lab.namespace("far").unwrap();
    for name in ["vgw0", "out"] {
        let [near, far] = [&vpc, &far].map(|namespace| Veth {
            namespace,
            name,
            addresses: &[],
        });
        near.connect(far).unwrap();
    }
    (vpc, far)
}

/// Does it in the namespace, with a netlink socket that is open there.
fn with_netlink<T: Send>(vpc: &Namespace, work: impl AsyncFnOnce(Netlink) -> T + Send) -> T {
    vpc.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let netlink = Netlink::open(runtime.handle()).unwrap();
        runtime.block_on(work(netlink))
    })
    .unwrap()
}

fn prefixes(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn desired(routes: &[&str]) -> Desired {
    Desired {
        routes: prefixes(routes),
        addresses: BTreeSet::from([("169.254.10.1".parse().unwrap(), 30)]),
        ..Desired::default()
    }
}

fn reconcile(vpc: &Namespace, desired: &Desired) {
    let failed = with_netlink(vpc, async |netlink| {
        let index = if_nametoindex("vgw0").unwrap();
        let link = TunLink::new(netlink, index, MTU, GuardRoutes::of("vgw0"));
        link.reconcile(desired).await
    });
    assert_eq!(failed, []);
}

/// Destinations of our routes, IPv4 and IPv6: those that guard, or the others.
fn routes(vpc: &Namespace, guards: bool) -> Vec<String> {
    let lines = own_routes(vpc).into_iter();
    lines
        .filter(|line| line.starts_with("unreachable ") == guards)
        .map(|line| {
            let line = line.trim_start_matches("unreachable ");
            line.split(' ').next().unwrap().to_owned()
        })
        .collect()
}

/// The way that a packet to this address takes, or why it takes none.
fn way(vpc: &Namespace, address: &str) -> String {
    let mut command = vpc.command("ip");
    let output = command.args(["route", "get", address]).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn what_led_to_the_device_is_unreachable_when_the_device_is_gone() {
    let lab = Lab::new("guard").unwrap();
    let (vpc, _far) = vpc(&lab);
    // As on any machine, there is a way out for everything.
    ip(&vpc, "route add default dev out metric 100");
    ip(&vpc, "-6 route add default dev out metric 100");
    reconcile(
        &vpc,
        &desired(&["0.0.0.0/0", "192.168.10.0/24", "fd00:20::/64"]),
    );
    let inside = ["192.168.10.1", "169.254.10.2", "8.8.8.8", "fd00:20::1"];
    for address in inside {
        let way = way(&vpc, address);
        assert!(way.contains("dev vgw0"), "{address}: {way}");
    }
    ip(&vpc, "link delete vgw0");
    for address in inside {
        let way = way(&vpc, address);
        assert!(way.contains("No route to host"), "{address}: {way}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_guard_goes_with_its_prefix_and_no_gateway_touches_that_of_another() {
    let lab = Lab::new("guards").unwrap();
    let (vpc, _far) = vpc(&lab);
    let other = Desired {
        routes: prefixes(&["192.168.30.0/24", "fd00:30::/64"]),
        ..Desired::default()
    };
    let add = async |netlink: Netlink| GuardRoutes::of("vgw1").put_up(&netlink, &other).await;
    with_netlink(&vpc, add).unwrap();
    reconcile(&vpc, &desired(&["192.168.10.0/24", "fd00:20::/64"]));
    assert_eq!(routes(&vpc, false), ["192.168.10.0/24", "fd00:20::/64"]);
    let both = [
        "169.254.10.0/30",
        "192.168.10.0/24",
        "192.168.30.0/24",
        "fd00:20::/64",
        "fd00:30::/64",
    ];
    assert_eq!(routes(&vpc, true), both);

    // What a former run guarded, under another configuration, is found by its mark.
    reconcile(&vpc, &desired(&["192.168.11.0/24", "192.168.30.0/24"]));
    assert_eq!(routes(&vpc, false), ["192.168.11.0/24", "192.168.30.0/24"]);
    let after = [
        "169.254.10.0/30",
        "192.168.11.0/24",
        "192.168.30.0/24",
        "fd00:30::/64",
    ];
    assert_eq!(routes(&vpc, true), after);

    let removed = with_netlink(&vpc, async |netlink| flush(&netlink, "vgw0").await);
    let own = prefixes(&["169.254.10.0/30", "192.168.11.0/24"]);
    assert_eq!(removed, Ok(own.into_iter().collect()));
    assert_eq!(routes(&vpc, true), ["192.168.30.0/24", "fd00:30::/64"]);
}

/// Routes over the peer of a gateway whose outside address is on the way out.
fn over_the_peer(routes: &[&str]) -> Desired {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Desired {
        own_traffic: Some(Arc::new(OwnTraffic {
            from: addresses(&["203.0.113.1", "2001:db8::1"]),
            to: addresses(&["198.51.100.7", "2001:db8:7::7"]),
        })),
        ..desired(routes)
    }
}

/// Priorities of our rules, IPv4 and IPv6.
fn rules(vpc: &Namespace) -> usize {
    let shown = ["-4", "-6"].map(|family| ip(vpc, &format!("{family} rule show")));
    shown
        .iter()
        .map(|text| text.matches("proto 203").count())
        .sum()
}

#[test]
#[ignore = "needs root"]
fn a_route_over_the_peer_takes_everything_but_our_own_packets_to_it() {
    let lab = Lab::new("overpeer").unwrap();
    let (vpc, _far) = vpc(&lab);
    for text in [
        "address add 203.0.113.1/24 dev out",
        "-6 address add 2001:db8::1/64 dev out nodad",
        "route add default via 203.0.113.254 metric 100",
        "-6 route add default via 2001:db8::fe metric 100",
        "route add 198.51.100.128/25 via 203.0.113.253",
    ] {
        ip(&vpc, text);
    }
    let all = ["0.0.0.0/0", "198.51.100.0/24", "192.168.10.0/24", "::/0"];
    // Twice, as what is found must be what was made.
    for _ in 0..2 {
        reconcile(&vpc, &over_the_peer(&all));
    }
    assert_eq!(rules(&vpc), (3 + 2 * 2 + 1) + (3 + 2 + 1));
    let leads = |to: &str, how: &str, expected: &str| {
        let way = ip(&vpc, format!("route get {to} {how}").trim());
        assert!(way.contains(expected), "{to} {how}: {way}");
    };
    let (to_tunnel, out) = ("dev vgw0", "dev out");
    for port in [500, 4500] {
        let own = format!("from 203.0.113.1 ipproto udp sport {port}");
        leads("198.51.100.7", &own, "via 203.0.113.254 dev out");
        leads("198.51.100.200", &own, "via 203.0.113.253 dev out");
        let own = format!("from 2001:db8::1 ipproto udp sport {port}");
        leads("2001:db8:7::7", &own, out);
    }
    let others = "from 203.0.113.1 ipproto udp sport 501";
    leads("198.51.100.7", others, to_tunnel);
    for to in ["8.8.8.8", "198.51.100.7", "192.168.10.9", "2001:db8:7::7"] {
        leads(to, "", to_tunnel);
    }
    // Longer routes of others count, as ever.
    leads("198.51.100.200", "", "via 203.0.113.253 dev out");
    leads("203.0.113.9", "", out);

    // A rule that somebody made for the address counts for our packets.
    ip(&vpc, "route add default via 203.0.113.253 table 7");
    ip(&vpc, "rule add from 203.0.113.1 table 7");
    let own = "from 203.0.113.1 ipproto udp sport 4500";
    leads("198.51.100.7", own, "via 203.0.113.253 dev out");

    // Without a daemon nothing leaves in clear, and a new one finds its peer.
    ip(&vpc, "link delete vgw0");
    for to in ["8.8.8.8", "192.168.10.9", "2001:db8:9::9"] {
        let way = way(&vpc, to);
        assert!(way.contains("No route to host"), "{to}: {way}");
    }
    leads("198.51.100.7", own, out);
    with_netlink(&vpc, async |netlink| flush(&netlink, "vgw0").await).unwrap();
    assert_eq!((routes(&vpc, true).len(), rules(&vpc)), (0, 0));
    leads("8.8.8.8", "", out);
}

#[test]
#[ignore = "needs root"]
fn what_the_machine_itself_sends_to_a_site_comes_from_its_address_in_the_vpc() {
    let lab = Lab::new("source").unwrap();
    let (vpc, _far) = vpc(&lab);
    let routes = Desired {
        cidrs: prefixes(&["10.0.0.0/16", "fd00:10::/64"]),
        ..desired(&["192.168.10.0/24", "fd00:20::/64"])
    };
    let sources = |expected: [&str; 2]| {
        for (to, source) in ["192.168.10.1", "fd00:20::1"].into_iter().zip(expected) {
            let way = way(&vpc, to);
            assert!(way.contains(" dev vgw0 "), "{way}");
            assert!(way.contains(source), "{way}, and not {source}");
        }
    };
    ip(&vpc, "address add 172.16.0.9/24 dev out");
    reconcile(&vpc, &routes);
    sources(["src 169.254.10.1 ", ""]);
    ip(&vpc, "address add 10.0.1.9/24 dev out");
    ip(&vpc, "-6 address add fd00:10::9/64 dev out nodad");
    reconcile(&vpc, &routes);
    sources(["src 10.0.1.9 ", "src fd00:10::9 "]);
    ip(&vpc, "address add 10.0.1.5/24 dev out");
    reconcile(&vpc, &routes);
    sources(["src 10.0.1.5 ", "src fd00:10::9 "]);
    // The kernel removes routes with the address that they name.
    ip(&vpc, "address del 10.0.1.5/24 dev out");
    ip(&vpc, "-6 address del fd00:10::9/64 dev out");
    reconcile(&vpc, &routes);
    sources(["src 10.0.1.9 ", ""]);
}

/// Starts the thread that keeps the routes of this VPC.
pub fn keep(vpc: &Namespace) -> KernelHandle {
    let Loaded {
        gateway, settings, ..
    } = config::load_str(&configuration(vpc), "test").unwrap();
    let failed = |why: String| eprintln!("{why}");
    let keeper = Keeper::start(&settings, Desired::of(&gateway, &settings), failed).unwrap();
    let all = [
        "169.254.10.0/30",
        "169.254.10.4/30",
        "192.168.10.0/24",
        "fd00:20::/64",
    ];
    assert_eq!(routes(vpc, true), all, "before there is a device");
    assert_eq!(routes(vpc, false), [""; 0]);
    let kernel = keeper.keep(vpc.run(|| if_nametoindex("vgw0").unwrap()).unwrap());
    await_whole(vpc);
    kernel
}

/// Waits until everything that is configured is there.
fn await_whole(vpc: &Namespace) {
    wait_until("link, addresses, routes and their guards", SOON, || {
        let link = ip(vpc, "link show vgw0");
        let addresses = ip(vpc, "address show vgw0");
        let whole = routes(vpc, false) == ["192.168.10.0/24", "fd00:20::/64"]
            && routes(vpc, true).len() == 4
            && link.contains(",UP")
            && link.contains(" mtu 1438 ")
            && addresses.contains("169.254.10.1/30")
            && addresses.contains("169.254.10.5/30");
        Ok(whole.then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_others_undo_is_done_again_when_it_happens() {
    let lab = Lab::new("watched").unwrap();
    let (vpc, _far) = vpc(&lab);
    let _kernel = keep(&vpc);
    let undo = [
        "route flush dev vgw0 proto 203",
        "-6 route flush dev vgw0 proto 203",
        "route flush proto 203",
        "-6 route flush proto 203",
        "route delete unreachable 192.168.10.0/24 proto 203",
        "address flush dev vgw0",
        "link set vgw0 mtu 1400",
        "link set vgw0 down",
    ];
    for command in undo {
        ip(&vpc, command);
        await_whole(&vpc);
    }
}

#[test]
#[ignore = "needs root"]
fn every_change_of_the_device_is_told() {
    let lab = Lab::new("told").unwrap();
    let (vpc, _far) = vpc(&lab);
    let mut kernel = keep(&vpc);
    let mut await_news = |what| {
        let told = || Ok(kernel.tun_link.has_changed().unwrap().then_some(()));
        wait_until(what, SOON, told).unwrap();
        kernel.tun_link.mark_unchanged();
    };
    await_news("what the thread set itself");
    ip(&vpc, "link set vgw0 mtu 1400");
    await_news("what somebody else set");
}

#[test]
#[ignore = "needs root"]
fn every_address_of_the_namespace_is_known() {
    let lab = Lab::new("addresses").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    let known = |address: &str| {
        let address = address.parse().unwrap();
        kernel.local_addresses.borrow().contains(&address)
    };
    let await_known = |address: &str, expected: bool| {
        wait_until(address, SOON, || {
            Ok((known(address) == expected).then_some(()))
        })
        .unwrap();
    };
    await_known("169.254.10.1", true);
    await_known("127.0.0.1", true);
    for address in ["10.0.0.9", "fd00:10::9"] {
        ip(&vpc, &format!("address add {address}/24 dev out"));
        ip(&vpc, &format!("address add {address}/24 dev vgw0"));
        await_known(address, true);
        ip(&vpc, &format!("address delete {address}/24 dev out"));
    }
    // Nobody wants it on the TUN device, so that it goes from there, too.
    await_known("10.0.0.9", false);
    await_known("fd00:10::9", false);
    for (address, networks) in [
        (
            "10.0.7.9/24 broadcast 10.0.7.77",
            &["10.0.7.0", "10.0.7.77", "10.0.7.255"][..],
        ),
        ("fd00:17::9/64", &["fd00:17::"]),
    ] {
        ip(&vpc, &format!("address add {address} dev out"));
        networks
            .iter()
            .for_each(|network| await_known(network, true));
        ip(&vpc, &format!("address delete {address} dev out"));
        networks
            .iter()
            .for_each(|network| await_known(network, false));
    }
}

#[test]
#[ignore = "needs root"]
fn a_program_that_keeps_undoing_it_is_told_of_and_does_not_keep_us_busy() {
    let lab = Lab::new("fight").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    for _ in 0..12 {
        ip(&vpc, "route flush dev vgw0 proto 203");
        await_whole(&vpc);
    }
    wait_until("a complaint", SOON, || {
        let problems = kernel.problems.borrow();
        let told = problems
            .iter()
            .any(|problem| problem.contains("another program"));
        Ok(told.then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_prefix_that_cannot_be_guarded_is_told_of() {
    let lab = Lab::new("unguarded").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    ip(&vpc, "route delete unreachable 192.168.10.0/24 proto 203");
    await_whole(&vpc);
    // In its very place.
    ip(&vpc, "route replace prohibit 192.168.10.0/24 metric 1");
    wait_until("a problem", SOON, || {
        let problems = kernel.problems.borrow();
        let told = problems
            .iter()
            .any(|problem| problem.contains("guarding 192.168.10.0/24"));
        Ok(told.then_some(()))
    })
    .unwrap();
    ip(&vpc, "route delete prohibit 192.168.10.0/24 metric 1");
    wait_until("no problem", SOON, || {
        Ok(kernel.problems.borrow().is_empty().then_some(()))
    })
    .unwrap();
}
