//! Attacks on the control socket and on the metrics, by clients that say nothing, take
//! nothing, or ask without end.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};
use vgw_lab::Namespace;

use super::outcome::Outcome;
use super::socket::Pace;

/// Where metrics are, in the namespace of the daemon.
pub const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_469);
/// Clients that are there at a time, and how many come anew each second.
const CLIENTS: usize = 1_000;
const NEW: u32 = 1_000;
const SCRAPERS: usize = 8;

/// Clients of the metrics that send their request so slowly that it never ends.
pub fn slow_scrapers(gateway: &Namespace, stop: &AtomicBool) -> Result<Outcome> {
    gateway.run(|| idle(Domain::IPV4, &METRICS.into(), b"GET", stop))?
}

/// Clients of the control socket that say nothing.
pub fn idle_admins(control: &Path, stop: &AtomicBool) -> Result<Outcome> {
    idle(Domain::UNIX, &SockAddr::unix(control)?, b"", stop)
}

/// Keeps so many connections, the oldest of which makes way for a new one.
fn idle(domain: Domain, to: &SockAddr, said: &[u8], stop: &AtomicBool) -> Result<Outcome> {
    let (began, mut connections) = (Instant::now(), 0);
    let mut clients = VecDeque::new();
    let mut pace = Pace::new(NEW);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..pace.due() {
            let client = Socket::new(domain, Type::STREAM, None)?;
            client.set_nonblocking(true)?;
            match client.connect(to) {
                Ok(()) => connections += 1,
                // Under way; of the control socket it means that the queue is full.
                Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {
                    connections += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("connecting"),
            }
            if clients.len() == CLIENTS {
                clients.pop_front();
            }
            clients.push_back(client);
        }
        // Those that have been let go do not matter.
        if let Some(newest) = clients.back_mut().filter(|_| !said.is_empty()) {
            let _ = newest.write(said);
        }
        Pace::rest();
    }
    Ok(Outcome::since(began, connections))
}

/// Eight scrapers that ask again as soon as they have been answered.
pub fn scrapers(gateway: &Namespace, stop: &AtomicBool) -> Result<Outcome> {
    let (began, answered) = (Instant::now(), AtomicU64::new(0));
    let scraper = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if scrape(Duration::from_secs(10)).is_some() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..SCRAPERS)
            .map(|_| scope.spawn(|| gateway.run(scraper)))
            .collect();
        for scraper in scrapers {
            scraper.join().ok().context("a scraper panicked")???;
        }
        anyhow::Ok(())
    })?;
    Ok(Outcome::since(began, answered.into_inner()))
}

/// How long a scrape takes, from the namespace that it is called in. None: longer than
/// `limit`, or it was turned away.
pub fn scrape(limit: Duration) -> Option<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&METRICS, limit).ok()?;
    let left = limit.checked_sub(began.elapsed())?;
    stream.set_read_timeout(Some(left)).ok()?;
    stream.set_write_timeout(Some(left)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    answer.ends_with(b"# EOF\n").then(|| began.elapsed())
}
