//! A budget of spans, shared between operations so that rare ones stay visible.
//!
//! Time is cut into windows. At the end of each, what every operation asked for is an estimate of what it asks for in the next.
//! Water is filled into that: an operation gets what it asks for, or the level that all get who ask for more, so that all
//! together ask for nine tenths of the budget. What it asks for above that, it gives up by a threshold, and so evenly over
//! the window. A tenth, and what nobody asked for, is left to operations that are new or ask for more than they did.

use crate::trace::sampling::share;
use crate::trace::sampling::threshold::Threshold;

/// Length of a window, in nanoseconds.
pub(super) const WINDOW: u64 = 10 * SECOND;

const SECOND: u64 = 1_000_000_000;

/// What one operation gets, and what it asked for.
#[derive(Debug)]
pub(super) struct Share {
    /// Spans that it asked for in this window, by the share of its traces that was wanted anyway.
    asked: u64,
    /// What it asks for in a window.
    expected: f64,
    /// What it may still take in this window.
    left: u64,
    /// What it took of what is nobody's.
    borrowed: u64,
    /// Of what it asks for, the part that it keeps.
    kept: f64,
    /// Minutes since the kernel's clock began, and traces that the floor has kept in that one.
    floor: (u64, u32),
    /// Its rate, once it was looked up.
    pub(super) rate: Option<Threshold>,
}

impl Default for Share {
    /// An operation that was just heard of.
    fn default() -> Self {
        Self {
            asked: 0,
            expected: 0.0,
            left: 0,
            borrowed: 0,
            kept: 1.0,
            floor: (0, 0),
            rate: None,
        }
    }
}

impl Share {
    /// Whether a trace is among the first `count` of its minute.
    pub(super) fn is_first(&mut self, count: u32, now: u64) -> bool {
        let minute = now / (60 * SECOND);
        if self.floor.0 != minute {
            self.floor = (minute, 0);
        }
        let is_first = self.floor.1 < count;
        self.floor.1 += u32::from(is_first);
        is_first
    }

    /// The threshold that a trace has to reach which asks for `spans`, and would be kept by `rate`.
    pub(super) fn ask(&mut self, spans: u64, rate: Threshold) -> Threshold {
        self.asked += spans;
        match self.kept < 1.0 {
            true => rate.max(Threshold::of_ratio(rate.ratio() * self.kept)),
            false => rate,
        }
    }
}

/// The budget of a window.
#[derive(Debug)]
pub(super) struct Budget {
    /// Spans a window.
    size: u64,
    /// When the window ends, in nanoseconds of the kernel's clock; 0 before the first.
    ends: u64,
    /// What is nobody's.
    common: u64,
    /// What was kept beside the budget, and is taken off the next windows.
    owed: u64,
}

