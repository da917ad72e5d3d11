//! Forwarding decisions, made without a device. The workers make them for each
//! packet of a burst, [`crate::engine`] for one packet at a time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use vgw_sa::{GatewayId, Inside, TunnelId};

use crate::offload::segment::Segments;
use crate::packet::ecn::{decapsulate, outer_traffic_class};
use crate::packet::hop::decrement_hops;
use crate::packet::icmp::{time_exceeded, too_big};
use crate::packet::inner::InnerPacket;
use crate::packet::mss::clamp_mss;
use crate::packet::vnet::{NEEDS_CSUM, VnetHeader};
use crate::tables::counters::DropReason;
use crate::tables::{DestinationOwner, Egress, Slot, Tables};

/// How a packet leaves.
pub(crate) struct Departure<'t> {
    pub(crate) egress: &'t Arc<Egress>,
    /// ESP's Next Header.
    pub(crate) next_header: u8,
    /// DSCP and ECN of the outer header.
    pub(crate) traffic_class: u8,
}

/// Why a packet does not leave, and what its sender is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotForwarded {
    /// The sender is told nothing.
    Dropped(DropReason),
    /// Too large: the sender is told that this many octets fit.
    TooBig(usize),
    /// Its hops are used up.
    HopLimit,
}

impl From<DropReason> for NotForwarded {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

impl NotForwarded {
    /// Writes the ICMP answer to the sender of the packet, if there is to be
    /// one. Returns its length.
    pub(crate) fn answer(self, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        match self {
            Self::TooBig(limit) => too_big(packet, limit, out),
            Self::HopLimit => time_exceeded(packet, out),
            Self::Dropped(_) => None,
        }
    }

    pub(crate) const fn reason(self) -> DropReason {
        match self {
            Self::Dropped(reason) => reason,
            Self::TooBig(_) => DropReason::TooBig,
            Self::HopLimit => DropReason::HopLimit,
        }
    }
}

/// Finds the SA for a packet from inside a gateway, or once for many segments of a flow,
/// and clamps the MSS of a SYN to what fits there and into `tun_mtu`.
pub(crate) fn forward_outbound<'t, 'p>(
    tables: &'t Tables,
    gateway: GatewayId,
    header: VnetHeader,
    packet: &'p mut [u8],
    tun_mtu: usize,
) -> Result<(Departure<'t>, Segments<'p>), NotForwarded> {
    let inner = InnerPacket::parse(packet).map_err(|_| DropReason::Malformed)?;
    let next_header = inner.next_header();
    let egress = tables.egress_for(gateway, &inner)?;
    let mtu = egress.tunnel_path.mtu.min(tun_mtu);
    clamp_mss(packet, mtu, header.flags & NEEDS_CSUM != 0);
    let segments = Segments::new(header, packet).map_err(|_| DropReason::Malformed)?;
    let len = segments.segment_len();
    let departure = depart(egress, next_header, segments.packet(), len)?;
    Ok((departure, segments))
}

/// Finds the SA for a packet that came out of the tunnel `from`, was admitted
/// and is for another site. Counts the hop, as a router does.
pub(crate) fn forward_to_site<'t>(
    tables: &'t Tables,
    from: TunnelId,
    octets: &mut [u8],
) -> Result<Departure<'t>, NotForwarded> {
    let packet = InnerPacket::parse(octets).map_err(|_| DropReason::Malformed)?;
    let next_header = packet.next_header();
    let egress = tables.egress_for(from.gateway, &packet);
    let egress = egress.map_err(|reason| match reason {
        DropReason::NoRoute | DropReason::LinkLocal => DropReason::UnknownDestination,
        other => other,
    })?;
    // Back into the tunnel it came from: the peer's routes are wrong.
    if egress.outbound.tunnel == from {
        return Err(DropReason::UnknownDestination.into());
    }
    if !decrement_hops(octets) {
        return Err(NotForwarded::HopLimit);
    }
    clamp_mss(octets, egress.tunnel_path.mtu, false);
    depart(egress, next_header, octets, octets.len())
}

/// Finds the SA for an ICMP answer to the sender of a packet that came out of the
/// tunnel `from`: one of the tunnel that leads to that sender.
pub(crate) fn forward_answer<'t>(
    tables: &'t Tables,
    from: TunnelId,
    answer: &[u8],
) -> Option<Departure<'t>> {
    let packet = InnerPacket::parse(answer).ok()?;
    let egress = tables.egress_for(from.gateway, &packet).ok()?;
    Some(Departure {
        egress,
        next_header: packet.next_header(),
        traffic_class: 0,
    })
}

