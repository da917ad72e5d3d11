//! From tunnel to tunnel: what came out of one goes into another without
//! touching the TUN device.

use crate::counters::DropReason;
use crate::ecn::outer_traffic_class;
use crate::hop::decrement_hops;
use crate::icmp::{MAX_ANSWER, time_exceeded, too_big};
use crate::inner::InnerPacket;
use crate::mss::clamp_mss;
use crate::outbound::size_limit;
use crate::tables::{Forward, Tables};

use crate::transmit::Transmit;
use crate::worker::{Shared, Worker};

/// ICMP answers that one burst may cause (RFC 1812 section 4.3.2.8).
const ANSWERS: usize = 8;

/// Forwards packets between sites, as a router does.
pub(crate) struct Relay<'a> {
    transmit: Transmit<'a>,
    answer: [u8; MAX_ANSWER],
    answers_left: usize,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(shared: &'a Shared, number: usize, worker: &'a Worker) -> Self {
        Self {
            transmit: Transmit::new(shared, number, worker),
            answer: [0; MAX_ANSWER],
            answers_left: ANSWERS,
        }
    }

    /// Sends on what came out of the tunnel `from` and was admitted there.
    pub(crate) fn forward(
        &mut self,
        tables: &Tables,
        from: u32,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        let packet = InnerPacket::parse(octets).map_err(|_| DropReason::Malformed)?;
        let next_header = packet.next_header();
        let way = match tables.forward(&packet) {
            // Back into the tunnel it came from: the peer's routes are wrong.
            Forward::By(way) if way.tunnel == from => return Err(DropReason::UnknownDestination),
            Forward::By(way) => way,
            Forward::NoRoute => return Err(DropReason::UnknownDestination),
            Forward::NoSa => return Err(DropReason::NoSa),
            Forward::OutsideSelectors => return Err(DropReason::OutsideSelectors),
        };
        let egress = tables.egress(way).ok_or(DropReason::NoSa)?;
        if !decrement_hops(octets) {
            self.send_answer(tables, |answer| time_exceeded(octets, answer));
            return Err(DropReason::HopLimit);
        }
        clamp_mss(octets, egress.lane.mtu, false);
        if let Some(limit) = size_limit(egress, octets)
            && octets.len() > limit
        {
            self.send_answer(tables, |answer| too_big(octets, limit, answer));
            return Err(DropReason::TooBig);
        }
        if !self.transmit.fits(egress, octets.len()) {
            self.transmit.flush(tables);
        }
        let class = outer_traffic_class(octets, egress.lane.policy.settings.copy_dscp);
        self.transmit
            .push((way, egress), class, next_header, octets.len(), |room| {
                room.copy_from_slice(octets);
                Some(())
            })
            .ok_or(DropReason::TooBig)
    }

    /// Sends what was forwarded.
    pub(crate) fn flush(&mut self, tables: &Tables) {
        self.transmit.flush(tables);
        self.answers_left = ANSWERS;
    }

    /// Sends an ICMP answer by the tunnel that leads to the packet's source.
    fn send_answer(&mut self, tables: &Tables, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        if self.answers_left == 0 {
            return;
        }
        let Some(answer) = write(&mut self.answer).and_then(|len| self.answer.get(..len)) else {
            return;
        };
        let Ok(packet) = InnerPacket::parse(answer) else {
            return;
        };
        let Forward::By(way) = tables.forward(&packet) else {
            return;
        };
        let Some(egress) = tables.egress(way) else {
            return;
        };
        let laid_out = self.transmit.push(
            (way, egress),
            0,
            packet.next_header(),
            answer.len(),
            |room| {
                room.copy_from_slice(answer);
                Some(())
            },
        );
        if laid_out.is_some() {
            self.answers_left -= 1;
        }
    }
}
