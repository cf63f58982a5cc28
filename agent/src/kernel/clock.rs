//! From the kernel's clock to the wall's.

use crate::span::UnixNanoseconds;
use rustix::time::{ClockId, clock_gettime};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    monotonic: u64,
    /// Wall clock minus `CLOCK_MONOTONIC`.
    offset: i128,
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        // The wall clock in the middle: what passes between the readings is halved.
        let before = nanoseconds(ClockId::Monotonic);
        let wall = nanoseconds(ClockId::Realtime);
        let after = nanoseconds(ClockId::Monotonic);
        let monotonic = before + (after - before) / 2;
        Self {
            monotonic,
            offset: i128::from(wall) - i128::from(monotonic),
        }
    }

    /// `CLOCK_MONOTONIC` nanoseconds.
    #[must_use]
    pub const fn monotonic(&self) -> u64 {
        self.monotonic
    }

    /// Wall-clock times of the two ends of a span. The end is what the wall clock showed there, if it has not been set
    /// since; the span is as long as it was, also where it has.
    #[must_use]
    pub fn span(&self, start: u64, end: u64) -> (UnixNanoseconds, UnixNanoseconds) {
        let wall = u64::try_from(i128::from(end) + self.offset).unwrap_or(0);
        (
            UnixNanoseconds(wall.saturating_sub(end.saturating_sub(start))),
            UnixNanoseconds(wall),
        )
    }

    /// Wall-clock time of a moment in a span that began at `start`, which was `began` on the kernel's clock.
    #[must_use]
    pub fn within(&self, start: UnixNanoseconds, began: u64, moment: u64) -> UnixNanoseconds {
        UnixNanoseconds(start.0 + moment.saturating_sub(began))
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_keeps_its_length_whatever_the_wall_clock_shows() {
        let before = Clock {
            monotonic: 5_000,
            offset: 1_000_000,
        };
        let stepped = Clock {
            monotonic: 5_000,
            offset: -3_000,
        };
        assert_eq!(
            before.span(1_000, 4_000),
            (UnixNanoseconds(1_001_000), UnixNanoseconds(1_004_000))
        );
        let (start, end) = stepped.span(3_500, 4_000);
        assert_eq!((start, end), (UnixNanoseconds(500), UnixNanoseconds(1_000)));
        assert_eq!(stepped.within(start, 3_500, 3_700), UnixNanoseconds(700));
    }

    #[test]
    fn the_two_clocks_agree_on_now() {
        let clock = Clock::now();
        let (_, end) = clock.span(clock.monotonic(), clock.monotonic());
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        assert!(u128::from(end.0).abs_diff(wall.as_nanos()) < 1_000_000_000);
    }
}
