//! The highest rate at which nothing is lost.

use anyhow::Result;

const FIRST: u32 = 10_000;
const LEAST: u32 = 100;
/// The search ends when the rates between which the answer lies differ by less than
/// this part.
const PRECISION: u32 = 32;
/// How often a rate is tried before it counts as too high: one loss, or one lapse of
/// the sender, may be the machine's.
const ATTEMPTS: usize = 2;
/// The sender keeps up when it gives at least these per cent of what it should.
const KEPT_UP: u64 = 95;

/// What became of packets at some rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Whether none was lost.
    pub whole: bool,
    /// Packets a second that were sent.
    pub offered: u32,
    /// Packets a second that arrived.
    pub arrived: u32,
}

/// Finds the highest rate at which packets arrive whole; gives the rate at which they
/// arrived then. None if they do at no rate.
pub fn highest(mut send: impl FnMut(u32) -> Result<Trial>) -> Result<Option<u32>> {
    let mut best = None;
    // Rates at which packets did arrive whole, and at which they did not.
    let (mut low, mut high) = (0_u32, None::<u32>);
    loop {
        let rate = match high {
            None if low == 0 => FIRST,
            None => low.saturating_mul(2),
            Some(high) => low.midpoint(high),
        };
        if rate < LEAST || high.is_some_and(|high| high - low <= low / PRECISION) {
            return Ok(best);
        }
        let mut kept_up = false;
        for _ in 0..ATTEMPTS {
            let trial = send(rate)?;
            if trial.whole {
                best = best.max(Some(trial.arrived));
                kept_up = u64::from(trial.offered) * 100 >= u64::from(rate) * KEPT_UP;
            }
            if kept_up {
                break;
            }
        }
        if kept_up {
            low = rate;
        } else {
            high = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that carries so much, from a sender that can give so much.
    fn search(capacity: u32, sender: u32) -> Option<u32> {
        highest(|rate| {
            let offered = rate.min(sender);
            Ok(Trial {
                whole: offered <= capacity,
                offered,
                arrived: offered.min(capacity),
            })
        })
        .unwrap()
    }

    #[test]
    fn the_capacity_is_found_from_below_within_the_precision() {
        for capacity in [400, 9_999, 10_000, 77_777, 1_234_567] {
            let found = search(capacity, u32::MAX).unwrap();
            assert!(found <= capacity, "{found} of {capacity}");
            assert!(found >= capacity - capacity / 16, "{found} of {capacity}");
        }
    }

    #[test]
    fn a_sender_that_cannot_keep_up_limits_the_rate() {
        assert_eq!(search(u32::MAX, 300_000), Some(300_000));
    }

    #[test]
    fn a_path_that_loses_at_every_rate_has_no_answer() {
        assert_eq!(search(0, u32::MAX), None);
    }

    #[test]
    fn one_loss_at_a_rate_is_not_held_against_it() {
        let mut seen = std::collections::BTreeSet::new();
        let found = highest(|rate| {
            Ok(Trial {
                whole: !seen.insert(rate) && rate <= 100_000,
                offered: rate,
                arrived: rate,
            })
        });
        assert!(found.unwrap().unwrap() > 93_000);
    }
}
