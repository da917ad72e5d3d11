//! UDP datagrams at a given rate, each counted, put in order and timed where they arrive.
//!
//! Neither end may be what limits the path. The sender gives one datagram a call, as
//! programs do, and never asks for segmentation. The receiver is not woken for what
//! arrives: it empties its large buffer a thousand times a second, and the kernel
//! notes the times of arrival.

use std::io::{IoSliceMut, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::Namespace;

/// Octets at the start of a datagram: its number, and when it was sent.
const STAMP: usize = 16;
/// How long the sender rests when it is ahead of its rate.
const REST: Duration = Duration::from_micros(50);
/// How far the sender makes up for having been late, in datagrams: more at once would
/// overflow queues that the rate itself would not.
const CATCH_UP: u64 = 64;
/// How often the receiver empties its buffer.
const DRAIN: Duration = Duration::from_millis(1);
/// How long the last datagrams may take.
const GRACE: Duration = Duration::from_millis(200);
/// Holds what arrives while the receiver rests or is not scheduled.
const RECEIVE_BUFFER: usize = 64 << 20;
const BURST: usize = 64;

/// A stream of datagrams of one size at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paced {
    /// Datagrams a second.
    pub rate: u32,
    /// Octets of UDP payload, at least 16.
    pub payload: usize,
    /// How long to send.
    pub duration: Duration,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// Datagrams that the sender gave to the kernel. Fewer than asked for if it could
    /// not keep up.
    pub sent: u64,
    /// Datagrams that arrived.
    pub received: u64,
    /// Of these, those that a later one had overtaken.
    pub overtaken: u64,
    /// How long it was sent.
    pub elapsed: Duration,
    /// From just before sending to the kernel's receipt, ascending.
    delays: Vec<u64>,
}

impl Arrivals {
    /// Datagrams a second that arrived.
    #[must_use]
    pub fn rate(&self) -> u32 {
        per_second(self.received, self.elapsed)
    }

    /// Datagrams a second that were sent.
    #[must_use]
    pub fn offered(&self) -> u32 {
        per_second(self.sent, self.elapsed)
    }

    /// Lost datagrams of a thousand sent, rounded up.
    #[must_use]
    pub fn lost_per_mille(&self) -> u64 {
        let lost = self.sent.saturating_sub(self.received);
        (lost * 1000).div_ceil(self.sent.max(1))
    }

    /// The delay that this share of the datagrams, per mille, did not exceed; None if
    /// nothing arrived.
    #[must_use]
    pub fn delay(&self, per_mille: usize) -> Option<Duration> {
        let last = self.delays.len().checked_sub(1)?;
        let at = (last * per_mille.min(1000)).div_ceil(1000);
        self.delays.get(at).copied().map(Duration::from_nanos)
    }
}

fn per_second(count: u64, elapsed: Duration) -> u32 {
    let micros = elapsed.as_micros().max(1);
    u32::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u32::MAX)
}

impl Paced {
    /// Sends from `from` in `client` to `to` in `server`.
    ///
    /// # Errors
    /// When an address is not there, the payload has no place for a stamp, or a socket fails.
    pub fn run(
        &self,
        client: (&Namespace, SocketAddr),
        server: (&Namespace, SocketAddr),
    ) -> Result<Arrivals> {
        ensure!(
            self.payload >= STAMP,
            "a payload of {} octets has no place for the {STAMP} of a stamp",
            self.payload
        );
        let receiver = bind(server)?;
        let sender = bind(client)?;
        sender.connect(server.1)?;
        setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&receiver, sockopt::ReceiveTimestampns, &true)?;
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let receiving =
                std::thread::Builder::new().spawn_scoped(scope, || receive(&receiver, &end))?;
            let sending = std::thread::Builder::new()
                .spawn_scoped(scope, || self.send(&sender))
                .map(|thread| thread.join());
            end.store(true, Ordering::Relaxed);
            let mut arrivals = receiving
                .join()
                .map_err(|_| anyhow!("the receiving end panicked"))??;
            (arrivals.sent, arrivals.elapsed) =
                sending?.map_err(|_| anyhow!("the sending end panicked"))??;
            arrivals.delays.sort_unstable();
            Ok(arrivals)
        })
    }

    fn send(&self, socket: &UdpSocket) -> Result<(u64, Duration)> {
        // Rests are shorter than the kernel's usual 50 µs of slack.
        prctl::set_timerslack(1)?;
        let mut datagram = vec![0x5a; self.payload];
        let start = Instant::now();
        let mut sent = 0_u64;
        // Datagrams that were due but are not made up for.
        let mut forgone = 0_u64;
        loop {
            let elapsed = start.elapsed();
            if elapsed >= self.duration {
                return Ok((sent, elapsed));
            }
            let due = u128::from(self.rate) * elapsed.as_nanos() / 1_000_000_000;
            let late = u64::try_from(due)?.saturating_sub(sent + forgone);
            forgone += late.saturating_sub(CATCH_UP);
            for _ in 0..late.min(CATCH_UP) {
                stamp(&mut datagram, sent, now()?)?;
                // What the system refuses is lost, and counted as such.
                let _ = socket.send(&datagram);
                sent += 1;
            }
            if late == 0 {
                std::thread::sleep(REST);
            }
        }
    }
}

