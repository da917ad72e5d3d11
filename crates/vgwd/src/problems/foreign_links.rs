//! Outside addresses whose packets leave by the link of another (docs/two-lines.md).
//!
//! Only what does harm is reported. Where the link by which the packets leave has another of our
//! outside addresses, a failure of that one line takes both tunnels down. Where it has
//! none, the machine may be a router with addresses of its own behind it, whose way out
//! this is: then the tunnel comes up, and it is reported only while the tunnel is not up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vgw_dataplane::ForeignLink;
use vgw_gateway::status::TunnelEnds;

use super::StandingProblems;

/// Pairs of addresses that are looked at in one go, which takes a millisecond or so.
const AT_ONCE: usize = 64;

/// The links that are known to be another's.
#[derive(Debug, Default)]
pub struct ForeignLinks {
    /// The last ends that were looked at: our address and the peer's.
    last: Option<(IpAddr, IpAddr)>,
    foreign: BTreeMap<(IpAddr, IpAddr), ForeignLink>,
    problems: StandingProblems,
}

impl ForeignLinks {
    /// Asks by which links packets to the next peers leave, and logs what is new. Of many peers
    /// it asks for some each time.
    pub fn look(
        &mut self,
        tunnels: &[TunnelEnds],
        ask: impl Fn(IpAddr, IpAddr) -> Option<ForeignLink>,
    ) {
        let all: BTreeSet<_> = tunnels.iter().map(|t| (t.local, t.remote)).collect();
        self.foreign.retain(|ends, _| all.contains(ends));
        let last = self.last.take();
        let mut next = all
            .iter()
            .filter(|ends| last.is_none_or(|last| **ends > last));
        for &(local, remote) in next.by_ref().take(AT_ONCE) {
            match ask(local, remote) {
                Some(link) => drop(self.foreign.insert((local, remote), link)),
                None => drop(self.foreign.remove(&(local, remote))),
            }
            self.last = Some((local, remote));
        }
        if next.next().is_none() {
            self.last = None;
        }
        self.problems.update(lines(tunnels, &self.foreign));
    }

    /// A line for each problem, with what to type.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.problems.lines()
    }
}

/// A line for each of our addresses and each link that its packets leave by.
fn lines(
    tunnels: &[TunnelEnds],
    foreign: &BTreeMap<(IpAddr, IpAddr), ForeignLink>,
) -> BTreeSet<String> {
    let ours: BTreeSet<IpAddr> = tunnels.iter().map(|tunnel| tunnel.local).collect();
    let mut peers: BTreeMap<(IpAddr, &str), (&ForeignLink, BTreeSet<IpAddr>)> = BTreeMap::new();
    for tunnel in tunnels {
        let Some(link) = foreign.get(&(tunnel.local, tunnel.remote)) else {
            continue;
        };
        if !tunnel.up || !link.addresses.is_disjoint(&ours) {
            let found = peers.entry((tunnel.local, &link.name));
            let (_, found) = found.or_insert((link, BTreeSet::new()));
            found.insert(tunnel.remote);
        }
    }
    let table = |local| 101 + ours.range(..local).count();
    peers
        .into_iter()
        .map(|((local, _), (link, peers))| line(local, table(local), link, &peers))
        .collect()
}

