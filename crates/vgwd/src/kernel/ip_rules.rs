//! Rules (ip-rule(8)) that let a route to a tunnel hold for everything but our own
//! packets to the tunnel's peer.
//!
//! Such a route is in a table of its own, [`TUNNEL_TABLE`]. For each prefix there, longer
//! routes of the main table come first, then that table; IKE and ESP from our outside
//! addresses skip both and go by the rules and routes that others made. So nothing has
//! to be copied from them and kept current, and it is right after kill -9 as well:
//! rules and guard stay, no route of others was touched.
//!
//! IKE and ESP are told by address, protocol and port, not by a mark of the socket,
//! because the reverse path filter asks by the same rules for what arrives, and knows
//! no mark then. For its sake the rules do not say `iif lo` either, with which the kernel
//! does not look at protocol and port of what arrives; nobody else can send from our
//! address, as the kernel drops what arrives with it. All other packets of an outside
//! address take the tunnel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::StreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rtnetlink::IpVersion;
use vgw_sa::{IKE_PORT, NATT_PORT};

use super::route_table::{MAIN_TABLE, OwnTraffic, PrefixInTable, TUNNEL_TABLE};
use super::{Netlink, ROUTE_PROTOCOL};

/// The first of our priorities. The kernel gives rules without one 32,765 and down.
const FIRST: u32 = 32_000;
/// The last of them: two for each length of a prefix are between.
const LAST: u32 = FIRST + 2 * (128 + 1) + 1;

/// IP protocol numbers.
const ESP: u8 = 50;
const UDP: u8 = 17;

/// A rule, in the order in which they are added: nothing of ours is led into the tunnel
/// at any moment. They are removed in the reverse order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Does nothing: where our own packets skip to, behind all others.
    SkipTarget { ipv6: bool },
    /// Our own packets skip the others.
    Own { from: IpAddr, kind: OwnPacket },
    /// Looks into the main table for a route to a longer prefix than this.
    LongerInMain(IpNet),
    /// Looks into the tunnels' table.
    TunnelTable(IpNet),
}

/// What we send to peers ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnPacket {
    /// Protocol 50.
    Esp,
    /// UDP from this port.
    Udp(u16),
}

impl Netlink {
    /// The rules of ours that there are, of any gateway.
    pub(super) async fn our_rules(&self) -> BTreeSet<Rule> {
        let mut found = BTreeSet::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let mut answers = std::pin::pin!(self.handle.rule().get(version).execute());
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(message) => found.extend(Rule::of(&message)),
                    // A kernel without policy routing, or without IPv6.
                    Err(error) => tracing::debug!(%error, "the rules are not known: {error}"),
                }
            }
        }
        found
    }
}

/// The rules that the routes to this prefix need.
pub(super) fn rules_to(prefix: PrefixInTable, own: Option<&OwnTraffic>) -> Vec<Rule> {
    if !prefix.is_in_tunnel_table() {
        return Vec::new();
    }
    let ipv6 = is_ipv6(prefix.net().addr());
    let from = own.into_iter().flat_map(|own| &own.from);
    let from = from.filter(|from| is_ipv6(**from) == ipv6);
    let own = from.flat_map(|from| {
        [
            OwnPacket::Esp,
            OwnPacket::Udp(IKE_PORT),
            OwnPacket::Udp(NATT_PORT),
        ]
        .map(|kind| Rule::Own { from: *from, kind })
    });
    let shared = [Rule::SkipTarget { ipv6 }].into_iter().chain(own);
    shared.chain(Rule::of_prefix(prefix.net())).collect()
}

const fn is_ipv6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(_))
}

impl Rule {
    /// Those that lead to a prefix.
    pub(super) const fn of_prefix(prefix: IpNet) -> [Self; 2] {
        [Self::LongerInMain(prefix), Self::TunnelTable(prefix)]
    }

    /// Whether it is needed by a gateway with routes to these prefixes in the tunnels' table:
    /// gateways of one namespace share rules.
    pub(super) fn is_needed_by(&self, prefixes: &BTreeSet<IpNet>) -> bool {
        match self {
            Self::TunnelTable(prefix) | Self::LongerInMain(prefix) => prefixes.contains(prefix),
            Self::Own { .. } | Self::SkipTarget { .. } => {
                let mut prefixes = prefixes.iter();
                prefixes.any(|prefix| is_ipv6(prefix.addr()) == self.is_ipv6())
            }
        }
    }

