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

/// The generation of a slot's word.
#[inline(always)]
#[must_use]
pub const fn generation(word: u64) -> u32 {
    ((word >> WORD_GENERATION) & GENERATIONS as u64) as u32
}

/// What `tracestate` says of a trace that was kept by a slot's word, in three words, and how long it is: 0 where there is nothing to
/// say, since all are kept, or none. Zeroes at the end of a threshold are left out.
#[inline(always)]
#[must_use]
pub const fn member(word: u64) -> ([u64; 3], u32) {
    /// Digits of a threshold.
    const DIGITS: u32 = 14;
    let threshold = word & (2 * NEVER - 1);
    if threshold == ALWAYS || threshold >= NEVER {
        return ([0; 3], 0);
    }
    let bytes = (threshold << 8).swap_bytes();
    let (first, second) = (hex(bytes as u32), hex((bytes >> 32) as u32));
    let (mut rest, mut zeroes) = (threshold, 0);
    if rest as u32 == 0 {
        rest >>= 32;
        zeroes += 8;
    }
    if rest as u16 == 0 {
        rest >>= 16;
        zeroes += 4;
    }
    if rest as u8 == 0 {
        rest >>= 8;
        zeroes += 2;
    }
    if rest & 0xf == 0 {
        zeroes += 1;
    }
    let words = [
        pattern(b"ot=th:") | first << 48,
        first >> 16 | second << 48,
        second >> 16,
    ];
    (words, MEMBER_BEGINS + DIGITS - zeroes)
}

/// Length of `ot=th:`.
const MEMBER_BEGINS: u32 = 6;

/// By what a trace was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// The slot.
    pub slot: u32,
    /// The generation of its threshold.
    pub generation: u32,
}

/// By what a trace was decided that has these flags, or whose record has this cause; `None` where it was not decided here.
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
    fn a_threshold_is_told_without_the_zeroes_at_its_end() {
        for (threshold, expected) in [
            (ALWAYS, ""),
            (NEVER, ""),
            (NEVER / 2, "ot=th:8"),
            (NEVER / 4 * 3, "ot=th:c"),
            (NEVER / 16, "ot=th:1"),
            (NEVER / 256, "ot=th:01"),
            (1, "ot=th:00000000000001"),
            (NEVER - 1, "ot=th:ffffffffffffff"),
            (0x00fd_70a0_0000_0000, "ot=th:fd70a"),
            (0x0012_3456_789a_bcde, "ot=th:123456789abcde"),
            (0x0010_0000_0100_0000, "ot=th:10000001"),
        ] {
            for (generation, alone) in [(1, false), (63, true)] {
                let (words, length) = member(word(threshold, generation, alone));
                let mut bytes = [0; 24];
                for (place, word) in bytes.chunks_mut(8).zip(words) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                assert_eq!(&bytes[..length as usize], expected.as_bytes());
            }
        }
        assert_eq!(generation(word(5, 63, true)), 63);
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
