//! The VPC's routes as the kernel has them.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
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
        let guard = GuardRoutes::of("vgw0");
        let mut link = TunLink::new(netlink, index, MTU, guard, desired.clone());
        link.compare().await;
        link.problems()
    });
    assert_eq!(failed, [""; 0]);
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

/// Waits until there is a route that guards this prefix, and one to the device; or neither.
fn await_route(vpc: &Namespace, prefix: &str, expected: bool) {
    wait_until(prefix, SOON, || {
        let led = routes(vpc, false).iter().any(|route| route == prefix);
        let guarded = routes(vpc, true).iter().any(|route| route == prefix);
        Ok((led == expected && guarded == expected).then_some(()))
    })
    .unwrap();
}

/// A prefix of its own for each number.
fn numbered(number: u32) -> IpNet {
    let prefix = Ipv4Net::new((0x0B00_0000 + (number << 8)).into(), 24);
    prefix.unwrap().into()
}

fn want(prefix: IpNet) -> (IpNet, Option<()>) {
    (prefix, Some(()))
}

/// A route as a former run left it, which goes as soon as everything is compared: nobody is
/// told of it, as it is to no prefix that is guarded.
fn leave_stray_route(vpc: &Namespace) {
    ip(vpc, "route add 198.18.0.0/15 dev vgw0 proto 203");
}

/// Has everything compared once, so that nothing of the start is still to be looked at.
fn await_comparison(vpc: &Namespace) {
    leave_stray_route(vpc);
    ip(vpc, "route delete 192.168.10.0/24 dev vgw0 proto 203");
    wait_until("a comparison", SOON, || {
        Ok((!has_stray_route(vpc)).then_some(()))
    })
    .unwrap();
    await_whole(vpc);
}

fn has_stray_route(vpc: &Namespace) -> bool {
    routes(vpc, false).contains(&"198.18.0.0/15".to_owned())
}

#[test]
#[ignore = "needs root"]
fn a_changed_route_among_ten_thousand_is_made_by_its_own_requests_and_nothing_is_compared() {
    let lab = Lab::new("many").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    await_comparison(&vpc);
    let all = (0..10_000).map(|number| want(numbered(number)));
    kernel.desired.change_routes(&all.collect());
    await_route(&vpc, "11.39.15.0/24", true);
    leave_stray_route(&vpc);

    let told = Told::open(&vpc);
    let one: IpNet = "192.168.77.0/24".parse().unwrap();
    kernel.desired.change_routes(&vec![want(one)]);
    await_route(&vpc, "192.168.77.0/24", true);
    kernel
        .desired
        .change_routes(&vec![(one, None), (numbered(7), None)]);
    await_route(&vpc, "192.168.77.0/24", false);
    await_route(&vpc, "11.0.7.0/24", false);
    let ipv6 = "fd00:77::/64".parse().unwrap();
    for wanted in [Some(()), None] {
        kernel.desired.change_routes(&vec![(ipv6, wanted)]);
        await_route(&vpc, "fd00:77::/64", wanted.is_some());
    }
    let requests = told.requests();
    let kinds: Vec<u16> = requests.iter().map(|(kind, _)| *kind).collect();
    let (new, gone) = (libc::RTM_NEWROUTE, libc::RTM_DELROUTE);
    assert_eq!(kinds, [new, new, gone, gone, gone, gone]);
    let numbers = requests.iter().map(|(_, number)| *number);
    let first = requests[0].1;
    assert!(numbers.eq(first..first + 6), "{requests:?}");
    assert!(has_stray_route(&vpc), "everything was compared");

    // What somebody else removes a moment after is there again, and that takes a comparison.
    kernel.desired.change_routes(&vec![want(one)]);
    await_route(&vpc, "192.168.77.0/24", true);
    ip(&vpc, "route delete 192.168.77.0/24 dev vgw0 proto 203");
    await_route(&vpc, "192.168.77.0/24", true);
    wait_until("a comparison", SOON, || {
        Ok((!has_stray_route(&vpc)).then_some(()))
    })
    .unwrap();
}

/// Hears of every change of IPv4 routes, whoever makes it.
struct Told(OwnedFd);

