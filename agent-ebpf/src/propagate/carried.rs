//! What goes on with the requests that are sent for one, beside its context: its `baggage`, and the id by which people find it in
//! logs, or one that is made of the trace's id where none came. Taken from the header lines of HTTP/1 as they are walked, in parts of
//! any size, or from fields of HTTP/2, and kept by the span of the request; put beside the context, all in one push.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use super::carriers::{keep, kept, what};
use super::http1::{self, marked};
use super::http2;
use super::name::{BAGGAGE as BAGGAGE_NAME, CORRELATION_ID, Name, REQUEST_ID, STATE};
use super::{has_room, message, number, trace_text, tracestate, wanted};
use crate::connection::{self, Dialogue, Half, Sending};
use crate::context::Ids;
use crate::extract::CUT;
use crate::frames::{Step, operands};
use crate::globals::{global, kernel};
use crate::http1::past_line_feed;
use crate::maps::{BAGGAGE, CORRELATIONS, OPERATIONS, count};
use crate::operation::{Operation, TEXT, WINDOW};
use crate::state;
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{bpf_msg_pop_data, bpf_msg_push_data, bpf_probe_read_kernel};
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::carried::{
    CHUNK, ID_LIMIT, LIMIT, List, blanks, carries, coded_kind, field_kind, kind, name,
};
use spanwire_ebpf::hpack::{self, FIELD};
use spanwire_ebpf::traceparent::LINE;
use spanwire_ebpf::tracestate::LIMIT as STATE_LIMIT;
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
    if *requests_direction != RECEIVED || serving.requests != 1 || wanted() & propagate::CARRYING == 0 {
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
    let to = operation.cursor.wrapping_sub((what & line::ENDS != 0) as u32);
    takes_part(slot, span, from, to, what)
}

/// Takes a part of a value, which is between two indices of the window, for the request with this span. As [`takes`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn takes_part(slot: u32, span: u64, from: u32, to: u32, what: u64) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let part = Part { from, to, what };
    if what & line::KIND == kind::BAGGAGE {
        baggage(operation, span, part);
    } else {
        id(operation, span, part);
    }
    0
}

/// Takes the values that were found in a block, for the request that carries them on. As [`takes`]; not from where they are found,
/// since there is no room for that on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn takes_carried(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: a map value, and this program's own.
    let fields = unsafe { &mut (*operation).fields };
    let span = fields.carrier;
    fields.carrier = 0;
    if span == 0 {
        return 0;
    }
    for kind in [kind::BAGGAGE, kind::REQUEST_ID, kind::CORRELATION_ID] {
        let [from, to] = fields.carried[kind as usize];
        if from == CUT {
            count(
                if kind == kind::BAGGAGE {
                    Counter::BaggageMalformed
                } else {
                    Counter::CorrelationMalformed
                },
                1,
            );
        } else if from != 0 {
            takes_field(slot, span, kind, from, to);
        }
    }
    0
}

pub(crate) use takes_carried as takes_found;

/// Takes a value in parts.
#[inline(always)]
fn takes_field(slot: u32, span: u64, kind: u64, from: u32, to: u32) {
    let mut at = from;
    let mut what = kind | line::BEGINS;
    for _ in 0..WINDOW as u32 / CHUNK {
        if to.wrapping_sub(at) <= CHUNK {
            takes_part(slot, span, at, to, what | line::ENDS);
            break;
        }
        takes_part(slot, span, at, at + CHUNK, what);
        at += CHUNK;
        what = kind;
    }
}

