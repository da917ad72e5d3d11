use vgw_lab::{Lab, Namespace, wait_until};
use vgwd::config::{self, Loaded};
use vgwd::kernel::{DesiredByConfig, KernelHandle};

use crate::keeper::{SOON, keep, vpc};
use crate::{configuration, ip};

fn set(vpc: &Namespace, parameters: &[(&str, &str)]) {
    for (parameter, value) in parameters {
        vpc.set_parameter(parameter, value).unwrap();
    }
}

/// Waits until the problems that hold these words are so many.
fn await_problems(kernel: &KernelHandle, words: &str, expected: usize) {
    let problems = || kernel.problems.borrow().clone();
    let outcome = wait_until(words, SOON, || {
        let found = problems()
            .iter()
            .filter(|line| line.contains(words))
            .count();
        Ok((found == expected).then_some(()))
    });
    outcome.unwrap_or_else(|error| panic!("{error}: {:?}", problems()));
}

#[test]
#[ignore = "needs root"]
fn what_keeps_hosts_of_the_vpc_and_sites_apart_is_told_as_it_changes() {
    let lab = Lab::new("forwarding").unwrap();
    let (vpc, _far) = vpc(&lab);
    let off = [("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")];
    set(&vpc, &off);
    let kernel = keep(&vpc);
    // An address of this machine alone, or one that no link leads to others by, needs none.
    ip(&vpc, "link add alone type veth peer name beside");
    ip(&vpc, "link set beside up");
    ip(&vpc, "link set alone up arp off");
    ip(&vpc, "address add 10.0.0.9/24 dev alone");
    ip(&vpc, "address add 10.0.1.9/32 dev out");
    // A packet's route by the link's network; by a route that somebody made for it.
    await_problems(&kernel, "forwarding", 0);
    ip(&vpc, "-6 address add fd00:10::9/64 dev out nodad");
    await_problems(
        &kernel,
        "IPv6 forwarding is off (net.ipv6.conf.all.forwarding",
        1,
    );
    await_problems(&kernel, "IPv4 forwarding", 0);
    ip(&vpc, "address del 10.0.0.9/24 dev alone");
    ip(&vpc, "address add 172.16.0.9/24 dev out");
    ip(&vpc, "route add 10.0.0.0/16 via 172.16.0.1");
    await_problems(&kernel, "IPv4 forwarding is off (net.ipv4.ip_forward", 1);
    await_problems(&kernel, "hosts of 10.0.0.0/16 behind out", 1);

    set(&vpc, &[("ipv4/ip_forward", "1")]);
    await_problems(&kernel, "IPv4 forwarding", 0);
    set(&vpc, &[("ipv6/conf/all/forwarding", "1")]);
    await_problems(&kernel, "IPv6 forwarding", 0);
    set(&vpc, &[("ipv4/conf/vgw0/forwarding", "0")]);
    let command = format!(
        "`nsenter --net={} sysctl -w net.ipv4.conf.vgw0.forwarding=1`",
        vpc.path().display()
    );
    await_problems(&kernel, &command, 1);
    set(&vpc, &[("ipv4/conf/vgw0/forwarding", "1")]);
    await_problems(&kernel, "forwarding", 0);

    // It drops what comes from elsewhere than routes lead, which sites may send here.
    set(
        &vpc,
        &[
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/vgw0/rp_filter", "0"),
        ],
    );
    let static_routes = "static_routes = ";
    let unchecked = format!("source_check = false\n{static_routes}");
    let text = configuration(&vpc).replace(static_routes, &unchecked);
    let Loaded {
        gateway, settings, ..
    } = config::load_str(&text, "test").unwrap();
    let by_config = DesiredByConfig::of(&gateway, &settings);
    kernel.desired.set_by_config(by_config);
    await_problems(&kernel, "vgw0.rp_filter=2`", 1);
    set(&vpc, &[("ipv4/conf/vgw0/rp_filter", "2")]);
    await_problems(&kernel, "rp_filter", 0);
}
