//! Which traces are kept: consistent probability sampling, as the [specification] has it.
//!
//! A trace has 56 bits of randomness, the last seven bytes of its id, which are a number R. A sampler has a threshold T, which is
//! (1 - p) * 2^56 for a probability p, and keeps the trace if R >= T. So whoever keeps a trace at one probability keeps it at
//! each greater one, and a back end that is told T can count right.
//!
//! The kernel half decides of a trace as it begins, by a [`word`] that the agent has put into a map for each service:
//!
//! ```text
//! | 63            | 62 .. 57   | 56 .. 0   |
//! | on its own: 1 | generation | threshold |
//! ```
//!
//! What was decided goes with the trace's flags, and into [`Record::cause`](crate::Record::cause):
//!
//! ```text
//! | 29 .. 24   | 23 .. 12 | 0       |
//! | generation | slot     | sampled |
//! ```
//!
//! [specification]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/

use crate::traceparent::hex;
use crate::word::pattern;

/// Threshold at which every trace is kept.
pub const ALWAYS: u64 = 0;
/// Threshold at which none is.
pub const NEVER: u64 = 1 << 56;

/// Services that have a threshold of their own, and in slot 0 all others.
pub const SLOTS: u32 = 4096;
/// Generations of a slot's threshold, from 1: so many of the last ones can be told apart.
pub const GENERATIONS: u32 = 63;

/// Flag of a trace that is kept (W3C Trace Context, section 3.2.2.5).
pub const SAMPLED: u64 = 1;
/// Bits of [`decide`] that say by what it was decided: none where it was not decided here.
pub const DECIDED: u64 = 0x3fff_f000;

const SLOT: u32 = 12;
const GENERATION: u32 = 24;
const WORD_GENERATION: u32 = 57;
const WORD_ALONE: u32 = 63;

/// The randomness of a trace, of whose id these are the last eight bytes, in memory order.
#[inline(always)]
#[must_use]
pub const fn randomness(low: u64) -> u64 {
    u64::from_be(low) & (NEVER - 1)
}

/// Whether a trace is kept.
#[inline(always)]
#[must_use]
pub const fn is_sampled(randomness: u64, threshold: u64) -> bool {
    randomness >= threshold
}

/// A slot's word. `alone`: it decides whatever others have decided of the trace.
#[inline(always)]
#[must_use]
pub const fn word(threshold: u64, generation: u32, alone: bool) -> u64 {
    let generation = (generation & GENERATIONS) as u64;
    (threshold & (2 * NEVER - 1)) | generation << WORD_GENERATION | (alone as u64) << WORD_ALONE
}

/// Whether a word holds for traces of which others have decided, too.
#[inline(always)]
#[must_use]
pub const fn is_alone(word: u64) -> bool {
    word >> WORD_ALONE != 0
}

/// Decides of a trace, of whose id `low` are the last eight bytes, by the word of a slot.
#[inline(always)]
#[must_use]
pub const fn decide(word: u64, slot: u32, low: u64) -> u64 {
    let threshold = word & (2 * NEVER - 1);
    let generation = (word >> WORD_GENERATION) & GENERATIONS as u64;
    let slot = (slot & (SLOTS - 1)) as u64;
    is_sampled(randomness(low), threshold) as u64 | slot << SLOT | generation << GENERATION
}

/// The threshold by which a trace was kept, by its slot's word; `None` where that has changed since.
#[inline(always)]
#[must_use]
pub const fn kept_by(word: u64, by: By) -> Option<u64> {
    let generation = (word >> WORD_GENERATION) & GENERATIONS as u64;
    if generation == by.generation as u64 {
        Some(word & (2 * NEVER - 1))
    } else {
        None
    }
}

/// What `tracestate` says of a trace that was kept by a threshold: [`MEMBER`] bytes. All digits are told, zeroes at the end, too,
/// which may be left out: what is always as long needs no loop to be written.
#[inline(always)]
#[must_use]
pub const fn member(threshold: u64) -> (u64, u64, u32) {
    let bytes = (threshold << 8).swap_bytes();
    let (first, second) = (hex(bytes as u32), hex((bytes >> 32) as u32));
    (
        pattern(b"ot=th:") | first << 48,
        first >> 16 | second << 48,
        (second >> 16) as u32,
    )
}

/// Length of `ot=th:` and of a threshold's 14 digits.
pub const MEMBER: u32 = 20;

/// By what a trace was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// The slot.
    pub slot: u32,
    /// The generation of its threshold.
    pub generation: u32,
}

/// By what a trace was decided that has these flags, or whose record has this cause; `None` where it was not decided here.
#[inline(always)]
#[must_use]
pub const fn by(flags: u64) -> Option<By> {
    let by = By {
        slot: (flags >> SLOT) as u32 & (SLOTS - 1),
        generation: (flags >> GENERATION) as u32 & GENERATIONS,
    };
    if by.generation == 0 { None } else { Some(by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_the_last_seven_bytes() {
        let low = u64::from_ne_bytes([0xff, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(randomness(low), 0x0001_0203_0405_0607);
    }

    #[test]
    fn a_threshold_is_told_with_all_its_digits() {
        for (threshold, expected) in [
            (NEVER / 2, "ot=th:80000000000000"),
            (1, "ot=th:00000000000001"),
            (NEVER - 1, "ot=th:ffffffffffffff"),
            (0x00fd_70a0_0000_0000, "ot=th:fd70a000000000"),
            (0x0012_3456_789a_bcde, "ot=th:123456789abcde"),
        ] {
            let (first, second, third) = member(threshold);
            let bytes = [
                &first.to_le_bytes()[..],
                &second.to_le_bytes(),
                &third.to_le_bytes(),
            ]
            .concat();
            assert_eq!(bytes, expected.as_bytes());
            assert_eq!(bytes.len(), MEMBER as usize);
        }
    }

    #[test]
    fn a_threshold_holds_as_long_as_its_generation() {
        let now = word(NEVER / 2, 63, true);
        let by = |generation| By { slot: 1, generation };
        assert_eq!(kept_by(now, by(63)), Some(NEVER / 2));
        assert_eq!(kept_by(now, by(62)), None);
    }

    #[test]
    fn what_was_decided_says_by_what() {
        let low = u64::from_ne_bytes([0xff, 0x80, 0, 0, 0, 0, 0, 0]);
        for (threshold, sampled) in [
            (ALWAYS, 1),
            (NEVER / 2, 1),
            (NEVER / 2 + 1, 0),
            (NEVER - 1, 0),
            (NEVER, 0),
        ] {
            for (slot, generation, alone) in [(0, 1, false), (7, 63, true), (SLOTS - 1, 62, false)] {
                let word = word(threshold, generation, alone);
                assert_eq!(is_alone(word), alone);
                let decided = decide(word, slot, low);
                assert_eq!(decided & SAMPLED, sampled, "{threshold:x}");
                assert_eq!(decided & !(SAMPLED | DECIDED), 0);
                assert_eq!(by(decided), Some(By { slot, generation }));
            }
        }
        assert_eq!(by(SAMPLED), None);
    }
}
