//! Walks the frames of HTTP/2, PostgreSQL and AMQP: hands on what the agent has to see of each, and steps over the rest.
//! What a frame's first bytes say is known to [`spanwire_ebpf::frame`], all that is here is the same for each of them.
//!
//! Bytes to be handed on gather in the window, frame behind frame; a record is put out where something is stepped over, where
//! a second exchange begins, and at the window's end. Each record says how much was stepped over before it.

use crate::connection::{Dialogue, HTTP1, Half, IGNORED, UNDECIDED};
use crate::context;
use crate::emit;
use crate::extract;
use crate::frames::{Step, operands};
use crate::globals::global;
use crate::log;
use crate::maps::{OPERATIONS, count};
use crate::operation::{Operation, mark};
use crate::propagate::{carried, tracestate};
use crate::state;
use crate::stream;
use spanwire_ebpf::frame::{self, Frame, Head, amqp, http2, postgres};
use spanwire_ebpf::protocol::{AMQP, HTTP2, POSTGRES};
use spanwire_ebpf::{Counter, RECEIVED, kind};

/// Bits of [`Half::marks`].
mod marked {
    /// The agent waits for the end of the frame.
    pub(super) const ENDS: u8 = 1;
    /// What a client says before its frames is over.
    pub(super) const OPENED: u8 = 2;
    /// The frame is counted.
    pub(super) const ROW: u8 = 4;
    /// What of it cannot be read may be stepped over.
    pub(super) const BODY: u8 = 8;
    /// It may have a context.
    pub(super) const CONTEXT: u8 = 16;
    /// Its header came by itself.
    pub(super) const APART: u8 = 32;
    /// More of it came in front of what is there.
    pub(super) const CUT: u8 = 64;
    /// An exchange begins with it.
    pub(super) const BEGINS: u8 = 128;
}

/// Frames in a row that prove that there are any, where they do not reach the end of the operation.
const PROOF: u32 = 3;

/// What comes of [`claim`].
pub(crate) mod claimed {
    /// None of these protocols.
    pub(crate) const NO: u32 = 0;
    /// One of them.
    pub(crate) const YES: u32 = 1;
    /// Too few bytes to tell.
    pub(crate) const NEEDS_MORE: u32 = 2;
}

/// Does one bounded piece of work.
#[inline(always)]
pub(crate) fn step(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    match half.state {
        state::SKIP => skip(operation, dialogue, half),
        state::COPY => copy(operation, dialogue.protocol, half),
        _ => begin(operation, dialogue, half),
    }
}

/// Steps over a frame's rest.
#[inline(always)]
fn skip(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    hand_on(operation, dialogue, half);
    let rest = operation.available() as u64 + operation.unread;
    let count = if half.remaining < rest {
        half.remaining
    } else {
        rest
    };
    operation.step_over(count);
    half.remaining -= count;
    if half.remaining == 0 {
        half.state = state::START;
        half.content += (half.marks & marked::ROW != 0) as u64;
        if half.marks & marked::ENDS != 0 {
            let position = operation.position();
            emit::record(kind::END, operation, dialogue, half, position, 0);
        }
    }
    if count == rest { Step::Stop } else { Step::More }
}

/// Takes bytes of a frame for the agent.
#[inline(always)]
fn copy(operation: &mut Operation, protocol: u8, half: &mut Half) -> Step {
    let available = operation.available();
    let count = if half.value < available as u64 {
        half.value as u32
    } else {
        available
    };
    operation.cursor += count;
    operation.copy_to = operation.cursor;
    half.value -= count as u64;
    half.remaining -= count as u64;
    if half.value == 0 {
        half.state = if half.remaining == 0 {
            state::START
        } else {
            state::SKIP
        };
        if half.marks & marked::CONTEXT != 0 {
            let apart = match half.marks & (marked::APART | marked::CUT) {
                0 => 0,
                marked::APART => http2::HEADER,
                _ => extract::CUT,
            };
            let begins = (half.marks & marked::BEGINS != 0) as u32;
            if global!(propagates) != 0 {
                extract::frame_looks(operation.sock, operation.slot, count, apart);
            }
            extract::frame_continues(operation.sock, operation.slot, count, begins);
            if global!(propagates) != 0 {
                tracestate::takes_found(operation.slot);
            }
            if carried::is_wanted() && protocol == HTTP2 {
                carried::takes_found(operation.slot);
            }
        }
    } else {
        let apart = half.marks & marked::APART == 0 && count == http2::HEADER;
        half.marks |= if apart { marked::APART } else { marked::CUT };
    }
    Step::More
}