fn bind((namespace, address): (&Namespace, SocketAddr)) -> Result<UdpSocket> {
    namespace
        .run(|| UdpSocket::bind(address))?
        .with_context(|| format!("{}: binding {address}", namespace.name()))
}

/// Nanoseconds of the clock that the kernel stamps arrivals with.
fn now() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos(),
    )?)
}

fn stamp(mut datagram: &mut [u8], number: u64, time: u64) -> Result<()> {
    datagram.write_all(&number.to_be_bytes())?;
    datagram.write_all(&time.to_be_bytes())?;
    Ok(())
}

fn read_stamp(datagram: &[u8; STAMP]) -> Option<(u64, u64)> {
    let (number, time) = datagram.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        u64::from_be_bytes(*time.first_chunk()?),
    ))
}

fn receive(socket: &UdpSocket, end: &AtomicBool) -> Result<Arrivals> {
    let mut arrivals = Arrivals {
        sent: 0,
        received: 0,
        overtaken: 0,
        elapsed: Duration::ZERO,
        delays: Vec::new(),
    };
    let mut newest = None;
    let mut headers =
        MultiHeaders::<SockaddrStorage>::preallocate(BURST, Some(cmsg_space!(TimeSpec)));
    let mut last = Instant::now();
    loop {
        let before = arrivals.received;
        drain(socket, &mut headers, &mut arrivals, &mut newest)?;
        if arrivals.received > before || !end.load(Ordering::Relaxed) {
            last = Instant::now();
        } else if last.elapsed() >= GRACE {
            return Ok(arrivals);
        }
        std::thread::sleep(DRAIN);
    }
}

/// Takes all that has arrived.
fn drain(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    arrivals: &mut Arrivals,
    newest: &mut Option<u64>,
) -> Result<()> {
    loop {
        let mut stamps = [[0; STAMP]; BURST];
        let mut times = [None; BURST];
        let mut slices = stamps.each_mut().map(|stamp| [IoSliceMut::new(stamp)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = match recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error).context("receiving datagrams"),
        };
        let mut count = 0;
        for (message, time) in messages.zip(&mut times) {
            count += 1;
            *time = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(time) => Some(time),
                _ => None,
            });
        }
        for (stamp, time) in stamps.iter().zip(&times).take(count) {
            let (number, sent) = read_stamp(stamp).context("a datagram without a stamp")?;
            let arrived = time.context("a datagram without a time of arrival")?;
            let arrived = u64::try_from(Duration::from(arrived).as_nanos())?;
            arrivals.received += 1;
            arrivals.overtaken += u64::from(newest.is_some_and(|newest| number < newest));
            *newest = (*newest).max(Some(number));
            arrivals.delays.push(arrived.saturating_sub(sent));
        }
        if count < BURST {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;
    use crate::probe::tests::line;

    fn arrivals(sent: u64, received: u64, delays: Vec<u64>) -> Arrivals {
        Arrivals {
            sent,
            received,
            overtaken: 0,
            elapsed: Duration::from_millis(500),
            delays,
        }
    }

    #[test]
    fn rates_and_losses_are_of_what_was_sent() {
        let some = arrivals(1000, 999, Vec::new());
        assert_eq!((some.offered(), some.rate()), (2000, 1998));
        assert_eq!(some.lost_per_mille(), 1);
        assert_eq!(arrivals(10_000, 9_989, Vec::new()).lost_per_mille(), 2);
        assert_eq!(arrivals(0, 0, Vec::new()).lost_per_mille(), 0);
    }

    #[test]
    fn a_share_of_the_delays_lies_at_or_below_the_one_given() {
        let some = arrivals(4, 4, vec![1, 2, 3, 40]);
        let delay = |per_mille| some.delay(per_mille).unwrap().as_nanos();
        assert_eq!([delay(0), delay(500), delay(990)], [1, 3, 40]);
        assert_eq!(arrivals(0, 0, Vec::new()).delay(500), None);
    }

    #[test]
    fn a_slow_stream_arrives_whole_and_in_order() {
        let lab = Lab::new("paced").unwrap();
        let [left, _router, right] = line(&lab);
        let stream = Paced {
            rate: 2000,
            payload: 36,
            duration: Duration::from_millis(250),
        };
        let from = (&left, "192.0.2.1:7000".parse().unwrap());
        let to = (&right, "198.51.100.1:7000".parse().unwrap());
        let arrivals = stream.run(from, to).unwrap();
        assert!(arrivals.received > 0, "{arrivals:?}");
        assert_eq!(arrivals.received, arrivals.sent);
        assert_eq!(arrivals.overtaken, 0);
        assert!(arrivals.delay(0).unwrap() > Duration::ZERO);
    }

    #[test]
    fn what_a_cut_path_swallows_is_lost() {
        let lab = Lab::new("pacedcut").unwrap();
        let [left, router, right] = line(&lab);
        let to: SocketAddr = "198.51.100.1:7000".parse().unwrap();
        let _cut = router.cut(to.ip()).unwrap();
        let stream = Paced {
            rate: 2000,
            payload: 36,
            duration: Duration::from_millis(50),
        };
        let from = (&left, "192.0.2.1:7000".parse().unwrap());
        let arrivals = stream.run(from, (&right, to)).unwrap();
        assert_eq!(arrivals.received, 0);
        assert_eq!(arrivals.lost_per_mille(), 1000);
    }
}
