//! Whether the kernel forwards packets between the VPC's hosts and the sites, and whether its
//! reverse path filter drops any of them. Judges facts that `read_forwarding` reads.
//!
//! Only settings that do harm are reported. Without a link that hosts of the VPC are
//! behind, all that sites reach is this machine, and nothing is forwarded. A strict
//! reverse path filter on the TUN device lets pass whatever a route leads back to, which
//! is all that comes out of a tunnel unless `source_check` is off.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use vgw_dataplane::NetConf;

/// A link, with the settings that one address family has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkConf {
    pub(super) name: String,
    pub(super) conf: NetConf,
}

/// What is known of one address family in the VPC's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForwardingFacts {
    pub(super) ipv6: bool,
    /// The settings for all links.
    pub(super) all: NetConf,
    pub(super) tun: LinkConf,
    /// The links that hosts of the VPC are behind, and where those are.
    pub(super) to_hosts: Vec<LinkConf>,
    pub(super) cidrs: BTreeSet<IpNet>,
    /// Sites may send from where no route of ours leads.
    pub(super) any_source: bool,
    /// What a command begins with to run in the namespace.
    pub(super) enter: String,
}

/// A line for each problem, with what to type.
pub(super) fn problems(facts: &ForwardingFacts) -> impl Iterator<Item = String> {
    let filtered = filtered(facts);
    not_forwarded(facts).into_iter().chain(filtered)
}

fn not_forwarded(facts: &ForwardingFacts) -> Option<String> {
    let links = || facts.to_hosts.iter().chain([&facts.tun]);
    let off: Vec<&LinkConf> = links().filter(|link| !forwards(facts, link)).collect();
    if facts.to_hosts.is_empty() || off.is_empty() {
        return None;
    }
    let behind = facts.to_hosts.iter().map(|link| link.name.as_str());
    let cidrs: Vec<String> = facts.cidrs.iter().map(ToString::to_string).collect();
    let family = if facts.ipv6 { "IPv6" } else { "IPv4" };
    let settings: Vec<String> = if facts.ipv6 {
        vec!["net.ipv6.conf.all.forwarding".to_owned()]
    } else if !facts.all.forwarding && off.len() == links().count() {
        vec!["net.ipv4.ip_forward".to_owned()]
    } else {
        off.iter()
            .map(|link| parameter(&link.name, "forwarding"))
            .collect()
    };
    let to_do: Vec<String> = settings
        .iter()
        .map(|setting| format!("`{}sysctl -w {setting}=1`", facts.enter))
        .collect();
    let caution = if facts.ipv6 {
        ", after net.ipv6.conf.LINK.accept_ra=2 for a link with router advertisements"
    } else {
        ""
    };
    Some(format!(
        "{family} forwarding is off ({} = 0): the sites and the hosts of {} behind {} do not \
         reach each other. {}{caution}",
        settings.join(", "),
        cidrs.join(" "),
        behind.collect::<Vec<_>>().join(", "),
        to_do.join(", "),
    ))
}

/// Whether what comes by the link is forwarded.
const fn forwards(facts: &ForwardingFacts, link: &LinkConf) -> bool {
    if facts.ipv6 {
        facts.all.forwarding || link.conf.force_forwarding
    } else {
        link.conf.forwarding
    }
}

fn filtered(facts: &ForwardingFacts) -> Option<String> {
    /// `rp_filter` of those who want each packet to come from where its answer goes.
    const STRICT: i32 = 1;
    let effective = facts.tun.conf.rp_filter.max(facts.all.rp_filter);
    if facts.ipv6 || !facts.any_source || effective != STRICT {
        return None;
    }
    let (name, enter) = (&facts.tun.name, &facts.enter);
    Some(format!(
        "rp_filter is 1 (strict) on {name}: what a site sends from outside its static_routes, \
         which source_check = false lets in, is dropped by the kernel. `{enter}sysctl -w {}=2`",
        parameter(name, "rp_filter")
    ))
}

/// The name that sysctl(8) has for a setting of a link, in whose name a dot may be.
fn parameter(link: &str, setting: &str) -> String {
    if link.contains('.') {
        format!("net/ipv4/conf/{link}/{setting}")
    } else {
        format!("net.ipv4.conf.{link}.{setting}")
    }
}

