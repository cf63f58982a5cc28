//! What goes on with the requests that are sent for one, beside its context: its `baggage`, and the id by which people find it in
//! logs, or one that is made of the trace's id where none came. Taken from the header lines of HTTP/1 as they are walked, in parts of
//! any size, and kept by the span of the request; put behind the context, all in one push.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use super::http1::{self, marked};
use super::{has_room, message, number, tracestate, wanted};
use crate::connection::{self, Dialogue, Half};
use crate::context::Ids;
use crate::frames::{Step, operands};
use crate::globals::global;
use crate::http1::past_line_feed;
use crate::maps::{BAGGAGE, CORRELATIONS, count};
use crate::operation::{Operation, TEXT, WINDOW};
use crate::state;
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{bpf_msg_pop_data, bpf_msg_push_data, bpf_probe_read_kernel};
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::carried::{CHUNK, ID_LIMIT, LIMIT, List, carries, kind, name};
use spanwire_ebpf::traceparent::{LINE, hex};
use spanwire_ebpf::tracestate::LIMIT as STATE_LIMIT;
use spanwire_ebpf::word::pattern;
use spanwire_ebpf::{Counter, RECEIVED, SENT, propagate};

/// `baggage` of one request.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Baggage {
    list: List,
    /// 1 where the next part is of another line.
    joins: u32,
    /// The list, and room for what is behind the limit.
    text: [u8; (LIMIT + 2 * CHUNK) as usize],
}

/// The id of one request.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Correlation {
    list: List,
    /// Which header it came in, one of [`mod@kind`]; 0 where none came, and one is made.
    kind: u64,
    /// The id, and room for what is behind the limit.
    text: [u8; (ID_LIMIT + 2 * CHUNK) as usize],
}

/// Of a request of which nothing is known yet.
static NO_BAGGAGE: Baggage = Baggage {
    list: List::EMPTY,
    joins: 0,
    text: [0; (LIMIT + 2 * CHUNK) as usize],
};

/// The same.
static NO_ID: Correlation = Correlation {
    list: List::EMPTY,
    kind: kind::NONE,
    text: [0; (ID_LIMIT + 2 * CHUNK) as usize],
};

/// Bits of [`Half::value`] beside the kind of a line.
mod line {
    /// Its first part is still to come.
    pub(super) const BEGINS: u64 = 1 << 8;
    /// It ends here.
    pub(super) const ENDS: u64 = 1 << 9;
    /// It goes on from one that was taken.
    pub(super) const FOLDED: u64 = 1 << 10;
    /// Bits of the kind.
    pub(super) const KIND: u64 = 0xff;
}

/// Whether an id is carried on, or made.
const IDS: u32 = carries::REQUEST_ID | carries::CORRELATION_ID;

/// Whether anything is carried on.
#[inline(always)]
pub(crate) fn is_wanted() -> bool {
    global!(carries) != 0
}

/// A header line that is carried on begins at the cursor.
#[inline(always)]
pub(crate) fn begins(operation: &mut Operation, half: &mut Half, kind: u64) {
    operation.cursor += name(kind);
    operation.cursor += (operation.available() > 0 && operation.byte(operation.cursor) == b' ') as u32;
    half.value = kind | line::BEGINS;
    half.state = state::CARRIED;
}

/// A line begins at the cursor with a blank: it is part of the one before (RFC 9112, section 5.2), of which only a part was taken.
#[inline(always)]
pub(crate) fn folds(operation: &Operation) {
    takes(operation.sock, operation.slot, operation.cursor, line::FOLDED);
}

/// Takes some of such a line.
#[inline(always)]
pub(crate) fn step(operation: &mut Operation, half: &mut Half) -> Step {
    let from = operation.cursor;
    let ends = past_line_feed(operation);
    let what = half.value | if ends { line::ENDS } else { 0 };
    half.value &= !line::BEGINS;
    if ends {
        half.state = state::LINE;
    }
    takes(operation.sock, operation.slot, from, what);
    Step::More
}

