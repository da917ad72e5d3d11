//! Limits on the log lines that peers and strangers can cause. Each has an allowance for each
//! kind of line; lines beyond it are held back, and the next one says how many were.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use vgw_ike::drop_reason::DropReason;

/// After this long an allowance is full again.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Lines in a [`WINDOW`] about what was refused, or what a peer reports as an error.
const REFUSALS: u32 = 5;

/// Lines in a [`WINDOW`] about dropped messages of one kind from one unknown address.
const DROPS: u32 = 1;

/// Lines in a [`WINDOW`] about the state of a tunnel, of its SAs, or of a connection.
pub(crate) const STATES: u32 = 20;

/// The same words are not written again for so long.
pub const SAME: Duration = Duration::from_secs(600);

/// So many refusals are put into words in one [`WINDOW`], to see whether they are the same.
const WORDED: u32 = 20;

/// How many of the last lines are remembered.
const KNOWN: usize = 4;

/// So many addresses, each with a kind of line, are told apart; all others share one
/// allowance. An
/// attacker with many addresses, or forged ones, gains no memory and few lines.
const ADDRESSES: usize = 64;

/// What may be written about one thing in one [`WINDOW`].
#[derive(Debug, Clone)]
pub struct LineLimit {
    most: u32,
    from: Option<Instant>,
    used: u32,
    held_back: u32,
}

/// Leave to write one line, which must show it at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Allowed {
    /// Lines that were not written since the last one; None: all were.
    pub held_back: Option<u32>,
}

/// The end of the line: nothing, or how many were held back.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held_back {
            None => Ok(()),
            Some(1) => f.write_str(" (another line held back before)"),
            Some(lines) => write!(f, " ({lines} other lines held back before)"),
        }
    }
}

impl LineLimit {
    /// At most so many lines in a [`WINDOW`].
    #[must_use]
    pub const fn new(most: u32) -> Self {
        Self {
            most,
            from: None,
            used: 0,
            held_back: 0,
        }
    }

    /// Whether a line may be written now. Ask before the line is put together:
    /// what nobody reads should cost nothing.
    pub fn allow(&mut self, now: Instant) -> Option<Allowed> {
        if self.from.is_none_or(|from| now >= from + WINDOW) {
            self.from = Some(now);
            self.used = 0;
        }
        if self.used == self.most {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.used += 1;
        let held_back = std::mem::take(&mut self.held_back);
        Some(Allowed {
            held_back: (held_back > 0).then_some(held_back),
        })
    }

    fn is_over(&self, now: Instant) -> bool {
        self.from.is_none_or(|from| now >= from + WINDOW)
    }
}

/// What may be written about a tunnel's messages that are dropped: of each kind the first,
/// and another once [`SAME`] has passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct DropLines(BTreeMap<DropReason, Said>);

/// A line that was written, and how many were not since.
#[derive(Debug, Clone, Copy)]
struct Said {
    at: Instant,
    held_back: u32,
}

impl DropLines {
    /// See [`LineLimit::allow`].
    pub(crate) fn allow(&mut self, now: Instant, denial: DropReason) -> Option<Allowed> {
        let said = self.0.get_mut(&denial);
        if let Some(said) = said.filter(|said| now < said.at + SAME) {
            said.held_back = said.held_back.saturating_add(1);
            return None;
        }
        let fresh = Said {
            at: now,
            held_back: 0,
        };
        let before = self.0.insert(denial, fresh);
        let held_back = before.map_or(0, |said| said.held_back);
        Some(Allowed {
            held_back: (held_back > 0).then_some(held_back),
        })
    }
}

/// The allowances of one tunnel. They are apart, so that a flood of one kind
/// does not hold back the others.
#[derive(Debug, Clone)]
pub(crate) struct TunnelLines {
    /// Lines about refusals, failures and errors that the peer reports.
    pub(crate) refusals: Refusals,
    /// Messages that were dropped.
    pub(crate) drops: DropLines,
    /// Lines about its SAs.
    pub(crate) sas: LineLimit,
    /// Lines about its state.
    pub(crate) states: LineLimit,
}

impl Default for TunnelLines {
    fn default() -> Self {
        Self {
            refusals: Refusals::default(),
            drops: DropLines::default(),
            sas: LineLimit::new(STATES),
            states: LineLimit::new(STATES),
        }
    }
}

/// What may be written about what goes wrong with one peer. Whoever is configured wrongly
/// tries again for days: beside the number of lines, the same words are written once in
/// [`SAME`].
#[derive(Debug, Clone)]
pub(crate) struct Refusals {
    worded: LineLimit,
    written: LineLimit,
    known: VecDeque<(String, Instant)>,
    held_back: u32,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            worded: LineLimit::new(WORDED),
            written: LineLimit::new(REFUSALS),
            known: VecDeque::new(),
            held_back: 0,
        }
    }
}