/// A part of a value.
#[derive(Clone, Copy)]
struct Part {
    /// Where it is in the window.
    from: u32,
    /// Behind it, and in front of a line feed.
    to: u32,
    /// Its kind, and bits of [`line`].
    what: u64,
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
fn baggage(operation: &mut Operation, span: u64, part: Part) {
    if global!(carries) & carries::BAGGAGE == 0 || connection::is_refused(operation.sock) {
        return;
    }
    let Some(baggage) = keep(&BAGGAGE, &span, what::BAGGAGE, &NO_BAGGAGE) else {
        return;
    };
    // SAFETY: a map value.
    let Baggage { list, joins, text } = unsafe { &mut *baggage };
    let was_fine = list.broken == 0;
    *joins |= (part.what & line::BEGINS != 0) as u32;
    // Several lines are one list (section 3.3.1); one with nothing in it is none.
    if *joins != 0 && !is_line_end(operation, part) {
        *joins = 0;
        if list.length != 0 && list.length < LIMIT {
            text[list.length as usize & (LIMIT - 1) as usize] = b',';
            *list = list.take(b',' as u64, list.length, 1);
            list.length += 1;
        }
    }
    add::<LIMIT>(operation, list, text.as_mut_ptr(), part);
    if was_fine && list.broken != 0 {
        count(Counter::BaggageMalformed, 1);
    }
}

/// Whether there is nothing in it but the end of a line.
#[inline(always)]
fn is_line_end(operation: &Operation, part: Part) -> bool {
    part.from == part.to || operation.byte(part.from) == b'\r'
}

#[inline(always)]
fn id(operation: &mut Operation, span: u64, part: Part) {
    if global!(carries) & IDS == 0 {
        return;
    }
    let what = part.what;
    let came = what & line::KIND;
    let Some(correlation) = keep(&CORRELATIONS, &span, what::ID, &NO_ID) else {
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
    add::<ID_LIMIT>(operation, list, text.as_mut_ptr(), part);
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

/// Adds a part to a value of `MOST` bytes, behind which its text has room for one.
#[inline(always)]
fn add<const MOST: u32>(operation: &mut Operation, list: &mut List, text: *mut u8, part: Part) {
    let Part { from, to, what } = part;
    let ends = (what & line::ENDS != 0) as u32;
    let mut length = to.wrapping_sub(from);
    if length > CHUNK {
        list.broken = 1;
        return;
    }
    // Behind a carriage return there is the end of the line, and nothing else.
    list.broken |= (list.carriage != 0 && (length != 0 || ends == 0)) as u32;
    list.carriage = 0;
    if length != 0 && operation.byte(to.wrapping_sub(1)) == b'\r' {
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
    if is_its && wanted() & propagate::CARRYING != 0 {
        keep(&CORRELATIONS, &serving.sum.span, what::ID, &NO_ID);
    }
    0
}

/// The header of the application's own that a line is of, as a bit of [`marked`]; 0 where it is none.
#[inline(always)]
pub(super) fn own(word: u64, second: u64, third: u64) -> u8 {
    mark_of(kind(word, second, third))
}

/// The same of a field of HTTP/2, of which this is the name's string.
#[inline(always)]
pub(super) fn own_field(word: u64, second: u64, third: u64) -> u8 {
    mark_of(field_kind(word, second, third) | coded_kind(word, second))
}

#[inline(always)]
fn mark_of(kind: u64) -> u8 {
    match kind {
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
    put_written(context, operation, at, written, 0, u32::MAX)
}

/// The same of HTTP/2, whose fields come behind the block's `last` byte, which is at `at`. There may be up to `room` bytes.
#[inline(always)]
pub(super) fn put_fields(
    context: *mut sk_msg_md,
    operation: &mut Operation,
    at: u32,
    last: u8,
    room: u32,
) -> u32 {
    let written = carried_fields(operation.sock, operation.slot, last as u32);
    let room = if room < MOST_FIELDS { room } else { MOST_FIELDS };
    put_written(context, operation, at, written, 1, room)
}

/// Servers of HTTP/2 bear less than they say of (RFC 9113, section 10.5.1), which nobody sees here.
const MOST_FIELDS: u32 = 4_096;

/// Puts what is written in the window in front of byte `at`, of which the first `over` bytes are there already, where there is `room`.
#[inline(always)]
fn put_written(
    context: *mut sk_msg_md,
    operation: &mut Operation,
    at: u32,
    written: u32,
    over: u32,
    room: u32,
) -> u32 {
    if written & (written::BAGGAGE | written::ID) == 0 {
        return 0;
    }
    let length = written & written::LENGTH;
    if length > room
        || has_room(operation.sock, at + length) == 0
        || !push(context, operation, at, length, over)
    {
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

/// Where in the window a header may begin at most.
const BEFORE_STATE: u32 = LINE;
const BEFORE_BAGGAGE: u32 = BEFORE_STATE + 12 + STATE_LIMIT + 2;
const BEFORE_ID: u32 = BEFORE_BAGGAGE + 9 + LIMIT + 2;
const AFTER_ID: u32 = BEFORE_ID + 18 + ID_LIMIT + PREFIX;
const _: () = assert!((AFTER_ID + FIELD + 24) as usize <= TEXT && LINE >= CHUNK && FIELD >= CHUNK);

/// The length of a value of HTTP/2 takes up to as many bytes.
const PREFIX: u32 = 3;

/// Writes the context's header and those that go with it into the window, whose bytes have been looked at by now; [`written`]. A
/// global function, as [`takes`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn carried_lines(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return 0;
    };
    let sending = &dialogue.sending;
    http1::write(operation.window.as_mut_ptr(), &sending.exchange.ids);
    let mut at = LINE;
    if sending.marks & marked::OWN_STATE == 0 {
        let ids = &sending.exchange.ids;
        if let Some((state, length)) = tracestate::of(sending) {
            let text = state.text.as_ptr();
            at = header::<false, BEFORE_STATE, STATE_LIMIT>(operation, at, &STATE, text, length);
        } else {
            let threshold = tracestate::threshold(ids.flags);
            if threshold != 0 {
                http1::tell(operation.window.as_mut_ptr(), ids, threshold);
                at = http1::TELLING;
            }
        }
    }
    let states = if at != LINE { written::STATE } else { 0 };
    write_carried::<false>(operation, sending, sock, at) | states
}

/// The same of HTTP/2: the `last` byte of the block, and fields behind it, of which the context's comes last.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn carried_fields(sock: u64, slot: u32, last: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return 0;
    };
    let sending = &dialogue.sending;
    let ids = &sending.exchange.ids;
    operation.window[0] = last as u8;
    let mut at = 1;
    if let Some((state, length)) = tracestate::of(sending) {
        let text = state.text.as_ptr();
        at = header::<true, BEFORE_STATE, STATE_LIMIT>(operation, at, &STATE, text, length);
    } else {
        let threshold = tracestate::threshold(ids.flags);
        if threshold != 0 {
            http2::tell(operation.window.as_mut_ptr(), last as u8, ids, threshold);
            at = 1 + http2::TELLING - FIELD;
        }
    }
    let states = if at != 1 { written::STATE } else { 0 };
    let written = write_carried::<true>(operation, sending, sock, at) | states;
    let at = number(operation, (written & written::LENGTH) as u64);
    if at > AFTER_ID as u64 {
        return 0;
    }
    // SAFETY: there is room, as is asserted above.
    unsafe { http2::field(operation.window.as_mut_ptr().add(at as usize), ids) };
    written + FIELD - 1
}

/// Writes baggage and an id into the window, from an index on; the index behind it, and [`written`].
#[inline(always)]
fn write_carried<const FRAMED: bool>(
    operation: &mut Operation,
    sending: &Sending,
    sock: u64,
    mut at: u32,
) -> u32 {
    let mut written = 0;
    // Who is not believed is not told either.
    if connection::is_refused(sock) {
        return at | written;
    }
    let span = &sending.exchange.parent;
    if sending.marks & marked::OWN_BAGGAGE == 0
        && let Some(baggage) = kept(&BAGGAGE, span, what::BAGGAGE)
    {
        // SAFETY: a map value. Whether it is still this one's is seen behind.
        let Baggage { list, text, .. } = unsafe { &*baggage };
        let length = list.carried();
        if length != 0 {
            let begins = at;
            at = header::<FRAMED, BEFORE_BAGGAGE, LIMIT>(operation, at, &BAGGAGE_NAME, text.as_ptr(), length);
            at = unless_replaced(begins, at, BAGGAGE.get_ptr(span) == Some(baggage));
            written |= if at != begins { written::BAGGAGE } else { 0 };
        }
        if list.is_cut() && list.broken == 0 {
            count(Counter::BaggageCut, 1);
        }
    }
    if sending.marks & marked::OWN_ID == 0
        && let Some(correlation) = kept(&CORRELATIONS, span, what::ID)
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
            at = made_id::<FRAMED>(operation, at, name, &sending.exchange.ids);
        } else if list.is_whole() {
            at = header::<FRAMED, BEFORE_ID, ID_LIMIT>(operation, at, name, text.as_ptr(), list.length);
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
fn header<const FRAMED: bool, const BEFORE: u32, const MOST: u32>(
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
    // A field's value neither begins nor ends with a blank (RFC 9113, section 8.2.1).
    let (text, length) = if FRAMED {
        match trimmed(operation, text, length) {
            Some(trimmed) => trimmed,
            None => return at,
        }
    } else {
        (text, length)
    };
    // SAFETY: there is room for all of it, as is asserted above; the helper checks the address that is read.
    unsafe {
        let to = operation.window.as_mut_ptr().add(from as usize);
        let (value, around) = write_name::<FRAMED>(operation, to, name, length);
        // Its bounds are told where they are needed, as in `add`.
        let length = number(operation, length as u64);
        if length > MOST as u64 {
            return at;
        }
        if !FRAMED {
            write_volatile(value.add(length as usize).cast::<u16>(), 0x0a0d);
        }
        if bpf_probe_read_kernel(value.cast(), length as u32, text.cast()) != 0 {
            return at;
        }
        at + name.length + length as u32 + around
    }
}

/// A value without blanks around it; `None` where there are more than some.
#[inline(always)]
fn trimmed(operation: &mut Operation, text: *const u8, length: u32) -> Option<(*const u8, u32)> {
    // As a number: of a pointer, the verifier would have to know where in the map it stays.
    let begins = number(operation, text as u64);
    let ends = begins.wrapping_add(length as u64);
    // What is in front of a short text is not blank.
    let (before, behind) = blanks(kernel(begins, 0)?, kernel(ends.wrapping_sub(8), 0)?);
    let around = before + behind;
    if before > 7 || behind > 7 || around >= length {
        return None;
    }
    Some((begins.wrapping_add(before as u64) as *const u8, length - around))
}

/// Writes a header whose value is the id of the trace, as [`header`] does.
#[inline(always)]
fn made_id<const FRAMED: bool>(operation: &mut Operation, at: u32, name: &Name, ids: &Ids) -> u32 {
    const LENGTH: u32 = 32;
    let from = number(operation, at as u64);
    if from > BEFORE_ID as u64 {
        return at;
    }
    // SAFETY: as above. The machines that spanwire supports need no alignment.
    unsafe {
        let to = operation.window.as_mut_ptr().add(from as usize);
        let (value, around) = write_name::<FRAMED>(operation, to, name, LENGTH);
        trace_text(value, ids);
        if !FRAMED {
            write_volatile(value.add(LENGTH as usize).cast::<u16>(), 0x0a0d);
        }
        from as u32 + name.length + LENGTH + around
    }
}

/// Writes what stands in front of a value of this length; where that is, and how many bytes are around it beside the name.
///
/// # Safety
/// There is room for three words and [`PREFIX`].
#[inline(always)]
unsafe fn write_name<const FRAMED: bool>(
    operation: &mut Operation,
    to: *mut u8,
    name: &Name,
    length: u32,
) -> (*mut u8, u32) {
    let words = if FRAMED { &name.field } else { &name.line };
    // SAFETY: the caller has room.
    unsafe {
        write_volatile(to.cast::<u64>(), words[0]);
        write_volatile(to.add(8).cast::<u64>(), words[1]);
        write_volatile(to.add(16).cast::<u64>(), words[2]);
        let behind = to.add(name.length as usize);
        if !FRAMED {
            return (behind, 2);
        }
        let (prefix, bytes) = hpack::prefix(length);
        write_volatile(behind.cast::<u32>(), prefix);
        // Its bounds are told here, as in `add`; it is never more.
        let mut bytes = number(operation, bytes as u64);
        if bytes > PREFIX as u64 {
            bytes = PREFIX as u64;
        }
        (behind.add(bytes as usize), bytes as u32)
    }
}

/// Pushes `length` bytes, [`CHUNK`] at least, in front of byte `at`, and writes the window's first ones over them and the `over` bytes
/// behind; whether that was possible. If not, nothing has changed.
#[inline(always)]
fn push(context: *mut sk_msg_md, operation: &mut Operation, at: u32, length: u32, over: u32) -> bool {
    // SAFETY: the program's own context.
    if unsafe { bpf_msg_push_data(context, at, length, 0) } != 0 {
        return false;
    }
    operation.copy_from = 0;
    operation.copy_to = length + over;
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
