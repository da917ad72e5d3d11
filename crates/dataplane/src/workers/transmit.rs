//! The end of the outbound path: packets are laid out, sealed, and sent with as few system calls
//! as their order allows, by the worker that owns the tunnel ([`crate::tables::sender_lease`]).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vgw_sa::{Concerned, Hint, Sign};

use crate::engine::burst::{Batch, Burst, PACKETS};
use crate::io::send::{MAX_SEGMENTS, Sender};
use crate::io::sockets::OutsideSockets;
use crate::packet::mtu::{Family, outer_payload};
use crate::tables::Egress;
use crate::tables::counters::DropReason;
use crate::tables::rate;
use crate::workers::mailbox::{POOL, SHARE};
use crate::workers::worker::{Shared, Worker};

/// How long a worker that reads the TUN device waits for a full outside socket,
/// milliseconds. Meanwhile the kernel queues packets for it.
const SEND_PATIENCE: u16 = 20;
/// How long it waits for a buffer to come back, milliseconds: longer than a busy machine
/// keeps the owner of a tunnel from its CPU, as a dropped packet costs its flow more than
/// a late one. It waits in vain at most once, until a buffer comes back.
const BUFFER_PATIENCE: u32 = 100;
/// A burst of this size is sent, so that the peer can work on it meanwhile.
const ENOUGH_OCTETS: usize = 56 << 10;
/// The same, packets.
const ENOUGH_PACKETS: usize = 128;

/// What waits to be sealed and sent, by one worker or for another.
pub(crate) struct Transmit<'a> {
    /// For the tunnels that this worker owns.
    own: Burst,
    /// For the tunnels of others, by the number of the worker that owns them.
    staged: Vec<Option<Burst>>,
    /// Buffers that are staged for each worker or have been handed over to it.
    lent: Vec<usize>,
    /// Empty buffers for other workers, which the mailbox brings, also the first time.
    spare: Vec<Burst>,
    /// Bursts from other workers, to be sent.
    inbox: VecDeque<Burst>,
    /// The owner of the tunnel of the packet laid out last.
    last: usize,
    /// Laid out since the last flush, over all bursts.
    octets: usize,
    packets: usize,
    /// Whether to wait for a buffer: no wait was in vain since the last one
    /// came back.
    hopeful: bool,
    sender: BurstSender<'a>,
}

impl<'a> Transmit<'a> {
    /// What a worker sends with. `may_wait` says whether it may wait a moment rather
    /// than drop: for a full socket, or for another worker that is behind.
    pub(crate) fn new(
        shared: &'a Shared,
        number: usize,
        worker: &'a Worker,
        may_wait: bool,
    ) -> Self {
        let id = worker.id;
        let workers = shared.workers().count();
        Self {
            own: Burst::new(id),
            staged: (0..workers).map(|_| None).collect(),
            lent: vec![0; workers],
            spare: Vec::with_capacity(POOL),
            inbox: VecDeque::with_capacity(workers * SHARE),
            last: id,
            octets: 0,
            packets: 0,
            hopeful: true,
            sender: BurstSender {
                shared,
                number,
                worker,
                may_wait,
                batches: Vec::with_capacity(PACKETS),
                singles: Vec::with_capacity(MAX_SEGMENTS),
                sender: Sender::new(),
            },
        }
    }

