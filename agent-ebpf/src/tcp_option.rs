//! The option of TCP by which one host's spanwire tells another's what a request is part of.
//!
//! An experimental option (RFC 4727, kind 253) with an identifier (RFC 6994), in two lengths. The first is in SYN and SYN-ACK, and
//! says that whoever sends it understands the second, which goes with the segment that a request begins in. Numbers are
//! little-endian.
//!
//! ```text
//!     0      1       2            4                                      8
//!   +------+------+-------------+--------------------------------------+
//!   | 253  |  8   | "SW"        | which spanwire (4)                   |
//!   +------+------+-------------+--------------------------------------+
//!
//!     0      1       2            4                          20                      28
//!   +------+------+-------------+--------------------------+-----------------------+
//!   | 253  |  28  | "SW"        | trace id (16)            | place and span (8)    |
//!   +------+------+-------------+--------------------------+-----------------------+
//!
//!   place and span:   bit 63        sampled (W3C Trace Context, section 3.2.2.5.1)
//!                     bits 47-62    the low half of the sequence number of the request's first byte
//!                     bits 0-46     of the span id, from which the rest of it follows: [`span`]
//! ```
//!
//! Beside timestamps there is room for 28 bytes and no more. So the span id, which is made by the sender, is made of 47 bits, and
//! says where the request begins: of a segment that the network card has cut, each part carries the same option, and one that is
//! sent again may begin elsewhere.

/// Bytes of the option that says that it is understood.
pub const OFFER: u32 = 8;
/// Bytes of the option with a context.
pub const CONTEXT: u32 = 28;
/// Kind and identifier, with which both begin; the length is between them.
const IDENTIFIED: u32 = 253 | (b'S' as u32) << 16 | (b'W' as u32) << 24;
/// With what is in place of the length where such an option is searched for: how long kind and identifier are.
pub const SEARCHED: u32 = IDENTIFIED | 4 << 8;

/// Bits of a span id that are random.
const RANDOM: u64 = (1 << 47) - 1;
/// What spreads them over the others: odd, with about as many ones as zeroes.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Where the place is.
const PLACE: u32 = 47;
/// The trace is sampled.
const SAMPLED: u64 = 1 << 63;

/// The option that says that it is understood, by the spanwire that has this number.
#[inline(always)]
#[must_use]
pub const fn offer(spanwire: u32) -> [u32; OFFER as usize / 4] {
    [IDENTIFIED | OFFER << 8, spanwire]
}

/// The span id that is made of what is random in another. It is not 0.
#[inline(always)]
#[must_use]
pub const fn span(random: u64) -> u64 {
    let random = random & RANDOM;
    let random = if random == 0 { 1 } else { random };
    random | random.wrapping_mul(SPREAD) & !RANDOM
}

/// What the option says of where a request begins and which span it is: one that [`span`] has made, of a request whose first byte
/// has this sequence number.
#[inline(always)]
#[must_use]
pub const fn tail(span: u64, sequence: u32, is_sampled: bool) -> u64 {
    let sampled = if is_sampled { SAMPLED } else { 0 };
    span & RANDOM | ((sequence & 0xffff) as u64) << PLACE | sampled
}

/// The option with a context, as words.
#[inline(always)]
#[must_use]
pub const fn context(trace: [u64; 2], tail: u64) -> [u32; CONTEXT as usize / 4] {
    [
        IDENTIFIED | CONTEXT << 8,
        trace[0] as u32,
        (trace[0] >> 32) as u32,
        trace[1] as u32,
        (trace[1] >> 32) as u32,
        tail as u32,
        (tail >> 32) as u32,
    ]
}

/// What an option with a context says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The trace.
    pub trace: [u64; 2],
    /// The span of who sent the request.
    pub span: u64,
    /// 1 where the trace is sampled.
    pub flags: u64,
    /// How far behind the segment's first byte the request begins, or would, were it in this segment.
    pub offset: u32,
}

/// Reads an option with a context that came with a segment whose first byte has this sequence number; `None` where it names no
/// trace, or no span.
#[inline(always)]
#[must_use]
pub const fn read(option: &[u32; CONTEXT as usize / 4], sequence: u32) -> Option<Told> {
    let [_, a, b, c, d, low, high] = *option;
    let trace = [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32];
    let tail = low as u64 | (high as u64) << 32;
    if trace[0] | trace[1] == 0 || tail & RANDOM == 0 {
        return None;
    }
    Some(Told {
        trace,
        span: span(tail),
        flags: tail >> 63,
        offset: ((tail >> PLACE) as u32).wrapping_sub(sequence) & 0xffff,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn told(random: u64, begins: u32, is_sampled: bool, segment: u32) -> Option<Told> {
        let span = span(random);
        read(&context(TRACE, tail(span, begins, is_sampled)), segment)
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        let random = (0..64).map(|shift| 0x9e37_79b9_7f4a_7c15u64.rotate_left(shift));
        let places = (0..=u32::MAX).step_by(0x03ff_f123);
        for (random, begins) in random.chain([0, u64::MAX]).zip(places) {
            for (is_sampled, offset) in [(true, 0), (false, 1), (true, 1447), (false, 0xffff)] {
                let read = told(random, begins, is_sampled, begins.wrapping_sub(offset));
                let expected = Told {
                    trace: TRACE,
                    span: span(random),
                    flags: u64::from(is_sampled),
                    offset,
                };
                assert_eq!(read, Some(expected), "{random:#x} at {begins:#x}");
            }
        }
    }

    /// The network card makes several segments of one: in each the option is the same, and one alone has the byte.
    #[test]
    fn of_a_segment_that_was_cut_one_part_has_the_byte() {
        const PART: u32 = 1400;
        const WHOLE: u32 = 1 << 16;
        let first = u32::MAX - 5000;
        for offset in [0, 1, 1399, 1400, 20_000, WHOLE - 1] {
            let begins = first.wrapping_add(offset);
            let parts = (0..WHOLE).step_by(PART as usize);
            let mut having = parts.filter(|part| {
                let length = PART.min(WHOLE - part);
                told(7, begins, true, first.wrapping_add(*part)).unwrap().offset < length
            });
            assert_eq!(having.next(), Some(offset / PART * PART));
            assert_eq!(having.next(), None);
        }
    }

    #[test]
    fn no_trace_and_no_span_are_nothing() {
        assert_eq!(read(&context([0; 2], tail(span(5), 1, true)), 0), None);
        assert_eq!(read(&context(TRACE, tail(0, 1, true)), 0), None);
        assert_eq!(read(&[0; 7], 0), None);
    }

    #[test]
    fn spans_are_made_of_their_random_bits() {
        assert_ne!(span(0), 0);
        for random in [1, 2, 0x7fff_ffff_ffff, 0x1234_5678_9abc_def0] {
            let span = span(random);
            assert_eq!(span & RANDOM, random & RANDOM);
            assert_eq!(super::span(span), span);
            assert_eq!(super::span(random | !RANDOM), span);
        }
    }

    /// RFC 6994, section 3: kind, length, and the identifier in network order.
    #[test]
    fn options_begin_as_they_should() {
        let bytes = |word: u32| word.to_le_bytes();
        assert_eq!(bytes(offer(9)[0]), [253, 8, b'S', b'W']);
        assert_eq!(bytes(context(TRACE, 1)[0]), [253, 28, b'S', b'W']);
        assert_eq!(bytes(SEARCHED), [253, 4, b'S', b'W']);
    }
}