/// Takes what is in the window from an index to the cursor. A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn takes(sock: u64, slot: u32, from: u32, what: u64) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let Dialogue {
        serving,
        requests_direction,
        ..
    } = dialogue;
    // Of several at a time, nobody can tell for which something is sent.
    if *requests_direction != RECEIVED || serving.requests != 1 || wanted() & propagate::HTTP1 == 0 {
        return 0;
    }
    let span = serving.sum.span;
    if what & line::FOLDED != 0 {
        if let Some(baggage) = BAGGAGE.get_ptr_mut(&span) {
            // SAFETY: a map value.
            breaks(unsafe { &mut (*baggage).list }, Counter::BaggageMalformed);
        }
        if let Some(correlation) = CORRELATIONS.get_ptr_mut(&span) {
            // SAFETY: as above.
            breaks(unsafe { &mut (*correlation).list }, Counter::CorrelationMalformed);
        }
        return 0;
    }
    if what & line::KIND == kind::BAGGAGE {
        baggage(operation, span, from, what);
    } else {
        id(operation, span, from, what);
    }
    0
}

/// Nothing of it is carried on.
#[inline(always)]
fn breaks(list: &mut List, counter: Counter) {
    if list.broken == 0 {
        count(counter, 1);
    }
    list.broken = 1;
}

#[inline(always)]
fn baggage(operation: &mut Operation, span: u64, from: u32, what: u64) {
    if global!(carries) & carries::BAGGAGE == 0 || connection::is_refused(operation.sock) {
        return;
    }
    if BAGGAGE.get_ptr(&span).is_none() {
        let _ = BAGGAGE.insert(&span, &NO_BAGGAGE, 0);
    }
    let Some(baggage) = BAGGAGE.get_ptr_mut(&span) else {
        return;
    };
    // SAFETY: a map value.
    let Baggage { list, joins, text } = unsafe { &mut *baggage };
    let was_fine = list.broken == 0;
    *joins |= (what & line::BEGINS != 0) as u32;
    // Several lines are one list (section 3.3.1); one with nothing in it is none.
    if *joins != 0 && !is_line_end(operation, from) {
        *joins = 0;
        if list.length != 0 && list.length < LIMIT {
            text[list.length as usize & (LIMIT - 1) as usize] = b',';
            *list = list.take(b',' as u64, list.length, 1);
            list.length += 1;
        }
    }
    add::<LIMIT>(operation, list, text.as_mut_ptr(), from, what);
    if was_fine && list.broken != 0 {
        count(Counter::BaggageMalformed, 1);
    }
}

/// Whether there is nothing from an index to the cursor but the end of a line.
#[inline(always)]
fn is_line_end(operation: &Operation, from: u32) -> bool {
    from == operation.cursor || matches!(operation.byte(from), b'\r' | b'\n')
}

#[inline(always)]
fn id(operation: &mut Operation, span: u64, from: u32, what: u64) {
    if global!(carries) & IDS == 0 {
        return;
    }
    let came = what & line::KIND;
    if CORRELATIONS.get_ptr(&span).is_none() {
        let _ = CORRELATIONS.insert(&span, &NO_ID, 0);
    }
    let Some(correlation) = CORRELATIONS.get_ptr_mut(&span) else {
        return;
    };
    // SAFETY: a map value.
    let Correlation {
        list,
        kind: known,
        text,
    } = unsafe { &mut *correlation };
    if connection::is_refused(operation.sock) {
        list.broken = 1;
        return;
    }
    if what & line::BEGINS != 0 {
        // Of both, the one that would be made counts; and of the same one twice, neither.
        if *known == came {
            list.broken = 1;
        } else if *known == kind::NONE || came == made() {
            *known = came;
            *list = List::EMPTY;
        }
    }
    if *known != came {
        return;
    }
    add::<ID_LIMIT>(operation, list, text.as_mut_ptr(), from, what);
    if what & line::ENDS != 0 && (list.broken != 0 || list.length > ID_LIMIT) {
        list.broken = 1;
        count(Counter::CorrelationMalformed, 1);
    }
}

/// In which header an id is put that is made.
#[inline(always)]
fn made() -> u64 {
    if global!(carries) & carries::CORRELATION_ID != 0 {
        kind::CORRELATION_ID
    } else {
        kind::REQUEST_ID
    }
}

