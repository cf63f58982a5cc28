//! HTTP/2: a field of a request's header block, plain or coded by Huffman, whose name may be in the dynamic table. Of a connection
//! all of whose blocks were seen it is known which names are there ([`Names`]).

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use super::{CUT, all, carries_state, looked, mark, of_words, read, shift, view};
use crate::connection::{Dialogue, Half};
use crate::context::{self, Ids};
use crate::maps::{self, OPERATIONS, UNITS};
use crate::operation::Operation;
use crate::propagate::carried;
use crate::propagate::wanted;
use crate::stream;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::carried::{field_kind, kind};
use spanwire_ebpf::frame::{Head, http2};
use spanwire_ebpf::hpack::{self, CHARACTERS, FIELD, Names, Representation, purpose};
use spanwire_ebpf::traceparent::{Context, LENGTH};
use spanwire_ebpf::unit::EVENT;
use spanwire_ebpf::{Counter, propagate};

/// The context that the last field is.
#[inline(always)]
fn last(operation: &Operation, count: u32) -> Option<Context> {
    let at = operation.cursor.wrapping_sub(FIELD);
    if count < FIELD || !hpack::is_field(operation.word(at), operation.word(at + 8)) {
        return None;
    }
    read(operation, at + FIELD - LENGTH)
}

/// What a block has added to the dynamic table is not known.
#[inline(always)]
pub(crate) fn is_unseen(dialogue: &mut Dialogue) {
    dialogue.heads = Names::UNKNOWN.low;
    dialogue.connects = Names::UNKNOWN.high;
}

/// Takes over the context among the fields, and the `tracestate` that goes with it; of a block that was not looked at, what is its
/// last field, where spanwire puts it.
#[inline(always)]
pub(super) fn continues(
    operation: &mut Operation,
    dialogue: &mut Dialogue,
    half: &Half,
    count: u32,
    view: u32,
) {
    let stream = half.status;
    if view != view::WHOLE {
        if let Some(read) = last(operation, count) {
            with_stream(operation, dialogue, stream, |sum, from| shift(sum, from, &read));
            // Whether it came with one is not known.
            maps::count(Counter::StatesCut, (view == view::PART) as u64);
        } else if view == view::PART {
            with_stream(operation, dialogue, stream, mark);
        }
        return;
    }
    if carried::is_wanted() && wanted() & propagate::CARRYING != 0 {
        let span = with_stream(operation, dialogue, stream, |_, _| {});
        // SAFETY: of a reference; by way of another it is read.
        unsafe { write_volatile(&raw mut operation.fields.carrier, span) };
    }
    let found = operation.fields.found();
    match value(operation, found.context) {
        Some(_) if found.twice != 0 => {
            with_stream(operation, dialogue, stream, mark);
        }
        Some(read) => {
            let span = with_stream(operation, dialogue, stream, |sum, from| shift(sum, from, &read));
            if span != 0 {
                carries_state(operation, span);
            }
        }
        None if found.others != 0 => {
            with_stream(operation, dialogue, stream, mark);
        }
        None => {}
    }
}

/// Looks at all fields of the block that ends at the cursor; one of [`view`].
#[inline(always)]
pub(super) fn looks(
    operation: &mut Operation,
    dialogue: &mut Dialogue,
    half: &Half,
    count: u32,
    apart: u32,
) -> u32 {
    if apart == CUT {
        return view::PART;
    }
    let head = Head {
        word: half.carry[0],
        next: 0,
    };
    let frame = operation.cursor.wrapping_sub(count + apart);
    let Some((from, padding)) = http2::block(head, operation.byte(frame + http2::HEADER)) else {
        return view::PART;
    };
    let ends = operation.cursor.wrapping_sub(padding);
    operation.fields.begin(frame + from, ends);
    operation.fields.names = Names {
        low: dialogue.heads,
        high: dialogue.connects,
    };
    let seen = block_fields(operation.slot) != 0;
    // SAFETY: of references. By way of another they were changed.
    unsafe {
        dialogue.heads = read_volatile(&raw const operation.fields.names.low);
        dialogue.connects = read_volatile(&raw const operation.fields.names.high);
    }
    if seen { view::WHOLE } else { view::PART }
}

/// Looks at fields up to the end of the block; 1 where all of them are as they should be. A global function, which the verifier
/// looks at once, and so are the others here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn block_fields(slot: u32) -> u32 {
    all(|| block_field(slot))
}