impl Budget {
    /// So many spans a second.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            size: u64::from(per_second) * (WINDOW / SECOND),
            ends: 0,
            common: 0,
            owed: 0,
        }
    }

    /// Begins a new window where that of before is over.
    pub(super) fn roll<'a>(&mut self, now: u64, shares: impl Iterator<Item = &'a mut Share>) {
        if now >= self.ends {
            self.ends = (now - now % WINDOW).saturating_add(WINDOW);
            self.fill(shares);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "numbers of spans in ten seconds"
    )]
    fn fill<'a>(&mut self, shares: impl Iterator<Item = &'a mut Share>) {
        let paid = self.owed.min(self.size);
        self.owed -= paid;
        let all = self.size - paid;
        let mut shares: Vec<&mut Share> = shares.collect();
        for share in &mut shares {
            let asked = share.asked as f64;
            share.expected = match share.expected > 0.5 {
                true => (share.expected + asked) / 2.0,
                false => asked,
            };
            (share.asked, share.borrowed) = (0, 0);
        }
        let demands = shares.iter().map(|share| share.expected);
        let level = share::level(demands, 0.9 * all as f64);
        let mut given = 0;
        for share in shares {
            share.kept = share::part(share.expected, level);
            share.left = share.expected.min(level) as u64;
            given += share.left;
        }
        self.common = all - given;
    }

    /// Takes `spans` for an operation. What is common is taken up to the half of what is left of it, so that there is
    /// something for each.
    pub(super) fn take(&mut self, share: &mut Share, spans: u64) -> bool {
        let missing = spans.saturating_sub(share.left);
        if missing > 0 {
            let Some(rest) = self.common.checked_sub(missing) else {
                return false;
            };
            if share.borrowed + missing > rest {
                return false;
            }
            self.common = rest;
            share.borrowed += missing;
        }
        share.left = share.left.saturating_sub(spans);
        true
    }

    /// Notes what is kept whatever is left. No more is owed than a window has.
    pub(super) fn owe(&mut self, spans: u64) {
        self.owed = (self.owed + spans).min(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for `spans` in traces of one, whose randomness is even.
    fn window(budget: &mut Budget, shares: &mut [Share], now: u64, spans: &[u64]) -> Vec<u64> {
        budget.roll(now, shares.iter_mut());
        let kept = shares.iter_mut().zip(spans).map(|(share, spans)| {
            let kept = (0..*spans).filter(|number| {
                let threshold = share.ask(1, Threshold::ALWAYS);
                let even = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut id = [0; 16];
                id[8..].copy_from_slice(&(even >> 8).to_be_bytes());
                threshold.keeps(crate::trace::sampling::threshold::Randomness::of_trace(id))
                    && budget.take(share, 1)
            });
            kept.count() as u64
        });
        kept.collect()
    }

    fn shares(count: usize) -> Vec<Share> {
        (0..count).map(|_| Share::default()).collect()
    }

    #[test]
    fn rare_operations_are_kept_whole_and_frequent_ones_share_the_rest() {
        let mut shares = shares(4);
        // 1,000 a window.
        let mut budget = Budget::new(100);
        let asked = [10_000, 5_000, 40, 3];
        for number in 1..20 {
            let kept = window(&mut budget, &mut shares, number * WINDOW, &asked);
            assert!(kept.iter().sum::<u64>() <= 1000, "{kept:?}");
            if number == 1 {
                continue;
            }
            assert_eq!((kept[2], kept[3]), (40, 3));
            // (900 - 43) / 2, and up to half of the common rest for what is above.
            for frequent in &kept[..2] {
                assert!((420..=480).contains(frequent), "{kept:?}");
            }
        }
    }

    #[test]
    fn one_that_is_new_finds_room_in_the_same_window() {
        let mut shares = shares(2);
        let mut budget = Budget::new(100);
        for number in 1..5 {
            window(&mut budget, &mut shares[..1], number * WINDOW, &[100_000]);
        }
        let kept = window(&mut budget, &mut shares, 5 * WINDOW, &[100_000, 20]);
        assert_eq!(kept[1], 20, "{kept:?}");
        assert!(kept[0] >= 890, "{kept:?}");
    }

    #[test]
    fn what_is_kept_beside_it_is_taken_off_the_next_window() {
        let mut shares = shares(1);
        let mut budget = Budget::new(100);
        for number in 1..4 {
            window(&mut budget, &mut shares, number * WINDOW, &[10_000]);
        }
        budget.owe(400);
        let kept = window(&mut budget, &mut shares, 4 * WINDOW, &[10_000]);
        assert!(kept[0] <= 600 && kept[0] >= 500, "{kept:?}");
        // Never more than a window's.
        budget.owe(u64::from(u32::MAX));
        assert_eq!(window(&mut budget, &mut shares, 5 * WINDOW, &[10_000]), [0]);
        assert!(window(&mut budget, &mut shares, 6 * WINDOW, &[10_000])[0] > 800);
    }

    #[test]
    fn where_all_fits_all_is_kept() {
        let mut shares = shares(3);
        let mut budget = Budget::new(100);
        for number in 1..5 {
            let kept = window(&mut budget, &mut shares, number * WINDOW, &[100, 80, 20]);
            assert_eq!(kept, [100, 80, 20]);
        }
    }

    #[test]
    fn the_first_of_each_minute_are_counted_by_the_minute() {
        let mut share = Share::default();
        let minute = 60 * SECOND;
        for (now, expect) in [
            (minute, true),
            (minute + 1, true),
            (2 * minute - 1, false),
            (2 * minute, true),
        ] {
            assert_eq!(share.is_first(2, now), expect, "{now}");
        }
    }
}
