//! The lease by itself, and with mailboxes under threads.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{HOLD, SenderLease};
use crate::engine::burst::Burst;
use crate::workers::worker::Worker;

#[test]
fn the_first_to_come_owns_the_tunnel_for_as_long_as_it_is_used() {
    let lease = SenderLease::default();
    assert_eq!(lease.join(3, 1000), Some(3));
    // Pending, however long.
    assert_eq!(lease.join(1, 1000 + 10 * HOLD), Some(3));
    lease.finish(2000);
    lease.finish(2000);
    // Used a moment ago.
    assert_eq!(lease.join(1, 2000 + HOLD), Some(3));
    lease.finish(2000 + HOLD);
    assert_eq!(lease.join(1, 2001 + 2 * HOLD), Some(1));
    assert_eq!(lease.join(3, 9000), Some(1));
}

#[test]
fn a_clock_that_was_read_before_the_last_packet_was_sent_is_no_rest() {
    let lease = SenderLease::default();
    lease.join(0, 500);
    lease.finish(500);
    assert_eq!(lease.join(1, 499), Some(0));
}

#[test]
fn the_clock_may_start_anew() {
    let lease = SenderLease::default();
    lease.join(0, u32::MAX);
    lease.finish(u32::MAX);
    assert_eq!(lease.join(1, HOLD - 1), Some(0));
    lease.finish(HOLD - 1);
    assert_eq!(lease.join(1, 2 * HOLD), Some(1));
}

#[test]
fn no_more_runs_are_taken_than_can_be_counted() {
    let lease = SenderLease::default();
    for _ in 0..u16::MAX {
        assert_eq!(lease.join(0, 0), Some(0));
    }
    assert_eq!(lease.join(0, 0), None);
    lease.finish(0);
    assert_eq!(lease.join(0, 0), Some(0));
}

/// Threads that take part.
const WORKERS: usize = 4;
/// Runs that each lays out.
const RUNS: usize = 2000;
/// After this many runs, a thread waits until all of them are sent.
const LULL: usize = 50;
/// Bounds the wait of a worker that should have been woken.
const PATIENCE: Duration = Duration::from_secs(20);

/// One tunnel, and what was sent by it.
struct Tunnel {
    lease: SenderLease,
    workers: Vec<Worker>,
    /// Not the real time: it jumps, so that owners change all the time.
    clock: AtomicU32,
    sequence: AtomicU64,
    /// Each number with the thread that sent it.
    sent: Mutex<Vec<(u64, usize)>>,
}

impl Tunnel {
    fn now(&self) -> u32 {
        self.clock.load(Ordering::SeqCst)
    }

    /// What an owner does: between number and packet anything may happen.
    fn send(&self, me: usize) {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(16) {
            thread::yield_now();
        }
        self.sent.lock().unwrap().push((number, me));
        self.lease.finish(self.now());
    }

    fn serve(&self, worker: usize, spare: &mut Vec<Burst>) {
        let mut inbox = VecDeque::new();
        self.workers[worker].mailbox.take(&mut inbox, spare);
        for burst in inbox {
            self.send(worker);
            let home = &self.workers[burst.home];
            if home.mailbox.give_back(burst) {
                home.wake();
            }
        }
    }

    fn run(&self, me: usize) {
        let mut spare = Vec::new();
        for run in 0..RUNS {
            let owner = self.lease.join(me, self.now()).unwrap();
            if owner == me {
                self.send(me);
            } else {
                while spare.is_empty() {
                    self.wait(me, true);
                    self.serve(me, &mut spare);
                }
                let to = &self.workers[owner];
                if to.mailbox.hand_over(spare.pop().unwrap()) {
                    to.wake();
                }
            }
            self.serve(me, &mut spare);
            if (run + 1) % LULL == 0 {
                self.drain(me, (run + 1) * WORKERS, &mut spare);
                // Long enough for another to take over.
                self.clock.fetch_add(HOLD + 1, Ordering::SeqCst);
            }
        }
    }

    /// Serves the others until `count` runs were sent. The thread that sends
    /// the last of them wakes those that wait for it.
    fn drain(&self, me: usize, count: usize, spare: &mut Vec<Burst>) {
        while self.sent.lock().unwrap().len() < count {
            self.wait(me, false);
            self.serve(me, spare);
        }
        self.workers.iter().for_each(Worker::wake);
    }

    fn wait(&self, me: usize, for_returned: bool) {
        let start = Instant::now();
        if self.workers[me].mailbox.may_sleep(for_returned) {
            self.workers[me].sleep(PATIENCE);
        }
        assert!(start.elapsed() < PATIENCE, "nobody woke worker {me}");
    }
}

#[test]
fn whoever_owns_the_tunnel_its_packets_leave_in_the_order_of_their_numbers() {
    let tunnel = Tunnel {
        lease: SenderLease::default(),
        workers: (0..WORKERS)
            .map(|id| Worker::new(id, WORKERS).unwrap())
            .collect(),
        clock: AtomicU32::new(0),
        sequence: AtomicU64::new(0),
        sent: Mutex::default(),
    };
    thread::scope(|scope| {
        for me in 0..WORKERS {
            let tunnel = &tunnel;
            scope.spawn(move || tunnel.run(me));
        }
    });
    let sent = tunnel.sent.into_inner().unwrap();
    let numbers = sent.iter().map(|(number, _)| *number);
    assert!(numbers.eq(0..tunnel.sequence.into_inner()));
    let changes = sent.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    assert!(changes.count() > 0, "one worker sent everything");
}
