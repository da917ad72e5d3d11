//! The sending end.

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nix::sys::prctl;

use super::{Shared, Stamp, Stream};

/// How long the sender rests when it is ahead of its rate, at least.
const REST: Duration = Duration::from_micros(50);
/// How far it makes up for having been late, in datagrams and in time: more at once
/// would overflow queues that the rate itself would not.
const CATCH_UP: u64 = 64;
const CATCH_UP_PER_SECOND: u64 = 1000;

impl Stream {
    /// Sends, and returns how many datagrams in how much time.
    pub(super) fn send(
        &self,
        name: u32,
        socket: &UdpSocket,
        shared: &Shared,
    ) -> Result<(u64, Duration)> {
        // Rests are shorter than the kernel's usual 50 µs of slack.
        prctl::set_timerslack(1)?;
        let mut buffer = vec![0x5a; self.payload * self.train];
        let train = u64::try_from(self.train)?;
        let rate = u64::from(self.rate);
        let catch_up = CATCH_UP.max(rate / CATCH_UP_PER_SECOND) / train;
        let rest = Duration::from_nanos(train * 500_000_000 / rate.max(1)).max(REST);
        let start = Instant::now();
        // Of trains: sent, and due but not made up for.
        let (mut sent, mut forgone) = (0_u64, 0_u64);
        loop {
            let elapsed = start.elapsed();
            let patience = self.patience;
            if elapsed >= self.duration
                || patience.is_some_and(|most| forgone * train > most.forgone)
                || shared.hopeless.load(Ordering::Relaxed)
            {
                shared.sent.store(sent * train, Ordering::Relaxed);
                return Ok((sent * train, elapsed));
            }
            let due = u128::from(rate) * elapsed.as_nanos() / 1_000_000_000;
            let late = (u64::try_from(due)? / train).saturating_sub(sent + forgone);
            forgone += late.saturating_sub(catch_up);
            for _ in 0..late.min(catch_up) {
                self.stamp(&mut buffer, name, sent * train)?;
                // What the system refuses is lost, and counted as such.
                let _ = socket.send(&buffer);
                sent += 1;
            }
            if late == 0 {
                std::thread::sleep(rest);
            }
        }
    }

    /// Numbers a train's datagrams from `first`.
    fn stamp(&self, buffer: &mut [u8], name: u32, first: u64) -> Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let mut stamp = Stamp {
            name,
            number: u32::try_from(first)?,
            time: u64::try_from(time)?,
        };
        for datagram in buffer.chunks_mut(self.payload) {
            stamp.write(datagram)?;
            stamp.number += 1;
        }
        Ok(())
    }
}
