//! What is slow for an operation: percentiles of its latest durations, estimated in exponential buckets.

use crate::metrics::exponential::Exponential;

/// How long durations are counted before what they come to is in force, in nanoseconds.
const WINDOW: u64 = 10_000_000_000;

/// Least and most durations that say something of a percentile; between them, ten above it.
const COUNTS: (f64, f64) = (100.0, 10_000.0);

/// Durations of an operation.
#[derive(Debug, Default)]
pub(super) struct Latency {
    current: Exponential,
    count: u64,
    began: u64,
    /// For each percentile that is asked for the duration below which that many were, in seconds; none until enough was seen.
    bounds: Box<[f64]>,
}

impl Latency {
    /// Whether so many seconds are above the percentile of that place. Before enough was seen, nothing is.
    pub(super) fn is_slow(&self, place: usize, seconds: f64) -> bool {
        self.bounds.get(place).is_some_and(|bound| seconds > *bound)
    }

    /// Adds a duration in seconds; `percentiles` are shares, the greatest last. `now` in nanoseconds.
    pub(super) fn add(&mut self, seconds: f64, now: u64, percentiles: &[f64]) {
        if self.count == 0 {
            self.began = now;
        }
        self.current.add(seconds);
        self.count += 1;
        let count = least(percentiles);
        let is_over = self.count >= count && now.saturating_sub(self.began) >= WINDOW;
        if is_over || self.bounds.is_empty() && self.count == count {
            let bound = |share: &f64| bound(&self.current, self.count, *share);
            self.bounds = percentiles.iter().map(bound).collect();
        }
        if is_over {
            self.current = Exponential::default();
            self.count = 0;
        }
    }
}

/// Durations that it takes to tell the greatest of these percentiles.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "100 to 10,000"
)]
fn least(percentiles: &[f64]) -> u64 {
    let greatest = percentiles.last().copied().unwrap_or(0.0);
    (10.0 / (1.0 - greatest)).clamp(COUNTS.0, COUNTS.1).round() as u64
}

/// The upper bound of the bucket that holds the `share`-th of `count` observations.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank among what was counted"
)]
fn bound(histogram: &Exponential, count: u64, share: f64) -> f64 {
    let rank = ((share * count as f64).ceil() as u64).max(1);
    let mut below = histogram.zeros;
    if below >= rank {
        return 0.0;
    }
    let step = f64::exp2(f64::from(-histogram.scale));
    for (index, count) in (histogram.offset..).zip(&histogram.counts) {
        below += count;
        if below >= rank {
            return f64::exp2((f64::from(index) + 1.0) * step);
        }
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket_of_the_true_ones() {
        let shares = [0.5, 0.9, 0.99];
        let mut latency = Latency::default();
        // 1 ms to 1 s, in an order that is none.
        let values: Vec<f64> = (0..1000_u32)
            .map(|number| f64::from(number * 367 % 1000 + 1) / 1e3)
            .collect();
        for (number, value) in (0..).zip(&values) {
            assert!(number >= 1000 || !latency.is_slow(2, 1e9));
            latency.add(*value, number, &shares);
        }
        for (place, truth) in [(0, 0.5), (1, 0.9), (2, 0.99)] {
            assert!(!latency.is_slow(place, truth), "{truth}: {:?}", latency.bounds);
            assert!(
                latency.is_slow(place, truth * 1.06),
                "{truth}: {:?}",
                latency.bounds
            );
        }
    }

    #[test]
    fn what_is_slow_follows_the_latest_durations() {
        let mut latency = Latency::default();
        for number in 0..100 {
            latency.add(0.001, number, &[0.9]);
        }
        assert!(latency.is_slow(0, 0.002) && !latency.is_slow(0, 0.001));
        // All of them are slow now, so that none of them is.
        for number in 0..100 {
            latency.add(0.1, WINDOW + number, &[0.9]);
        }
        for number in 0..100 {
            latency.add(0.1, 2 * WINDOW + number, &[0.9]);
        }
        assert!(!latency.is_slow(0, 0.1) && latency.is_slow(0, 0.11));
    }

    #[test]
    fn what_takes_no_time_is_not_slow_and_the_longest_of_all_is() {
        let mut latency = Latency::default();
        for _ in 0..1000 {
            latency.add(0.0, 0, &[0.99]);
        }
        assert!(!latency.is_slow(0, 0.0) && latency.is_slow(0, 1e-9));
        assert_eq!(
            (least(&[0.5]), least(&[0.5, 0.999]), least(&[0.999_999])),
            (100, 10_000, 10_000)
        );
    }
}