    fn is_ipv6(&self) -> bool {
        match self {
            Self::SkipTarget { ipv6 } => *ipv6,
            Self::Own { from, .. } => is_ipv6(*from),
            Self::LongerInMain(prefix) | Self::TunnelTable(prefix) => is_ipv6(prefix.addr()),
        }
    }

    /// Of two prefixes that overlap, the longer has its turn first.
    fn priority(&self) -> u32 {
        let place = |prefix: &IpNet| FIRST + 1 + 2 * (128 - u32::from(prefix.prefix_len()));
        match self {
            Self::Own { .. } => FIRST,
            Self::LongerInMain(prefix) => place(prefix),
            Self::TunnelTable(prefix) => place(prefix) + 1,
            Self::SkipTarget { .. } => LAST,
        }
    }

    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let (header, attributes) = (&mut message.header, &mut message.attributes);
        header.family = if self.is_ipv6() {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        };
        attributes.push(RuleAttribute::Priority(self.priority()));
        attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(
            ROUTE_PROTOCOL,
        )));
        header.action = RuleAction::ToTable;
        match *self {
            Self::SkipTarget { .. } => header.action = RuleAction::Nop,
            Self::Own { from, kind } => {
                header.action = RuleAction::Goto;
                header.src_len = if is_ipv6(from) { 128 } else { 32 };
                attributes.push(RuleAttribute::Goto(LAST));
                attributes.push(RuleAttribute::Source(from));
                match kind {
                    OwnPacket::Esp => attributes.push(RuleAttribute::IpProtocol(ESP.into())),
                    OwnPacket::Udp(port) => {
                        let ports = RulePortRange {
                            start: port,
                            end: port,
                        };
                        attributes.push(RuleAttribute::IpProtocol(UDP.into()));
                        attributes.push(RuleAttribute::SourcePortRange(ports));
                    }
                }
            }
            Self::LongerInMain(prefix) => {
                let length = u32::from(prefix.prefix_len());
                attributes.push(RuleAttribute::SuppressPrefixLen(length));
                look_up_in(&mut message, prefix, MAIN_TABLE);
            }
            Self::TunnelTable(prefix) => look_up_in(&mut message, prefix, TUNNEL_TABLE),
        }
        message
    }

    /// The rule of ours that a message of the kernel tells of.
    fn of(message: &RuleMessage) -> Option<Self> {
        let find = |wanted: fn(&RuleAttribute) -> bool| {
            let mut attributes = message.attributes.iter();
            attributes.find(|attribute| wanted(attribute))
        };
        let ours = RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
        if !message.attributes.contains(&ours) {
            return None;
        }
        let ipv6 = message.header.family == AddressFamily::Inet6;
        let everywhere = if ipv6 { "::/0" } else { "0.0.0.0/0" };
        let prefix = match find(|a| matches!(a, RuleAttribute::Destination(_))) {
            Some(RuleAttribute::Destination(to)) => IpNet::new(*to, message.header.dst_len).ok()?,
            _ => everywhere.parse().ok()?,
        };
        let rule = match message.header.action {
            RuleAction::Nop => Self::SkipTarget { ipv6 },
            RuleAction::Goto => {
                let from = find(|a| matches!(a, RuleAttribute::Source(_)))?;
                let ports = find(|a| matches!(a, RuleAttribute::SourcePortRange(_)));
                let (RuleAttribute::Source(from), kind) = (
                    from,
                    match ports {
                        Some(RuleAttribute::SourcePortRange(ports)) => OwnPacket::Udp(ports.start),
                        _ => OwnPacket::Esp,
                    },
                ) else {
                    return None;
                };
                Self::Own { from: *from, kind }
            }
            _ if message
                .attributes
                .contains(&RuleAttribute::Table(TUNNEL_TABLE)) =>
            {
                Self::TunnelTable(prefix)
            }
            _ => Self::LongerInMain(prefix),
        };
        // One that somebody changed is not ours any more: ours is added again.
        let priority = RuleAttribute::Priority(rule.priority());
        message.attributes.contains(&priority).then_some(rule)
    }
}

/// Has a rule look into a table for where packets to a prefix go.
fn look_up_in(message: &mut RuleMessage, prefix: IpNet, table: u32) {
    message.header.dst_len = prefix.prefix_len();
    message.attributes.push(RuleAttribute::Table(table));
    // The kernel refuses an address without a length.
    if prefix.prefix_len() > 0 {
        let to = RuleAttribute::Destination(prefix.addr());
        message.attributes.push(to);
    }
}
