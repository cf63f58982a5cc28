//! Base-2 exponential histograms, as the [data model] has them: buckets whose bounds are powers of one base, which is chosen so
//! that all observations fit into a bounded number of them.
//!
//! [data model]: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram

use std::collections::VecDeque;

/// Most buckets (`MaxSize` of the SDK).
const SIZE: usize = 160;

/// Finest scale (`MaxScale` of the SDK).
const FINEST: i32 = 20;

/// Observations that are not below 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Exponential {
    /// The base is `2^(2^-scale)`.
    pub scale: i32,
    /// Observations of 0.
    pub zeros: u64,
    /// Index of the first bucket: that of index `i` holds what is above `base^i` and at most `base^(i+1)`.
    pub offset: i32,
    /// Observations by bucket.
    pub counts: VecDeque<u64>,
}

impl Default for Exponential {
    /// None yet.
    fn default() -> Self {
        Self {
            scale: FINEST,
            zeros: 0,
            offset: 0,
            counts: VecDeque::new(),
        }
    }
}

impl Exponential {
    /// Adds one. What is no number, and what is below 0, counts as 0.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() || value <= 0.0 {
            self.zeros += 1;
            return;
        }
        let value = value.clamp(f64::MIN_POSITIVE, f64::MAX);
        loop {
            let index = index(value, self.scale);
            let (first, last) = match self.counts.len() {
                0 => (index, index),
                length => {
                    let last = i64::from(self.offset) + length as i64 - 1;
                    (
                        self.offset.min(index),
                        i32::try_from(last).unwrap_or(i32::MAX).max(index),
                    )
                }
            };
            if i64::from(last) - i64::from(first) < SIZE as i64 {
                return self.count(index, first, last);
            }
            self.halve();
        }
    }

    fn count(&mut self, index: i32, first: i32, last: i32) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        while self.offset > first {
            self.counts.push_front(0);
            self.offset -= 1;
        }
        // Not more than `SIZE`, both ends being so near.
        let length = usize::try_from(last - first + 1).unwrap_or(SIZE);
        self.counts.resize(length, 0);
        let at = usize::try_from(index - first).unwrap_or(0);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
    }

    /// Takes two neighbours together: the next coarser scale.
    fn halve(&mut self) {
        let offset = self.offset >> 1;
        let mut counts = VecDeque::with_capacity(self.counts.len() / 2 + 1);
        for (index, count) in (self.offset..).zip(&self.counts) {
            let at = usize::try_from((index >> 1) - offset).unwrap_or(0);
            if at == counts.len() {
                counts.push_back(0);
            }
            counts[at] += count;
        }
        self.offset = offset;
        self.counts = counts;
        self.scale -= 1;
    }

    /// The same at a scale that is not finer.
    #[must_use]
    pub fn at_scale(mut self, scale: i32) -> Self {
        while self.scale > scale {
            self.halve();
        }
        self
    }

    /// What came since `earlier`, an earlier state of the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let earlier = earlier.clone().at_scale(self.scale);
        let mut rest = self.clone();
        rest.zeros = rest.zeros.saturating_sub(earlier.zeros);
        for (index, count) in (earlier.offset..).zip(&earlier.counts) {
            let at = usize::try_from(i64::from(index) - i64::from(rest.offset));
            if let Some(left) = at.ok().and_then(|at| rest.counts.get_mut(at)) {
                *left = left.saturating_sub(*count);
            }
        }
        rest
    }
}

/// The bucket of a value: the largest `i` with `base^i < value`.
fn index(value: f64, scale: i32) -> i32 {
    let (exponent, is_power) = exponent(value);
    // Above 2^exponent, and at most twice that; a power of two is the upper bound of the bucket below.
    let whole = if is_power { exponent - 1 } else { exponent };
    if scale <= 0 {
        return whole >> -scale;
    }
    if is_power {
        return (exponent << scale) - 1;
    }
    // Within (0, 2^scale): a value so near to a bound that rounding decides is in one of the two buckets at it.
    let fraction = (value / 2_f64.powi(exponent)).log2() * f64::from(1 << scale);
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 2^20")]
    let within = (fraction.ceil() as i32 - 1).clamp(0, (1 << scale) - 1);
    (exponent << scale) + within
}

