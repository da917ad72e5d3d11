//! Log lines about refused peers, held back so that nobody can flood the log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::command::TunnelId;

/// So many lines about one subject in one [`WINDOW`].
const LINES: u32 = 5;

/// After this long a subject may be complained about again.
const WINDOW: Duration = Duration::from_secs(60);

/// So many addresses are told apart; all others share one allowance. An
/// attacker with many addresses, or forged ones, gains no memory and few lines.
const SUBJECTS: usize = 64;

/// Whom a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A configured tunnel's peer. There are only so many.
    Tunnel(TunnelId),
    /// Somebody unknown.
    Address(IpAddr),
    /// Unknown ones beyond [`SUBJECTS`].
    Others,
}

#[derive(Debug)]
struct Allowance {
    from: Instant,
    used: u32,
    held_back: u32,
}

/// Who was complained about lately.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<Subject, Allowance>);

impl Complaints {
    /// Whether a line may be written now: Some with how many were held back
    /// since the last one, None when this one is to be held back too.
    pub(super) fn allow(&mut self, now: Instant, subject: Subject) -> Option<u32> {
        let subject = self.admit(now, subject);
        let fresh = Allowance {
            from: now,
            used: 0,
            held_back: 0,
        };
        let allowance = self.0.entry(subject).or_insert(fresh);
        if now >= allowance.from + WINDOW {
            allowance.from = now;
            allowance.used = 0;
        }
        if allowance.used == LINES {
            allowance.held_back = allowance.held_back.saturating_add(1);
            return None;
        }
        allowance.used += 1;
        Some(std::mem::take(&mut allowance.held_back))
    }

    /// The subject under which to count; makes room first.
    fn admit(&mut self, now: Instant, subject: Subject) -> Subject {
        if !matches!(subject, Subject::Address(_)) || self.0.contains_key(&subject) {
            return subject;
        }
        let addresses = |(kept, _): &(&Subject, &Allowance)| matches!(kept, Subject::Address(_));
        if self.0.iter().filter(addresses).count() < SUBJECTS {
            return subject;
        }
        self.0.retain(|kept, allowance| {
            !matches!(kept, Subject::Address(_)) || now < allowance.from + WINDOW
        });
        if self.0.iter().filter(addresses).count() < SUBJECTS {
            subject
        } else {
            Subject::Others
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use super::{Complaints, LINES, SUBJECTS, Subject, WINDOW};
    use crate::command::TunnelId;

    #[allow(
        clippy::disallowed_methods,
        reason = "an epoch; its value decides nothing"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn stranger(number: u32) -> Subject {
        Subject::Address(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[test]
    fn a_subject_gets_a_few_lines_and_the_next_one_says_how_many_were_held_back() {
        let now = epoch();
        let mut complaints = Complaints::default();
        let lines = (0..100).filter_map(|_| complaints.allow(now, stranger(1)));
        assert_eq!(lines.count(), usize::try_from(LINES).unwrap());
        assert_eq!(complaints.allow(now + WINDOW, stranger(1)), Some(95));
        assert_eq!(complaints.allow(now + WINDOW, stranger(1)), Some(0));
    }

    #[test]
    fn countless_forged_addresses_cost_neither_memory_nor_log() {
        let now = epoch();
        let mut complaints = Complaints::default();
        let lines = (0..2_000).filter_map(|n| complaints.allow(now, stranger(n)));
        assert_eq!(lines.count(), SUBJECTS + usize::try_from(LINES).unwrap());
        assert!(complaints.0.len() <= SUBJECTS + 1);
    }

    #[test]
    fn strangers_do_not_use_up_the_lines_of_a_configured_tunnel() {
        let now = epoch();
        let mut complaints = Complaints::default();
        for n in 0..2_000 {
            complaints.allow(now, stranger(n));
        }
        let tunnel = Subject::Tunnel(TunnelId(0));
        assert_eq!(complaints.allow(now, tunnel), Some(0));
    }
}
