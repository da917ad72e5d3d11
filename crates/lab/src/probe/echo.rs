//! A steady flow of numbered requests and their echoes, to see what a change costs.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::Namespace;

/// How long the last echoes may take.
const GRACE: Duration = Duration::from_secs(2);

/// How often the echoing end looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Octets of a request, if nothing else is said: its number, and padding as of a small real packet.
const REQUEST: usize = 200;

/// Octets of the largest request.
const LARGEST: usize = 1400;

/// A running flow over UDP: one request per interval, each answered by an echo.
#[derive(Debug)]
pub struct EchoFlow {
    shared: Arc<Shared>,
    requests: JoinHandle<Result<FlowReport>>,
    /// Gives [`FlowReport::longest_gap_there`].
    echoes: JoinHandle<Duration>,
}

#[derive(Debug, Default)]
struct Shared {
    finish: AtomicBool,
    end: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    echoed: AtomicU64,
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowReport {
    /// Requests sent, or refused by the system for want of a route.
    pub sent: u64,
    /// Requests whose echo came back.
    pub answered: u64,
    /// Requests that reached the echoing end.
    pub echoed: u64,
    /// The longest time without an echo.
    pub longest_gap: Duration,
    /// The longest time without a request at the echoing end: what one direction was out for.
    pub longest_gap_there: Duration,
}

impl FlowReport {
    /// Requests without an echo.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answered)
    }
}

impl EchoFlow {
    /// Starts a flow from an address of the first namespace to one of the second, a request
    /// every `interval`.
    ///
    /// # Errors
    /// When an address is not there or a port is taken.
    pub fn start(
        client: (&Namespace, SocketAddr),
        server: (&Namespace, SocketAddr),
        interval: Duration,
    ) -> Result<Self> {
        Self::start_of(REQUEST, client, server, interval)
    }

    /// As [`Self::start`], of requests with so many octets of UDP payload.
    ///
    /// # Errors
    /// As [`Self::start`], and when a request has no place for its number or is too large.
    pub fn start_of(
        octets: usize,
        client: (&Namespace, SocketAddr),
        server: (&Namespace, SocketAddr),
        interval: Duration,
    ) -> Result<Self> {
        ensure!(
            (size_of::<u64>()..=LARGEST).contains(&octets),
            "a request of {octets} octets, expected 8 to {LARGEST}"
        );
        let requests = bind(client)?;
        let echoes = bind(server)?;
        echoes.set_read_timeout(Some(LOOK_UP))?;
        let shared = Arc::<Shared>::default();
        let echo = {
            let shared = Arc::clone(&shared);
            move || echo(&echoes, &shared)
        };
        let request = {
            let shared = Arc::clone(&shared);
            move || request(&requests, (server.1, octets), interval, &shared)
        };
        Ok(Self {
            shared,
            requests: std::thread::Builder::new().spawn(request)?,
            echoes: std::thread::Builder::new().spawn(echo)?,
        })
    }

    /// Requests sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Echoes received so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for the last echoes and gives the report.
    ///
    /// # Errors
    /// When a socket failed for a reason other than the network.
    pub fn finish(self) -> Result<FlowReport> {
        self.shared.finish.store(true, Ordering::Relaxed);
        let report = self.requests.join();
        self.shared.end.store(true, Ordering::Relaxed);
        let longest_gap_there = self
            .echoes
            .join()
            .map_err(|_| anyhow!("the echoing end panicked"))?;
        let report = report.map_err(|_| anyhow!("the requesting end panicked"))??;
        Ok(FlowReport {
            longest_gap_there,
            ..report
        })
    }
}

fn bind((namespace, address): (&Namespace, SocketAddr)) -> Result<UdpSocket> {
    namespace
        .run(|| UdpSocket::bind(address))?
        .with_context(|| format!("{}: binding {address}", namespace.name()))
}

/// Gives the longest time without a request, from the first one until no more are sent.
fn echo(socket: &UdpSocket, shared: &Shared) -> Duration {
    let mut buffer = [0; LARGEST];
    let mut longest_gap = Duration::ZERO;
    let mut last_request: Option<Instant> = None;
    let mut finished = false;
    while !shared.end.load(Ordering::Relaxed) {
        // A timeout lets us look at the flags; an error concerns one packet, like a lost echo.
        let received = socket.recv_from(&mut buffer);
        let finishes = shared.finish.load(Ordering::Relaxed);
        if received.is_ok() || finishes {
            let now = Instant::now();
            let before = last_request.filter(|_| !finished);
            longest_gap = longest_gap.max(before.map_or(Duration::ZERO, |at| now - at));
            last_request = received.is_ok().then_some(now).or(last_request);
            finished = finishes;
        }
        let Ok((length, from)) = received else {
            continue;
        };
        shared.echoed.fetch_add(1, Ordering::Relaxed);
        if let Some(request) = buffer.get(..length) {
            let _ = socket.send_to(request, from);
        }
    }
    longest_gap
}