/// Whether an address of this machine shows that there are hosts of the VPC in its
/// network: others than `own`, the machine's addresses.
pub(super) fn has_neighbours(network: IpNet, cidrs: &BTreeSet<IpNet>, own: &[IpAddr]) -> bool {
    cidrs.iter().any(|cidr| {
        let common = if network.prefix_len() < cidr.prefix_len() {
            *cidr
        } else {
            network.trunc()
        };
        let overlap = cidr.contains(&common) && network.contains(&common);
        let alone = common.prefix_len() == common.max_prefix_len();
        overlap && (!alone || !own.contains(&common.addr()))
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vgw_dataplane::NetConf;

    use super::{ForwardingFacts, LinkConf, has_neighbours, problems};

    fn link(name: &str, forwarding: bool) -> LinkConf {
        LinkConf {
            name: name.to_owned(),
            conf: conf(forwarding),
        }
    }

    fn conf(forwarding: bool) -> NetConf {
        NetConf {
            forwarding,
            ..NetConf::default()
        }
    }

    /// Of all links, of the TUN device and of the VPC's.
    fn facts(ipv6: bool, [all, tun, vpc]: [bool; 3]) -> ForwardingFacts {
        let cidr = if ipv6 { "fd00:10::/64" } else { "10.0.0.0/16" };
        ForwardingFacts {
            ipv6,
            all: conf(all),
            tun: link("vgw0", tun),
            to_hosts: vec![link("eth1", vpc)],
            cidrs: [cidr.parse().unwrap()].into(),
            any_source: false,
            enter: String::new(),
        }
    }

    fn told(facts: &ForwardingFacts) -> String {
        problems(facts).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn ipv4_is_forwarded_link_by_link_and_what_is_off_is_told_with_its_command() {
        let four = |forwarding| told(&facts(false, forwarding));
        assert_eq!(four([true, true, true]), "");
        assert_eq!(four([false, true, true]), "", "each link has it");
        assert_eq!(
            four([false, false, false]),
            "IPv4 forwarding is off (net.ipv4.ip_forward = 0): the sites and the hosts of \
             10.0.0.0/16 behind eth1 do not reach each other. `sysctl -w net.ipv4.ip_forward=1`"
        );
        let tun = four([true, false, true]);
        assert!(
            tun.ends_with(". `sysctl -w net.ipv4.conf.vgw0.forwarding=1`"),
            "{tun}"
        );
        let vpc = four([false, true, false]);
        assert!(
            vpc.ends_with(". `sysctl -w net.ipv4.conf.eth1.forwarding=1`"),
            "{vpc}"
        );
        let both = four([true, false, false]);
        assert!(both.contains("eth1.forwarding=1`, `sysctl"), "{both}");
    }

    #[test]
    fn ipv6_is_forwarded_by_all_links_or_by_those_that_are_forced_to() {
        let six = |forwarding| told(&facts(true, forwarding));
        assert_eq!(six([true, false, false]), "");
        let off = six([false, true, true]);
        assert!(off.starts_with("IPv6 forwarding is off (net.ipv6.conf.all.forwarding = 0)"));
        assert!(off.contains("accept_ra=2"), "{off}");
        let mut forced = facts(true, [false, false, false]);
        forced.tun.conf.force_forwarding = true;
        assert_ne!(told(&forced), "");
        forced.to_hosts[0].conf.force_forwarding = true;
        assert_eq!(told(&forced), "");
    }

    #[test]
    fn where_no_hosts_are_behind_a_link_nothing_is_to_be_forwarded() {
        let mut alone = facts(false, [false, false, false]);
        alone.to_hosts.clear();
        assert_eq!(told(&alone), "");
    }

    #[test]
    fn a_command_enters_the_namespace_and_names_links_with_dots() {
        let mut facts = facts(false, [true, true, false]);
        facts.enter = "nsenter --net=/run/netns/vpc ".to_owned();
        facts.to_hosts = vec![link("eth0.100", false)];
        let told = told(&facts);
        let command =
            "`nsenter --net=/run/netns/vpc sysctl -w net/ipv4/conf/eth0.100/forwarding=1`";
        assert!(told.ends_with(command), "{told}");
    }

    #[test]
    fn a_strict_reverse_path_filter_does_harm_where_sites_send_from_anywhere() {
        for (all, tun, any_source, harm) in [
            (0, 1, true, true),
            (1, 0, true, true),
            (1, 2, true, false),
            (2, 1, true, false),
            (0, 0, true, false),
            (1, 1, false, false),
        ] {
            let mut facts = facts(false, [true, true, true]);
            facts.any_source = any_source;
            facts.all.rp_filter = all;
            facts.tun.conf.rp_filter = tun;
            let told = told(&facts);
            let found = told.ends_with("`sysctl -w net.ipv4.conf.vgw0.rp_filter=2`");
            assert_eq!(found, harm, "{all} {tun} {any_source}: {told}");
        }
    }

    #[test]
    fn a_network_has_hosts_of_the_vpc_unless_all_that_is_in_it_is_this_machine() {
        let own: [IpAddr; 2] = ["10.0.0.10", "fd00:10::9"].map(|a| a.parse().unwrap());
        for (network, cidr, expected) in [
            ("10.0.0.10/24", "10.0.0.0/16", true),
            ("10.0.0.10/8", "10.0.0.0/16", true),
            ("10.0.0.10/32", "10.0.0.0/16", false),
            ("10.0.0.10/24", "10.0.0.10/32", false),
            ("10.0.0.10/24", "10.0.0.5/32", true),
            ("172.16.0.9/24", "10.0.0.0/16", false),
            ("fd00:10::9/64", "fd00:10::/48", true),
            ("fd00:10::9/64", "10.0.0.0/16", false),
        ] {
            let cidrs = [cidr.parse().unwrap()].into();
            let found = has_neighbours(network.parse().unwrap(), &cidrs, &own);
            assert_eq!(found, expected, "{network} {cidr}");
        }
    }
}
