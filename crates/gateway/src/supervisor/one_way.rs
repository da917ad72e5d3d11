//! Whether what is sent into a tunnel finds an echo: packets leave, none comes back, and
//! yet the peer answers IKE. Most often a firewall on the way drops IP protocol 50.
//!
//! Counters cannot tell that from traffic that goes one way by nature, as syslog does, so
//! what follows must be harmless if it is that: traffic tries the other tunnel, ESP is
//! taken into UDP by a second IKE SA beside the first, and after that each new doubt
//! waits twice as long as the one before.
//!
//! A peer may send by either tunnel, so replies on the other one count as well. But if they
//! came by the carrier until just now, the peer has moved and may know why: we move too.
//!
//! A loss only towards the peer is not seen while the peer goes on sending by itself.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use vgw_sa::TunnelTraffic;

use super::backoff::Backoff;

/// For so long packets must have been sent and none received before the peer is asked.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// As [`PATIENCE`], if something was received earlier, but not [`JUST_NOW`]: perhaps
/// somebody only asks a host that is not there.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// At so many looks at the counters, more packets must have been sent than at the look
/// before: one burst is no conversation.
const LOOKS: u32 = 3;

/// The question is repeated after this long: it may have been lost with its IKE SA.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How long a tunnel that was found to go one way is not doubted again.
pub(super) const BACKOFF: RangeInclusive<Duration> =
    Duration::from_secs(120)..=Duration::from_secs(1800);

/// The peer used a tunnel just now if something came through it within this time before
/// the first packet without an answer.
const JUST_NOW: Duration = Duration::from_secs(30);

/// What follows from a look at the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask the peer for a sign of life.
    AskPeer,
    /// It answers IKE, and yet nothing returns through the tunnel.
    NothingReturns,
    /// Something returned.
    Returns,
}

/// That nothing returns through a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoReturn {
    /// When.
    pub(super) at: Instant,
    /// Packets that were sent since anything came, also after it was found.
    pub(super) packets: u64,
    /// The peer sends by the other tunnel, as it did not before.
    pub(super) left: bool,
}

/// The watch over one tunnel, for as long as its IKE SA lasts.
#[derive(Debug, Default)]
pub(super) struct OneWay {
    counted: Option<TunnelTraffic>,
    by_other: Option<u64>,
    last_in: Option<Instant>,
    unanswered: Option<Unanswered>,
    question: Question,
    found: Option<Instant>,
    backoff: Backoff,
}

/// What was sent since anything came.
#[derive(Debug, Clone, Copy)]
struct Unanswered {
    since: Instant,
    looks: u32,
    packets: u64,
    left: bool,
}

/// Whether the peer answers IKE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Question {
    #[default]
    Open,
    Asked(Instant),
    Answered,
}

impl OneWay {
    /// What was found, until something comes back or another trial begins.
    pub(super) fn found(&self) -> Option<NoReturn> {
        let at = self.found?;
        let unanswered = self.unanswered?;
        Some(NoReturn {
            at,
            packets: unanswered.packets,
            left: unanswered.left,
        })
    }

    /// Until when the tunnel, once found to go one way, is neither tried nor doubted again.
    pub(super) const fn backs_off_until(&self) -> Option<Instant> {
        self.backoff.until()
    }

