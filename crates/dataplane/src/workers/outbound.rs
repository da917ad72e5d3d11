//! The worker from inside to outside.

use std::io::IoSlice;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::engine::forward::{Departure, NotForwarded, forward_outbound};
use crate::packet::icmp::{ANSWERS, MAX_ANSWER};
use crate::packet::vnet::{VNET_HEADER_LEN, VnetHeader};
use crate::tables::counters::DropReason;
use crate::tables::{TableCache, Tables};
use crate::workers::transmit::Transmit;
use crate::workers::worker::{Shared, Worker};

/// Octets of the largest packet or super-packet of the TUN device.
const LARGEST: usize = 1 << 16;

/// Everything that a burst needs, allocated once.
struct OutboundWorker<'a> {
    shared: &'a Shared,
    number: usize,
    worker: &'a Worker,
    header: [u8; VNET_HEADER_LEN],
    packet: Box<[u8]>,
    answer: [u8; MAX_ANSWER],
    answers_left: usize,
    transmit: Transmit<'a>,
}

/// Runs until told to stop; an error says why it cannot go on.
pub(crate) fn run(shared: &Shared, number: usize, worker: &Worker) -> Result<(), String> {
    let mut tables = TableCache::new(&shared.engine.tables);
    let mut outbound = OutboundWorker {
        shared,
        number,
        worker,
        header: [0; VNET_HEADER_LEN],
        packet: vec![0; LARGEST].into_boxed_slice(),
        answer: [0; MAX_ANSWER],
        answers_left: 0,
        transmit: Transmit::new(shared, number, worker, true),
    };
    while !shared.stopping() {
        outbound.transmit.serve();
        let drained = outbound
            .fill(&mut tables)
            .map_err(|errno| tun_failed(shared, errno))?;
        outbound.transmit.flush();
        if drained && outbound.transmit.may_sleep() {
            wait(shared, number, worker)?;
        }
    }
    Ok(())
}

/// Waits for a packet or to be woken.
fn wait(shared: &Shared, number: usize, worker: &Worker) -> Result<(), String> {
    let mut fds = [
        PollFd::new(shared.tun.reader(number), PollFlags::POLLIN),
        PollFd::new(worker.wake.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(format!("poll: {errno}")),
    }
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    let [tun, wake] = &fds;
    if tun.revents().is_some_and(|events| events.intersects(gone)) {
        return Err(tun_failed(shared, Errno::EBADFD));
    }
    if wake.any().unwrap_or_default() {
        worker.clear_wake();
    }
    Ok(())
}

fn tun_failed(shared: &Shared, errno: Errno) -> String {
    let name = shared.tun.name();
    if errno == Errno::EBADFD {
        format!("TUN device {name} is gone")
    } else {
        format!("reading TUN device {name}: {errno}")
    }
}

impl OutboundWorker<'_> {
    /// Reads until there is enough to send, and lays it out. Returns whether
    /// the device has nothing more.
    fn fill(&mut self, tables: &mut TableCache<'_>) -> Result<bool, Errno> {
        self.answers_left = ANSWERS;
        while !self.transmit.is_full() {
            let read = self
                .shared
                .tun
                .read(self.number, &mut self.header, &mut self.packet);
            // After the read, so that what was changed before the packet came counts
            // for it; and also if none came, so that old tables are let go of. While
            // nothing changes this compares a pointer.
            let tables = tables.load();
            let len = match read {
                Ok(len) => len,
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
            if let Err(reason) = self.take(tables, len) {
                let header = VnetHeader::from_octets(self.header);
                self.worker.drops.add(reason, header.packets(len));
            }
        }
        Ok(false)
    }

    /// Finds the egress for what was read, once for all its segments, and lays
    /// them out to be sealed.
    fn take(&mut self, tables: &Tables, len: usize) -> Result<(), DropReason> {
        let packet = self.packet.get_mut(..len).unwrap_or_default();
        let header = VnetHeader::from_octets(self.header);
        let (gateway, tun_mtu) = (self.shared.gateway, self.shared.tun.mtu());
        let leaves = forward_outbound(tables, gateway, header, packet, tun_mtu);
        let (departure, segments) = match leaves {
            Ok(leaves) => leaves,
            Err(stopped) => {
                self.send_answer(stopped, len);
                return Err(stopped.reason());
            }
        };
        let Departure {
            egress,
            next_header,
            traffic_class,
        } = departure;
        for index in 0..segments.count() {
            let last = index + 1 == segments.count();
            let len = if last {
                segments.last_len()
            } else {
                segments.segment_len()
            };
            let laid_out = self
                .transmit
                .push(egress, traffic_class, next_header, len, |room| {
                    segments.write(index, room)
                });
            if let Err(reason) = laid_out {
                // The segments before it are laid out already.
                self.worker.drops.add(reason, segments.count() - index);
                break;
            }
        }
        Ok(())
    }

    /// Tells the sender of the packet, of `len` octets, why it goes no further.
    fn send_answer(&mut self, stopped: NotForwarded, len: usize) {
        let packet = self.packet.get(..len).unwrap_or_default();
        if self.answers_left > 0
            && let Some(len) = stopped.answer(packet, &mut self.answer)
        {
            self.answers_left -= 1;
            let answer = self.answer.get(..len).unwrap_or_default();
            let parts = [IoSlice::new(&[0; VNET_HEADER_LEN]), IoSlice::new(answer)];
            // The sender tries again, and is told again.
            let _ = self.shared.tun.write(self.number, &parts);
        }
    }
}
