//! Thresholds: from a probability, and as `tracestate` has them
//! (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/#sampling-threshold-value-th>).

use spanwire_ebpf::sampling::{ALWAYS, NEVER, is_sampled};
use std::fmt::{self, Display};

/// Hexadecimal digits of all of a threshold.
const DIGITS: u32 = 14;

/// Digits that count, beside zeroes or `f`s in front of them: as many as samplers of SDKs have.
const PRECISION: u32 = 4;

/// Whoever has less randomness than this is not kept: 0 is everybody, 2^56 nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u64);

impl Threshold {
    /// All are kept.
    pub const ALWAYS: Self = Self(ALWAYS);
    /// None is kept.
    pub const NEVER: Self = Self(NEVER);

    /// For a probability, of which what is not from 0 to 1 counts as the nearer of these. What is kept least often without being
    /// kept never is one in 2^56.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "from 0 to 2^56"
    )]
    pub fn of(probability: f64) -> Self {
        if probability >= 1.0 {
            return Self::ALWAYS;
        }
        if probability.is_nan() || probability <= 0.0 {
            return Self::NEVER;
        }
        let kept = ((probability * NEVER as f64).round() as u64).max(1);
        let exact = NEVER - kept;
        if exact == ALWAYS {
            return Self::ALWAYS;
        }
        // Of the rarer of both outcomes, zeroes in front say how rare it is.
        let leading = (exact.min(kept).leading_zeros() - (u64::BITS - 4 * DIGITS)) / 4;
        let unit = 1 << (4 * DIGITS.saturating_sub(PRECISION + leading));
        Self((exact + unit / 2) / unit * unit)
    }

    /// Of the low bits of a word of the kernel half's.
    pub(super) const fn of_word(word: u64) -> Self {
        Self(word & (2 * NEVER - 1))
    }

    /// 0 for all, 2^56 for none.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether a trace of that randomness is kept.
    #[must_use]
    pub const fn keeps(self, randomness: u64) -> bool {
        is_sampled(randomness, self.0)
    }
}

impl Display for Threshold {
    /// As the value of `th`. What is never kept has none there.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.0);
        match digits.trim_end_matches('0') {
            "" => formatter.write_str("0"),
            digits => formatter.write_str(digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_has_four_digits_that_count() {
        for (probability, expect) in [
            (1.0, "0"),
            (0.5, "8"),
            (0.25, "c"),
            (0.1, "e666"),
            (0.01, "fd70a"),
            (0.001, "ffbe77"),
            (0.000_1, "fff9724"),
            (1.0 / 3.0, "aaab"),
            (0.9, "199a"),
            (0.999, "004189"),
            (1e-17, "ffffffffffffff"),
            (1.0 - f64::EPSILON / 2.0, "00000000000008"),
        ] {
            assert_eq!(Threshold::of(probability).to_string(), expect, "{probability}");
        }
        assert_eq!(Threshold::of(2.0), Threshold::ALWAYS);
        for probability in [0.0, -1.0, f64::NAN] {
            assert_eq!(Threshold::of(probability), Threshold::NEVER);
        }
        assert!(!Threshold::NEVER.keeps(NEVER - 1));
        assert!(Threshold::ALWAYS.keeps(0));
    }

    #[test]
    fn less_probable_is_a_higher_threshold() {
        let mut last = Threshold::NEVER;
        for step in 1..=100_000 {
            let next = Threshold::of(f64::from(step) / 100_000.0);
            assert!(next <= last, "{step}");
            last = next;
        }
        assert_eq!(last, Threshold::ALWAYS);
    }
}
