//! A limit on what a tunnel carries, so that one cannot starve the others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How much may pass at once beyond the rate, as the time that it takes at the
/// rate, nanoseconds: TCP sends in bursts.
const BURST_NANOS: u64 = 50_000_000;
/// But at least this much, octets: two super-packets.
const BURST_OCTETS: usize = 128 << 10;

/// A policer (the generic cell rate algorithm): it keeps the time until which
/// the rate is used up, and admits what does not move that too far ahead. A
/// burst too large for that passes when nothing is owed.
#[derive(Debug)]
pub(crate) struct RateLimit {
    bits_per_second: u64,
    burst_nanos: u64,
    used_up_to: AtomicU64,
}

impl RateLimit {
    pub(crate) fn new(bits_per_second: u64) -> Self {
        Self {
            bits_per_second,
            burst_nanos: BURST_NANOS.max(nanos(BURST_OCTETS, bits_per_second)),
            used_up_to: AtomicU64::new(0),
        }
    }

    /// Whether a burst of `octets` may pass at `now`, nanoseconds of any clock
    /// that does not go back. All of it passes, or nothing.
    pub(crate) fn admit(&self, now: u64, octets: usize) -> bool {
        let cost = nanos(octets, self.bits_per_second);
        let after = |used: u64| {
            let owed = used.saturating_sub(now);
            let passes = owed == 0 || owed.saturating_add(cost) <= self.burst_nanos;
            passes.then(|| now.saturating_add(owed).saturating_add(cost))
        };
        self.used_up_to
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after)
            .is_ok()
    }
}

/// How long the rate takes for these octets.
fn nanos(octets: usize, bits_per_second: u64) -> u64 {
    let bits = u64::try_from(octets).unwrap_or(u64::MAX).saturating_mul(8);
    bits.saturating_mul(1_000_000_000) / bits_per_second.max(1)
}

/// Nanoseconds since the first call.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds of the same clock, modulo 2^32.
pub(crate) fn millis() -> u32 {
    let [_, _, _, _, low @ ..] = (now() / 1_000_000).to_be_bytes();
    u32::from_be_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::RateLimit;

    const SECOND: u64 = 1_000_000_000;

    /// Octets that pass in `seconds` if a packet of 1,000 comes every 10 µs.
    fn passed(limit: &RateLimit, from: u64, seconds: u64) -> u64 {
        (from..from + seconds * SECOND)
            .step_by(10_000)
            .map(|now| if limit.admit(now, 1000) { 1000 } else { 0 })
            .sum()
    }

    #[test]
    fn what_passes_in_the_long_run_is_the_rate_and_one_burst() {
        let limit = RateLimit::new(80_000_000);
        let burst = 500_000;
        let one_packet = 1000;
        for (from, seconds, expected) in [
            (0, 10, 100_000_000 + burst),
            // The burst is used up, and comes back with silence.
            (10 * SECOND, 1, 10_000_000),
            (20 * SECOND, 1, 10_000_000 + burst),
        ] {
            let passed = passed(&limit, from, seconds);
            assert!(passed.abs_diff(expected) <= one_packet, "{passed}");
        }
    }

    #[test]
    fn a_slow_rate_still_lets_two_super_packets_pass() {
        let limit = RateLimit::new(1_000_000);
        assert!(limit.admit(0, 64 << 10));
        assert!(limit.admit(0, 64 << 10));
        assert!(!limit.admit(0, 1));
    }

    #[test]
    fn a_burst_of_any_size_passes_when_nothing_is_owed_and_is_paid_for() {
        let limit = RateLimit::new(8_000_000);
        assert!(limit.admit(0, 2_000_000));
        assert!(!limit.admit(SECOND, 1));
        assert!(limit.admit(2 * SECOND, 2_000_000));
    }

    #[test]
    fn a_clock_at_its_end_does_no_harm() {
        let limit = RateLimit::new(1);
        assert!(limit.admit(u64::MAX, 1));
        assert!(limit.admit(u64::MAX, usize::MAX));
    }
}