/// Goes on where the caller's memory cannot be read: a body's rest is stepped over. Whether that is so.
#[inline(always)]
pub(crate) fn bears_blindness(half: &mut Half) -> bool {
    let bears = half.state == state::COPY && half.marks & marked::BODY != 0;
    if bears {
        half.state = state::SKIP;
    }
    bears
}

/// Hands on what is pending.
#[inline(always)]
fn hand_on(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    if operation.marks & mark::PENDING != 0 {
        emit::record(kind::BYTES, operation, dialogue, half, 0, 0);
    }
}

#[inline(always)]
fn head_at(operation: &Operation, index: u32) -> Head {
    Head {
        word: operation.word(index),
        next: operation.word(index + 8),
    }
}

/// The frame that begins with `head`.
#[inline(always)]
fn frame_of(protocol: u8, head: Head, request: bool) -> Frame {
    Frame::unpack(frame_of_words(
        protocol as u32,
        head.word,
        head.next,
        request as u32,
    ))
}

/// [`frame_of`], as a global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frame_of_words(protocol: u32, word: u64, next: u64, request: u32) -> u64 {
    frame::of(protocol as u8, Head { word, next }, request != 0).pack()
}

/// At the beginning of a frame.
#[inline(never)]
fn begin(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    let protocol = dialogue.protocol;
    let request = dialogue.requests_direction as u32 == operation.direction;
    if half.state == state::LOST {
        if !is_proved(operation, protocol, request) {
            let apart = protocol == HTTP2 && comes_apart(operation) != way::UNKNOWN;
            let rest = operation.available() as u64 + operation.unread;
            operation.step_over(rest);
            if apart {
                resume(operation, dialogue, half);
            }
            return Step::Stop;
        }
        resume(operation, dialogue, half);
    }
    let available = operation.available();
    let head = head_at(operation, operation.cursor);
    let opening = request && half.marks & marked::OPENED == 0;
    let answer = !request && dialogue.asked != half.status as u8;
    let needed = if answer {
        1
    } else if opening {
        8
    } else {
        frame::header(protocol)
    };
    // Only of AMQP some frames are shorter than what has to be seen of others.
    let short = protocol == AMQP && available >= 7 && amqp::is_short(head) && !opening;
    if available < needed && !short {
        if half.started == 0 {
            half.started = operation.time;
        }
        operation.carry(half);
        return Step::More;
    }
    let frame = if answer {
        answered(dialogue, half, head)
    } else if opening {
        open(dialogue, half, head)
    } else {
        frame_of(protocol, head, request)
    };
    if frame.length == 0 {
        half.started = 0;
        return Step::Lost;
    }
    if frame.marks & (frame::mark::SETTLES | frame::mark::RESETS) != 0 {
        if protocol == AMQP {
            context::answered(operation.sock);
        } else if dialogue.requests_direction == RECEIVED {
            let resets = frame.marks & frame::mark::RESETS;
            stream::ends(operation.sock, http2::stream(head), resets);
        }
    }
    if frame.marks & frame::mark::ANSWERS != 0 && operation.direction == RECEIVED as u32 {
        context::is_answered(operation.sock);
    }
    half.remaining = frame.length as u64;
    half.value = frame.copy as u64;
    let ends = frame.marks & frame::mark::ENDS != 0;
    let row = frame.marks & frame::mark::ROW != 0;
    let body = frame.marks & frame::mark::BODY != 0;
    half.marks = (half.marks & marked::OPENED)
        | (ends as u8 * marked::ENDS)
        | (row as u8 * marked::ROW)
        | (body as u8 * marked::BODY);
    if frame.copy == 0 {
        half.started = 0;
        half.state = state::SKIP;
        // Rows are many and small.
        return if frame.length <= available {
            skip(operation, dialogue, half)
        } else {
            Step::More
        };
    }
    half.state = state::COPY;
    if operation.direction == RECEIVED as u32 && may_have_context(protocol, head, frame.marks) {
        half.marks |= marked::CONTEXT;
        // Within a frame, it carries nothing.
        half.carry[0] = head.word;
    }
    let exchange = frame.marks & frame::mark::EXCHANGE != 0 && is_new(protocol, half, head);
    // One exchange a record, and its frame's beginning where a mark can say so.
    if exchange
        && operation.marks & mark::PENDING != 0
        && operation.marks & (mark::EXCHANGE | mark::STARTS) != mark::STARTS
    {
        hand_on(operation, dialogue, half);
    }
    if operation.marks & mark::PENDING == 0 {
        operation.copy_from = operation.cursor;
        operation.copy_to = operation.cursor;
        operation.marks = mark::PENDING | mark::STARTS | mark::HEAD_ENDS;
    } else {
        half.started = 0;
    }
    if exchange {
        half.marks |= marked::BEGINS;
        operation.marks |= mark::EXCHANGE;
        if protocol == HTTP2 {
            half.ordinal = http2::stream(head);
        }
        dialogue.requests += 1;
        context::begins(operation.sock, operation.direction, operation.slot);
        if protocol == HTTP2 && operation.direction == RECEIVED as u32 {
            stream::begins(operation.sock, operation.slot);
        }
        log::message(operation.sock, operation.position(), half.ordinal, request as u8);
    }
    Step::More
}

