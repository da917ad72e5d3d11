//! The end of the way out: packets laid one behind the other, sealed where they
//! lie, and sent with as few system calls as their order allows.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vgw_esp::{GROUP, Plain};

use crate::counters::DropReason;
use crate::mtu::{Family, outer_payload};
use crate::rate;
use crate::send::{MAX_MESSAGE, MAX_SEGMENTS, Parcel, Sender};
use crate::sockets::OutsideSockets;
use crate::tables::Egress;
use crate::worker::{Shared, Worker};

/// How long a full outside socket may hold up the worker, milliseconds.
const SEND_PATIENCE: u16 = 100;
/// Octets of buffer: a super-packet of 64 KiB whose segments are small grows
/// several times over, and another is read before the first is sent.
const BUFFER: usize = 512 << 10;
/// From here on the burst is sent, so that the peer can work on it meanwhile.
const ENOUGH_OCTETS: usize = 56 << 10;
/// The same, packets.
const ENOUGH_PACKETS: usize = 128;
/// Packets that the lists have room for from the start.
const PACKETS: usize = 1024;

/// Consecutive packets that leave by one SA with one traffic class.
struct Run {
    /// Kept, so that a change of the tables does not matter to what is laid out.
    egress: Arc<Egress>,
    traffic_class: u8,
    packets: Range<usize>,
    /// Up to here they are sealed.
    sealed: usize,
}

/// Consecutive sealed packets of one run that one message carries.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    run: usize,
    packets: Range<usize>,
    octets: Range<usize>,
    /// Octets of each packet but the last, if there are several.
    segment: Option<u16>,
}

/// What waits to be sealed and sent, by one worker.
pub(crate) struct Transmit<'a> {
    shared: &'a Shared,
    /// The worker's number, which says by which socket it sends.
    number: usize,
    worker: &'a Worker,
    buffer: Box<[u8]>,
    used: usize,
    packets: Vec<Plain>,
    runs: Vec<Run>,
    batches: Vec<Batch>,
    sender: Sender,
}

impl<'a> Transmit<'a> {
    pub(crate) fn new(shared: &'a Shared, number: usize, worker: &'a Worker) -> Self {
        Self {
            shared,
            number,
            worker,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            used: 0,
            packets: Vec::with_capacity(PACKETS),
            runs: Vec::with_capacity(PACKETS),
            batches: Vec::with_capacity(PACKETS),
            sender: Sender::new(),
        }
    }