impl Told {
    fn open(vpc: &Namespace) -> Self {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let protocol = SockProtocol::NetlinkRoute;
            let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).unwrap();
            let groups = u32::try_from(libc::RTMGRP_IPV4_ROUTE).unwrap();
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).unwrap();
            socket
        };
        Self(vpc.run(open).unwrap())
    }

    /// The requests that were carried out: what each was, and its number among those of its
    /// socket (`struct nlmsghdr`).
    fn requests(&self) -> Vec<(u16, u32)> {
        let mut message = [0; 4096];
        std::iter::from_fn(|| {
            recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty()).ok()?;
            let kind = u16::from_ne_bytes(message[4..6].try_into().unwrap());
            let number = u32::from_ne_bytes(message[8..12].try_into().unwrap());
            Some((kind, number))
        })
        .collect()
    }
}

#[test]
#[ignore = "needs root"]
fn of_a_burst_of_changes_to_one_prefix_the_last_is_in_force() {
    let lab = Lab::new("burst").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    let [one, other] = [1, 2].map(numbered);
    for turn in 0..10_000 {
        let even = (turn % 2 == 0).then_some(());
        let odd = (turn % 2 == 1).then_some(());
        kernel
            .desired
            .change_routes(&vec![(one, even), (other, odd)]);
    }
    await_route(&vpc, "11.0.2.0/24", true);
    await_route(&vpc, "11.0.1.0/24", false);
}

#[test]
#[ignore = "needs root"]
fn what_the_kernel_refuses_is_told_and_holds_up_nothing_else() {
    let lab = Lab::new("refused").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    // In the place of its guard.
    ip(&vpc, "route add prohibit 11.0.1.0/24 metric 1");
    let three = [0, 1, 2].map(|number| want(numbered(number)));
    kernel.desired.change_routes(&three.to_vec());
    await_route(&vpc, "11.0.0.0/24", true);
    await_route(&vpc, "11.0.2.0/24", true);
    wait_until("a problem", SOON, || {
        let problems = kernel.problems.borrow();
        let told = problems.len() == 1 && problems[0].contains("guarding 11.0.1.0/24");
        Ok(told.then_some(()))
    })
    .unwrap();
    assert!(routes(&vpc, false).contains(&"11.0.1.0/24".to_owned()));
    ip(&vpc, "route delete prohibit 11.0.1.0/24 metric 1");
    await_route(&vpc, "11.0.1.0/24", true);
}

#[test]
#[ignore = "needs root"]
fn a_new_address_takes_no_comparison_and_routes_outlive_the_last_one() {
    let lab = Lab::new("inside").unwrap();
    let (vpc, _far) = vpc(&lab);
    let kernel = keep(&vpc);
    await_comparison(&vpc);
    leave_stray_route(&vpc);
    let address = |text: &str| (text.parse().unwrap(), 30);
    let (new, old) = (address("169.254.10.9"), ["169.254.10.1", "169.254.10.5"]);
    let ipv6 = ("fd00:99::1".parse().unwrap(), 126);
    let both = vec![(new, Some(())), (ipv6, Some(()))];
    kernel.desired.change_addresses(&both);
    wait_until("the new addresses and their guards", SOON, || {
        let addresses = ip(&vpc, "address show vgw0");
        let there = ["169.254.10.9/30", "fd00:99::1/126"];
        let there = there.iter().all(|address| addresses.contains(address));
        let guards = ["169.254.10.8/30", "fd00:99::/126"].map(str::to_owned);
        let guarded = routes(&vpc, true);
        Ok((there && guards.iter().all(|guard| guarded.contains(guard))).then_some(()))
    })
    .unwrap();
    kernel.desired.change_addresses(&vec![(ipv6, None)]);
    await_route(&vpc, "fd00:99::/126", false);
    assert!(has_stray_route(&vpc), "everything was compared");
    // The kernel takes all routes of a link with its last address.
    let all = old.map(|old| (address(old), None));
    kernel
        .desired
        .change_addresses(&[&all[..], &[(new, None)]].concat());
    wait_until("the routes without an address", SOON, || {
        let addresses = ip(&vpc, "-4 address show vgw0");
        let led = routes(&vpc, false) == ["192.168.10.0/24", "fd00:20::/64"];
        let guarded = routes(&vpc, true) == ["192.168.10.0/24", "fd00:20::/64"];
        Ok((addresses.is_empty() && led && guarded).then_some(()))
    })
    .unwrap();
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
