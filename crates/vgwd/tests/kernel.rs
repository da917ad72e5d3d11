//! The VPC's routes as the kernel has them, in network namespaces; needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::collections::BTreeSet;

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use vgw_lab::{Lab, Namespace, Veth};
use vgwd::kernel::{Desired, Guard, Link, Netlink};

const MTU: u16 = 1400;

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

fn ip(vpc: &Namespace, arguments: &str) -> String {
    let output = vpc
        .command("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Destinations of our routes, IPv4 and IPv6: those that guard, or the others.
fn routes(vpc: &Namespace, guards: bool) -> Vec<String> {
    let shown = ["-4", "-6"].map(|family| ip(vpc, &format!("{family} route show proto 203")));
    let lines = shown.iter().flat_map(|text| text.lines());
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
