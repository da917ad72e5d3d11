//! UDP datagrams at a given rate, each counted where it arrives: one by one, or in
//! trains that cost the sender a single call.
//!
//! Neither end may be what limits the path. The receiver is not woken for what arrives:
//! it empties its large buffer a thousand times a second.

mod receive;
mod send;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::Namespace;
use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use self::receive::Receiver;

/// Octets at the start of a datagram: whose it is, its number, when it was sent.
const STAMP: usize = 16;
/// A train can hold as much as one datagram of UDP.
const MOST_OF_A_TRAIN: usize = 65_507;
/// Holds what arrives while the receiver rests or is not scheduled.
const RECEIVE_BUFFER: usize = 64 << 20;
/// The sender's total before it is known.
const UNKNOWN: u64 = u64::MAX;

/// A stream of datagrams of one size at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Datagrams a second.
    pub rate: u32,
    /// Octets of UDP payload, at least 16.
    pub payload: usize,
    /// Datagrams that are given to the kernel in one call, by `UDP_SEGMENT` if more
    /// than one. Only single datagrams have their delays taken.
    pub train: usize,
    /// How long to send.
    pub duration: Duration,
    /// When to end early.
    pub patience: Option<Patience>,
}

/// A stream ends early when it exceeds one of these numbers of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Did not arrive, though later ones did.
    pub missing: u64,
    /// Were not sent in time and are not made up for.
    pub forgone: u64,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// Datagrams that the sender gave to the kernel. Fewer than asked for if it could
    /// not keep up.
    pub sent: u64,
    /// Different datagrams that arrived.
    pub received: u64,
    /// Of these, those that a later one had overtaken.
    pub overtaken: u64,
    /// How long it was sent.
    pub elapsed: Duration,
    /// From just before sending to the kernel's receipt in nanoseconds, ascending.
    delays: Vec<u64>,
}

impl Arrivals {
    /// Datagrams a second that arrived.
    pub fn rate(&self) -> u32 {
        per_second(self.received, self.elapsed)
    }

    /// Datagrams a second that were sent.
    pub fn offered(&self) -> u32 {
        per_second(self.sent, self.elapsed)
    }

    /// Lost datagrams of a thousand sent, rounded up.
    pub fn lost_per_mille(&self) -> u64 {
        let lost = self.sent.saturating_sub(self.received);
        (lost * 1000).div_ceil(self.sent.max(1))
    }

    /// The delay that this share of the datagrams, per mille, did not exceed; None if
    /// none was timed.
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

/// What the two ends of a stream tell each other beside the path.
struct Shared {
    /// What the sender sent in all, once it has ended.
    sent: AtomicU64,
    /// The receiver has lost its patience.
    hopeless: AtomicBool,
}

impl Stream {
    /// Sends from an address of the first namespace to one of the second.
    ///
    /// # Errors
    /// When an address is not there, a datagram has no place for its stamp or a train
    /// none for its datagrams, or a socket fails.
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
        ensure!(
            (1..=MOST_OF_A_TRAIN / self.payload).contains(&self.train),
            "a train of {} datagrams of {} octets, expected 1 to {MOST_OF_A_TRAIN} octets",
            self.train,
            self.payload
        );
        let receiving = bind(server)?;
        let sending = bind(client)?;
        sending.connect(server.1)?;
        setsockopt(&receiving, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        if self.train > 1 {
            setsockopt(
                &sending,
                sockopt::UdpGsoSegment,
                &i32::try_from(self.payload)?,
            )?;
            setsockopt(&receiving, sockopt::UdpGroSegment, &true)?;
        } else {
            setsockopt(&receiving, sockopt::ReceiveTimestampns, &true)?;
        }
        let name = next_name();
        let shared = Shared {
            sent: AtomicU64::new(UNKNOWN),
            hopeless: AtomicBool::new(false),
        };
        let receiver = Receiver::new(*self, name, &receiving, &shared);
        std::thread::scope(|scope| {
            let receiver =
                std::thread::Builder::new().spawn_scoped(scope, || receiver.until_the_end())?;
            let sender = std::thread::Builder::new()
                .spawn_scoped(scope, || self.send(name, &sending, &shared))
                .map(|thread| thread.join());
            // However the sender ended, the receiver must end too.
            let _ = shared
                .sent
                .compare_exchange(UNKNOWN, 0, Ordering::Relaxed, Ordering::Relaxed);
            let mut arrivals = receiver
                .join()
                .map_err(|_| anyhow!("the receiving end panicked"))??;
            (arrivals.sent, arrivals.elapsed) =
                sender?.map_err(|_| anyhow!("the sending end panicked"))??;
            arrivals.delays.sort_unstable();
            Ok(arrivals)
        })
    }
}

fn bind((namespace, address): (&Namespace, SocketAddr)) -> Result<UdpSocket> {
    namespace
        .run(|| UdpSocket::bind(address))?
        .with_context(|| format!("{}: binding {address}", namespace.name()))
}

/// A name that tells a stream's datagrams from late ones of an earlier stream.
fn next_name() -> u32 {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    NAMES.fetch_add(1, Ordering::Relaxed)
}

/// What a datagram says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// The stream's.
    name: u32,
    /// Counted from 0.
    number: u32,
    /// Nanoseconds of the clock that the kernel stamps arrivals with.
    time: u64,
}

impl Stamp {
    fn write(self, mut datagram: &mut [u8]) -> Result<()> {
        datagram.write_all(&self.name.to_be_bytes())?;
        datagram.write_all(&self.number.to_be_bytes())?;
        datagram.write_all(&self.time.to_be_bytes())?;
        Ok(())
    }

    fn read(datagram: &[u8]) -> Option<Self> {
        let (name, rest) = datagram.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        Some(Self {
            name: u32::from_be_bytes(*name),
            number: u32::from_be_bytes(*number),
            time: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests;
