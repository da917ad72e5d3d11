//! Rate limits for unauthenticated senders: one for each source, one for all strangers and one for
//! all known addresses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::dos_protection::leaky_bucket::LeakyBucket;
use crate::dos_protection::source::Source;

/// Each source is served once a second.
const EACH: Duration = Duration::from_secs(1);
/// After a pause, a source is served this many times at once.
const AT_ONCE: u32 = 4;
/// All strangers together are served 20 times a second, all known addresses 200 times.
const STRANGERS: Duration = Duration::from_millis(50);
const KNOWN: Duration = Duration::from_millis(5);
/// All sources together may be this far ahead of their rate.
const AHEAD: Duration = Duration::from_secs(1);
/// With this many sources remembered, those without debt are forgotten. No more sources than this
/// can be in debt at once.
const SOURCES: usize = 2_048;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct RateLimit {
    sources: BTreeMap<Source, LeakyBucket>,
    /// The debts of all strangers and of all known addresses.
    all: [LeakyBucket; 2],
}

impl RateLimit {
    /// Whether this source is served once more; if so, that is counted.
    pub(crate) fn take(&mut self, now: Instant, source: Source) -> bool {
        let cost = if source.is_peer() { KNOWN } else { STRANGERS };
        let Some(all) = self.all.get_mut(usize::from(source.is_peer())) else {
            return false;
        };
        if all.owed(now) >= AHEAD {
            return false;
        }
        if self.sources.len() >= SOURCES {
            self.sources.retain(|_, bucket| !bucket.owed(now).is_zero());
        }
        let own = self.sources.entry(source).or_default();
        if own.owed(now) + EACH > EACH * AT_ONCE {
            return false;
        }
        own.add(now, EACH);
        all.add(now, cost);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::{AT_ONCE, RateLimit, SOURCES};
    use crate::dos_protection::source::Source;

    #[allow(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn network(number: u32) -> Source {
        Source::Network(IpAddr::V4(Ipv4Addr::from(number << 8)))
    }

    fn peer(number: u32) -> Source {
        Source::Peer(IpAddr::V4(Ipv4Addr::from(number)))
    }

    fn taken(limit: &mut RateLimit, now: Instant, sources: impl Iterator<Item = Source>) -> u32 {
        let taken = sources.filter(|source| limit.take(now, *source));
        u32::try_from(taken.count()).unwrap()
    }

    #[test]
    fn a_source_has_a_few_at_once_and_then_one_a_second() {
        let (mut limit, now) = (RateLimit::default(), start());
        let one = || std::iter::repeat_n(network(1), 1_000);
        assert_eq!(taken(&mut limit, now, one()), AT_ONCE);
        let second = Duration::from_secs(1);
        assert_eq!(taken(&mut limit, now + second, one()), 1);
        assert_eq!(taken(&mut limit, now + 100 * second, one()), AT_ONCE);
    }

    #[test]
    fn strangers_together_are_bounded_and_take_nothing_from_known_addresses() {
        let (mut limit, now) = (RateLimit::default(), start());
        let strangers = (0..100_000).map(network);
        assert_eq!(taken(&mut limit, now, strangers), 20);
        assert_eq!(taken(&mut limit, now, (0..100_000).map(peer)), 200);
        assert!(limit.sources.len() <= SOURCES);
    }

    #[test]
    fn sources_that_owe_nothing_are_forgotten() {
        let mut limit = RateLimit::default();
        for number in 0..10 * u32::try_from(SOURCES).unwrap() {
            let now = start() + number * Duration::from_millis(50);
            assert!(limit.take(now, network(number)));
        }
        assert!(limit.sources.len() <= SOURCES);
    }
}