/// Whether there may be a context in the frame.
#[inline(always)]
fn may_have_context(protocol: u8, head: Head, marks: u32) -> bool {
    match protocol {
        HTTP2 => marks & frame::mark::EXCHANGE != 0,
        AMQP => amqp::is_content_header(head),
        _ => false,
    }
}

/// Whether the frame, of a kind that begins exchanges, does. On a stream of HTTP/2 the first HEADERS do, and numbers of
/// streams only grow (RFC 9113, section 5.1.1).
#[inline(always)]
fn is_new(protocol: u8, half: &mut Half, head: Head) -> bool {
    if protocol != HTTP2 {
        return true;
    }
    let stream = http2::stream(head);
    let new = stream > half.status;
    if new {
        half.status = stream;
    }
    new
}

/// What a client says before its frames.
#[inline(always)]
fn open(dialogue: &mut Dialogue, half: &mut Half, head: Head) -> Frame {
    if dialogue.protocol == POSTGRES && postgres::asks_for_encryption(head) {
        dialogue.asked = dialogue.asked.wrapping_add(1);
    } else {
        half.marks |= marked::OPENED;
    }
    frame::opening(dialogue.protocol, head)
}

/// The one byte by which a PostgreSQL server answers a request for encryption. What follows a yes is not for us.
#[inline(always)]
fn answered(dialogue: &mut Dialogue, half: &mut Half, head: Head) -> Frame {
    half.status = dialogue.asked as u32;
    if head.byte(0) != b'N' {
        dialogue.protocol = IGNORED;
        count(Counter::UnclaimedTls, 1);
    }
    Frame::new(1, 1, 0)
}

/// Goes on behind a loss, or on a connection that was joined late: frames begin at the cursor.
#[inline(always)]
fn resume(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    half.state = state::START;
    half.marks = marked::OPENED;
    half.status = 0;
    half.content = 0;
    // What was not seen may have the name of a field that has only a number from then on.
    if operation.direction == RECEIVED as u32 {
        extract::http2::is_unseen(dialogue);
    }
    let position = operation.position();
    let unseen = position.wrapping_sub(half.copied_to);
    if unseen != 0 && dialogue.announced != 0 {
        operation.failure = Counter::GapSyntax as u32;
        let from = half.copied_to;
        emit::record(kind::GAP, operation, dialogue, half, from, unseen);
    }
    half.copied_to = position;
}

/// Whether the operation begins with several frames in a row, or as many as it has.
#[inline(always)]
fn is_proved(operation: &Operation, protocol: u8, request: bool) -> bool {
    proves(operation.slot, protocol as u32, request as u32) != 0
}

/// [`is_proved`], as a global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn proves(slot: u32, protocol: u32, request: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: a map value.
    let operation = unsafe { &*operation };
    // What an earlier operation left over is no beginning.
    if operation.cursor != operation.carried {
        return 0;
    }
    let mut at = operation.cursor;
    for _ in 0..PROOF {
        let frame = frame_of(protocol as u8, head_at(operation, at), request != 0);
        let behind = at.wrapping_add(frame.length);
        if frame.length == 0 || behind > operation.end {
            return 0;
        }
        if protocol == AMQP as u32 && operation.byte(behind.wrapping_sub(1)) != amqp::END {
            return 0;
        }
        if behind == operation.end {
            return (operation.unread == 0) as u32;
        }
        at = behind;
    }
    1
}

/// Which way frames go, as a number.
mod way {
    pub(super) const UNKNOWN: u32 = 0;
    pub(super) const REQUESTS: u32 = 1;
    pub(super) const RESPONSES: u32 = 2;
}

/// Pairs of reads that prove frames of HTTP/2.
const PAIRS: u32 = 2;

#[inline(always)]
fn comes_apart(operation: &Operation) -> u32 {
    apart(operation.sock, operation.direction, operation.slot)
}