/// Adds what is in the window from an index to the cursor to a value of `MOST` bytes, behind which its text has room for a part.
#[inline(always)]
fn add<const MOST: u32>(operation: &mut Operation, list: &mut List, text: *mut u8, from: u32, what: u64) {
    let ends = (what & line::ENDS != 0) as u32;
    let mut length = operation.cursor.wrapping_sub(from).wrapping_sub(ends);
    if length > CHUNK {
        list.broken = 1;
        return;
    }
    // Behind a carriage return there is the end of the line, and nothing else.
    list.broken |= (list.carriage != 0 && (length != 0 || ends == 0)) as u32;
    list.carriage = 0;
    if length != 0 && operation.byte(operation.cursor.wrapping_sub(1 + ends)) == b'\r' {
        length -= 1;
        list.carriage = 1 - ends;
    }
    if list.broken != 0 || length == 0 {
        return;
    }
    let at = list.length;
    if at > MOST {
        return;
    }
    for place in 0..CHUNK / 8 {
        let offset = place * 8;
        if offset >= length {
            break;
        }
        let word = operation.word_behind(from, offset as usize);
        *list = list.take(word, at + offset, length - offset);
    }
    // What is not as it should be is never in a text.
    if list.broken != 0 {
        return;
    }
    // As numbers of their own, whose bounds are told where they are needed: up to 6.1, what is put aside in between loses them.
    let at = number(operation, at as u64);
    let length = number(operation, length as u64);
    if length > CHUNK as u64 || at > MOST as u64 {
        return;
    }
    // SAFETY: there is room for as much; the helper checks the address that is read.
    let result = unsafe {
        let from = operation.window.as_ptr().add(from as usize & (WINDOW - 1));
        bpf_probe_read_kernel(text.add(at as usize).cast(), length as u32, from.cast())
    };
    list.broken = (result != 0) as u32;
    list.length = (at + length) as u32;
}

/// The head of the request that is received is over: where no id came with it, one is made.
#[inline(always)]
pub(crate) fn head_ends(operation: &Operation) {
    if global!(carries) & IDS != 0 {
        comes_without_id(operation.sock, operation.slot);
    }
}

/// A global function, as [`takes`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn comes_without_id(sock: u64, slot: u32) -> u32 {
    let Some((_, dialogue, _)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let serving = &dialogue.serving;
    let is_its = dialogue.requests_direction == RECEIVED && serving.requests == 1;
    if is_its && wanted() & propagate::HTTP1 != 0 && CORRELATIONS.get_ptr(&serving.sum.span).is_none() {
        let _ = CORRELATIONS.insert(&serving.sum.span, &NO_ID, 0);
    }
    0
}

/// The header of the application's own that a line is of, as a bit of [`marked`]; 0 where it is none.
#[inline(always)]
pub(super) fn own(word: u64, second: u64, third: u64) -> u8 {
    match kind(word, second, third) {
        kind::NONE => 0,
        kind::BAGGAGE => marked::OWN_BAGGAGE,
        _ => marked::OWN_ID,
    }
}

/// What [`carried_lines`] has written: its length, and these.
mod written {
    /// A `tracestate`.
    pub(super) const STATE: u32 = 1 << 16;
    /// `baggage`.
    pub(super) const BAGGAGE: u32 = 1 << 17;
    /// An id.
    pub(super) const ID: u32 = 1 << 18;
    /// Bits of the length.
    pub(super) const LENGTH: u32 = 0xffff;
}

/// Puts the context and all that goes with it in front of byte `at`; how many bytes that were: 0 where nothing but a context and its
/// `tracestate` is put, or it could not be.
#[inline(always)]
pub(super) fn put(context: *mut sk_msg_md, operation: &mut Operation, at: u32) -> u32 {
    let written = carried_lines(operation.sock, operation.slot);
    if written & (written::BAGGAGE | written::ID) == 0 {
        return 0;
    }
    let length = written & written::LENGTH;
    if has_room(operation.sock, at + length) == 0 || !push(context, operation, at, length) {
        count(Counter::CarriedFull, 1);
        return 0;
    }
    if written & written::STATE != 0 {
        count(Counter::StatesInjected, 1);
    }
    if written & written::BAGGAGE != 0 {
        count(Counter::BaggageInjected, 1);
    }
    if written & written::ID != 0 {
        count(Counter::CorrelationInjected, 1);
    }
    length
}

/// What stands in front of a header's value, in three words.
struct Name {
    words: [u64; 3],
    length: u32,
}