    /// Whether enough waits to be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.octets >= ENOUGH_OCTETS || self.packets >= ENOUGH_PACKETS
    }

    /// Lays out an inner packet of `len` octets, which `write` writes, to leave by
    /// `egress`. If there is no room, what waits is sent first.
    ///
    /// # Errors
    /// Why it was not laid out.
    pub(crate) fn push(
        &mut self,
        egress: &Arc<Egress>,
        traffic_class: u8,
        next_header: u8,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Result<(), DropReason> {
        let sealed_len = egress.outbound.sa.sealed_len(len);
        let continues = self.burst(self.last).is_some_and(|burst| {
            burst.continues(egress, traffic_class) && burst.has_room(sealed_len)
        });
        if !continues {
            self.begin(egress, traffic_class, sealed_len)?;
        }
        let own = self.last == self.id();
        let burst = self.burst_mut(self.last);
        burst
            .and_then(|burst| burst.push(next_header, len, write))
            .ok_or(DropReason::Malformed)?;
        if own {
            self.own.seal_group(&self.sender.worker.drops);
        }
        self.octets += sealed_len;
        self.packets += 1;
        Ok(())
    }

    /// Begins a run with room for one packet, in the burst of the worker that owns
    /// the tunnel.
    fn begin(
        &mut self,
        egress: &Arc<Egress>,
        traffic_class: u8,
        sealed_len: usize,
    ) -> Result<(), DropReason> {
        let lease = &egress.outbound.lease;
        let owner = lease
            .join(self.id(), rate::millis())
            .ok_or(DropReason::HandoverFull)?;
        let begun = self.make_room(owner, sealed_len).and_then(|()| {
            let burst = self.burst_mut(owner).ok_or(DropReason::HandoverFull)?;
            burst.begin(egress, traffic_class);
            Ok(())
        });
        match begun {
            Ok(()) => self.last = owner,
            Err(_) => lease.finish(rate::millis()),
        }
        begun
    }

    fn make_room(&mut self, owner: usize, sealed_len: usize) -> Result<(), DropReason> {
        if self.burst(owner).is_some_and(|b| b.has_room(sealed_len)) {
            return Ok(());
        }
        if owner == self.id() {
            self.sender.send(&mut self.own);
        } else {
            self.hand_over(owner);
            let mut burst = self.take_spare(owner)?;
            burst.owner = owner;
            let (Some(staged), Some(lent)) = (self.staged.get_mut(owner), self.lent.get_mut(owner))
            else {
                return Err(DropReason::HandoverFull);
            };
            *staged = Some(burst);
            *lent += 1;
        }
        let fits = self.burst(owner).is_some_and(|b| b.has_room(sealed_len));
        fits.then_some(()).ok_or(DropReason::TooBig)
    }

    /// An empty buffer for another worker. Waits for one if the worker may wait.
    fn take_spare(&mut self, owner: usize) -> Result<Burst, DropReason> {
        if !self.may_lend(owner) {
            // Once nothing of our own is left unsent, others can be served meanwhile, so
            // two workers that wait for each other do not wait in vain.
            self.flush();
            self.serve();
        }
        let start = rate::millis();
        while !self.may_lend(owner) {
            let waited = rate::millis().wrapping_sub(start);
            let left = BUFFER_PATIENCE.saturating_sub(waited);
            let waits = self.sender.may_wait && self.hopeful && left > 0;
            if !waits || self.sender.shared.stopping() {
                self.hopeful = false;
                return Err(DropReason::HandoverFull);
            }
            let worker = self.sender.worker;
            if worker.mailbox.may_sleep(true) {
                // The sleep also ends when the tables change or all must stop: both
                // are looked at again before the worker sleeps without a limit.
                worker.sleep(Duration::from_millis(left.into()));
            }
            self.serve();
        }
        self.spare.pop().ok_or(DropReason::HandoverFull)
    }

    fn may_lend(&self, owner: usize) -> bool {
        !self.spare.is_empty() && self.lent.get(owner).is_some_and(|&lent| lent < SHARE)
    }

    /// Seals what is not sealed yet and sends everything, in order, or hands it
    /// over to the workers that send it.
    pub(crate) fn flush(&mut self) {
        self.sender.send(&mut self.own);
        self.hand_over_staged();
        self.octets = 0;
        self.packets = 0;
    }

    /// Hands over what is staged. The last buffer that an owner may have is kept and
    /// filled further until it gives one back: it could not send it earlier anyway.
    fn hand_over_staged(&mut self) {
        for owner in 0..self.staged.len() {
            if self.lent.get(owner).is_some_and(|&lent| lent < SHARE) {
                self.hand_over(owner);
            }
        }
    }

    fn hand_over(&mut self, owner: usize) {
        let staged = self.staged.get_mut(owner).and_then(Option::take);
        if let (Some(burst), Some(to)) = (staged, self.sender.shared.worker(owner))
            && to.mailbox.hand_over(burst)
        {
            to.wake();
        }
    }

    /// Sends what others have handed over, and gives them their buffers back.
    pub(crate) fn serve(&mut self) {
        // Our own first: what is already sealed there has the lower numbers.
        self.sender.send(&mut self.own);
        let worker = self.sender.worker;
        let returned = self.spare.len();
        worker.mailbox.take(&mut self.inbox, &mut self.spare);
        for burst in self.spare.iter().skip(returned) {
            self.hopeful = true;
            if let Some(lent) = self.lent.get_mut(burst.owner) {
                *lent = lent.saturating_sub(1);
            }
        }
        self.hand_over_staged();
        while let Some(mut burst) = self.inbox.pop_front() {
            self.sender.send(&mut burst);
            if let Some(home) = self.sender.shared.worker(burst.home)
                && home.mailbox.give_back(burst)
            {
                home.wake();
            }
        }
    }

    /// Whether the worker may wait for packets: others have handed nothing
    /// over, nor given back a buffer that it waits for. From then on they wake
    /// it when they do, until it serves them.
    pub(crate) fn may_sleep(&self) -> bool {
        let keeps_one = self.staged.iter().any(Option::is_some);
        self.sender.worker.mailbox.may_sleep(keeps_one)
    }

    fn id(&self) -> usize {
        self.sender.worker.id
    }

    fn burst(&self, owner: usize) -> Option<&Burst> {
        if owner == self.id() {
            Some(&self.own)
        } else {
            self.staged.get(owner)?.as_ref()
        }
    }

    fn burst_mut(&mut self, owner: usize) -> Option<&mut Burst> {
        if owner == self.id() {
            Some(&mut self.own)
        } else {
            self.staged.get_mut(owner)?.as_mut()
        }
    }
}

