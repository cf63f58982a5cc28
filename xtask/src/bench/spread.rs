//! Medians and quartiles, of values and of pairs.

use serde::Serialize;

/// Where the middle of some values is, and where their middle half.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lower_quartile: f64,
    pub(super) upper_quartile: f64,
    pub(super) count: usize,
}

impl Spread {
    /// Of at least one value.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share| quantile(&sorted, share);
        Self {
            median: at(0.5),
            lower_quartile: at(0.25),
            upper_quartile: at(0.75),
            count: sorted.len(),
        }
    }

    /// Of each round's `with` minus its `without`.
    pub(super) fn of_differences(with: &[f64], without: &[f64]) -> Self {
        Self::of(
            &with
                .iter()
                .zip(without)
                .map(|(with, without)| with - without)
                .collect::<Vec<_>>(),
        )
    }

    /// Of each round's `with` over its `without`.
    pub(super) fn of_ratios(with: &[f64], without: &[f64]) -> Self {
        Self::of(
            &with
                .iter()
                .zip(without)
                .map(|(with, without)| with / without)
                .collect::<Vec<_>>(),
        )
    }
}

/// The value below which `share` of the sorted values are, between two values in proportion.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of rounds and requests are far below 2^52"
    )]
    let place = share * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = place as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values_in_proportion() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            (spread.lower_quartile, spread.median, spread.upper_quartile),
            (1.75, 2.5, 3.25)
        );
        assert_eq!(Spread::of(&[7.0]).upper_quartile, 7.0);
    }

    #[test]
    fn pairs_are_compared_round_by_round() {
        // The second round was slow for both: that says nothing of the difference.
        assert_eq!(
            Spread::of_differences(&[11.0, 101.0, 21.0], &[10.0, 100.0, 20.0]).upper_quartile,
            1.0
        );
        assert_eq!(Spread::of_ratios(&[2.0, 200.0], &[1.0, 100.0]).median, 2.0);
    }
}