impl Refusals {
    /// Whether a line with these words may be written now; gives them back.
    pub(crate) fn allow(
        &mut self,
        now: Instant,
        words: impl FnOnce() -> String,
    ) -> Option<(String, Allowed)> {
        let line = self.fresh(now, words);
        if line.is_none() {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        let held_back = std::mem::take(&mut self.held_back);
        let allowed = Allowed {
            held_back: (held_back > 0).then_some(held_back),
        };
        line.map(|words| (words, allowed))
    }

    fn fresh(&mut self, now: Instant, words: impl FnOnce() -> String) -> Option<String> {
        let _ = self.worded.allow(now)?;
        let words = words();
        self.known.retain(|(_, at)| now < *at + SAME);
        if self.known.iter().any(|(known, _)| *known == words) {
            return None;
        }
        let _ = self.written.allow(now)?;
        if self.known.len() == KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((words.clone(), now));
        Some(words)
    }

    /// Forgets the remembered lines: something changed, and the same words would be news.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

/// The allowances of those who are no configured peer, by address and by what is said:
/// a refusal, or that a message was dropped for this reason.
#[derive(Debug)]
pub(crate) struct UnknownPeerLines {
    addresses: BTreeMap<(IpAddr, Option<DropReason>), LineLimit>,
    others: LineLimit,
}

impl Default for UnknownPeerLines {
    fn default() -> Self {
        Self {
            addresses: BTreeMap::new(),
            others: LineLimit::new(REFUSALS),
        }
    }
}

impl UnknownPeerLines {
    /// See [`LineLimit::allow`].
    pub(crate) fn allow(
        &mut self,
        now: Instant,
        address: IpAddr,
        dropped: Option<DropReason>,
    ) -> Option<Allowed> {
        let of = (address, dropped);
        if let Some(limit) = self.addresses.get_mut(&of) {
            return limit.allow(now);
        }
        if self.addresses.len() == ADDRESSES {
            self.addresses.retain(|_, limit| !limit.is_over(now));
        }
        if self.addresses.len() == ADDRESSES {
            return self.others.allow(now);
        }
        let most = if dropped.is_some() { DROPS } else { REFUSALS };
        let limit = self.addresses.entry(of);
        limit.or_insert_with(|| LineLimit::new(most)).allow(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use vgw_ike::drop_reason::DropReason;

    use super::{
        ADDRESSES, LineLimit, REFUSALS, Refusals, SAME, TunnelLines, UnknownPeerLines, WINDOW,
    };
    use crate::test_time::epoch;

    fn stranger(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    #[test]
    fn a_few_lines_are_allowed_and_the_next_one_says_how_many_were_held_back() {
        let now = epoch();
        let mut limit = LineLimit::new(5);
        let lines = (0..100).filter_map(|_| limit.allow(now));
        assert_eq!(lines.count(), 5);
        let held_back = |limit: &mut LineLimit| limit.allow(now + WINDOW).map(|a| a.held_back);
        assert_eq!(held_back(&mut limit), Some(Some(95)));
        assert_eq!(held_back(&mut limit), Some(None));
    }

    #[test]
    fn the_same_words_are_written_again_when_time_has_passed_or_something_changed() {
        let mut now = epoch();
        let mut refusals = Refusals::default();
        let mut written = Vec::new();
        for _ in 0..40 {
            now += Duration::from_secs(30);
            for words in ["one", "another"] {
                let line = refusals.allow(now, || words.to_owned());
                written.extend(line.map(|(words, line)| (words, line.held_back)));
            }
        }
        let line = |words: &str, held_back| (words.to_owned(), held_back);
        let expected = [
            line("one", None),
            line("another", None),
            line("one", Some(38)),
            line("another", None),
        ];
        assert_eq!(written, expected);
        refusals.forget();
        assert!(refusals.allow(now, || "one".to_owned()).is_some());
    }

    #[test]
    fn countless_forged_addresses_cost_neither_memory_nor_log() {
        let now = epoch();
        let mut strangers = UnknownPeerLines::default();
        let lines = (0..2_000).filter_map(|n| strangers.allow(now, stranger(n), None));
        assert_eq!(
            lines.count(),
            ADDRESSES + usize::try_from(REFUSALS).unwrap()
        );
        assert!(strangers.addresses.len() <= ADDRESSES);
        assert!(
            strangers
                .allow(now + WINDOW, stranger(9_999), None)
                .is_some()
        );
    }

    #[test]
    fn of_each_kind_of_drop_the_first_is_said() {
        let now = epoch();
        let mut strangers = UnknownPeerLines::default();
        let mut tunnel = TunnelLines::default();
        for denial in [DropReason::IkeV1, DropReason::Fragment] {
            let lines = (0..1_000).filter_map(|_| tunnel.drops.allow(now, denial));
            assert_eq!(lines.count(), 1);
            let of_stranger = |_| strangers.allow(now, stranger(1), Some(denial));
            assert_eq!((0..1_000).filter_map(of_stranger).count(), 1);
            let next = tunnel.drops.allow(now + SAME, denial).unwrap();
            assert_eq!(next.held_back, Some(999));
        }
    }

    #[test]
    fn one_kind_of_line_does_not_use_up_the_allowance_of_another() {
        let now = epoch();
        let mut tunnel = TunnelLines::default();
        for _ in 0..2_000 {
            let _ = tunnel.refusals.allow(now, String::new);
            let _ = tunnel.sas.allow(now);
        }
        assert!(tunnel.refusals.allow(now, || "other".to_owned()).is_none());
        assert!(tunnel.states.allow(now).is_some());
    }
}
