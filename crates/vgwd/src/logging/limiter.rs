//! The last resort against a flood of log lines, whoever causes it.
//!
//! What one peer may cause is limited where it is caused, by its subject. This
//! limits the whole process, so that a log that nobody thought of does not fill
//! a disk. Errors, warnings and news are counted apart: many of one do not hide
//! the others. Below them nothing is limited, because somebody asked for it.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::Queue;

/// Lines of one level that pass in the long run, each second.
const PER_SECOND: u64 = 100;
/// Lines of one level that may come at once: more than thousands of tunnels say
/// when they all come up.
const BURST: u64 = 10_000;
/// Microseconds from one line to the next in the long run.
const INTERVAL: u64 = 1_000_000 / PER_SECOND;

/// Holds back what is too much and counts it.
pub(super) struct Limiter<C> {
    queue: Queue,
    clock: C,
    errors: Allowance,
    warnings: Allowance,
    news: Allowance,
}

/// When the next line would be due if all were evenly spread, microseconds.
/// A line may come as much earlier as a burst of lines takes.
#[derive(Default)]
struct Allowance(AtomicU64);

impl<C: Fn() -> u64> Limiter<C> {
    /// `clock` tells microseconds since some moment.
    pub(super) fn new(queue: Queue, clock: C) -> Self {
        Self {
            queue,
            clock,
            errors: Allowance::default(),
            warnings: Allowance::default(),
            news: Allowance::default(),
        }
    }

    fn allowance(&self, level: Level) -> Option<&Allowance> {
        match level {
            Level::ERROR => Some(&self.errors),
            Level::WARN => Some(&self.warnings),
            Level::INFO => Some(&self.news),
            _ => None,
        }
    }
}

impl Allowance {
    fn take(&self, now: u64) -> bool {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                let due = due.max(now);
                (due - now < BURST * INTERVAL).then(|| due + INTERVAL)
            });
        taken.is_ok()
    }
}

impl<S: Subscriber, C: Fn() -> u64 + 'static> Layer<S> for Limiter<C> {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        let Some(allowance) = self.allowance(*about.level()) else {
            return true;
        };
        let passes = about.target() == super::ABOUT_THE_LOG || allowance.take((self.clock)());
        if !passes {
            self.queue.hold_back();
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Allowance, BURST, Limiter, PER_SECOND};
    use crate::logging::queue::{LostLines, Queue};

    fn taken(allowance: &Allowance, tries: u64, now: u64) -> u64 {
        let tries = 0..tries;
        tries.map(|_| u64::from(allowance.take(now))).sum()
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let allowance = Allowance::default();
        assert_eq!(taken(&allowance, 2 * BURST, 0), BURST);
        assert_eq!(taken(&allowance, BURST, 1_000_000), PER_SECOND);
        assert_eq!(taken(&allowance, BURST, 3_000_000), 2 * PER_SECOND);
        // Rest restores the burst, and no more than that.
        assert_eq!(taken(&allowance, 2 * BURST, u64::MAX / 2), BURST);
    }

    #[test]
    fn many_warnings_hide_no_error_and_what_is_held_back_is_counted() {
        let mut lines = 0;
        let (queue, mut writer) = Queue::new(|_: &[u8]| {
            lines += 1;
            Ok(())
        });
        let subscriber = tracing_subscriber::registry()
            .with(Limiter::new(queue.clone(), || 0))
            .with(tracing_subscriber::fmt::layer().with_writer(queue.clone()));
        let many = BURST + 5000;
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..many {
                tracing::warn!("again");
                // So that none is lost for want of room.
                writer.drain();
            }
            tracing::error!("once");
            tracing::debug!("asked for");
            writer.drain();
        });
        let expected = LostLines {
            lost: 0,
            held_back: 5000,
        };
        assert_eq!(queue.losses(), expected);
        drop(writer);
        assert_eq!(lines, BURST + 2);
    }
}
