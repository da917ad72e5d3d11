//! Guard routes: nothing that is to be encrypted leaves in clear, whether or not
//! a daemon runs.
//!
//! The routes to the TUN device go with the device. Behind each stands a second
//! one that belongs to no device and says `unreachable`. It is there before the
//! first and stays when the daemon ends, however it ends, until the configuration
//! drops the prefix or `vgw flush` removes it.
//!
//! `unreachable` and not `blackhole`: the sender is told at once by ICMP (RFC 1812
//! section 5.2.7.1, RFC 4443 section 3.1), a local one by EHOSTUNREACH. A TCP
//! connection outlives that (RFC 1122 section 4.2.3.9), so a restart breaks none.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::KernelError;
use super::netlink::failed;
use super::route_table::PrefixInTable;
use super::routes::{ROUTE_PROTOCOL, prefix_of, priority_of, tun_priority};

/// The guard routes of one gateway.
///
/// Which gateway's they are is told by a mark that follows from the name of its
/// TUN device, the one thing that two gateways in a namespace cannot share. The
/// kernel has no field for it in a route without a device; it keeps TCP's
/// `reordering` there, which nothing reads where no packet passes. The mark is not
/// in the priority, because that must stay better than every route of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardRoutes {
    mark: u32,
}

impl GuardRoutes {
    /// Those of the gateway whose TUN device has this name.
    #[must_use]
    pub fn of(tun_name: &str) -> Self {
        // FNV-1a of 32 bits: the same in every version of ours.
        const BASIS: u32 = 0x811C_9DC5;
        const PRIME: u32 = 0x0100_0193;
        let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(PRIME);
        let hash = tun_name.bytes().fold(BASIS, mix);
        // The kernel does not keep a zero.
        Self { mark: hash | 1 }
    }

    pub(super) fn owns(self, route: &RouteMessage) -> bool {
        route.attributes.iter().any(|attribute| {
            matches!(attribute, RouteAttribute::Metrics(metrics)
                if metrics.contains(&RouteMetric::Reordering(self.mark)))
        })
    }

    pub(super) fn route_of(self, prefix: PrefixInTable) -> Result<RouteMessage, KernelError> {
        let PrefixInTable { net, table } = prefix;
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .map_err(failed(format!("the guard of {prefix}")))?
            .table_id(table)
            .kind(RouteType::Unreachable)
            .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
            .scope(RouteScope::Universe)
            .priority(priority(net));
        let mark = RouteMetric::Reordering(self.mark);
        let attributes = &mut route.get_mut().attributes;
        attributes.push(RouteAttribute::Metrics(vec![mark]));
        Ok(route.build())
    }
}

/// One worse than the TUN device's, so that only that route is before it: a
/// default route learnt from elsewhere (by DHCP, 100 or 1,024) must not be.
fn priority(prefix: IpNet) -> u32 {
    tun_priority(prefix).saturating_add(1)
}

/// What a route of ours guards, if it is a guard route of any gateway.
pub(super) fn guarded(route: &RouteMessage) -> Option<PrefixInTable> {
    let prefix = prefix_of(route)?;
    let guards =
        route.header.kind == RouteType::Unreachable && priority_of(route) == priority(prefix.net);
    guards.then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::GuardRoutes;

    #[test]
    fn the_mark_follows_from_the_name_alone_and_differs_with_it() {
        assert_eq!(GuardRoutes::of("vgw0"), GuardRoutes::of("vgw0"));
        assert_ne!(GuardRoutes::of("vgw0"), GuardRoutes::of("vgw1"));
        // What another version left must be found.
        assert_eq!(GuardRoutes::of("vgw0").mark, 0x8765_B235);
    }
}
