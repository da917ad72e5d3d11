//! The records of the cost of each source.

use std::collections::{BTreeMap, VecDeque};

use crate::dos_protection::leaky_bucket::LeakyBucket;
use crate::dos_protection::source::Source;

/// How many networks of strangers are remembered: those that were last active.
const NETWORKS: usize = 2_048;
/// How many used cookies of a source are remembered.
const COOKIES: usize = 16;
/// How often a cookie may be used. An honest initiator repeats it with another group, or if our
/// answer was lost and the half-open IKE SA is gone (RFC 7296 section 2.6.1).
const USES: u8 = 4;

/// The recent cost of one source. A source has a record only once its sender returned a cookie or
/// was refused without one, so forged addresses create only a few.
#[derive(Default)]
pub(super) struct SourceRecord {
    /// Our time, scaled so that it leaks away at the rate of the source's share.
    pub(super) work: LeakyBucket,
    /// Refusals without a cookie.
    pub(super) refused: LeakyBucket,
    /// Failed authentications.
    pub(super) failed: LeakyBucket,
    /// Used cookies: the last eight bytes of each, and how often it was used.
    cookies: VecDeque<(u64, u8)>,
    /// When the record was last used, counted in uses of any record.
    used_at: u64,
}

impl SourceRecord {
    /// Uses a cookie; false if it was used too often.
    pub(super) fn spend(&mut self, cookie: &[u8]) -> bool {
        let end = cookie
            .last_chunk()
            .map_or(0, |end: &[u8; 8]| u64::from_be_bytes(*end));
        if let Some((_, uses)) = self.cookies.iter_mut().find(|(known, _)| *known == end) {
            *uses = uses.saturating_add(1);
            return *uses <= USES;
        }
        if self.cookies.len() == COOKIES {
            self.cookies.pop_front();
        }
        self.cookies.push_back((end, 1));
        true
    }
}

/// All records. A known peer's record stays while the peer is configured.
#[derive(Default)]
pub(super) struct SourceRecords {
    all: BTreeMap<Source, SourceRecord>,
    /// Networks of strangers, ordered by the last use of their records.
    order: BTreeMap<u64, Source>,
    clock: u64,
}

impl SourceRecords {
    pub(super) fn get(&self, source: Source) -> Option<&SourceRecord> {
        self.all.get(&source)
    }

    pub(super) fn entry(&mut self, source: Source) -> &mut SourceRecord {
        self.clock += 1;
        let clock = self.clock;
        if !source.is_peer() {
            if let Some(record) = self.all.get(&source) {
                self.order.remove(&record.used_at);
            } else if self.order.len() >= NETWORKS
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.all.remove(&oldest);
            }
            self.order.insert(clock, source);
        }
        let record = self.all.entry(source).or_default();
        record.used_at = clock;
        record
    }

    pub(super) fn forget(&mut self, source: Source) {
        if let Some(record) = self.all.remove(&source) {
            self.order.remove(&record.used_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{COOKIES, NETWORKS, SourceRecords, USES};
    use crate::dos_protection::source::Source;

    fn network(number: u32) -> Source {
        Source::Network(IpAddr::V4(Ipv4Addr::from(number << 8)))
    }

    #[test]
    fn countless_networks_cost_no_memory_and_known_peers_keep_their_record() {
        let mut records = SourceRecords::default();
        let peer = Source::Peer(Ipv4Addr::LOCALHOST.into());
        assert!(records.entry(peer).spend(&[1; 32]));
        for number in 0..3 * u32::try_from(NETWORKS).unwrap() {
            records.entry(network(number));
            records.entry(network(0));
        }
        assert_eq!(records.all.len(), NETWORKS + 1);
        assert_eq!(records.order.len(), NETWORKS);
        assert!(records.get(peer).is_some() && records.get(network(0)).is_some());
        assert!(records.get(network(1)).is_none(), "the oldest goes");
    }

    #[test]
    fn a_cookie_is_good_for_a_few_uses() {
        let mut records = SourceRecords::default();
        let record = records.entry(network(1));
        let uses = (0..100).filter(|_| record.spend(&[1; 32])).count();
        assert_eq!(uses, usize::from(USES));
        assert!(record.spend(&[2; 32]), "another");
        for n in 0..200 {
            record.spend(&[n; 32]);
        }
        assert_eq!(record.cookies.len(), COOKIES);
    }
}
