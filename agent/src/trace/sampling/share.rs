//! A budget that is shared, between services or operations: who wants little gets all of it, and what is left is the same for all others.

/// Up to how much each of some demands is met, so that together they are no more than `budget`; infinity where all are met in full.
#[must_use]
pub fn level(demands: impl Iterator<Item = f64>, budget: f64) -> f64 {
    let mut demands: Vec<f64> = demands.filter(|demand| *demand > 0.0).collect();
    demands.sort_unstable_by(f64::total_cmp);
    let mut left = budget;
    for (met, demand) in demands.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let share = left / (demands.len() - met) as f64;
        if *demand > share {
            return share;
        }
        left -= demand;
    }
    f64::INFINITY
}

/// What part of a demand is met at that level.
#[must_use]
pub fn part(demand: f64, level: f64) -> f64 {
    if demand > level { level / demand } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_wants_little_gets_it() {
        let check = |demands: &[f64], budget, expect: f64| {
            assert_eq!(level(demands.iter().copied(), budget), expect, "{demands:?}");
        };
        check(&[], 10.0, f64::INFINITY);
        check(&[5.0, 5.0], 10.0, f64::INFINITY);
        check(&[1000.0, 1.0], 10.0, 9.0);
        check(&[1000.0, 1.0, 4.0, 500.0], 25.0, 10.0);
        check(&[3.0, 0.0], 0.0, 0.0);
        assert_eq!(part(100.0, 25.0), 0.25);
        assert_eq!(part(10.0, 25.0), 1.0);
        assert_eq!(part(0.0, 0.0), 1.0);
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_and_used(
            demands in prop::collection::vec(0.0..10_000.0f64, 0..50),
            budget in 0.0..20_000.0f64,
        ) {
            let level = level(demands.iter().copied(), budget);
            let all: f64 = demands.iter().sum();
            let met: f64 = demands.iter().map(|demand| demand * part(*demand, level)).sum();
            let expect = all.min(budget);
            prop_assert!((met - expect).abs() <= 1e-6 * (1.0 + expect), "{met}, not {expect}");
            // Nobody who got less than asked for has less than another.
            for demand in demands {
                let got = demand * part(demand, level);
                prop_assert!(got >= demand || got >= level * (1.0 - 1e-9));
            }
        }
    }
}