const STATE: Name = Name {
    words: [pattern(b"tracesta"), pattern(b"te: "), 0],
    length: 12,
};
const BAGGAGE_NAME: Name = Name {
    words: [pattern(b"baggage:"), pattern(b" "), 0],
    length: 9,
};
const REQUEST_ID: Name = Name {
    words: [pattern(b"x-reques"), pattern(b"t-id: "), 0],
    length: 14,
};
const CORRELATION_ID: Name = Name {
    words: [pattern(b"x-correl"), pattern(b"ation-id"), pattern(b": ")],
    length: 18,
};

/// Where in the window a header may begin at most.
const BEFORE_STATE: u32 = LINE;
const BEFORE_BAGGAGE: u32 = BEFORE_STATE + 12 + STATE_LIMIT + 2;
const BEFORE_ID: u32 = BEFORE_BAGGAGE + 9 + LIMIT + 2;
const _: () = assert!((BEFORE_ID + 18 + ID_LIMIT + 2 + 24) as usize <= TEXT && LINE >= CHUNK);

/// Writes the context's header and those that go with it into the window, whose bytes have been looked at by now; [`written`]. A
/// global function, as [`takes`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn carried_lines(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return 0;
    };
    let sending = &dialogue.sending;
    let mut written = 0;
    http1::write(operation.window.as_mut_ptr(), &sending.exchange.ids);
    let mut at = LINE;
    if sending.marks & marked::OWN_STATE == 0 {
        let ids = &sending.exchange.ids;
        if let Some((state, length)) = tracestate::of(sending) {
            let text = state.text.as_ptr();
            at = header::<BEFORE_STATE, STATE_LIMIT>(operation, at, &STATE, text, length);
        } else {
            let threshold = tracestate::threshold(ids.flags);
            if threshold != 0 {
                http1::tell(operation.window.as_mut_ptr(), ids, threshold);
                at = http1::TELLING;
            }
        }
        written |= if at != LINE { written::STATE } else { 0 };
    }
    // Who is not believed is not told either.
    if connection::is_refused(sock) {
        return at | written;
    }
    let span = &sending.exchange.parent;
    if sending.marks & marked::OWN_BAGGAGE == 0
        && let Some(baggage) = BAGGAGE.get_ptr(span)
    {
        // SAFETY: a map value. Whether it is still this one's is seen behind.
        let Baggage { list, text, .. } = unsafe { &*baggage };
        let length = list.carried();
        if length != 0 {
            let begins = at;
            at = header::<BEFORE_BAGGAGE, LIMIT>(operation, at, &BAGGAGE_NAME, text.as_ptr(), length);
            at = unless_replaced(begins, at, BAGGAGE.get_ptr(span) == Some(baggage));
            written |= if at != begins { written::BAGGAGE } else { 0 };
        }
        if list.is_cut() && list.broken == 0 {
            count(Counter::BaggageCut, 1);
        }
    }
    if sending.marks & marked::OWN_ID == 0
        && let Some(correlation) = CORRELATIONS.get_ptr(span)
    {
        // SAFETY: as above.
        let Correlation { list, kind, text } = unsafe { &*correlation };
        let begins = at;
        let name = if *kind == kind::CORRELATION_ID || *kind == kind::NONE && made() == kind::CORRELATION_ID {
            &CORRELATION_ID
        } else {
            &REQUEST_ID
        };
        if *kind == kind::NONE && list.broken == 0 {
            at = made_id(operation, at, name, &sending.exchange.ids);
        } else if list.is_whole() {
            at = header::<BEFORE_ID, ID_LIMIT>(operation, at, name, text.as_ptr(), list.length);
        }
        at = unless_replaced(begins, at, CORRELATIONS.get_ptr(span) == Some(correlation));
        written |= if at != begins { written::ID } else { 0 };
    }
    at | written
}

/// Where the headers end, one of which was written from `begins` to `ends`: it does not count where its text had to make room for
/// that of another request while it was copied, which nobody but that one's peers may be told.
#[inline(always)]
fn unless_replaced(begins: u32, ends: u32, is_still_there: bool) -> u32 {
    if is_still_there || begins == ends {
        return ends;
    }
    count(Counter::CarriedReplaced, 1);
    begins
}

