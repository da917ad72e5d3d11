//! When the loop looks for new paths of peers, for packets with unknown SPIs, and for hints that
//! packets may not arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

/// After one look the next is not before this: peers whose addresses change
/// with every packet, or forged ICMP errors, must not keep the loop busy. A path is followed once it is
/// proved, which takes longer.
const PAUSE: Duration = Duration::from_millis(50);

/// Says when there is something to look for.
pub(super) struct PathNews {
    seen: Arc<Notify>,
    not_before: Instant,
}

impl PathNews {
    /// `seen` is notified by the data plane's workers.
    pub(super) fn new(seen: Arc<Notify>) -> Self {
        Self {
            seen,
            not_before: Instant::now(),
        }
    }

    /// Waits for news. Dropped before it is ready, it loses none.
    pub(super) async fn wait(&mut self) {
        sleep_until(self.not_before.into()).await;
        self.seen.notified().await;
        self.not_before = Instant::now() + PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::PathNews;

    #[tokio::test]
    async fn news_that_come_while_nobody_waits_are_not_lost() {
        let seen = Arc::new(Notify::new());
        let mut news = PathNews::new(Arc::clone(&seen));
        for _ in 0..2 {
            seen.notify_one();
            tokio::select! {
                biased;
                () = std::future::ready(()) => {}
                () = news.wait() => unreachable!("the other branch is ready"),
            }
            news.wait().await;
        }
    }
}
