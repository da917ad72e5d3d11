//! What is noticed of each tunnel's traffic within a fraction of a second: that packets come, and
//! that packets leave while none comes back, which is the first sign of a dead path. The workers
//! do nothing for it but count, as they do anyway.

use std::time::{Duration, Instant};

use vgw_sa::{Activity, TunnelId, TunnelTraffic};

use super::Engine;

/// A silence that goes on, and is sent into, is reported again after this long.
const SILENT_AGAIN: Duration = Duration::from_secs(1);

/// After so long without a packet that leaves, a silence begins anew with the next.
const IDLE: Duration = Duration::from_secs(1);

/// Of a tunnel through which packets come all the time, that is reported this often.
const HEARD_AGAIN: Duration = Duration::from_millis(200);

/// The watch over one tunnel.
#[derive(Debug, Default)]
pub(super) struct Watch {
    counted: TunnelTraffic,
    heard_reported: Option<Instant>,
    sent_at: Option<Instant>,
    /// When the first packet was seen to have left since something came.
    silent_since: Option<Instant>,
    /// When that was reported, and how many packets had left by then.
    silence_reported: Option<(Instant, u64)>,
}

impl Watch {
    /// Takes what is counted now; a silence is reported once it has lasted for `patience`.
    fn look(
        &mut self,
        now: Instant,
        counted: TunnelTraffic,
        patience: Duration,
    ) -> Option<Activity> {
        let before = std::mem::replace(&mut self.counted, counted);
        if counted.packets_in != before.packets_in {
            self.silent_since = None;
            let silence_ends = self.silence_reported.take().is_some();
            let reported = self.heard_reported;
            let news = silence_ends || reported.is_none_or(|at| now >= at + HEARD_AGAIN);
            return news.then(|| {
                self.heard_reported = Some(now);
                Activity::Heard
            });
        }
        if counted.packets_out != before.packets_out {
            let was_idle = self.sent_at.replace(now).is_none_or(|at| now > at + IDLE);
            if was_idle || self.silent_since.is_none() {
                self.silent_since = Some(now);
                self.silence_reported = None;
            }
        }
        let since = self.silent_since.filter(|since| now >= *since + patience)?;
        let news = self
            .silence_reported
            .is_none_or(|(at, sent)| now >= at + SILENT_AGAIN && counted.packets_out != sent);
        news.then(|| {
            self.silence_reported = Some((now, counted.packets_out));
            Activity::Silent(since)
        })
    }
}

impl Engine {
    /// Looks at all tunnels; to be called often. A silence is reported once it has lasted for
    /// `patience`, and once a second for as long as it goes on and more is sent; that packets
    /// come, when they begin to, and from then on a few times a second.
    #[must_use]
    pub fn look_at_activity(&self, now: Instant, patience: Duration) -> Vec<(TunnelId, Activity)> {
        let mut control = self.control();
        let tunnels = control.tunnels.iter_mut();
        tunnels
            .filter_map(|(&id, tunnel)| {
                let counted = tunnel.traffic.total();
                Some((id, tunnel.watch.look(now, counted, patience)?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use vgw_sa::{Activity, TunnelTraffic};

    use super::Watch;

    const TICK: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_millis(100);

    /// A tunnel that is looked at every 10 ms.
    struct Watched {
        start: Instant,
        looks: u32,
        traffic: TunnelTraffic,
        watch: Watch,
        /// At which looks packets were reported to come.
        heard: Vec<u32>,
        /// At which looks a silence was reported, and since which.
        silent: Vec<(u32, u32)>,
    }

    impl Watched {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                looks: 0,
                traffic: TunnelTraffic::default(),
                watch: Watch::default(),
                heard: Vec::new(),
                silent: Vec::new(),
            }
        }

        /// So many looks, with so many packets before each.
        fn pass(&mut self, looks: u32, out: u64, back: u64) -> &mut Self {
            for _ in 0..looks {
                self.looks += 1;
                self.traffic.packets_out += out;
                self.traffic.packets_in += back;
                let now = self.start + TICK * self.looks;
                match self.watch.look(now, self.traffic, PATIENCE) {
                    Some(Activity::Heard) => self.heard.push(self.looks),
                    Some(Activity::Silent(since)) => {
                        let since = (since - self.start).as_millis() / TICK.as_millis();
                        self.silent
                            .push((self.looks, u32::try_from(since).unwrap()));
                    }
                    None => {}
                }
            }
            self
        }
    }

    #[test]
    fn packets_that_come_are_reported_at_once_and_then_five_times_a_second() {
        let mut tunnel = Watched::new();
        tunnel.pass(7, 0, 0).pass(50, 1, 1).pass(500, 0, 0);
        tunnel.pass(1, 0, 1);
        assert_eq!(tunnel.heard, [8, 28, 48, 558]);
        assert_eq!(tunnel.silent, []);
    }

    #[test]
    fn a_silence_is_reported_once_it_has_lasted_since_the_first_packet_without_an_answer() {
        let mut tunnel = Watched::new();
        tunnel.pass(50, 1, 1).pass(20, 0, 0).pass(40, 1, 0);
        assert_eq!(tunnel.silent, [(81, 71)]);
    }

    #[test]
    fn one_packet_without_an_answer_is_reported_though_no_other_follows() {
        let mut tunnel = Watched::new();
        tunnel.pass(1, 1, 0).pass(1000, 0, 0);
        assert_eq!(tunnel.silent, [(11, 1)]);
    }

    #[test]
    fn what_is_sent_after_a_pause_is_given_time_for_an_answer_again() {
        let mut tunnel = Watched::new();
        tunnel.pass(1, 1, 0).pass(200, 0, 0).pass(1, 1, 0);
        tunnel.pass(20, 0, 0);
        assert_eq!(tunnel.silent, [(11, 1), (212, 202)]);
    }

    #[test]
    fn a_silence_that_goes_on_is_reported_every_second() {
        let mut tunnel = Watched::new();
        tunnel.pass(320, 1, 0);
        assert_eq!(tunnel.silent, [(11, 1), (111, 1), (211, 1), (311, 1)]);
    }

    #[test]
    fn what_comes_back_after_a_silence_is_reported_at_once() {
        let mut tunnel = Watched::new();
        tunnel.pass(1, 1, 1).pass(12, 1, 0).pass(1, 1, 1);
        assert_eq!(tunnel.silent, [(12, 2)]);
        assert_eq!(tunnel.heard, [1, 14]);
    }
}