/// The departure of packets with this header and at most `len` octets, unless
/// they are too big.
fn depart<'t>(
    egress: &'t Arc<Egress>,
    next_header: u8,
    packet: &[u8],
    len: usize,
) -> Result<Departure<'t>, NotForwarded> {
    if let Some(limit) = egress.tunnel_path.size_limit(packet)
        && len > limit
    {
        return Err(NotForwarded::TooBig(limit));
    }
    let copy_dscp = egress.tunnel_path.policy.asked.copy_dscp;
    Ok(Departure {
        egress,
        next_header,
        traffic_class: outer_traffic_class(packet, copy_dscp),
    })
}

/// The last look-ups under the same tables: most often the next packet needs
/// them too.
#[derive(Debug, Default)]
pub(crate) struct RecentLookups {
    /// The last destination that was found behind us.
    behind: Option<Inside<IpAddr>>,
    /// The last source that was found routed, and to which tunnel.
    source: Option<(IpAddr, TunnelId)>,
}

/// A decrypted packet that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Its length, without the padding that may follow it.
    pub(crate) len: usize,
    /// It is for us, and not for another site.
    pub(crate) local: bool,
}

/// Checks a decrypted packet (RFC 4301 section 5.2), and copies ECN from its outer header
/// (RFC 6040). Answers to a local one come through the TUN device, whose MTU is `tun_mtu`.
pub(crate) fn admit(
    tables: &Tables,
    slot: &Slot,
    traffic_class: u8,
    octets: &mut [u8],
    tun_mtu: usize,
    recent: &mut RecentLookups,
) -> Result<Admitted, DropReason> {
    let packet = InnerPacket::parse(octets).map_err(|_| DropReason::Malformed)?;
    slot.inbound.selectors.admit_inbound(&packet)?;
    let tunnel = slot.inbound.tunnel;
    let gateway = tables.gateway(tunnel.gateway);
    let gateway = gateway.ok_or(DropReason::UnknownDestination)?;
    if slot.tunnel_path.policy.asked.source_check {
        let source = (packet.source(), tunnel);
        if recent.source != Some(source) {
            if !gateway.is_routed_to(source.0, source.1) {
                return Err(DropReason::SourceNotRouted);
            }
            recent.source = Some(source);
        }
    }
    let len = packet.octets().len();
    let destination = tunnel.gateway.inside(packet.destination());
    let owner = match recent.behind {
        Some(known) if known == destination => DestinationOwner::BehindUs,
        _ => gateway.owner_of(destination.at),
    };
    match owner {
        DestinationOwner::BehindUs => recent.behind = Some(destination),
        DestinationOwner::Host if gateway.host_admits(tunnel, &packet) => {}
        DestinationOwner::Host => return Err(DropReason::HostClosed),
        // RFC 3927 section 7: link-local addresses, such as the inside
        // addresses, are for their own link.
        DestinationOwner::Elsewhere
            if !gateway.site_to_site()
                || is_link_local(destination.at)
                || is_link_local(packet.source()) =>
        {
            return Err(DropReason::UnknownDestination);
        }
        DestinationOwner::Elsewhere => {}
    }
    let local = owner != DestinationOwner::Elsewhere;
    let octets = octets.get_mut(..len).unwrap_or_default();
    decapsulate(traffic_class, octets).map_err(|_| DropReason::Congested)?;
    let answers = if local { tun_mtu } else { usize::MAX };
    clamp_mss(octets, slot.tunnel_path.mtu.min(answers), false);
    Ok(Admitted { len, local })
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether this authentic packet is newer than any before on its SA and came by
/// another path than the SA's. A packet in the other encapsulation does not
/// count: a peer may send either (RFC 7296 section 2.23).
pub(crate) fn has_moved(
    slot: &Slot,
    sequence: u64,
    remote: SocketAddr,
    udp_encapsulation: bool,
) -> bool {
    if slot.inbound.newest.raise_to(sequence) >= sequence {
        return false;
    }
    let path = &slot.tunnel_path.path;
    let expected = if udp_encapsulation {
        remote == path.remote
    } else {
        remote.ip() == path.remote.ip()
    };
    path.udp_encapsulation == udp_encapsulation && !expected
}
