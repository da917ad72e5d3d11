//! Many slow flows at once, to see what a change costs each of them: between two hosts that have
//! an address for each flow, both ways, whatever the other end gets.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{setsockopt, sockopt};

use crate::Namespace;

/// Octets of a packet's payload, as of a small real one.
const PAYLOAD: usize = 200;

/// How often an end looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Holds what arrives while the receiver is not scheduled.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Flows of UDP that go on until [`Self::finish`].
#[derive(Debug)]
pub struct ManyFlows {
    shared: Arc<Shared>,
    senders: [JoinHandle<()>; 2],
    receivers: [JoinHandle<Result<Vec<Duration>>>; 2],
}

#[derive(Debug, Default)]
struct Shared {
    end: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

/// What became of them, of the first end's packets and of the second's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManyReport {
    /// The longest time that a flow was without a packet at the far end, ascending.
    pub longest_gaps: [Vec<Duration>; 2],
    /// Packets sent, by both ends.
    pub sent: u64,
    /// Packets received, by both ends.
    pub received: u64,
}

impl ManyFlows {
    /// Starts them, each between an address of the first namespace and one of the second, with a
    /// packet every `interval`, both ways.
    ///
    /// # Errors
    /// When an address is not there or the port is taken.
    pub fn start(
        ends: [&Namespace; 2],
        pairs: &[[IpAddr; 2]],
        port: u16,
        interval: Duration,
    ) -> Result<Self> {
        let [first, second] = ends;
        let shared = Arc::<Shared>::default();
        let there = pairs.to_vec();
        let back: Vec<_> = pairs.iter().map(|&[a, b]| [b, a]).collect();
        let receivers = [
            receiver(second, &there, port, &shared)?,
            receiver(first, &back, port, &shared)?,
        ];
        let senders = [
            sender(first, there, port, interval, &shared)?,
            sender(second, back, port, interval, &shared)?,
        ];
        Ok(Self {
            shared,
            senders,
            receivers,
        })
    }

    /// Packets received so far, by both ends.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Packets sent so far, by both ends.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Ends them.
    ///
    /// # Errors
    /// When a socket failed.
    pub fn finish(self) -> Result<ManyReport> {
        self.shared.end.store(true, Ordering::Relaxed);
        for sender in self.senders {
            sender.join().map_err(|_| anyhow!("a sender panicked"))?;
        }
        let [there, back] = self.receivers.map(|receiver| {
            let gaps = receiver.join().map_err(|_| anyhow!("a receiver panicked"));
            gaps.and_then(|gaps| gaps)
        });
        Ok(ManyReport {
            longest_gaps: [there?, back?],
            sent: self.shared.sent.load(Ordering::Relaxed),
            received: self.shared.received.load(Ordering::Relaxed),
        })
    }
}

/// Sends from the first address of each pair to the second, a few flows at a time.
fn sender(
    namespace: &Namespace,
    pairs: Vec<[IpAddr; 2]>,
    port: u16,
    interval: Duration,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>> {
    let bound = namespace.run(|| -> std::io::Result<Vec<_>> {
        let socket = |&[from, to]: &[IpAddr; 2]| {
            let to = SocketAddr::new(to, port);
            Ok((UdpSocket::bind((from, 0))?, to))
        };
        pairs.iter().map(socket).collect()
    })?;
    let sockets = bound.with_context(|| format!("{}: binding", namespace.name()))?;
    let pause = interval / u32::try_from(sockets.len())?;
    let shared = Arc::clone(shared);
    let work = move || {
        let mut due = Instant::now();
        for (socket, to) in sockets.iter().cycle() {
            if shared.end.load(Ordering::Relaxed) {
                return;
            }
            // A packet that the system refuses is a lost one.
            let _ = socket.send_to(&[0; PAYLOAD], to);
            shared.sent.fetch_add(1, Ordering::Relaxed);
            due += pause;
            let early = due.saturating_duration_since(Instant::now());
            // A millisecond's packets go together.
            if early >= Duration::from_millis(1) {
                std::thread::sleep(early);
            }
        }
    };
    Ok(std::thread::Builder::new().spawn(work)?)
}

/// Receives at the second address of each pair what comes from the first; gives the longest time
/// without, ascending.
fn receiver(
    namespace: &Namespace,
    pairs: &[[IpAddr; 2]],
    port: u16,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<Result<Vec<Duration>>>> {
    let socket = namespace
        .run(|| UdpSocket::bind(("0.0.0.0", port)))?
        .with_context(|| format!("{}: binding port {port}", namespace.name()))?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    let mut flows: BTreeMap<IpAddr, Arrivals> = pairs
        .iter()
        .map(|&[from, _]| (from, Arrivals::default()))
        .collect();
    let shared = Arc::clone(shared);
    let work = move || {
        let mut buffer = [0; PAYLOAD];
        while !shared.end.load(Ordering::Relaxed) {
            let from = match socket.recv_from(&mut buffer) {
                Ok((_, from)) => from.ip(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("receiving"),
            };
            if let Some(flow) = flows.get_mut(&from) {
                flow.note(Instant::now());
                shared.received.fetch_add(1, Ordering::Relaxed);
            }
        }
        let now = Instant::now();
        let mut gaps: Vec<_> = flows.values().map(|flow| flow.longest_gap(now)).collect();
        gaps.sort_unstable();
        Ok(gaps)
    };
    Ok(std::thread::Builder::new().spawn(work)?)
}

/// When packets of a flow came.
#[derive(Debug, Clone, Copy, Default)]
struct Arrivals {
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Arrivals {
    fn note(&mut self, now: Instant) {
        self.longest_gap = self.longest_gap(now);
        self.last = Some(now);
    }

    /// From the first packet until `now`.
    fn longest_gap(&self, now: Instant) -> Duration {
        let gap = self.last.map(|at| now.saturating_duration_since(at));
        self.longest_gap.max(gap.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::line;
    use crate::{Lab, wait_until};

    #[test]
    #[ignore = "needs root"]
    fn each_flow_tells_what_a_cut_costs_it() {
        let lab = Lab::new("many").unwrap();
        let [left, router, right] = line(&lab);
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        left.add_address("wan", "192.0.2.2/24".parse().unwrap())
            .unwrap();
        let pairs = [["192.0.2.1", "198.51.100.1"], ["192.0.2.2", "198.51.100.1"]];
        let pairs = pairs.map(|pair| pair.map(address));
        let far = [&left, &right];
        let flows = ManyFlows::start(far, &pairs, 7000, Duration::from_millis(1)).unwrap();
        let seen = |more: u64| {
            let before = flows.received();
            wait_until("packets", Duration::from_secs(5), || {
                Ok((flows.received() >= before + more).then_some(()))
            })
            .unwrap();
        };
        seen(100);
        let cut = router.cut(address("192.0.2.2")).unwrap();
        seen(400);
        cut.restore().unwrap();
        seen(400);
        let report = flows.finish().unwrap();
        let [there, _] = &report.longest_gaps;
        assert_eq!(there.len(), 2);
        assert!(
            there.last() >= Some(&Duration::from_millis(90)),
            "{report:?}"
        );
        assert!(report.received < report.sent, "{report:?}");
    }
}
