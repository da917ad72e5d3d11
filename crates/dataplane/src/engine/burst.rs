//! Packets laid out one behind the other, sealed where they lie.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use vgw_esp::{GROUP, Plain};

use crate::io::send::{MAX_MESSAGE, MAX_SEGMENTS, Parcel};
use crate::tables::Egress;
use crate::tables::counters::{DropReason, Drops};
use crate::tables::rate;

/// Bytes of buffer: a super-packet of 64 KiB with small segments grows several
/// times over, and another is read before the first is sent.
const BUFFER: usize = 512 << 10;
/// Packets that a burst has room for.
pub(crate) const PACKETS: usize = 1024;

/// Consecutive packets that leave by one SA with one traffic class.
struct Run {
    /// Kept, so that a change of the tables does not affect packets already laid out.
    egress: Arc<Egress>,
    traffic_class: u8,
    packets: Range<usize>,
    /// Where its sealed packets end.
    sealed: usize,
}

/// Consecutive sealed packets of one run that one message carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    run: usize,
    packets: Range<usize>,
    octets: Range<usize>,
    /// Octets of each packet but the last, if there are several.
    segment: Option<u16>,
}

/// A buffer and the packets in it. It belongs to one worker, which may hand it over
/// to another to be sealed and sent. Each run has joined its tunnel's lease.
pub(crate) struct Burst {
    /// The worker whose buffer it is.
    pub(crate) home: usize,
    /// The worker that it was handed over to last.
    pub(crate) owner: usize,
    buffer: Box<[u8]>,
    used: usize,
    packets: Vec<Plain>,
    runs: Vec<Run>,
}

impl Burst {
    /// An empty buffer. Pages of it that are never written are not resident.
    pub(crate) fn new(home: usize) -> Self {
        Self {
            home,
            owner: home,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            used: 0,
            packets: Vec::with_capacity(PACKETS),
            runs: Vec::with_capacity(PACKETS),
        }
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn egress(&self, run: usize) -> Option<&Arc<Egress>> {
        Some(&self.runs.get(run)?.egress)
    }

    /// Whether there is room for a packet that has this length once sealed, if
    /// need be in a run of its own.
    pub(crate) fn has_room(&self, sealed_len: usize) -> bool {
        self.packets.len() < self.packets.capacity()
            && self.runs.len() < self.runs.capacity()
            && self.used + sealed_len <= self.buffer.len()
    }

    /// Whether a packet with this egress and traffic class belongs to the last run.
    pub(crate) fn continues(&self, egress: &Arc<Egress>, traffic_class: u8) -> bool {
        self.runs.last().is_some_and(|run| {
            Arc::ptr_eq(&run.egress, egress)
                && run.traffic_class == traffic_class
                && run.packets.end == self.packets.len()
        })
    }

    /// Begins a run. The caller has joined its tunnel's lease for it.
    pub(crate) fn begin(&mut self, egress: &Arc<Egress>, traffic_class: u8) {
        let next = self.packets.len();
        self.runs.push(Run {
            egress: Arc::clone(egress),
            traffic_class,
            packets: next..next,
            sealed: next,
        });
    }

    /// Lays out an inner packet of `len` octets, which `write` writes, in the run
    /// begun last. None, and nothing laid out, if `write` fails or there is no room.
    pub(crate) fn push(
        &mut self,
        next_header: u8,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<()> {
        let run = self.runs.last_mut()?;
        let layout = run.egress.outbound.sa.layout();
        let at = self.used;
        let start = at + layout.header_len;
        write(self.buffer.get_mut(start..start + len)?)?;
        self.packets.push(Plain {
            at,
            inner_len: len,
            next_header,
        });
        run.packets.end = self.packets.len();
        self.used = at + layout.sealed_len(len);
        Some(())
    }

    /// Seals the last packets as soon as there are enough to be worked on
    /// together, while they are still in a first-level cache.
    pub(crate) fn seal_group(&mut self, drops: &Drops) {
        let waiting = |run: &Run| run.packets.end - run.sealed;
        if self.runs.last().is_some_and(|run| waiting(run) == GROUP) {
            self.seal(self.runs.len() - 1, drops);
        }
    }

    /// Seals the rest of a run. Packets that cannot be sealed are counted and
    /// leave the run.
    pub(crate) fn seal(&mut self, run: usize, drops: &Drops) {
        let Some(run) = self.runs.get_mut(run) else {
            return;
        };
        let unsealed = run.sealed..run.packets.end;
        let packets = self.packets.get(unsealed.clone()).unwrap_or_default();
        match seal_packets(&mut self.buffer, packets, &run.egress, rate::now) {
            Ok(()) => run.sealed = unsealed.end,
            Err(reason) => {
                drops.add(reason, packets.len());
                run.packets.end = unsealed.start;
            }
        }
    }

    /// Appends the sealed packets of a run in as few batches as possible. Packets
    /// longer than `segment_limit` get a batch each: the kernel would not cut them.
    pub(crate) fn batch(&self, run: usize, segment_limit: usize, batches: &mut Vec<Batch>) {
        let Some(of_run) = self.runs.get(run) else {
            return;
        };
        let packets = self.packets.get(of_run.packets.clone()).unwrap_or_default();
        let sealed = packets.iter().map(|packet| {
            let len = of_run.egress.outbound.sa.sealed_len(packet.inner_len);
            packet.at..packet.at + len
        });
        join(run, of_run.packets.start, sealed, segment_limit, batches);
    }

    /// A batch as the socket takes it.
    pub(crate) fn parcel(&self, batch: &Batch) -> Option<Parcel<'_>> {
        let run = self.runs.get(batch.run)?;
        Some(Parcel {
            octets: self.buffer.get(batch.octets.clone())?,
            to: &run.egress.tunnel_path.path.to,
            segment: batch.segment,
            traffic_class: run.traffic_class,
        })
    }

    /// Counts the packets of a sent batch for their SA and their tunnel.
    pub(crate) fn count(&self, batch: &Batch) {
        let (Some(run), Some(packets)) = (
            self.runs.get(batch.run),
            self.packets.get(batch.packets.clone()),
        ) else {
            return;
        };
        let octets = packets.iter().map(|packet| packet.inner_len).sum();
        run.egress.outbound.count(packets.len(), octets);
    }

    /// Empties the burst, whose packets were sent or dropped.
    pub(crate) fn clear(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let now = rate::millis();
        for run in &self.runs {
            run.egress.outbound.lease.finish(now);
        }
        self.runs.clear();
        self.packets.clear();
        self.used = 0;
    }
}

/// A tunnel must not wait for a burst that is gone with its worker.
impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burst")
            .field("home", &self.home)
            .field("packets", &self.packets.len())
            .finish_non_exhaustive()
    }
}

