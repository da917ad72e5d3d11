//! The receiving end.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use nix::sys::time::TimeSpec;

use super::{Arrivals, STAMP, Shared, Stamp, Stream, UNKNOWN};

/// How often the receiver empties its buffer.
const DRAIN: Duration = Duration::from_millis(1);
/// How long the last datagrams may take.
const GRACE: Duration = Duration::from_millis(50);
/// Messages a call.
const BURST: usize = 64;
/// What `UDP_GRO` joins into a message at most.
const JOINED: usize = 64 << 10;

pub(super) struct Receiver<'a> {
    stream: Stream,
    name: u32,
    socket: &'a UdpSocket,
    shared: &'a Shared,
    /// A part for each message of a call.
    buffer: Vec<u8>,
    arrivals: Arrivals,
    seen: Seen,
    /// One more than the highest number that arrived.
    newest: u32,
}

/// What was received as one message: its place, its octets, the size of the datagrams
/// that the kernel joined in it, and when it came.
#[derive(Debug, Clone, Copy, Default)]
struct Message {
    octets: usize,
    segment: Option<usize>,
    time: Option<TimeSpec>,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(
        stream: Stream,
        name: u32,
        socket: &'a UdpSocket,
        shared: &'a Shared,
    ) -> Self {
        Self {
            stream,
            name,
            socket,
            shared,
            buffer: vec![0; BURST * place(stream)],
            arrivals: Arrivals {
                sent: 0,
                received: 0,
                overtaken: 0,
                elapsed: Duration::ZERO,
                delays: Vec::new(),
            },
            seen: Seen(Vec::new()),
            newest: 0,
        }
    }

    /// Receives until all that was sent is here, or no more comes.
    pub(super) fn until_the_end(mut self) -> Result<Arrivals> {
        let mut headers =
            MultiHeaders::<SockaddrStorage>::preallocate(BURST, Some(cmsg_space!(TimeSpec, i32)));
        let mut last = Instant::now();
        loop {
            let before = self.arrivals.received;
            self.drain(&mut headers)?;
            let received = self.arrivals.received;
            let missing = u64::from(self.newest).saturating_sub(received);
            let patience = self.stream.patience;
            if patience.is_some_and(|most| missing > most.missing) {
                self.shared.hopeless.store(true, Ordering::Relaxed);
            }
            let sent = self.shared.sent.load(Ordering::Relaxed);
            if received > before || sent == UNKNOWN {
                last = Instant::now();
            }
            if received >= sent || last.elapsed() >= GRACE {
                return Ok(self.arrivals);
            }
            std::thread::sleep(DRAIN);
        }
    }

    /// Takes all that has arrived.
    fn drain(&mut self, headers: &mut MultiHeaders<SockaddrStorage>) -> Result<()> {
        loop {
            let mut messages = [Message::default(); BURST];
            let count = self.receive(headers, &mut messages)?;
            let place = place(self.stream);
            let buffer = std::mem::take(&mut self.buffer);
            for (part, message) in buffer.chunks(place).zip(&messages).take(count) {
                let octets = part.get(..message.octets).unwrap_or(part);
                for datagram in octets.chunks(message.segment.unwrap_or(place).max(1)) {
                    self.count(datagram, message.time)?;
                }
            }
            self.buffer = buffer;
            if count < BURST {
                return Ok(());
            }
        }
    }

    /// One call; how many messages it gave.
    fn receive(
        &mut self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        messages: &mut [Message; BURST],
    ) -> Result<usize> {
        let parts = self.buffer.chunks_mut(place(self.stream));
        let mut slices: Vec<_> = parts.map(|part| [IoSliceMut::new(part)]).collect();
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = match recvmmsg(socket, headers, slices.iter_mut(), flags, None) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error).context("receiving datagrams"),
        };
        let mut count = 0;
        for (message, received) in messages.iter_mut().zip(received) {
            message.octets = received.bytes;
            for control in received.cmsgs()? {
                match control {
                    ControlMessageOwned::ScmTimestampns(time) => message.time = Some(time),
                    ControlMessageOwned::UdpGroSegments(size) => {
                        message.segment = Some(usize::try_from(size)?);
                    }
                    _ => {}
                }
            }
            count += 1;
        }
        Ok(count)
    }

    fn count(&mut self, datagram: &[u8], time: Option<TimeSpec>) -> Result<()> {
        let stamp = Stamp::read(datagram).context("a datagram without a stamp")?;
        if stamp.name != self.name || !self.seen.first(stamp.number) {
            return Ok(());
        }
        self.arrivals.received += 1;
        self.arrivals.overtaken += u64::from(stamp.number < self.newest);
        self.newest = self.newest.max(stamp.number + 1);
        if let Some(time) = time {
            let arrived = u64::try_from(Duration::from(time).as_nanos())?;
            self.arrivals
                .delays
                .push(arrived.saturating_sub(stamp.time));
        }
        Ok(())
    }
}

/// Octets for a message: where nothing is joined, the stamp alone is copied.
fn place(stream: Stream) -> usize {
    if stream.train > 1 { JOINED } else { STAMP }
}

/// The numbers that have arrived, a bit each.
struct Seen(Vec<u64>);

impl Seen {
    /// Whether the number is new; from now on it is not.
    fn first(&mut self, number: u32) -> bool {
        let Ok(word) = usize::try_from(number / u64::BITS) else {
            return false;
        };
        let bit = 1 << (number % u64::BITS);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        match self.0.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_only_once() {
        let mut seen = Seen(Vec::new());
        let numbers = [0, 1, 1, 64, 63, 0, 1_000_000, 64];
        let first: Vec<_> = numbers.map(|number| seen.first(number)).into();
        assert_eq!(first, [true, true, false, true, true, false, true, false]);
    }
}
