//! One TCP connection that sends as fast as it can.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::Namespace;

/// How long neither end may make progress.
const PATIENCE: Duration = Duration::from_secs(10);

const CHUNK: usize = 256 * 1024;

/// A running transfer.
#[derive(Debug)]
pub struct Bulk {
    shared: Arc<Shared>,
    start: Instant,
    sender: JoinHandle<Result<()>>,
    receiver: JoinHandle<Result<Instant>>,
}

#[derive(Debug, Default)]
struct Shared {
    finish: AtomicBool,
    received: AtomicU64,
}

/// What a transfer achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput {
    /// Octets received.
    pub octets: u64,
    /// From the first sent to the last received.
    pub elapsed: Duration,
}

impl Throughput {
    /// Gbit/s, to the Mbit/s.
    #[must_use]
    pub fn gbps(&self) -> f64 {
        let microseconds = self.elapsed.as_micros().max(1);
        let mbps = u128::from(self.octets) * 8 / microseconds;
        f64::from(u32::try_from(mbps).unwrap_or(u32::MAX)) / 1000.0
    }
}

impl Bulk {
    /// Connects from `from` in `client` to `to` in `server` and starts to send.
    ///
    /// # Errors
    /// When an address is not there or the connection is not made in time.
    pub fn start(
        client: (&Namespace, SocketAddr),
        server: (&Namespace, SocketAddr),
    ) -> Result<Self> {
        let (listening, to) = server;
        let listener = listening
            .run(|| TcpListener::bind(to))?
            .with_context(|| format!("{}: listening on {to}", listening.name()))?;
        let (sending, from) = client;
        let sender = sending
            .run(|| connect(from, to))?
            .with_context(|| format!("{}: connecting {from} to {to}", sending.name()))?;
        // The connection is made, so this does not wait.
        let (receiver, _) = listener.accept()?;
        sender.set_write_timeout(Some(PATIENCE))?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        let shared = Arc::<Shared>::default();
        let send = {
            let shared = Arc::clone(&shared);
            move || send(sender, &shared)
        };
        let receive = {
            let shared = Arc::clone(&shared);
            move || receive(receiver, &shared)
        };
        Ok(Self {
            shared,
            start: Instant::now(),
            sender: std::thread::Builder::new().spawn(send)?,
            receiver: std::thread::Builder::new().spawn(receive)?,
        })
    }

    /// Octets received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Stops sending, waits until everything has arrived and gives the result.
    ///
    /// # Errors
    /// When the connection broke or stalled.
    pub fn finish(self) -> Result<Throughput> {
        self.shared.finish.store(true, Ordering::Relaxed);
        self.sender
            .join()
            .map_err(|_| anyhow!("the sending end panicked"))??;
        let end = self
            .receiver
            .join()
            .map_err(|_| anyhow!("the receiving end panicked"))??;
        Ok(Throughput {
            octets: self.shared.received.load(Ordering::Relaxed),
            elapsed: end.duration_since(self.start),
        })
    }
}

fn connect(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(from))?;
    socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
    Ok(socket.into())
}

fn send(mut socket: TcpStream, shared: &Shared) -> Result<()> {
    let chunk = vec![0x5a; CHUNK];
    while !shared.finish.load(Ordering::Relaxed) {
        match socket.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("sending bulk data"),
        }
    }
    Ok(())
}

fn receive(mut socket: TcpStream, shared: &Shared) -> Result<Instant> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match socket.read(&mut chunk) {
            Ok(0) => return Ok(Instant::now()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("receiving bulk data"),
        };
        let length = u64::try_from(length)?;
        shared.received.fetch_add(length, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::line;
    use crate::{Lab, wait_until};

    #[test]
    #[ignore = "needs root"]
    fn a_transfer_arrives_whole() {
        let lab = Lab::new("bulk").unwrap();
        let [left, _router, right] = line(&lab);
        let client = (&left, "192.0.2.1:0".parse().unwrap());
        let server = (&right, "198.51.100.1:7001".parse().unwrap());
        let bulk = Bulk::start(client, server).unwrap();
        wait_until("16 MiB", Duration::from_secs(10), || {
            Ok((bulk.received() > 16 << 20).then_some(()))
        })
        .unwrap();
        let result = bulk.finish().unwrap();
        assert!(result.octets > 16 << 20);
        assert!(result.gbps() > 0.0);
    }

    #[test]
    fn gigabits_are_of_octets_and_seconds() {
        let result = Throughput {
            octets: 250_000_000,
            elapsed: Duration::from_secs(2),
        };
        assert!((result.gbps() - 1.0).abs() < 0.001);
    }
}
