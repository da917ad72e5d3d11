//! The highest rate at which nothing is lost.

use anyhow::Result;

const FIRST: u32 = 10_000;
const LEAST: u32 = 100;
/// The search ends when the rates between which the answer lies differ by less than
/// this part.
const PRECISION: u32 = 32;
/// The first step away from an earlier answer is this part of it, and from what was
/// found in brief the other; every further one is twice as long.
const STEP: u32 = 16;
const WIDE_STEP: u32 = 4;
/// How often a rate is tried before it counts as too high: one loss, or one lapse of
/// the sender, may be the machine's.
const ATTEMPTS: usize = 2;
/// The sender keeps up when it gives at least these per cent of what it should.
pub const KEPT_UP: u64 = 95;

/// How long a rate is tried: briefly where the answer is only looked for, in full where
/// it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Brief,
    Full,
}

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
/// arrived then, in a full trial. None if they do at no rate. An earlier answer, if
/// there is one, says where to begin.
pub fn highest(
    near: Option<u32>,
    mut send: impl FnMut(u32, Length) -> Result<Trial>,
) -> Result<Option<u32>> {
    let (near, mut step) = match near {
        Some(near) => (near, near / STEP),
        None => {
            let near = scout(&mut send)?;
            (near, near / WIDE_STEP)
        }
    };
    let mut best = None;
    // Rates at which packets did arrive whole, and at which they did not.
    let (mut low, mut high) = (0_u32, None::<u32>);
    let mut rate = near;
    while rate >= LEAST {
        match attempt(rate, Length::Full, &mut send)? {
            Some(arrived) => {
                best = best.max(Some(arrived));
                low = rate;
            }
            None => high = Some(rate),
        }
        rate = match high {
            None => low.saturating_add(step),
            Some(high) if low == 0 => high - step.clamp(1, high.div_ceil(2)),
            Some(high) if high - low <= low / PRECISION => break,
            Some(high) => low.midpoint(high),
        };
        step = step.saturating_mul(2);
    }
    Ok(best)
}

/// Doubles the rate while packets arrive whole; gives the last at which they did.
fn scout(send: &mut impl FnMut(u32, Length) -> Result<Trial>) -> Result<u32> {
    let mut rate = FIRST;
    loop {
        let next = rate.saturating_mul(2);
        if next == u32::MAX || attempt(next, Length::Brief, send)?.is_none() {
            return Ok(rate);
        }
        rate = next;
    }
}

/// The rate at which packets arrived, if all of them were sent and none was lost.
fn attempt(
    rate: u32,
    length: Length,
    send: &mut impl FnMut(u32, Length) -> Result<Trial>,
) -> Result<Option<u32>> {
    for _ in 0..ATTEMPTS {
        let trial = send(rate, length)?;
        let kept_up = u64::from(trial.offered) * 100 >= u64::from(rate) * KEPT_UP;
        if trial.whole && kept_up {
            return Ok(Some(trial.arrived));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that carries so much, from a sender that can give so much.
    fn search(near: Option<u32>, capacity: u32, sender: u32) -> Option<u32> {
        highest(near, |rate, _| {
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
            for near in [None, Some(200), Some(77_000), Some(2_000_000)] {
                let found = search(near, capacity, u32::MAX).unwrap();
                assert!(found <= capacity, "{found} of {capacity}");
                assert!(found >= capacity - capacity / 16, "{found} of {capacity}");
            }
        }
    }

    #[test]
    fn an_earlier_answer_that_is_near_saves_most_of_the_search() {
        for capacity in [95_000, 100_000, 105_000] {
            let mut trials = 0;
            let found = highest(Some(100_000), |rate, length| {
                assert_eq!(length, Length::Full);
                trials += 1;
                Ok(Trial {
                    whole: rate <= capacity,
                    offered: rate,
                    arrived: rate,
                })
            });
            assert!(found.unwrap().unwrap() > capacity - capacity / 16);
            assert!(trials <= 8, "{trials} for {capacity}");
        }
    }

    #[test]
    fn a_brief_trial_is_no_answer() {
        let found = highest(None, |rate, length| {
            Ok(Trial {
                whole: length == Length::Brief && rate <= 100_000 || rate <= 50_000,
                offered: rate,
                arrived: rate,
            })
        });
        let found = found.unwrap().unwrap();
        assert!((46_000..=50_000).contains(&found), "{found}");
    }

    #[test]
    fn a_sender_that_cannot_keep_up_limits_the_rate() {
        for near in [None, Some(500_000), Some(100_000)] {
            let found = search(near, u32::MAX, 300_000).unwrap();
            assert!((285_000..=300_000).contains(&found), "{found}");
        }
    }

    #[test]
    fn a_path_that_loses_at_every_rate_has_no_answer() {
        assert_eq!(search(None, 0, u32::MAX), None);
        assert_eq!(search(Some(50_000), 0, u32::MAX), None);
    }

    #[test]
    fn one_loss_at_a_rate_is_not_held_against_it() {
        let mut seen = std::collections::BTreeSet::new();
        let found = highest(Some(90_000), |rate, _| {
            Ok(Trial {
                whole: !seen.insert(rate) && rate <= 100_000,
                offered: rate,
                arrived: rate,
            })
        });
        assert!(found.unwrap().unwrap() > 93_000);
    }
}