fn request(
    socket: &UdpSocket,
    (to, octets): (SocketAddr, usize),
    interval: Duration,
    shared: &Shared,
) -> Result<FlowReport> {
    let mut unanswered = BTreeSet::new();
    let mut longest_gap = Duration::ZERO;
    let mut last_echo = Instant::now();
    let mut next_request = last_echo;
    let mut number = 0_u64;
    let mut finish_by = None;
    loop {
        let now = Instant::now();
        if finish_by.is_none() && shared.finish.load(Ordering::Relaxed) {
            finish_by = Some(now + GRACE);
        }
        let until = match finish_by {
            Some(end) if unanswered.is_empty() || now >= end => break,
            Some(end) => end,
            None if now >= next_request => {
                send(socket, (to, octets), number);
                unanswered.insert(number);
                number += 1;
                shared.sent.store(number, Ordering::Relaxed);
                // A late thread does not catch up with a burst.
                next_request = now.max(next_request + interval);
                continue;
            }
            None => next_request,
        };
        let Some(echoed) = receive(socket, until.saturating_duration_since(now))? else {
            continue;
        };
        if unanswered.remove(&echoed) {
            let now = Instant::now();
            longest_gap = longest_gap.max(now.duration_since(last_echo));
            last_echo = now;
            shared.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    if !unanswered.is_empty() {
        let silent = last_echo.elapsed().saturating_sub(GRACE);
        longest_gap = longest_gap.max(silent);
    }
    Ok(FlowReport {
        sent: number,
        answered: shared.answered.load(Ordering::Relaxed),
        echoed: shared.echoed.load(Ordering::Relaxed),
        longest_gap,
        longest_gap_there: Duration::ZERO,
    })
}

fn send(socket: &UdpSocket, (to, octets): (SocketAddr, usize), number: u64) {
    let mut request = [0; LARGEST];
    if let Some(start) = request.first_chunk_mut() {
        *start = number.to_be_bytes();
    }
    // A request that the system refuses is a lost one; it is counted as such.
    let _ = socket.send_to(request.get(..octets).unwrap_or(&request), to);
}

/// The number of an echo, if one comes in time.
fn receive(socket: &UdpSocket, within: Duration) -> Result<Option<u64>> {
    let mut buffer = [0; LARGEST];
    // A timeout of zero would mean none.
    socket.set_read_timeout(Some(within.max(Duration::from_micros(1))))?;
    match socket.recv_from(&mut buffer) {
        Ok(_) => Ok(buffer.first_chunk().map(|n| u64::from_be_bytes(*n))),
        // Errors that the network reports by ICMP show as lost requests.
        Err(error) if is_networks(error.kind()) => Ok(None),
        Err(error) => Err(error).context("receiving an echo"),
    }
}

fn is_networks(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::line;
    use crate::{Lab, wait_until};

    #[test]
    #[ignore = "needs root"]
    fn a_flow_counts_what_a_cut_costs() {
        let lab = Lab::new("flow").unwrap();
        let [left, router, right] = line(&lab);
        let from = "192.0.2.1:7000".parse().unwrap();
        let to = "198.51.100.1:7000".parse().unwrap();
        let flow = EchoFlow::start((&left, from), (&right, to), Duration::from_millis(1)).unwrap();
        let seen = |what: &str, enough: &dyn Fn() -> bool| {
            wait_until(what, Duration::from_secs(5), || Ok(enough().then_some(()))).unwrap();
        };
        seen("echoes", &|| flow.answered() >= 10);
        let cut = router.cut(to.ip()).unwrap();
        let at_cut = flow.sent();
        seen("requests into the cut", &|| flow.sent() >= at_cut + 100);
        cut.restore().unwrap();
        let at_restore = flow.answered();
        seen("echoes again", &|| flow.answered() >= at_restore + 10);
        let report = flow.finish().unwrap();
        assert!(report.lost() >= 90, "{report:?}");
        assert!(report.lost() < report.sent - 10, "{report:?}");
        assert!(report.echoed >= report.answered, "{report:?}");
        for gap in [report.longest_gap, report.longest_gap_there] {
            assert!(gap >= Duration::from_millis(90), "{report:?}");
        }
    }
}
