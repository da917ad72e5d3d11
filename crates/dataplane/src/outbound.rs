//! The worker from inside to outside.

use std::os::fd::AsFd;

use arc_swap::Cache;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::burst::{BURST, HEADROOM, MAX_INNER, Sealed, Sender, Slab};
use crate::counters::DropReason;
use crate::inner::{InnerError, InnerPacket};
use crate::tables::{Egress, Forward, Tables};
use crate::worker::Shared;

/// How long a full outside socket may hold up the worker, milliseconds.
const SEND_PATIENCE: u16 = 100;

/// A packet of the burst that has a way out.
struct Planned {
    frame: usize,
    inner_len: usize,
    next_header: u8,
    tunnel: u32,
    egress: usize,
}

/// Everything that a burst needs, allocated once.
struct Outlet<'a> {
    shared: &'a Shared,
    slab: Slab,
    plan: Vec<Planned>,
    sealed: Vec<Sealed>,
    sender: Sender,
}

/// Runs until told to stop; an error says why it cannot go on.
pub(crate) fn run(shared: &Shared) -> Result<(), String> {
    let mut tables = Cache::new(&shared.tables);
    let mut outlet = Outlet {
        shared,
        slab: Slab::new(),
        plan: Vec::with_capacity(BURST),
        sealed: Vec::with_capacity(BURST),
        sender: Sender::new(),
    };
    while !shared.outbound.stopping() {
        let tables = tables.load();
        let read = outlet
            .fill(tables)
            .map_err(|errno| tun_failed(shared, errno))?;
        if read == 0 {
            wait(shared)?;
            continue;
        }
        outlet.flush(tables);
    }
    Ok(())
}

/// Waits for a packet or to be woken.
fn wait(shared: &Shared) -> Result<(), String> {
    let mut fds = [
        PollFd::new(shared.tun.as_fd(), PollFlags::POLLIN),
        PollFd::new(shared.outbound.wake.as_fd(), PollFlags::POLLIN),
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
        shared.outbound.clear_wake();
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

impl Outlet<'_> {
    /// Reads up to a burst and finds each packet's way. Returns how many
    /// packets were read, with or without a way.
    fn fill(&mut self, tables: &Tables) -> Result<usize, Errno> {
        self.plan.clear();
        for frame in 0..BURST {
            let room = self
                .slab
                .frame_mut(frame)
                .get_mut(HEADROOM..HEADROOM + MAX_INNER)
                .unwrap_or_default();
            let len = match self.shared.tun.read(room) {
                Ok(len) => len,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(frame),
                Err(errno) => return Err(errno),
            };
            match plan(tables, frame, room.get(..len).unwrap_or_default()) {
                Ok(planned) => self.plan.push(planned),
                Err(reason) => self.shared.outbound.drops.add(reason, 1),
            }
        }
        Ok(BURST)
    }

    /// Seals and sends what [`Self::fill`] planned, run by run of the same SA.
    fn flush(&mut self, tables: &Tables) {
        let plan = std::mem::take(&mut self.plan);
        for run in plan.chunk_by(|a, b| (a.tunnel, a.egress) == (b.tunnel, b.egress)) {
            if let Some(first) = run.first()
                && let Some(way) = tables.egress(first.tunnel, first.egress)
            {
                self.seal_and_send(way, run);
            }
        }
        self.plan = plan;
    }

    fn seal_and_send(&mut self, way: &Egress, run: &[Planned]) {
        let drops = &self.shared.outbound.drops;
        let sa = &way.outbound.sa;
        let Some(first) = u32::try_from(run.len())
            .ok()
            .and_then(|n| sa.reserve(n).ok())
        else {
            drops.add(DropReason::SequenceExhausted, run.len());
            return;
        };
        self.sealed.clear();
        let start = HEADROOM.saturating_sub(sa.layout().header_len);
        for (sequence, planned) in (first..).zip(run) {
            let octets = start..start + sa.sealed_len(planned.inner_len);
            let sealed = self
                .slab
                .frame_mut(planned.frame)
                .get_mut(octets.clone())
                .is_some_and(|buffer| {
                    sa.seal(sequence, buffer, planned.inner_len, planned.next_header)
                        .is_ok()
                });
            if !sealed {
                drops.add(DropReason::TooBig, 1);
                continue;
            }
            self.sealed.push(Sealed {
                frame: planned.frame,
                octets,
                inner_len: planned.inner_len,
            });
        }
        self.send(way);
    }

    /// Sends what was sealed of a run and counts it.
    fn send(&mut self, way: &Egress) {
        let Some(outside) = self.shared.outside.get(way.route.outside) else {
            return;
        };
        let socket = if way.route.udp_encapsulation {
            &outside.natt
        } else {
            &outside.esp
        };
        let drops = &self.shared.outbound.drops;
        let (mut packets, mut bytes) = (0, 0);
        let mut rest = self.sealed.as_slice();
        let mut waited = false;
        while !rest.is_empty() {
            match self
                .sender
                .send(socket.as_fd(), &self.slab, rest, &way.route.to)
            {
                Ok(sent) => {
                    let (gone, left) = rest.split_at_checked(sent).unwrap_or((rest, &[]));
                    packets += gone.len();
                    bytes += gone.iter().map(|sealed| sealed.inner_len).sum::<usize>();
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
                    drops.add(DropReason::SendFull, rest.len());
                    break;
                }
                Err(errno) => {
                    let reason = match errno {
                        Errno::EMSGSIZE => DropReason::TooBig,
                        _ => DropReason::SendFailed,
                    };
                    drops.add(reason, 1);
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
        }
        way.outbound.child.outbound.add(packets, bytes);
        way.outbound.tunnel_traffic.outbound.add(packets, bytes);
    }
}

/// Finds the way of one packet, or why it has none.
fn plan(tables: &Tables, frame: usize, octets: &[u8]) -> Result<Planned, DropReason> {
    let packet = InnerPacket::parse(octets).map_err(|error| match error {
        // The TUN device cuts a packet that does not fit the buffer.
        InnerError::Truncated {
            found: MAX_INNER, ..
        } => DropReason::TooBig,
        _ => DropReason::Malformed,
    })?;
    match tables.forward(&packet) {
        Forward::NoRoute => Err(DropReason::NoRoute),
        Forward::NoSa => Err(DropReason::NoSa),
        Forward::OutsideSelectors => Err(DropReason::OutsideSelectors),
        Forward::By { tunnel, egress } => Ok(Planned {
            frame,
            inner_len: packet.octets().len(),
            next_header: packet.next_header(),
            tunnel,
            egress,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_INNER, Tables, plan};
    use crate::counters::DropReason;
    use crate::inner::tests::ipv4;

    fn reason(octets: &[u8]) -> Option<DropReason> {
        plan(&Tables::default(), 0, octets).err()
    }

    #[test]
    fn a_packet_that_the_tun_device_cut_is_too_big_and_not_malformed() {
        let octets = ipv4([10, 0, 0, 1], [10, 1, 0, 2], 17, &[0; MAX_INNER]);
        assert_eq!(reason(&octets[..MAX_INNER]), Some(DropReason::TooBig));
        assert_eq!(reason(&octets[..100]), Some(DropReason::Malformed));
        assert_eq!(reason(&octets), Some(DropReason::NoRoute));
    }
}