/// Writes a header into the window at `at`, `BEFORE` at most, whose value has `MOST` bytes at most; the index behind it, or `at` where
/// that is impossible.
#[inline(always)]
fn header<const BEFORE: u32, const MOST: u32>(
    operation: &mut Operation,
    at: u32,
    name: &Name,
    text: *const u8,
    length: u32,
) -> u32 {
    let from = number(operation, at as u64);
    if from > BEFORE as u64 {
        return at;
    }
    // SAFETY: there is room for all of it, as is asserted above; the helper checks the address that is read.
    unsafe {
        let to = operation.window.as_mut_ptr().add(from as usize);
        let behind = write_name(to, name);
        // Its bounds are told where they are needed, as in `add`.
        let length = number(operation, length as u64);
        if length > MOST as u64 {
            return at;
        }
        write_volatile(behind.add(length as usize).cast::<u16>(), 0x0a0d);
        if bpf_probe_read_kernel(behind.cast(), length as u32, text.cast()) != 0 {
            return at;
        }
    }
    at + name.length + length + 2
}

/// Writes a header whose value is the id of the trace, as [`header`] does.
#[inline(always)]
fn made_id(operation: &mut Operation, at: u32, name: &Name, ids: &Ids) -> u32 {
    let from = number(operation, at as u64);
    if from > BEFORE_ID as u64 {
        return at;
    }
    // SAFETY: as above. The machines that spanwire supports need no alignment.
    unsafe {
        let to = operation.window.as_mut_ptr().add(from as usize);
        let behind = write_name(to, name);
        let put = |offset: usize, word: u64| write_volatile(behind.add(offset).cast::<u64>(), word);
        put(0, hex(ids.trace[0] as u32));
        put(8, hex((ids.trace[0] >> 32) as u32));
        put(16, hex(ids.trace[1] as u32));
        put(24, hex((ids.trace[1] >> 32) as u32));
        write_volatile(behind.add(32).cast::<u16>(), 0x0a0d);
    }
    from as u32 + name.length + 32 + 2
}

/// Writes what stands in front of a value; where that is.
///
/// # Safety
/// There is room for three words.
#[inline(always)]
unsafe fn write_name(to: *mut u8, name: &Name) -> *mut u8 {
    // SAFETY: the caller has room.
    unsafe {
        write_volatile(to.cast::<u64>(), name.words[0]);
        write_volatile(to.add(8).cast::<u64>(), name.words[1]);
        write_volatile(to.add(16).cast::<u64>(), name.words[2]);
        to.add(name.length as usize)
    }
}

/// Pushes the first `length` bytes of the window, [`CHUNK`] at least, in front of byte `at`; whether that was possible. If not, nothing
/// has changed.
#[inline(always)]
fn push(context: *mut sk_msg_md, operation: &mut Operation, at: u32, length: u32) -> bool {
    // SAFETY: the program's own context.
    if unsafe { bpf_msg_push_data(context, at, length, 0) } != 0 {
        return false;
    }
    operation.copy_from = 0;
    operation.copy_to = length;
    for _ in 0..TEXT as u32 / CHUNK {
        match part(context, operation, at) {
            Some(false) => {}
            Some(true) => return true,
            None => break,
        }
    }
    // SAFETY: as above.
    unsafe { bpf_msg_pop_data(context, at, length, 0) };
    false
}

/// Writes a part of it; whether that was the last one, and `None` where it could not be.
#[inline(always)]
fn part(context: *mut sk_msg_md, operation: &mut Operation, at: u32) -> Option<bool> {
    // From memory and back each time: what is there, the verifier does not follow.
    // SAFETY: of references.
    let (from, length) = unsafe {
        (
            read_volatile(&raw const operation.copy_from),
            read_volatile(&raw const operation.copy_to),
        )
    };
    // The last part begins early, over the one before.
    let last = length.wrapping_sub(CHUNK);
    let from = if from < last { from } else { last };
    let from = number(operation, from as u64);
    if from > (TEXT as u32 - CHUNK) as u64 {
        return None;
    }
    let (start, end) = message::pull(context, at + from as u32, CHUNK)?;
    if start + CHUNK as usize > end {
        return None;
    }
    for place in 0..CHUNK as usize / 8 {
        // SAFETY: both bounds were just seen. The machines that spanwire supports need no alignment.
        unsafe {
            let word = operation.window.as_ptr().add(from as usize + place * 8);
            write_volatile((start as *mut u64).add(place), read_volatile(word.cast::<u64>()));
        }
    }
    // SAFETY: of a reference.
    unsafe { write_volatile(&raw mut operation.copy_from, from as u32 + CHUNK) };
    Some(from as u32 == last)
}