fn line(local: IpAddr, table: usize, link: &ForeignLink, peers: &BTreeSet<IpAddr>) -> String {
    let ForeignLink {
        name,
        own,
        filtered,
        ..
    } = link;
    let peer = peers.first().map(ToString::to_string).unwrap_or_default();
    let others = match peers.len() {
        0 | 1 => "",
        _ => " and other peers",
    };
    let dropped = if *filtered {
        format!(", and rp_filter = 1 has the kernel drop what comes back by {own}")
    } else {
        String::new()
    };
    let ip = if local.is_ipv4() { "ip" } else { "ip -6" };
    format!(
        "packets from {local} to {peer}{others} leave by {name}, but that address is {own}'s: a \
         provider may drop them, and they stop when {name} does{dropped}. `{ip} route add \
         default via ROUTER dev {own} table {table}`, `{ip} rule add from {local} lookup {table}`"
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::{IpAddr, Ipv4Addr};

    use vgw_dataplane::ForeignLink;
    use vgw_gateway::domain::TunnelName;
    use vgw_gateway::status::TunnelEnds;

    use super::{AT_ONCE, ForeignLinks};

    const FIRST: &str = "192.0.2.1";
    const SECOND: &str = "203.0.113.1";

    fn parse(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn tunnel(number: u8, local: &str, remote: IpAddr, up: bool) -> TunnelEnds {
        TunnelEnds {
            name: TunnelName {
                connection: "vpn-office".to_owned(),
                number,
            },
            up,
            local: parse(local),
            remote,
        }
    }

    /// The second address is eth1's, and its packets leave by eth0, which has `address`.
    fn leaves_by_eth0(
        address: &str,
        filtered: bool,
    ) -> impl Fn(IpAddr, IpAddr) -> Option<ForeignLink> {
        move |local, _| {
            (local == parse(SECOND)).then(|| ForeignLink {
                name: "eth0".into(),
                addresses: [parse(address)].into(),
                own: "eth1".into(),
                filtered,
            })
        }
    }

    fn told(up: bool, ask: impl Fn(IpAddr, IpAddr) -> Option<ForeignLink>) -> Vec<String> {
        let peer = parse("198.51.100.7");
        let tunnels = [tunnel(1, FIRST, peer, true), tunnel(2, SECOND, peer, up)];
        let mut routes = ForeignLinks::default();
        routes.look(&tunnels, ask);
        routes.lines().cloned().collect()
    }

    #[test]
    fn an_address_that_leaves_by_the_line_of_another_is_told_with_what_to_type() {
        for up in [false, true] {
            assert_eq!(
                told(up, leaves_by_eth0(FIRST, false)),
                [
                    "packets from 203.0.113.1 to 198.51.100.7 leave by eth0, but that address is \
                  eth1's: a provider may drop them, and they stop when eth0 does. `ip route add default via ROUTER dev eth1 table 102`, `ip rule add from 203.0.113.1 \
                  lookup 102`"
                ]
            );
        }
        let filtered = told(true, leaves_by_eth0(FIRST, true)).concat();
        assert!(
            filtered.contains(", and rp_filter = 1 has the kernel drop what comes back by eth1.")
        );
    }

    #[test]
    fn a_way_out_without_an_outside_address_is_told_only_while_the_tunnel_is_not_up() {
        let router = || leaves_by_eth0("172.16.0.1", false);
        assert_eq!(told(false, router()).len(), 1);
        assert_eq!(told(true, router()), [""; 0]);
    }

    #[test]
    fn all_of_many_peers_are_looked_at_some_each_time_and_told_of_in_one_line() {
        let peer = |number: u32| IpAddr::from(Ipv4Addr::from(0xC633_6400 + number));
        let count = 2 * u32::try_from(AT_ONCE).unwrap() + 9;
        let tunnels: Vec<_> = (0..count)
            .map(|number| tunnel(2, SECOND, peer(number), false))
            .collect();
        let mut routes = ForeignLinks::default();
        let asked = Cell::new(0);
        let ask = |local, remote| {
            asked.set(asked.get() + 1);
            leaves_by_eth0(FIRST, false)(local, remote)
        };
        for expected in [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 9, 3 * AT_ONCE + 9] {
            routes.look(&tunnels, ask);
            assert_eq!(asked.get(), expected);
        }
        let lines: Vec<_> = routes.lines().collect();
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].contains("to 198.51.100.0 and other peers leave"),
            "{lines:?}"
        );
        assert_eq!(routes.foreign.len(), tunnels.len());
        routes.look(&[], |_, _| None);
        assert_eq!((routes.lines().next(), routes.foreign.len()), (None, 0));
    }
}