    /// Takes what the data plane has counted for the tunnel, and of the carrier also how
    /// many packets came by the other tunnel.
    pub(super) fn look(
        &mut self,
        now: Instant,
        counted: TunnelTraffic,
        by_other: Option<u64>,
    ) -> Option<Verdict> {
        let before = self.counted.replace(counted).unwrap_or(counted);
        let other_before = std::mem::replace(&mut self.by_other, by_other);
        if counted.packets_in > before.packets_in {
            self.last_in = Some(now);
            return self.answered();
        }
        let sent = counted.packets_out.saturating_sub(before.packets_out);
        if sent > 0 {
            let unanswered = self.unanswered.get_or_insert(Unanswered {
                since: now,
                looks: 0,
                packets: 0,
                left: false,
            });
            unanswered.looks += 1;
            unanswered.packets += sent;
        }
        let came_by_other = by_other.zip(other_before).is_some_and(|(n, m)| n > m);
        let unanswered = self.unanswered.as_mut()?;
        let just_now = |last: Instant| unanswered.since < last + JUST_NOW;
        if came_by_other {
            unanswered.left = self.last_in.is_some_and(just_now);
            if !unanswered.left {
                return self.answered();
            }
        }
        let patience = if self.last_in.is_none_or(just_now) {
            PATIENCE
        } else {
            LONG_PATIENCE
        };
        let doubtful = now >= unanswered.since + patience && unanswered.looks >= LOOKS;
        if self.found.is_some() || !doubtful || !self.backoff.is_over(now) {
            return None;
        }
        match self.question {
            Question::Asked(at) if now < at + ASK_AGAIN => None,
            Question::Open | Question::Asked(_) => (sent > 0).then(|| {
                self.question = Question::Asked(now);
                Verdict::AskPeer
            }),
            Question::Answered => {
                self.backoff.begin(now, &BACKOFF);
                self.found = Some(now);
                Some(Verdict::NothingReturns)
            }
        }
    }

    fn answered(&mut self) -> Option<Verdict> {
        self.unanswered = None;
        self.question = Question::Open;
        self.found.take().map(|_| Verdict::Returns)
    }

    /// The peer answered a question over IKE.
    pub(super) fn note_alive(&mut self) {
        if let Question::Asked(_) = self.question {
            self.question = Question::Answered;
        }
    }

    /// Traffic is led to the tunnel again, to see whether anything comes back now.
    pub(super) fn try_again(&mut self) {
        *self = Self {
            counted: self.counted,
            last_in: self.last_in,
            backoff: self.backoff,
            ..Self::default()
        };
    }

    /// The tunnel has a new IKE SA: the doubt about the old one is void.
    pub(super) fn begin_anew(&mut self) {
        *self = Self {
            counted: self.counted,
            ..Self::default()
        };
    }
}

