//! A request that is to find out within a fraction of a second whether the peer answers, long before
//! dead peer detection may give it up. Any request serves: the peer has to answer each (RFC 7296
//! section 2.1).

use std::time::Duration;

/// How often a probe is sent. One packet is lost easily, three in a row seldom.
const SENDS: u32 = 3;

/// The pause after each time it is sent, at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// After the last time, at least: a peer takes some milliseconds to answer.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// How far a probe is.
#[derive(Debug)]
pub(crate) struct Probe {
    pause: Duration,
    progress: Progress,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// To be sent so many times more.
    Sends(u32),
    /// It was sent often enough and not answered.
    Failed,
    /// That was reported.
    Reported,
}

impl Probe {
    /// A probe of a peer that answers within this time, if that is known.
    pub(crate) fn new(longest: Option<Duration>) -> Self {
        Self {
            // Unknown is taken for long.
            pause: longest.unwrap_or(SHORTEST_PAUSE),
            progress: Progress::Sends(SENDS),
        }
    }

    /// Notes that it is sent, or would have to be sent, now. Returns how long to wait for the
    /// answer; None once it was sent often enough.
    pub(crate) fn send(&mut self) -> Option<Duration> {
        match self.progress {
            Progress::Sends(left) if left > 0 => {
                self.progress = Progress::Sends(left - 1);
                let least = if left > 1 {
                    SHORTEST_PAUSE
                } else {
                    SHORTEST_WAIT
                };
                Some(least.max(self.pause))
            }
            Progress::Sends(_) => {
                self.progress = Progress::Failed;
                None
            }
            Progress::Failed | Progress::Reported => None,
        }
    }

    /// Whether it may still be answered in time.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self.progress, Progress::Sends(_))
    }

    /// Whether it failed and nobody has asked yet.
    pub(crate) fn take_failure(&mut self) -> bool {
        let failed = self.progress == Progress::Failed;
        if failed {
            self.progress = Progress::Reported;
        }
        failed
    }
}
