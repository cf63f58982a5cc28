//! Whether spanwire is alive, and whether it is ready: for `/livez` and `/readyz`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How long the pipeline may take for a turn, in nanoseconds. It takes milliseconds; on a host that is short of processors it
/// takes longer, and is no better for being restarted.
const LONGEST_TURN: u64 = 15_000_000_000;

/// What the pipeline says of itself.
#[derive(Debug, Default)]
pub struct Vitals {
    /// When its last turn began, in nanoseconds of the kernel's clock; 0 before the first.
    beat: AtomicU64,
    ready: AtomicBool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// No turn of the pipeline for so many nanoseconds.
    Stuck(u64),
    /// It has not begun, or is about to end.
    NotReady,
}

impl fmt::Display for Ailment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(since) => write!(
                formatter,
                "the pipeline has not looked at the ring buffer for {} s",
                since / 1_000_000_000
            ),
            Self::NotReady => formatter.write_str("spanwire starts, or ends"),
        }
    }
}

impl Vitals {
    /// A turn of the pipeline begins; `now` in nanoseconds of the kernel's clock.
    pub fn beat(&self, now: u64) {
        self.beat.store(now, Ordering::Relaxed);
    }

    /// Everything is in place, or is taken away.
    pub fn set_ready(&self, is_ready: bool) {
        self.ready.store(is_ready, Ordering::Relaxed);
    }

    /// Whether the pipeline does what it should.
    ///
    /// # Errors
    /// What is wrong.
    pub fn live(&self, now: u64) -> Result<(), Ailment> {
        match self.beat.load(Ordering::Relaxed) {
            0 => Ok(()),
            beat => match now.saturating_sub(beat) {
                since if since > LONGEST_TURN => Err(Ailment::Stuck(since)),
                _ => Ok(()),
            },
        }
    }

    /// Whether requests are seen.
    ///
    /// # Errors
    /// What is wrong.
    pub fn ready(&self, now: u64) -> Result<(), Ailment> {
        if !self.ready.load(Ordering::Relaxed) {
            return Err(Ailment::NotReady);
        }
        self.live(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lives_as_long_as_the_pipeline_takes_its_turns() {
        let vitals = Vitals::default();
        assert_eq!(vitals.live(LONGEST_TURN * 9), Ok(()), "before the first");
        assert_eq!(vitals.ready(5), Err(Ailment::NotReady));
        vitals.beat(7);
        vitals.set_ready(true);
        assert_eq!(vitals.ready(7 + LONGEST_TURN), Ok(()));
        let stuck = Err(Ailment::Stuck(LONGEST_TURN + 1));
        assert_eq!(vitals.ready(8 + LONGEST_TURN), stuck);
        assert_eq!(vitals.live(8 + LONGEST_TURN), stuck);
        vitals.beat(8 + LONGEST_TURN);
        assert_eq!(vitals.live(8 + LONGEST_TURN), Ok(()));
        vitals.set_ready(false);
        assert_eq!(vitals.ready(8 + LONGEST_TURN), Err(Ailment::NotReady));
    }
}