/// Seals packets of one SA where they lie, or none of them. `now` is called,
/// for nanoseconds, only where the tunnel's rate is limited.
pub(crate) fn seal_packets(
    buffer: &mut [u8],
    packets: &[Plain],
    egress: &Egress,
    now: impl FnOnce() -> u64,
) -> Result<(), DropReason> {
    if packets.is_empty() {
        return Ok(());
    }
    if let Some(limit) = &egress.tunnel_path.policy.limit_out {
        let octets = packets.iter().map(|packet| packet.inner_len).sum();
        if !limit.admit(now(), octets) {
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

impl Batch {
    pub(crate) fn run(&self) -> usize {
        self.run
    }

    pub(crate) fn packets(&self) -> usize {
        self.packets.len()
    }

    pub(crate) fn segment(&self) -> Option<u16> {
        self.segment
    }

    /// Splits it into batches of one packet, which every kernel and device takes.
    pub(crate) fn singles(&self) -> impl Iterator<Item = Self> {
        let size = self.segment.map_or(self.octets.len(), usize::from);
        let (run, end) = (self.run, self.octets.end);
        self.packets
            .clone()
            .zip(self.octets.clone().step_by(size.max(1)))
            .map(move |(number, start)| Self {
                run,
                packets: number..number + 1,
                octets: start..end.min(start + size),
                segment: None,
            })
    }
}

/// Puts the sealed packets of a run, which lie one behind the other and are
/// numbered from `first`, into as few batches as possible: all packets of a
/// batch have one length but the last, which may be shorter.
fn join(
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
    use super::{Batch, MAX_MESSAGE, MAX_SEGMENTS, join};

    /// Packets of a batch and its segment size.
    fn batches(lens: &[usize], segment_limit: usize) -> Vec<(usize, Option<u16>)> {
        let mut at = 0;
        let sealed = lens.iter().map(|len| {
            at += len;
            at - len..at
        });
        let mut batches = Vec::new();
        join(0, 0, sealed, segment_limit, &mut batches);
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

    #[test]
    fn a_batch_that_is_taken_apart_has_its_packets_where_they_lie() {
        let batch = Batch {
            run: 3,
            packets: 10..13,
            octets: 100..350,
            segment: Some(100),
        };
        let singles: Vec<_> = batch
            .singles()
            .map(|single| (single.run, single.packets, single.octets, single.segment))
            .collect();
        let expected = [
            (3, 10..11, 100..200, None),
            (3, 11..12, 200..300, None),
            (3, 12..13, 300..350, None),
        ];
        assert_eq!(singles, expected);
    }
}