/// The exponent of a normal number, and whether it is a power of two.
fn exponent(value: f64) -> (i32, bool) {
    let bits = value.to_bits();
    // 11 bits.
    let biased = i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
    (biased - 1023, bits & ((1 << 52) - 1) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_as_the_data_model_has_them() {
        // Scale 0: (1, 2] is bucket 0, (0.5, 1] is -1; scale 1: (1, sqrt 2] is 0.
        for (value, scale, expect) in [
            (1.0, 0, -1),
            (1.5, 0, 0),
            (2.0, 0, 0),
            (2.1, 0, 1),
            (0.6, 0, -1),
            (0.5, 0, -2),
            (1.4, 1, 0),
            (1.5, 1, 1),
            (2.0, 1, 1),
            (4.0, -1, 0),
            (4.1, -1, 1),
            (1.0, -1, -1),
            (0.2, -1, -2),
        ] {
            assert_eq!(index(value, scale), expect, "{value} at scale {scale}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_fit_together() {
        let mut histogram = Exponential::default();
        for value in [
            0.0,
            f64::MIN_POSITIVE,
            1e-320,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
            -1.0,
        ] {
            histogram.add(value);
        }
        assert_eq!(histogram.zeros, 3);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 5);
        assert!(histogram.counts.len() <= SIZE);
        assert_eq!(histogram.scale, -4);
    }

    proptest::proptest! {
        #[test]
        fn each_value_is_between_the_bounds_of_its_bucket(
            values in proptest::collection::vec(1e-9..1e5_f64, 1..200),
        ) {
            let mut histogram = Exponential::default();
            for value in &values {
                histogram.add(*value);
            }
            proptest::prop_assert!(histogram.counts.len() <= SIZE);
            proptest::prop_assert_eq!(histogram.counts.iter().sum::<u64>(), values.len() as u64);
            let base = 2_f64.powf(2_f64.powi(-histogram.scale));
            for (index, count) in (histogram.offset..).zip(&histogram.counts) {
                let within = |value: &&f64| index_of(&histogram, **value) == index;
                let found: Vec<_> = values.iter().filter(within).collect();
                proptest::prop_assert_eq!(found.len() as u64, *count);
                let (above, up_to) = (base.powi(index), base.powi(index + 1));
                for value in found {
                    proptest::prop_assert!(*value > above * 0.999_999 && *value <= up_to * 1.000_001);
                }
            }
        }

        #[test]
        fn what_came_since_is_what_was_added_since(
            before in proptest::collection::vec(1e-6..1e2_f64, 0..50),
            after in proptest::collection::vec(1e-9..1e5_f64, 0..50),
        ) {
            let mut histogram = Exponential::default();
            for value in &before {
                histogram.add(*value);
            }
            let earlier = histogram.clone();
            let mut alone = Exponential::default();
            for value in &after {
                histogram.add(*value);
                alone.add(*value);
            }
            let since = histogram.since(&earlier);
            let alone = alone.at_scale(since.scale);
            let counts = |histogram: &Exponential| -> Vec<(i32, u64)> {
                (histogram.offset..).zip(histogram.counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
            };
            if alone.scale == since.scale {
                proptest::prop_assert_eq!(counts(&since), counts(&alone));
            }
            proptest::prop_assert_eq!(since.counts.iter().sum::<u64>(), after.len() as u64);
        }
    }

    fn index_of(histogram: &Exponential, value: f64) -> i32 {
        // As it was found at the finest scale, and then made coarser.
        index(value, FINEST) >> (FINEST - histogram.scale)
    }
}
