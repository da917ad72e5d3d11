//! One packet at a time, without devices and workers, for simulated networks.
//! The decisions are those of the workers ([`crate::engine::forward`]). Bursts,
//! leases and hand-overs are left out, as they serve several threads.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vgw_esp::Plain;
use vgw_sa::GatewayId;

use super::Engine;
use crate::engine::burst::seal_packets;
use crate::engine::forward::{
    Admitted, Departure, NotForwarded, RecentLookups, admit, forward_answer, forward_outbound,
    forward_to_site, has_moved,
};
use crate::packet::icmp::MAX_ANSWER;
use crate::packet::vnet::VnetHeader;
use crate::tables::counters::DropReason;

/// An ESP packet outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspPacket {
    /// Our address.
    pub local: IpAddr,
    /// The peer's; the port is 0 for protocol 50.
    pub remote: SocketAddr,
    /// In UDP to and from port 4500, or as protocol 50.
    pub udp_encapsulation: bool,
    /// DSCP and ECN of the outer header.
    pub traffic_class: u8,
    /// From the SPI on.
    pub octets: Vec<u8>,
}

/// A decrypted packet that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// For a host behind us: the packet that the TUN device would get.
    Inside(Vec<u8>),
    /// For another site: the packet that goes out again.
    Relayed(EspPacket),
}

/// A packet that goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped<Answer> {
    /// Why it is dropped.
    pub reason: DropReason,
    /// What its sender is told, if anything.
    pub answer: Option<Answer>,
}

impl<Answer> From<DropReason> for Dropped<Answer> {
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            answer: None,
        }
    }
}

/// `now` is the time since any fixed moment, for rate limits. No TUN device limits a packet.
impl Engine {
    /// Seals a packet from inside a gateway.
    ///
    /// # Errors
    ///
    /// Why it is dropped, and the inner packet that tells its sender.
    pub fn send(
        &self,
        gateway: GatewayId,
        now: Duration,
        packet: &mut [u8],
    ) -> Result<EspPacket, Dropped<Vec<u8>>> {
        let tables = self.tables.load();
        let header = VnetHeader::default();
        let leaves = forward_outbound(&tables, gateway, header, packet, usize::MAX);
        let (departure, segments) = match leaves {
            Ok(leaves) => leaves,
            Err(stopped) => {
                return Err(Dropped {
                    reason: stopped.reason(),
                    answer: answer(stopped, packet),
                });
            }
        };
        Ok(self.seal(now, &departure, segments.packet())?)
    }

    /// Opens a packet from outside. If it came by another path than its SA's,
    /// [`Self::take_paths`] tells.
    ///
    /// # Errors
    ///
    /// Why it is dropped, and what tells its sender.
    pub fn receive(&self, now: Duration, packet: EspPacket) -> Result<Arrival, Dropped<EspPacket>> {
        let tables = self.tables.load();
        let mut octets = packet.octets;
        let spi = octets.first_chunk().ok_or(DropReason::Malformed)?;
        let slot = tables
            .inbound(u32::from_be_bytes(*spi))
            .ok_or(DropReason::UnknownSpi)?;
        let opened = slot.inbound.sa.opener().open(&mut octets);
        let opened = opened.map_err(DropReason::from)?;
        let inner_len = opened.inner.len();
        slot.inbound.count(1, inner_len);
        if has_moved(
            slot,
            opened.sequence,
            packet.remote,
            packet.udp_encapsulation,
        ) {
            self.paths
                .note(slot.inbound.spi, opened.sequence, packet.remote);
        }
        let limit = slot.tunnel_path.policy.limit_in.as_ref();
        if limit.is_some_and(|limit| !limit.admit(nanoseconds(now), inner_len)) {
            return Err(DropReason::OverRate.into());
        }
        let inner = octets.get_mut(opened.inner).unwrap_or_default();
        let mut recent = RecentLookups::default();
        let class = packet.traffic_class;
        let Admitted { len, local } = admit(&tables, slot, class, inner, usize::MAX, &mut recent)?;
        let inner = inner.get_mut(..len).unwrap_or_default();
        if local {
            return Ok(Arrival::Inside(inner.to_vec()));
        }
        let from = slot.inbound.tunnel;
        match forward_to_site(&tables, from, inner) {
            Ok(departure) => Ok(Arrival::Relayed(self.seal(now, &departure, inner)?)),
            Err(stopped) => {
                let answer = answer(stopped, inner).and_then(|answer| {
                    let departure = forward_answer(&tables, from, &answer)?;
                    self.seal(now, &departure, &answer).ok()
                });
                Err(Dropped {
                    reason: stopped.reason(),
                    answer,
                })
            }
        }
    }

    fn seal(
        &self,
        now: Duration,
        departure: &Departure<'_>,
        inner: &[u8],
    ) -> Result<EspPacket, DropReason> {
        let egress = departure.egress;
        let layout = egress.outbound.sa.layout();
        let path = &egress.tunnel_path.path;
        let outside = self.outside.get(path.outside);
        let mut octets = vec![0; layout.sealed_len(inner.len())];
        octets
            .get_mut(layout.header_len..layout.header_len + inner.len())
            .ok_or(DropReason::SealFailed)?
            .copy_from_slice(inner);
        let plain = Plain {
            at: 0,
            inner_len: inner.len(),
            next_header: departure.next_header,
        };
        seal_packets(&mut octets, &[plain], egress, || nanoseconds(now))?;
        egress.outbound.count(1, inner.len());
        Ok(EspPacket {
            local: *outside.ok_or(DropReason::SendFailed)?,
            remote: path.remote,
            udp_encapsulation: path.udp_encapsulation,
            traffic_class: departure.traffic_class,
            octets,
        })
    }
}

/// The ICMP answer to the sender of a packet, if there is to be one.
fn answer(stopped: NotForwarded, packet: &[u8]) -> Option<Vec<u8>> {
    let mut answer = vec![0; MAX_ANSWER];
    let len = stopped.answer(packet, &mut answer)?;
    answer.truncate(len);
    Some(answer)
}

fn nanoseconds(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