impl NoReturn {
    /// In words, where ESP goes in UDP or as IP protocol 50.
    pub(super) fn words(self, udp: bool) -> String {
        let explanation = if udp {
            "does the site answer it, and the peer let our networks in? Is ESP in UDP port 4500 \
             let through both ways?"
        } else {
            "is ESP (IP protocol 50) let through on the way? encapsulation = \"udp\" avoids it. \
             Does the peer let our networks in?"
        };
        format!(
            "{} packets sent and none came back, though the peer answers IKE. Unless the \
             traffic goes one way by nature: {explanation}",
            self.packets
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use vgw_sa::TunnelTraffic;

    use super::{NoReturn, OneWay, PATIENCE, Verdict};
    use crate::test_time::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    /// A tunnel that is looked at once a second.
    struct Looked {
        now: Instant,
        traffic: TunnelTraffic,
        by_other: u64,
        watch: OneWay,
        steps: Vec<Verdict>,
    }

    impl Looked {
        fn new() -> Self {
            let mut watch = OneWay::default();
            let (now, traffic) = (epoch(), TunnelTraffic::default());
            assert_eq!(watch.look(now, traffic, Some(0)), None);
            Self {
                now,
                traffic,
                by_other: 0,
                watch,
                steps: Vec::new(),
            }
        }

        /// So many seconds with so many packets in each; a peer that `lives` answers IKE.
        fn pass(&mut self, seconds: u32, out: u64, back: u64, lives: bool) -> &mut Self {
            for _ in 0..seconds {
                self.now += SECOND;
                self.traffic.packets_out += out;
                self.traffic.packets_in += back;
                let by_other = Some(self.by_other);
                let step = self.watch.look(self.now, self.traffic, by_other);
                if step == Some(Verdict::AskPeer) && lives {
                    self.watch.note_alive();
                }
                self.steps.extend(step);
            }
            self
        }

        /// As [`Self::pass`], and packets come by the other tunnel.
        fn pass_by_other(&mut self, seconds: u32) -> &mut Self {
            for _ in 0..seconds {
                self.by_other += 10;
                self.pass(1, 10, 0, true);
            }
            self
        }

        fn times_found(&self) -> usize {
            let found = |step: &&Verdict| **step == Verdict::NothingReturns;
            self.steps.iter().filter(found).count()
        }
    }

    #[test]
    fn packets_without_an_echo_are_found_within_seconds_if_the_peer_answers_ike() {
        let mut tunnel = Looked::new();
        tunnel.pass(60, 10, 10, true);
        assert_eq!(tunnel.steps, []);
        let last_answer = tunnel.now;
        tunnel.pass(8, 10, 0, true);
        let found = NoReturn {
            at: last_answer + SECOND + PATIENCE + SECOND,
            packets: 80,
            left: false,
        };
        assert_eq!(tunnel.steps, [Verdict::AskPeer, Verdict::NothingReturns]);
        assert_eq!(tunnel.watch.found(), Some(found));
    }

    #[test]
    fn a_tunnel_through_which_nothing_ever_came_is_found_too() {
        let mut tunnel = Looked::new();
        tunnel.pass(7, 1, 0, true);
        assert_eq!(tunnel.times_found(), 1);
    }

    #[test]
    fn a_peer_that_does_not_answer_ike_either_is_left_to_dead_peer_detection() {
        let mut tunnel = Looked::new();
        tunnel.pass(40, 10, 0, false);
        assert_eq!(tunnel.steps, [Verdict::AskPeer; 4]);
        assert_eq!(tunnel.watch.found(), None);
    }

    #[test]
    fn what_comes_by_the_other_tunnel_is_an_echo_too() {
        let mut tunnel = Looked::new();
        tunnel.pass_by_other(600);
        assert_eq!(tunnel.steps, []);
    }

    #[test]
    fn a_peer_that_leaves_for_the_other_tunnel_is_followed_but_only_then() {
        let mut tunnel = Looked::new();
        tunnel.pass(60, 10, 10, true).pass_by_other(8);
        assert_eq!(tunnel.steps, [Verdict::AskPeer, Verdict::NothingReturns]);
        assert!(tunnel.watch.found().unwrap().left);
        // Traffic is led here all the same, for want of the other tunnel.
        tunnel.watch.try_again();
        tunnel.pass(60, 0, 0, true).pass_by_other(600);
        assert_eq!(tunnel.times_found(), 1);
    }

    #[test]
    fn one_dead_host_that_somebody_asks_after_a_silence_is_no_reason_to_doubt() {
        let mut tunnel = Looked::new();
        tunnel.pass(60, 10, 10, true).pass(60, 0, 0, true);
        tunnel.pass(20, 1, 0, true).pass(600, 0, 0, true);
        assert_eq!(tunnel.steps, []);
    }

    #[test]
    fn one_burst_without_an_echo_is_no_reason_to_doubt() {
        let mut tunnel = Looked::new();
        tunnel.pass(2, 100, 0, true).pass(600, 0, 0, true);
        assert_eq!(tunnel.steps, []);
    }

    #[test]
    fn one_packet_that_comes_back_ends_the_doubt() {
        let mut tunnel = Looked::new();
        tunnel.pass(10, 10, 0, true).pass(1, 10, 1, true);
        assert_eq!(tunnel.steps.last(), Some(&Verdict::Returns));
        assert_eq!(tunnel.watch.found(), None);
    }

    #[test]
    fn a_stream_with_rare_answers_is_doubted_ever_more_rarely() {
        let mut tunnel = Looked::new();
        for _ in 0..24 * 120 {
            tunnel.pass(29, 10, 0, true).pass(1, 10, 1, true);
        }
        // After 0, 2, 6, 14 and 30 minutes, and every half hour from then on.
        let found = tunnel.times_found();
        assert!((48..=52).contains(&found), "{found} times");
    }

    #[test]
    fn traffic_that_is_led_here_again_is_judged_again_after_the_rest() {
        let mut tunnel = Looked::new();
        tunnel.pass(7, 10, 0, true);
        tunnel.watch.try_again();
        assert_eq!(tunnel.watch.found(), None);
        tunnel.pass(110, 10, 0, true);
        assert_eq!(tunnel.times_found(), 1);
        tunnel.pass(20, 10, 0, true);
        assert_eq!(tunnel.times_found(), 2);
    }
}