/// Whether frames of HTTP/2 are read in two operations each, header and payload, as Go's server does: then no operation has
/// several in a row. One of [`way`], not unknown where the operation is the payload of HEADERS, and it and frames before it
/// were as long as their headers said. The header waits in the half's `carry`, the payload's length in its `value`; what is
/// lost has no use for these. A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn apart(sock: u64, direction: u32, slot: u32) -> u32 {
    let Some((operation, _, half)) = operands(sock, direction, slot) else {
        return way::UNKNOWN;
    };
    let length = operation.available() as u64 + operation.unread;
    let head = head_at(operation, operation.cursor);
    let due = half.value;
    half.value = 0;
    if due != 0 && due == length {
        half.head += 1;
        let header = Head {
            word: half.carry[0],
            next: half.carry[1],
        };
        return match http2::is_request(header, head.word) {
            Some(true) if half.head >= PAIRS => way::REQUESTS,
            Some(false) if half.head >= PAIRS => way::RESPONSES,
            _ => way::UNKNOWN,
        };
    }
    if due != 0 {
        half.head = 0;
    }
    if length == http2::HEADER as u64 {
        let frame = frame_of(HTTP2, head, true);
        if frame.length > http2::HEADER {
            half.value = (frame.length - http2::HEADER) as u64;
            half.carry[0] = head.word;
            half.carry[1] = head.next;
        }
    }
    way::UNKNOWN
}

/// Asks all protocols of frames whether the connection is theirs, which is undecided. One of [`claimed`]; a global
/// function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn claim(sock: u64, direction: u32, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, direction, slot) else {
        return claimed::NO;
    };
    let available = operation.available();
    let head = head_at(operation, operation.cursor);
    let direction = direction as u8;
    let (protocol, request) = if half.state == state::LOST {
        match late(operation, head) {
            (UNDECIDED, _) => match comes_apart(operation) {
                way::UNKNOWN => (UNDECIDED, false),
                way => (HTTP2, way == way::REQUESTS),
            },
            told => told,
        }
    } else if available < 8 || available == 8 && head.word as u16 == 0 && !postgres::asks_for_encryption(head)
    {
        // Others than these begin with letters, of which HTTP/1 waits for more.
        return if head.word as u8 == 0 {
            claimed::NEEDS_MORE
        } else {
            claimed::NO
        };
    } else if head.word == http2::PREFACE_BEGINS {
        (HTTP2, true)
    } else if http2::is_server(head) {
        (HTTP2, false)
    } else if postgres::is_client(head) {
        (POSTGRES, true)
    } else if head.word == amqp::OPENING {
        (AMQP, true)
    } else {
        (UNDECIDED, false)
    };
    if protocol == UNDECIDED {
        return claimed::NO;
    }
    dialogue.protocol = protocol;
    dialogue.requests_direction = if request { direction } else { 1 - direction };
    let counter = match protocol {
        HTTP2 => Counter::Http2,
        POSTGRES => Counter::Postgres,
        _ => Counter::Amqp,
    };
    count(counter, 1);
    log::claimed(operation.sock, protocol, operation.position());
    // A broker's clients tell all that it would.
    if protocol == AMQP && dialogue.requests_direction == RECEIVED && global!(broker_spans) == 0 {
        dialogue.protocol = IGNORED;
    }
    claimed::YES
}

/// Which protocol, and which way, an operation shows on a connection that was joined late; [`UNDECIDED`] where that cannot
/// be told from it.
#[inline(always)]
fn late(operation: &Operation, head: Head) -> (u8, bool) {
    let length = operation.available();
    // The whole operation has to be there.
    if operation.cursor != operation.carried || operation.unread != 0 || length < 8 {
        return (UNDECIDED, false);
    }
    let last = operation.word(operation.end.wrapping_sub(8));
    if postgres::is_response(head, last, length) {
        return (POSTGRES, false);
    }
    if postgres::is_request(head, last, length) {
        return (POSTGRES, true);
    }
    let block = operation.word(operation.cursor + http2::HEADER);
    if let Some(request) = http2::is_request(head, block)
        && is_proved(operation, HTTP2, request)
    {
        return (HTTP2, request);
    }
    if let Some(request) = amqp::is_request(head)
        && is_proved(operation, AMQP, request)
    {
        return (AMQP, request);
    }
    (UNDECIDED, false)
}

/// Whether the walker of this protocol is the one here.
#[inline(always)]
pub(crate) fn has(dialogue: &Dialogue) -> bool {
    dialogue.protocol > HTTP1 && frame::has(dialogue.protocol)
}