/// Looks at the next field; one of [`looked`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn block_field(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return looked::UNKNOWN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let at = operation.fields.at;
    let ends = operation.fields.ends;
    if at >= ends {
        return if at == ends { looked::ENDS } else { looked::UNKNOWN };
    }
    let names = operation.fields.names;
    let field = field(operation, at);
    if field.behind == 0 || field.behind > ends {
        return looked::UNKNOWN;
    }
    let Representation {
        strings, index, adds, ..
    } = field.representation;
    let purpose = if strings == 2 {
        purpose(operation.word(field.name), operation.word(field.name + 8))
    } else {
        names.purpose(index)
    };
    let coded = operation.byte(field.value) & 0x80 != 0;
    // Of later versions they may be longer.
    let readable = hpack::may_be_context(operation.word(field.value));
    let kind = if strings == 2 && !coded && carried::is_wanted() {
        let word = |offset| operation.word_behind(field.name, offset);
        field_kind(word(0), word(8), word(16))
    } else {
        kind::NONE
    };
    let fields = &mut operation.fields;
    fields.at = field.behind;
    if adds {
        fields.names = names.add(purpose);
    }
    match purpose {
        purpose::NONE if kind != kind::NONE => fields.finds_carried(kind, field.text, field.behind),
        purpose::NONE => {}
        purpose::TRACEPARENT if strings != 0 && readable => fields.finds(field.value),
        purpose::TRACESTATE if strings != 0 && !coded => fields.finds_state(field.text, field.behind),
        purpose::TRACESTATE => fields.state_cut = 1,
        // One that is in the table as a whole was another request's.
        _ => fields.others = 1,
    }
    looked::GOES_ON
}

/// A field, by indices of the window.
pub(crate) struct Field {
    pub(crate) representation: Representation,
    /// Its first string: its name, or its value where the name is in a table.
    pub(crate) name: u32,
    /// Its last string, its value.
    value: u32,
    /// The text of that.
    text: u32,
    /// Behind it; 0 where that cannot be told.
    pub(crate) behind: u32,
}

/// The field that begins at an index of the window.
#[inline(always)]
pub(crate) fn field(operation: &Operation, at: u32) -> Field {
    let representation = hpack::representation(operation.word(at));
    let name = at + representation.length;
    let (mut value, mut text, mut behind) = (name, name, name);
    let mut known = representation.length != 0;
    if representation.strings == 2 {
        let length = hpack::string(operation.word(name)).whole();
        known &= length != 0;
        value = name + length;
        behind = value;
    }
    if representation.strings != 0 {
        let string = hpack::string(operation.word(value));
        known &= string.whole() != 0;
        text = value + string.prefix;
        behind = value + string.whole();
    }
    Field {
        representation,
        name,
        value,
        text,
        behind: if known { behind } else { 0 },
    }
}

/// What the value of `traceparent` at an index of the window says; `None` where there is none, or it is not as it should be.
#[inline(always)]
fn value(operation: &Operation, at: u32) -> Option<Context> {
    if at == 0 {
        return None;
    }
    let first = operation.byte(at);
    if first as u32 == LENGTH {
        return read(operation, at + 1);
    }
    let length = first as u32 & 0x7f;
    let bits = decode(operation.slot, at + 1);
    // What is left of the last byte is ones (section 5.2).
    let padding = (1u32 << (bits.wrapping_neg() & 7)) - 1;
    if bits.div_ceil(8) != length || operation.byte(at + length) as u32 & padding != padding {
        return None;
    }
    of_words(operation, |offset| {
        // SAFETY: of a reference; all of it is within the text.
        unsafe { read_volatile(operation.fields.text.as_ptr().add(offset).cast::<u64>()) }
    })
}

/// Decodes as many characters of the text at an index of the window as a `traceparent` has (RFC 7541, section 5.2); how many
/// bits these take.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn decode(slot: u32, at: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    operation.fields.bit = 0;
    for place in 0..LENGTH as usize {
        // From memory and back each time: what is there, the verifier does not follow.
        // SAFETY: of a reference.
        let bit = unsafe { read_volatile(&raw const operation.fields.bit) };
        let word = (operation.word(at + (bit >> 3)) as u16).swap_bytes() as u32;
        let code = word >> (10 - (bit & 7)) & 0x3f;
        // SAFETY: as above; within the table and the text.
        unsafe {
            let character = read_volatile(CHARACTERS.as_ptr().add(code as usize));
            write_volatile(operation.fields.text.as_mut_ptr().add(place), character);
            write_volatile(&raw mut operation.fields.bit, bit + hpack::code_length(code));
        }
    }
    // SAFETY: as above.
    unsafe { read_volatile(&raw const operation.fields.bit) }
}

/// Changes the ids of a stream, and all sums of which it is a part. Returns its span, 0 where nobody handles it.
#[inline(always)]
fn with_stream(
    operation: &Operation,
    dialogue: &mut Dialogue,
    stream: u32,
    change: impl Fn(*mut Ids, &Ids),
) -> u64 {
    if dialogue.unit as u32 == EVENT {
        let key = context::event_loop(EVENT as u8);
        let Some(unit) = UNITS.get_ptr_mut(&key) else {
            return 0;
        };
        // SAFETY: a map value.
        let current = unsafe { &mut (*unit).current };
        if current.span != operation.exchange.ids.span {
            return 0;
        }
        let sum = &raw mut *current;
        change(sum, current);
        return current.span;
    }
    let Some(served) = stream::served(operation.sock, stream) else {
        return 0;
    };
    let serving = &mut dialogue.serving;
    // Of a goroutine, none handles it yet.
    if served.by.id != 0
        && serving.by.id == served.by.id
        && let Some(unit) = UNITS.get_ptr_mut(&served.by)
    {
        // SAFETY: a map value.
        change(unsafe { &raw mut (*unit).sum }, &served.ids);
        change(&raw mut serving.sum, &served.ids);
    }
    let sum = &raw mut served.ids;
    change(sum, &served.ids);
    served.ids.span
}
