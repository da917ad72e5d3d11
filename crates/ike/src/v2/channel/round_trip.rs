//! How long a peer takes to answer, as RFC 6298 section 2 estimates it.

use std::time::Duration;

/// A mean, and how far samples are from it. A sample is the time of an exchange whose request was
/// sent once, and for whose answer the peer had nothing to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoundTrip {
    mean: Duration,
    deviation: Duration,
}

impl RoundTrip {
    /// The estimate after another sample.
    pub(crate) fn with(before: Option<Self>, sample: Duration) -> Self {
        // RFC 6298 begins with half of the first sample as deviation. Where nothing varies that
        // would keep us waiting long, for every sample costs a message.
        let Self { mean, deviation } = before.unwrap_or(Self {
            mean: sample,
            deviation: Duration::ZERO,
        });
        // Its alpha of 1/8 and beta of 1/4.
        Self {
            mean: (7 * mean + sample) / 8,
            deviation: (3 * deviation + mean.abs_diff(sample)) / 4,
        }
    }

    pub(crate) const fn mean(&self) -> Duration {
        self.mean
    }

    /// How long an answer may take.
    pub(crate) fn longest(&self) -> Duration {
        self.mean + self.mean.max(4 * self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RoundTrip;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn of(samples: &[u64]) -> RoundTrip {
        let add = |before, &sample: &u64| Some(RoundTrip::with(before, ms(sample)));
        samples.iter().fold(None, add).unwrap()
    }

    #[test]
    fn a_path_that_does_not_vary_is_given_two_round_trips() {
        for count in [1, 2, 20] {
            assert_eq!(of(&vec![80; count]).mean(), ms(80));
            assert_eq!(of(&vec![80; count]).longest(), ms(160));
        }
    }

    #[test]
    fn a_path_that_has_become_long_is_given_time_from_the_first_sample_on() {
        for after in 1..20 {
            let samples = [vec![20; 10], vec![400; after]].concat();
            assert!(of(&samples).longest() > ms(400), "{samples:?}");
        }
    }

    #[test]
    fn a_path_that_varies_is_given_the_time_of_its_slowest_answers() {
        let samples = [100, 300, 120, 280, 150, 250].repeat(5);
        let longest = of(&samples).longest();
        assert!(longest > ms(300) && longest < ms(600), "{longest:?}");
    }
}