/// The sockets that a worker sends by, and what a call needs.
struct BurstSender<'a> {
    shared: &'a Shared,
    /// The worker's number in its direction, which says by which socket it sends.
    number: usize,
    worker: &'a Worker,
    may_wait: bool,
    batches: Vec<Batch>,
    /// The packets of one batch that the kernel refused.
    singles: Vec<Batch>,
    sender: Sender,
}

impl<'a> BurstSender<'a> {
    /// Seals what is not sealed yet in a burst, sends all of it, and empties it.
    fn send(&mut self, burst: &mut Burst) {
        if burst.runs() == 0 {
            return;
        }
        let mut batches = std::mem::take(&mut self.batches);
        batches.clear();
        for run in 0..burst.runs() {
            burst.seal(run, &self.worker.drops);
            let limit = burst
                .egress(run)
                .map_or(0, |egress| segment_limit(self.shared, egress));
            burst.batch(run, limit, &mut batches);
        }
        // Those of one socket together.
        let mut rest = batches.as_slice();
        while let Some(way_out) = rest.first().map(|first| self.way_out(burst, first)) {
            let same = rest
                .iter()
                .take_while(|batch| self.way_out(burst, batch) == way_out)
                .count();
            let (now, later) = rest.split_at_checked(same).unwrap_or((rest, &[]));
            if let Some((outside, udp)) = way_out {
                self.send_by(burst, outside, udp, now);
            }
            rest = later;
        }
        self.batches = batches;
        burst.clear();
    }

    /// The outside address that a batch leaves from, and whether in UDP.
    fn way_out(&self, burst: &Burst, batch: &Batch) -> Option<(&'a OutsideSockets, bool)> {
        let path = &burst.egress(batch.run())?.tunnel_path.path;
        let outside = self.shared.outside.get(path.outside)?;
        Some((outside, path.udp_encapsulation))
    }

