//! What is remembered of each source.

use std::collections::{BTreeMap, VecDeque};

use crate::screen::meter::Meter;
use crate::screen::source::Source;

/// So many networks of strangers are remembered, those heard of last.
const NETWORKS: usize = 2_048;
/// So many cookies of a source are remembered.
const COOKIES: usize = 16;
/// A cookie is good for so many uses: it is sent again with another group, and
/// again when our answer was lost and its half-open IKE SA gone (RFC 7296
/// section 2.6.1).
const USES: u8 = 4;

/// What one source cost lately. It is empty until its sender returned a cookie or
/// was refused without one, so forged addresses make only a few.
#[derive(Default)]
pub(super) struct Record {
    /// Our time, multiplied so that the source's share of it pays it off.
    pub(super) work: Meter,
    /// Refusals without a cookie.
    pub(super) refused: Meter,
    /// Failed authentications.
    pub(super) failed: Meter,
    /// Cookies that were used: the end of each, and how often.
    cookies: VecDeque<(u64, u8)>,
    /// When it was last asked for, on a clock that counts.
    asked: u64,
}

impl Record {
    /// Uses a cookie; false when that was done too often.
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

/// All of them. Known peers have theirs as long as they are configured.
#[derive(Default)]
pub(super) struct Records {
    all: BTreeMap<Source, Record>,
    /// Networks of strangers, the one heard of longest ago first.
    order: BTreeMap<u64, Source>,
    clock: u64,
}

impl Records {
    pub(super) fn get(&self, source: Source) -> Option<&Record> {
        self.all.get(&source)
    }

    pub(super) fn entry(&mut self, source: Source) -> &mut Record {
        self.clock += 1;
        let clock = self.clock;
        if !source.is_peer() {
            if let Some(record) = self.all.get(&source) {
                self.order.remove(&record.asked);
            } else if self.order.len() >= NETWORKS
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.all.remove(&oldest);
            }
            self.order.insert(clock, source);
        }
        let record = self.all.entry(source).or_default();
        record.asked = clock;
        record
    }

    pub(super) fn forget(&mut self, source: Source) {
        if let Some(record) = self.all.remove(&source) {
            self.order.remove(&record.asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{COOKIES, NETWORKS, Records, USES};
    use crate::screen::source::Source;

    fn network(number: u32) -> Source {
        Source::Network(IpAddr::V4(Ipv4Addr::from(number << 8)))
    }

    #[test]
    fn countless_networks_cost_no_memory_and_known_peers_keep_their_record() {
        let mut records = Records::default();
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
        let mut records = Records::default();
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
