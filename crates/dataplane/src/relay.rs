//! From tunnel to tunnel: what came out of one goes into another without
//! touching the TUN device.

use crate::counters::DropReason;
use crate::forward::{Departure, Stopped, pass_on};
use crate::icmp::{ANSWERS, MAX_ANSWER, time_exceeded, too_big};
use crate::inner::InnerPacket;
use crate::tables::Tables;
use crate::transmit::Transmit;
use crate::worker::{Shared, Worker};

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
        from: u32,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        match pass_on(tables, from, octets) {
            Ok(departure) => copy_to(&mut self.transmit, &departure, octets),
            Err(stopped) => {
                match stopped {
                    Stopped::TooBig(limit) => {
                        self.send_answer(tables, |answer| too_big(octets, limit, answer));
                    }
                    Stopped::HopLimit => {
                        self.send_answer(tables, |answer| time_exceeded(octets, answer));
                    }
                    Stopped::Dropped(_) => {}
                }
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
        let Ok(egress) = tables.way_out(&packet) else {
            return;
        };
        let departure = Departure {
            egress,
            next_header: packet.next_header(),
            traffic_class: 0,
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