    /// Sends batches of one socket and counts what went. Says whether anything did.
    fn send_by(
        &mut self,
        burst: &Burst,
        outside: &OutsideSockets,
        udp: bool,
        batches: &[Batch],
    ) -> bool {
        let socket = if udp {
            outside.natt(self.number)
        } else {
            outside.esp(self.number)
        };
        let mut rest = batches;
        let mut may_wait = self.may_wait;
        let mut any_went = false;
        while let Some((first, others)) = rest.split_first() {
            let parcels = rest.iter().map_while(|batch| burst.parcel(batch));
            match self.sender.send(socket.as_fd(), parcels) {
                Ok(sent) => {
                    any_went = true;
                    let (gone, left) = rest.split_at_checked(sent).unwrap_or((rest, &[]));
                    for batch in gone {
                        burst.count(batch);
                    }
                    rest = left;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if may_wait => {
                    may_wait = false;
                    wait_for_room(socket.as_fd());
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    let packets = rest.iter().map(Batch::packets).sum();
                    self.worker.drops.add(DropReason::SendFull, packets);
                    return any_went;
                }
                Err(errno) if first.segment().is_some() => {
                    self.worker.refused.sends.add(1);
                    let mut singles = std::mem::take(&mut self.singles);
                    singles.clear();
                    singles.extend(first.singles());
                    // If the single packets are refused too, cutting is not the
                    // cause: the outside address may be gone.
                    if self.send_by(burst, outside, udp, &singles) {
                        any_went = true;
                        refuse_to_cut(errno, burst, first, outside);
                    }
                    self.singles = singles;
                    rest = others;
                }
                Err(errno) => {
                    let reason = match errno {
                        Errno::EMSGSIZE => DropReason::TooBig,
                        _ => DropReason::SendFailed,
                    };
                    self.worker.drops.add(reason, first.packets());
                    let error = io::Error::from(errno);
                    if reason == DropReason::SendFailed {
                        self.hint_at_unsent(burst, first, &error);
                    }
                    let errno = error.raw_os_error();
                    let last = &self.worker.send_errno;
                    last.store(errno.unwrap_or_default(), Ordering::Relaxed);
                    rest = others;
                }
            }
        }
        any_went
    }

    /// Tells the control side whose packets the kernel does not send.
    fn hint_at_unsent(&self, burst: &Burst, batch: &Batch, error: &io::Error) {
        if let Some(egress) = burst.egress(batch.run()) {
            let remote = egress.tunnel_path.path.remote.ip();
            self.shared.hint(remote, || Hint {
                concerns: Concerned::Tunnels([egress.outbound.tunnel].into()),
                sign: Sign::NotSent(error.to_string().into()),
            });
        }
    }
}

/// Remembers why a batch must be sent packet by packet: the device cuts none, or none
/// so large.
fn refuse_to_cut(errno: Errno, burst: &Burst, batch: &Batch, outside: &OutsideSockets) {
    match (errno, batch.segment(), burst.egress(batch.run())) {
        (Errno::EIO, _, _) => outside.refuse_gso(),
        (Errno::EINVAL | Errno::EMSGSIZE, Some(segment), Some(egress)) => {
            egress.gso_limit.refuse(segment);
        }
        _ => {}
    }
}

fn wait_for_room(socket: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(socket, PollFlags::POLLOUT)];
    // If it fails, the next attempt to send says why.
    let _ = poll(&mut fds, PollTimeout::from(SEND_PATIENCE));
}

/// The longest datagram of which the kernel may cut several from one message:
/// one that the path would not fragment, and of a size not yet refused.
fn segment_limit(shared: &Shared, egress: &Egress) -> usize {
    let tunnel_path = &egress.tunnel_path;
    let gso = shared
        .outside
        .get(tunnel_path.path.outside)
        .is_some_and(|outside| outside.features().udp_gso);
    if !gso || !tunnel_path.path.udp_encapsulation {
        return 0;
    }
    let family = Family::of(tunnel_path.path.remote.ip());
    let limit = outer_payload(true, family, tunnel_path.outside_mtu);
    limit.min(egress.gso_limit.limit())
}
