//! The anti-replay window (RFC 4303 section 3.4.3 and appendix A2).

/// Sequence numbers per word of the ring.
const WORD_BITS: u64 = 64;

/// Distance between numbers with the same low half, which is all that a packet carries.
const SUBSPACE: u64 = 1 << 32;

/// Which of the latest sequence numbers were seen.
///
/// The bits lie in a ring of words, so that moving on clears words instead of
/// shifting the window. The ring has at least one word more than the window
/// needs: clearing the word of a new top never forgets a number in the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayWindow {
    size: u64,
    /// Highest number seen; 0 before the first.
    top: u64,
    /// A power of two of words.
    seen: Box<[u64]>,
}

impl ReplayWindow {
    /// The smallest window, in packets.
    pub const MIN_SIZE: u32 = 64;
    /// The largest window, in packets.
    pub const MAX_SIZE: u32 = 8192;

    /// An empty window over `size` packets, which is brought into
    /// [`Self::MIN_SIZE`] to [`Self::MAX_SIZE`].
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = size.clamp(Self::MIN_SIZE, Self::MAX_SIZE);
        let words = size.div_ceil(64) + 1;
        let words = usize::try_from(words.next_power_of_two()).unwrap_or(usize::MAX);
        Self {
            size: u64::from(size),
            top: 0,
            seen: vec![0; words].into_boxed_slice(),
        }
    }

    /// Packets that the window spans.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The highest sequence number seen, 0 before the first.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The whole sequence number of a packet that carries `low`, RFC 4303
    /// appendix A2.2. None if it would lie outside the number space.
    #[must_use]
    pub fn infer(&self, low: u32) -> Option<u64> {
        let (top_high, top_low) = (self.top / SUBSPACE, self.top % SUBSPACE);
        let low = u64::from(low);
        let high = if top_low >= self.size - 1 {
            // Case A: the window lies within one subspace.
            if low + self.size > top_low {
                top_high
            } else {
                top_high + 1
            }
        } else if low > top_low + SUBSPACE - self.size {
            // Case B: the window reaches back into the subspace before.
            top_high.checked_sub(1)?
        } else {
            top_high
        };
        high.checked_mul(SUBSPACE)?.checked_add(low)
    }

    /// Whether a packet with this number may still be accepted. Changes nothing:
    /// the number is not authentic yet.
    #[must_use]
    pub fn check(&self, sequence: u64) -> bool {
        // RFC 4303 section 2.2: the first packet has number 1.
        if sequence == 0 {
            return false;
        }
        if sequence > self.top {
            return true;
        }
        self.top - sequence < self.size && !self.is_seen(sequence)
    }

    /// Marks the number of an authentic packet that [`Self::check`] allowed.
    pub fn commit(&mut self, sequence: u64) {
        if sequence > self.top {
            self.advance(sequence);
        }
        let slot = self.slot(sequence);
        if let Some(word) = self.seen.get_mut(slot) {
            *word |= 1 << (sequence % WORD_BITS);
        }
    }

    fn advance(&mut self, top: u64) {
        let old = self.top / WORD_BITS;
        let entered = top / WORD_BITS - old;
        for step in (1..=entered).take(self.seen.len()) {
            let slot = self.slot((old + step) * WORD_BITS);
            if let Some(word) = self.seen.get_mut(slot) {
                *word = 0;
            }
        }
        self.top = top;
    }

    fn is_seen(&self, sequence: u64) -> bool {
        self.seen
            .get(self.slot(sequence))
            .is_some_and(|word| word >> (sequence % WORD_BITS) & 1 == 1)
    }

    fn slot(&self, sequence: u64) -> usize {
        // The length is a power of two: bits that a narrow usize cuts off are
        // masked anyway.
        let word = sequence / WORD_BITS;
        usize::try_from(word & u64::from(u32::MAX)).unwrap_or(0) & (self.seen.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{ReplayWindow, SUBSPACE};

    fn window_at(size: u32, top: u64) -> ReplayWindow {
        let mut window = ReplayWindow::new(size);
        window.commit(top);
        window
    }

    #[test]
    fn the_first_number_is_one() {
        let window = ReplayWindow::new(64);
        assert!(!window.check(0));
        assert!(window.check(1));
    }

    #[test]
    fn a_number_is_accepted_once() {
        let mut window = ReplayWindow::new(64);
        window.commit(7);
        assert!(!window.check(7));
        assert!(window.check(6));
        assert!(window.check(8));
    }

    #[test]
    fn the_oldest_number_in_the_window_is_accepted_and_the_one_before_it_is_not() {
        for size in [64, 100, 1024, 8192] {
            let window = window_at(size, 100_000);
            let oldest = 100_000 - u64::from(size) + 1;
            assert!(window.check(oldest), "{size}");
            assert!(!window.check(oldest - 1), "{size}");
        }
    }

    #[test]
    fn a_leap_beyond_the_whole_ring_forgets_what_was_seen_and_nothing_else() {
        let mut window = ReplayWindow::new(64);
        for sequence in 1..=500 {
            window.commit(sequence);
        }
        window.commit(1_000_000);
        for sequence in 1_000_000 - 63..1_000_000 {
            assert!(window.check(sequence));
        }
        assert!(!window.check(1_000_000));
        assert!(!window.check(500));
    }

    #[test]
    fn entering_a_new_word_keeps_the_last_number_of_the_window() {
        let mut window = ReplayWindow::new(64);
        window.commit(65);
        window.commit(128);
        assert!(!window.check(65));
        assert!(window.check(66));
        assert!(!window.check(64), "left the window");
    }

    #[test]
    fn check_alone_does_not_mark_a_number() {
        let window = ReplayWindow::new(64);
        assert!(window.check(5));
        assert!(window.check(5));
    }

    #[test]
    fn a_size_out_of_range_is_brought_into_it() {
        assert_eq!(ReplayWindow::new(0).size(), 64);
        assert_eq!(ReplayWindow::new(u32::MAX).size(), 8192);
    }

    #[test]
    fn the_last_number_of_all_can_be_seen_once() {
        let mut window = window_at(64, u64::MAX - 1);
        assert!(window.check(u64::MAX));
        window.commit(u64::MAX);
        assert!(!window.check(u64::MAX));
    }

    #[test]
    fn a_low_half_past_the_wrap_belongs_to_the_next_subspace() {
        let window = window_at(64, SUBSPACE - 1);
        assert_eq!(window.infer(0), Some(SUBSPACE));
        assert_eq!(window.infer(u32::MAX), Some(SUBSPACE - 1));
    }

    #[test]
    fn a_straggler_from_before_the_wrap_belongs_to_the_subspace_before() {
        let window = window_at(64, SUBSPACE + 10);
        assert_eq!(window.infer(u32::MAX), Some(SUBSPACE - 1));
        assert_eq!(window.infer(11), Some(SUBSPACE + 11));
    }

    #[test]
    fn before_the_first_packet_a_high_low_half_is_no_number_at_all() {
        let window = ReplayWindow::new(64);
        assert_eq!(window.infer(1), Some(1));
        assert_eq!(
            window.infer(u32::MAX - 100),
            Some(u64::from(u32::MAX - 100))
        );
        assert_eq!(window.infer(u32::MAX), None);
    }

    #[test]
    fn no_number_follows_the_last_subspace() {
        let window = window_at(64, u64::MAX);
        assert_eq!(window.infer(0), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Back(u64),
        Ahead(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u64..300).prop_map(Step::Back),
            4 => (1_u64..70).prop_map(Step::Ahead),
            1 => (1_u64..20_000).prop_map(Step::Ahead),
            1 => (0_u64..10_000).prop_map(Step::Back),
        ];
        proptest::collection::vec(step, 1..400)
    }

    proptest! {
        #[test]
        fn it_accepts_what_a_set_of_all_seen_numbers_accepts(
            size in prop_oneof![Just(64_u32), Just(65), Just(128), Just(1000), Just(1024), Just(8192)],
            start in prop_oneof![Just(0_u64), 1..200_u64, (SUBSPACE - 500)..(SUBSPACE + 500)],
            steps in steps(),
        ) {
            let mut window = ReplayWindow::new(size);
            let mut seen = BTreeSet::new();
            let mut top = 0;
            if start > 0 {
                window.commit(start);
                seen.insert(start);
                top = start;
            }
            for step in steps {
                let sequence = match step {
                    Step::Back(by) => top.saturating_sub(by),
                    Step::Ahead(by) => top + by,
                };
                let fresh = sequence > 0
                    && sequence + u64::from(size) > top
                    && !seen.contains(&sequence);
                prop_assert_eq!(window.check(sequence), fresh, "{} of {}", sequence, top);
                if fresh {
                    window.commit(sequence);
                    seen.insert(sequence);
                    top = top.max(sequence);
                    prop_assert_eq!(window.top(), top);
                }
            }
        }

        #[test]
        fn a_number_near_the_top_is_inferred_from_its_low_half(
            top in (SUBSPACE / 2)..(SUBSPACE * 5),
            offset in -63_i64..1_000_000,
        ) {
            let window = window_at(64, top);
            let sequence = top.saturating_add_signed(offset);
            let low = u32::try_from(sequence % SUBSPACE).unwrap();
            prop_assert_eq!(window.infer(low), Some(sequence));
        }
    }
}
