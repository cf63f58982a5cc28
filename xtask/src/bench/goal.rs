//! What the numbers are to reach with hook set `socket`: the last paragraphs of issues 3 and 4; issue 5.

use super::spread::Spread;
use serde::{Serialize, Serializer};
use std::fmt;

/// A bound for one row of a table, in the row's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// No difference beyond the noise: the middle half of the rounds begins at 0 or below.
    NoDifference,
    /// The median of the differences between with and without.
    DifferenceUpTo(f64),
    /// The median of the ratios of with to without.
    RatioFrom(f64),
    /// The same, the other way.
    RatioUpTo(f64),
    /// The median of what there is with spanwire alone.
    UpTo(f64),
    /// The same, the other way.
    From(f64),
}

impl Goal {
    /// Whether the row reaches it; a row that lacks what the goal is about does not.
    pub(super) fn is_met(self, with: &Spread, difference: Option<&Spread>, ratio: Option<&Spread>) -> bool {
        match self {
            Self::NoDifference => difference.is_some_and(|it| it.lower_quartile <= 0.0),
            Self::DifferenceUpTo(most) => difference.is_some_and(|it| it.median <= most),
            Self::RatioFrom(least) => ratio.is_some_and(|it| it.median >= least),
            Self::RatioUpTo(most) => ratio.is_some_and(|it| it.median <= most),
            Self::UpTo(most) => with.median <= most,
            Self::From(least) => with.median >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDifference => write!(formatter, "difference 0 within noise"),
            Self::DifferenceUpTo(most) => write!(formatter, "difference <= {most}"),
            Self::RatioFrom(least) => write!(formatter, "ratio >= {least}"),
            Self::RatioUpTo(most) => write!(formatter, "ratio <= {most}"),
            Self::UpTo(most) => write!(formatter, "<= {most}"),
            Self::From(least) => write!(formatter, ">= {least}"),
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(goal: Goal, with: &[f64], without: &[f64]) -> bool {
        let difference = Spread::of_differences(with, without);
        let ratio = Spread::of_ratios(with, without);
        goal.is_met(&Spread::of(with), Some(&difference), Some(&ratio))
    }

    #[test]
    fn each_goal_has_two_sides() {
        let bare = [100.0, 100.0, 100.0];
        assert!(met(Goal::NoDifference, &[99.0, 100.0, 103.0], &bare));
        assert!(!met(Goal::NoDifference, &[101.0, 102.0, 103.0], &bare));
        assert!(met(Goal::DifferenceUpTo(2.0), &[101.0, 102.0, 190.0], &bare));
        assert!(!met(Goal::DifferenceUpTo(2.0), &[101.0, 103.0, 190.0], &bare));
        assert!(met(Goal::RatioFrom(0.9), &[90.0, 90.0, 10.0], &bare));
        assert!(!met(Goal::RatioFrom(0.9), &[89.0, 89.0, 100.0], &bare));
        assert!(met(Goal::RatioUpTo(1.02), &[102.0, 102.0, 900.0], &bare));
        assert!(!met(Goal::RatioUpTo(1.02), &[103.0, 103.0, 0.0], &bare));
        assert!(met(Goal::UpTo(102.0), &[102.0, 102.0, 900.0], &bare));
        assert!(!met(Goal::UpTo(102.0), &[103.0, 103.0, 0.0], &bare));
    }

    #[test]
    fn a_goal_about_a_pair_is_not_met_without_one() {
        let alone = Spread::of(&[0.0]);
        assert!(!Goal::NoDifference.is_met(&alone, None, None));
        assert!(!Goal::RatioFrom(0.9).is_met(&alone, None, None));
    }
}
