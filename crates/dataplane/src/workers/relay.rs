//! From tunnel to tunnel: packets that came out of one go into another without
//! touching the TUN device.

use vgw_sa::TunnelId;

use crate::engine::forward::{Departure, NotForwarded, forward_answer, forward_to_site};
use crate::packet::icmp::{ANSWERS, MAX_ANSWER};
use crate::tables::Tables;
use crate::tables::counters::DropReason;
use crate::workers::transmit::Transmit;
use crate::workers::worker::{Shared, Worker};

/// Forwards packets between sites, as a router does.
pub(crate) struct Relay<'a> {
    transmit: Transmit<'a>,
    answer: [u8; MAX_ANSWER],
    answers_left: usize,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(shared: &'a Shared, number: usize, worker: &'a Worker) -> Self {
        Self {
            transmit: Transmit::new(shared, number, worker, false),
            answer: [0; MAX_ANSWER],
            answers_left: ANSWERS,
        }
    }

    /// Sends on what came out of the tunnel `from` and was admitted there.
    pub(crate) fn forward(
        &mut self,
        tables: &Tables,
        from: TunnelId,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        match forward_to_site(tables, from, octets) {
            Ok(departure) => copy_to(&mut self.transmit, &departure, octets),
            Err(stopped) => {
                self.send_answer(tables, from, stopped, octets);
                Err(stopped.reason())
            }
        }
    }

    /// Sends what was forwarded.
    pub(crate) fn flush(&mut self) {
        self.transmit.flush();
        self.answers_left = ANSWERS;
    }

    /// Sends what other workers have handed over.
    pub(crate) fn serve(&mut self) {
        self.transmit.serve();
    }

    /// Whether the worker may sleep, as far as other workers know.
    pub(crate) fn may_sleep(&self) -> bool {
        self.transmit.may_sleep()
    }

    /// Tells the sender of a packet why it goes no further.
    fn send_answer(
        &mut self,
        tables: &Tables,
        from: TunnelId,
        stopped: NotForwarded,
        octets: &[u8],
    ) {
        if self.answers_left == 0 {
            return;
        }
        let len = stopped.answer(octets, &mut self.answer);
        let Some(answer) = len.and_then(|len| self.answer.get(..len)) else {
            return;
        };
        let Some(departure) = forward_answer(tables, from, answer) else {
            return;
        };
        if copy_to(&mut self.transmit, &departure, answer).is_ok() {
            self.answers_left -= 1;
        }
    }
}

fn copy_to(
    transmit: &mut Transmit<'_>,
    departure: &Departure<'_>,
    octets: &[u8],
) -> Result<(), DropReason> {
    let Departure {
        egress,
        next_header,
        traffic_class,
    } = *departure;
    transmit.push(egress, traffic_class, next_header, octets.len(), |room| {
        room.copy_from_slice(octets);
        Some(())
    })
}
