//! The VPC's routes as the kernel has them.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use vgw_lab::{Lab, Namespace, Veth, wait_until};
use vgwd::config::{self, Loaded};
use vgwd::kernel::{Desired, Guard, Keeper, Kernel, Link, Netlink};

use crate::{configuration, ip, own_routes};

const MTU: u16 = 1400;
/// Long enough on a busy machine, and shorter than any look by the clock.
const SOON: Duration = Duration::from_secs(20);

/// A VPC, and another namespace that two cables lead to: one stands for the TUN
/// device, the other for the way out.
fn vpc(lab: &Lab) -> (Namespace, Namespace) {
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
    }
}

fn reconcile(vpc: &Namespace, desired: &Desired) {
    let failed = with_netlink(vpc, async |netlink| {
        let index = if_nametoindex("vgw0").unwrap();
        let link = Link::new(netlink, index, MTU, Guard::of("vgw0"));
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
fn a_guard_goes_with_its_prefix_and_no_gateway_touches_that_of_another() {
    let lab = Lab::new("guards").unwrap();
    let (vpc, _far) = vpc(&lab);
    let other = prefixes(&["192.168.30.0/24", "fd00:30::/64"]);
    let add = async |netlink: Netlink| Guard::of("vgw1").add_missing(&netlink, &other).await;
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

    let removed = with_netlink(&vpc, async |netlink| {
        Guard::of("vgw0")
            .remove_all_but(&netlink, &BTreeSet::new())
            .await
    });
    let own = prefixes(&["169.254.10.0/30", "192.168.11.0/24"]);
    assert_eq!(removed, Ok(own.into_iter().collect()));
    assert_eq!(routes(&vpc, true), ["192.168.30.0/24", "fd00:30::/64"]);
}

/// A configuration for this VPC.
fn loaded(vpc: &Namespace) -> Loaded {
    let text = configuration(
        vpc,
        [
            r#"pre_shared_key = "correct.horse.battery""#,
            r#"pre_shared_key = "staple.correct.horse""#,
        ],
    );
    config::load_str(&text, "test").unwrap()
}

/// Starts the thread that keeps the routes of this VPC.
fn keep(vpc: &Namespace) -> Kernel {
    let Loaded {
        gateway, settings, ..
    } = loaded(vpc);
    let failed = |why: String| eprintln!("{why}");
    let keeper = Keeper::start(&settings, Desired::of(&gateway), failed).unwrap();
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
