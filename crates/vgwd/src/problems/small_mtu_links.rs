//! Links and routes outside that carry less than `gateway.outside_mtu` says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vgw_dataplane::OutsideLink;
use vgw_gateway::domain::TunnelName;
use vgw_gateway::rules::OUTSIDE_MTU;

/// Tunnels that a line names; the others it counts.
const NAMES: usize = 3;

/// A link that carries less than configured, with the tunnels that keep to it.
#[derive(Debug, Clone)]
pub struct SmallMtuLink {
    /// Which, and what it carries.
    pub link: OutsideLink,
    /// What the configuration says that it carries, octets.
    pub outside_mtu: u16,
    /// The tunnels whose packets leave by it.
    pub tunnels: Vec<TunnelName>,
}

/// Those that there are now.
#[derive(Debug, Default)]
pub struct SmallMtuLinks {
    lines: BTreeMap<OutsideLink, String>,
}

impl SmallMtuLinks {
    /// Takes what there is now, and logs what is new and what is over: once, and
    /// not for each tunnel.
    pub fn update(&mut self, now: &[SmallMtuLink]) {
        let lines: BTreeMap<_, _> = now
            .iter()
            .map(|narrow| (narrow.link.clone(), line(narrow)))
            .collect();
        for link in self.lines.keys().filter(|link| !lines.contains_key(link)) {
            let (name, mtu) = (&link.name, link.mtu);
            tracing::info!(link = %name, mtu, "no tunnel is held to the MTU of {name} any more, {mtu}");
        }
        for (link, line) in &lines {
            if !self.lines.contains_key(link) {
                tracing::warn!("{line}");
            }
        }
        self.lines = lines;
    }

    /// A line for each, with what to change.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.values()
    }
}

fn line(narrow: &SmallMtuLink) -> String {
    let SmallMtuLink {
        link,
        outside_mtu,
        tunnels,
    } = narrow;
    let (what, raise) = if link.by_route {
        ("route by", "raise the route's mtu")
    } else {
        ("link", "raise the link's MTU")
    };
    let mut names = String::new();
    for name in tunnels.iter().take(NAMES) {
        let comma = if names.is_empty() { "" } else { ", " };
        let _ = write!(names, "{comma}{name}");
    }
    match tunnels.len().saturating_sub(NAMES) {
        0 => {}
        1 => names.push_str(" and another tunnel"),
        others => {
            let _ = write!(names, " and {others} other tunnels");
        }
    }
    let mut line = format!(
        "gateway.outside_mtu is {outside_mtu}, but the {what} {} carries {} octets, to which \
         {names} will keep: {raise}",
        link.name, link.mtu
    );
    let settable = u64::try_from(link.mtu).is_ok_and(|mtu| mtu >= OUTSIDE_MTU.least);
    if settable {
        let _ = write!(line, ", or set gateway.outside_mtu to {}", link.mtu);
    }
    line
}

#[cfg(test)]
mod tests {
    use vgw_dataplane::OutsideLink;
    use vgw_gateway::domain::TunnelName;

    use super::{SmallMtuLink, SmallMtuLinks};

    fn narrow(mtu: usize, by_route: bool, tunnels: u8) -> SmallMtuLink {
        SmallMtuLink {
            link: OutsideLink {
                name: "line-a".into(),
                mtu,
                by_route,
            },
            outside_mtu: 1500,
            tunnels: (1..=tunnels)
                .map(|number| TunnelName {
                    connection: "vpn-office".to_owned(),
                    number,
                })
                .collect(),
        }
    }

    fn lines(links: &SmallMtuLinks) -> Vec<&str> {
        links.lines().map(String::as_str).collect()
    }

    #[test]
    fn what_is_too_narrow_is_told_with_its_number_and_what_to_change_until_it_is_over() {
        let mut links = SmallMtuLinks::default();
        links.update(&[narrow(1400, false, 2), narrow(1200, true, 5)]);
        assert_eq!(
            lines(&links),
            [
                "gateway.outside_mtu is 1500, but the route by line-a carries 1200 octets, to \
                 which vpn-office/1, vpn-office/2, vpn-office/3 and 2 other tunnels will keep: \
                 raise the route's mtu",
                "gateway.outside_mtu is 1500, but the link line-a carries 1400 octets, to which \
                 vpn-office/1, vpn-office/2 will keep: raise the link's MTU, or set \
                 gateway.outside_mtu to 1400",
            ]
        );
        links.update(&[narrow(1400, false, 4)]);
        let [line] = lines(&links)[..] else { panic!() };
        assert!(line.contains("vpn-office/3 and another tunnel"), "{line}");
        links.update(&[]);
        assert!(lines(&links).is_empty());
    }
}