    /// Whether enough waits to be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.used >= ENOUGH_OCTETS || self.packets.len() >= ENOUGH_PACKETS
    }

    /// Whether there is room for an inner packet of `len` octets before what
    /// waits is flushed.
    pub(crate) fn fits(&self, egress: &Egress, len: usize) -> bool {
        self.packets.len() < PACKETS
            && self.used + egress.outbound.sa.sealed_len(len) <= self.buffer.len()
    }

    /// Lays out an inner packet of `len` octets, which `write` writes, to leave by
    /// `egress`. None, and nothing laid out, if it does not fit or `write` fails.
    pub(crate) fn push(
        &mut self,
        egress: &Arc<Egress>,
        traffic_class: u8,
        next_header: u8,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<()> {
        if !self.fits(egress, len) {
            return None;
        }
        let layout = egress.outbound.sa.layout();
        let at = self.used;
        let start = at + layout.header_len;
        write(self.buffer.get_mut(start..start + len)?)?;
        let number = self.packets.len();
        let same = |run: &Run| {
            Arc::ptr_eq(&run.egress, egress)
                && run.traffic_class == traffic_class
                && run.packets.end == number
        };
        match self.runs.last_mut() {
            Some(run) if same(run) => run.packets.end = number + 1,
            _ => self.runs.push(Run {
                egress: Arc::clone(egress),
                traffic_class,
                packets: number..number + 1,
                sealed: number,
            }),
        }
        self.packets.push(Plain {
            at,
            inner_len: len,
            next_header,
        });
        self.used = at + layout.sealed_len(len);
        // While they are in a first-level cache since they were written.
        if let Some(run) = self.runs.last_mut()
            && run.packets.end - run.sealed == GROUP
        {
            seal(self.worker, &mut self.buffer, &self.packets, run);
        }
        Some(())
    }

    /// Seals what is not sealed yet and sends everything, in order.
    pub(crate) fn flush(&mut self) {
        if self.packets.is_empty() {
            return;
        }
        self.batches.clear();
        for (number, run) in self.runs.iter_mut().enumerate() {
            seal(self.worker, &mut self.buffer, &self.packets, run);
            let packets = self.packets.get(run.packets.clone()).unwrap_or_default();
            let sealed = packets.iter().map(|packet| {
                let len = run.egress.outbound.sa.sealed_len(packet.inner_len);
                packet.at..packet.at + len
            });
            let limit = segment_limit(self.shared, &run.egress);
            batch(number, run.packets.start, sealed, limit, &mut self.batches);
        }
        self.send();
        self.used = 0;
        self.packets.clear();
        self.runs.clear();
    }

    /// Sends the batches, those of one socket together.
    fn send(&mut self) {
        let batches = std::mem::take(&mut self.batches);
        let mut rest = batches.as_slice();
        while let Some(way_out) = rest.first().map(|first| self.way_out(first)) {
            let same = rest
                .iter()
                .take_while(|batch| self.way_out(batch) == way_out)
                .count();
            let (now, later) = rest.split_at_checked(same).unwrap_or((rest, &[]));
            if let Some((outside, udp)) = way_out {
                self.send_by(outside, udp, now);
            }
            rest = later;
        }
        self.batches = batches;
    }

    /// The outside address that a batch leaves from, and whether in UDP.
    fn way_out(&self, batch: &Batch) -> Option<(&'a OutsideSockets, bool)> {
        let route = &self.runs.get(batch.run)?.egress.lane.route;
        let outside = self.shared.outside.get(route.outside)?;
        Some((outside, route.udp_encapsulation))
    }

    /// Sends batches of one socket and counts what went.
    fn send_by(&mut self, outside: &OutsideSockets, udp: bool, batches: &[Batch]) {
        let socket = if udp {
            outside.natt(self.number)
        } else {
            outside.esp(self.number)
        };
        let mut rest = batches;
        let mut waited = false;
        while let Some((first, others)) = rest.split_first() {
            let (runs, buffer) = (&self.runs, &self.buffer);
            let parcels = rest.iter().map_while(|batch| parcel(runs, buffer, batch));
            match self.sender.send(socket.as_fd(), parcels) {
                Ok(sent) => {
                    let (gone, left) = rest.split_at_checked(sent).unwrap_or((rest, &[]));
                    for batch in gone {
                        self.count(batch);
                    }
                    rest = left;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if !waited => {
                    waited = true;
                    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    // If it fails, the next attempt to send says why.
                    let _ = poll(&mut fds, PollTimeout::from(SEND_PATIENCE));
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    let packets = rest.iter().map(|batch| batch.packets.len()).sum();
                    self.worker.drops.add(DropReason::SendFull, packets);
                    return;
                }
                Err(errno) if first.segment.is_some() => {
                    if errno == Errno::EIO {
                        outside.refuse_gso();
                    }
                    let singles = singles(first);
                    self.send_by(outside, udp, &singles);
                    rest = others;
                }
                Err(errno) => {
                    let reason = match errno {
                        Errno::EMSGSIZE => DropReason::TooBig,
                        _ => DropReason::SendFailed,
                    };
                    self.worker.drops.add(reason, first.packets.len());
                    rest = others;
                }
            }
        }
    }

    fn count(&self, batch: &Batch) {
        let (Some(run), Some(packets)) = (
            self.runs.get(batch.run),
            self.packets.get(batch.packets.clone()),
        ) else {
            return;
        };
        let octets = packets.iter().map(|packet| packet.inner_len).sum();
        let outbound = &run.egress.outbound;
        outbound.child.outbound.add(packets.len(), octets);
        outbound.tunnel_traffic.outbound.add(packets.len(), octets);
    }
}

/// Seals what is left of a run. Packets that cannot be sealed are counted, and
/// are then no part of the run.
fn seal(worker: &Worker, buffer: &mut [u8], packets: &[Plain], run: &mut Run) {
    let unsealed = run.sealed..run.packets.end;
    let packets = packets.get(unsealed.clone()).unwrap_or_default();
    match seal_packets(buffer, packets, &run.egress) {
        Ok(()) => run.sealed = unsealed.end,
        Err(reason) => {
            worker.drops.add(reason, packets.len());
            run.packets.end = unsealed.start;
        }
    }
}

fn seal_packets(buffer: &mut [u8], packets: &[Plain], egress: &Egress) -> Result<(), DropReason> {
    if packets.is_empty() {
        return Ok(());
    }
    if let Some(limit) = &egress.lane.policy.limit_out {
        let octets = packets.iter().map(|packet| packet.inner_len).sum();
        if !limit.admit(rate::now(), octets) {
            return Err(DropReason::OverRate);
        }
    }
    let sa = &egress.outbound.sa;
    let count = u32::try_from(packets.len()).map_err(|_| DropReason::SealFailed)?;
    let first = sa
        .reserve(count)
        .map_err(|_| DropReason::SequenceExhausted)?;
    sa.seal_burst(first, buffer, packets)
        .map_err(|_| DropReason::SealFailed)
}

/// A batch as batches of one packet, which every kernel and device takes.
/// Allocates: it happens where the kernel knows less than was believed.
fn singles(batch: &Batch) -> Vec<Batch> {
    let size = batch.segment.map_or(batch.octets.len(), usize::from);
    batch
        .packets
        .clone()
        .zip(batch.octets.clone().step_by(size.max(1)))
        .map(|(number, start)| Batch {
            run: batch.run,
            packets: number..number + 1,
            octets: start..batch.octets.end.min(start + size),
            segment: None,
        })
        .collect()
}

fn parcel<'p>(runs: &'p [Run], buffer: &'p [u8], batch: &Batch) -> Option<Parcel<'p>> {
    let run = runs.get(batch.run)?;
    Some(Parcel {
        octets: buffer.get(batch.octets.clone())?,
        to: &run.egress.lane.route.to,
        segment: batch.segment,
        traffic_class: run.traffic_class,
    })
}

/// The longest datagram of which the kernel may cut several from one message:
/// none that the path would fragment.
fn segment_limit(shared: &Shared, egress: &Egress) -> usize {
    let lane = &egress.lane;
    let gso = shared
        .outside
        .get(lane.route.outside)
        .is_some_and(|outside| outside.features().udp_gso);
    if !gso || !lane.route.udp_encapsulation {
        return 0;
    }
    let family = Family::of(lane.route.remote.ip());
    outer_payload(true, family, usize::from(lane.policy.settings.link_mtu))
}

/// Puts the sealed packets of a run, which lie one behind the other and are
/// numbered from `first`, into as few batches as may be: all packets of a
/// batch have one length but the last, which may be shorter.
fn batch(
    run: usize,
    first: usize,
    sealed: impl Iterator<Item = Range<usize>>,
    segment_limit: usize,
    batches: &mut Vec<Batch>,
) {
    let mut open = false;
    for (number, octets) in (first..).zip(sealed) {
        if let Some(last) = batches.last_mut().filter(|_| open) {
            let size = match last.segment {
                Some(size) => usize::from(size),
                None => last.octets.len(),
            };
            if octets.len() <= size
                && size <= segment_limit
                && last.packets.len() < MAX_SEGMENTS
                && octets.end - last.octets.start <= MAX_MESSAGE
                && let Ok(segment) = u16::try_from(size)
            {
                last.segment = Some(segment);
                open = octets.len() == size;
                last.octets.end = octets.end;
                last.packets.end = number + 1;
                continue;
            }
        }
        batches.push(Batch {
            run,
            packets: number..number + 1,
            octets,
            segment: None,
        });
        open = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, MAX_MESSAGE, MAX_SEGMENTS, batch};

    /// Packets of a batch and its segment size.
    fn batches(lens: &[usize], segment_limit: usize) -> Vec<(usize, Option<u16>)> {
        let mut at = 0;
        let sealed = lens.iter().map(|len| {
            at += len;
            at - len..at
        });
        let mut batches = Vec::new();
        batch(0, 0, sealed, segment_limit, &mut batches);
        let mut end = (0, 0);
        for Batch {
            packets, octets, ..
        } in &batches
        {
            assert_eq!((packets.start, octets.start), end, "nothing is left out");
            end = (packets.end, octets.end);
        }
        assert_eq!(end, (lens.len(), lens.iter().sum()));
        batches
            .iter()
            .map(|batch| (batch.packets.len(), batch.segment))
            .collect()
    }

    #[test]
    fn packets_of_one_length_go_together_and_a_shorter_one_ends_them() {
        assert_eq!(
            batches(&[100, 100, 60, 100, 100, 120, 120], 1472),
            [(3, Some(100)), (2, Some(100)), (2, Some(120))]
        );
        assert_eq!(batches(&[60, 100], 1472), [(1, None), (1, None)]);
    }

    #[test]
    fn a_batch_has_no_more_packets_and_octets_than_the_kernel_takes() {
        assert_eq!(
            batches(&[10; MAX_SEGMENTS + 1], 1472),
            [(MAX_SEGMENTS, Some(10)), (1, None)]
        );
        let most = MAX_MESSAGE / 1456;
        assert_eq!(
            batches(&vec![1456; most + 2], 1472),
            [(most, Some(1456)), (2, Some(1456))]
        );
    }

    #[test]
    fn a_packet_that_the_path_would_fragment_goes_alone() {
        assert_eq!(batches(&[1500, 1500], 1472), [(1, None), (1, None)]);
        assert_eq!(batches(&[100, 100], 0), [(1, None), (1, None)]);
    }
}
