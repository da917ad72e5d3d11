//! Where a tunnel's packets go outside, and how they are treated.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::SockAddr;
use vgw_esp::Layout;
use vgw_sa::{DfPolicy, TunnelPolicy};

use crate::links::outside_link::OutsideLink;
use crate::packet::mtu::{Family, mtu_of};
use crate::tables::child::Outbound;
use crate::tables::rate::RateLimit;

/// How a tunnel's packets are treated. A change replaces it.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) asked: TunnelPolicy,
    pub(crate) limit_in: Option<RateLimit>,
    pub(crate) limit_out: Option<RateLimit>,
}

impl Policy {
    pub(crate) fn new(asked: TunnelPolicy) -> Self {
        Self {
            asked,
            limit_in: asked.bandwidth_limit.map(RateLimit::new),
            limit_out: asked.bandwidth_limit.map(RateLimit::new),
        }
    }
}

/// A path, resolved to one of our outside addresses.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedPath {
    /// Index of the outside address.
    pub(crate) outside: usize,
    pub(crate) udp_encapsulation: bool,
    /// Where the peer's packets are expected to come from.
    pub(crate) remote: SocketAddr,
    /// Where packets go, as the socket takes it.
    pub(crate) to: SockAddr,
    /// The link that they leave by, if it is known.
    pub(crate) link: Option<OutsideLink>,
}

/// What decides by which link packets leave: the index of our outside address,
/// and the peer's.
pub(crate) type OutsideEnds = (usize, IpAddr);

/// How a tunnel's packets travel outside: its path and policy, and what follows from both.
#[derive(Debug, Clone)]
pub(crate) struct TunnelPath {
    pub(crate) path: ResolvedPath,
    pub(crate) policy: Arc<Policy>,
    /// The largest outer packet that is not fragmented, octets: the least that
    /// the settings, the link and the route allow.
    pub(crate) outside_mtu: usize,
    /// The largest inner packet whose outer packet is not fragmented, octets.
    pub(crate) mtu: usize,
}

impl TunnelPath {
    pub(crate) fn new(path: ResolvedPath, policy: Arc<Policy>, layout: Layout) -> Self {
        let family = Family::of(path.remote.ip());
        let link = path.link.as_ref().map_or(usize::MAX, |link| link.mtu);
        let outside_mtu = link.min(usize::from(policy.asked.outside_mtu));
        let mtu = mtu_of(layout, path.udp_encapsulation, family, outside_mtu);
        Self {
            path,
            policy,
            outside_mtu,
            mtu,
        }
    }

    /// The largest size, octets, of a packet that must not be fragmented: one
    /// of IPv4 with DF or of IPv6, where the policy honors that. None for any
    /// other packet, which may travel in outer fragments.
    ///
    /// IPv6 links carry 1,280 octets at least, if need be in fragments of their
    /// own, and senders may ignore an answer that says less (RFC 8200 section
    /// 5, RFC 8201 section 4).
    pub(crate) fn size_limit(&self, packet: &[u8]) -> Option<usize> {
        const DF: u8 = 0x40;
        const IPV6_MINIMUM: usize = 1280;
        if self.policy.asked.df_policy == DfPolicy::Ignore {
            return None;
        }
        match packet {
            [first, _, _, _, _, _, flags, ..] if first >> 4 == 4 => {
                (flags & DF != 0).then_some(self.mtu)
            }
            _ => Some(self.mtu.max(IPV6_MINIMUM)),
        }
    }
}

impl ResolvedPath {
    pub(crate) fn new(
        outside: usize,
        remote: SocketAddr,
        udp_encapsulation: bool,
        link: Option<OutsideLink>,
    ) -> Self {
        // A raw socket takes the port for a protocol number.
        let port = if udp_encapsulation { remote.port() } else { 0 };
        let remote = SocketAddr::new(remote.ip(), port);
        Self {
            outside,
            udp_encapsulation,
            remote,
            to: remote.into(),
            link,
        }
    }

    pub(crate) const fn ends(&self) -> OutsideEnds {
        (self.outside, self.remote.ip())
    }
}

/// How packets leave a tunnel: by which SA, and on which path.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) tunnel_path: TunnelPath,
    pub(crate) gso_limit: GsoLimit,
}

impl Egress {
    /// Nothing is known yet of what the kernel refuses to cut.
    pub(crate) fn new(outbound: Arc<Outbound>, tunnel_path: TunnelPath) -> Self {
        Self {
            outbound,
            tunnel_path,
            gso_limit: GsoLimit::default(),
        }
    }
}

/// How large the datagrams may be that the kernel is to cut from one message.
/// It refuses where a link of the path has a smaller MTU than was believed. The
/// next SA, path or policy tries anew.
#[derive(Debug, Default)]
pub(crate) struct GsoLimit(AtomicU16);

impl GsoLimit {
    /// Remembers that datagrams of this size were refused.
    pub(crate) fn refuse(&self, segment: u16) {
        let smaller = |known| (known == 0 || segment < known).then_some(segment);
        // An error means that a smaller size was refused already.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller);
    }

    /// Datagrams up to this size have not been refused, octets.
    pub(crate) fn limit(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => usize::MAX,
            refused => usize::from(refused - 1),
        }
    }
}
