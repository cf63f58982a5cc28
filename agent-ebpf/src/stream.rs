//! Requests that are received as streams of HTTP/2, side by side on one connection: which unit of execution handles which.
//!
//! A stream is known from its HEADERS on, by its sock and number. Where a runtime has a goroutine for each, it is given to that
//! when a probe sees it begin ([`go`]). Where the unit is what reads the connection, such as Python's context, streams add up
//! there as other requests do, and each is taken off again by itself.
//!
//! [`go`]: crate::runtime::go

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::Dialogue;
use crate::context::{self, Ids, Key, NOBODY};
use crate::frames::operands;
use crate::log;
use crate::maps::{CONNECTIONS, READERS, RUNTIMES, SERVED, UNITS};
use crate::operation::{Operation, user};
use crate::runtime::go;
use spanwire_ebpf::unit::{CONTEXT, GOROUTINE};
use spanwire_ebpf::{RECEIVED, Runtime};

/// A stream of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Number {
    sock: u64,
    stream: u32,
    /// Padding, always zero.
    reserved: u32,
}

/// A request that was received as a stream, and has not been answered.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Served {
    pub(crate) ids: Ids,
    /// Who handles it; of a goroutine 0 until it begins to.
    pub(crate) by: Key,
    /// Go: the goroutine that has read it.
    reader: u64,
    /// Go: the goroutine that started that one.
    starter: u64,
}

/// One that is made in its map.
static NEW: Served = Served {
    ids: NOBODY,
    by: Key {
        tgid: 0,
        unit: 0,
        id: 0,
    },
    reader: 0,
    starter: 0,
};

/// Go: a goroutine that has to do with reading a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Reader {
    pub(crate) tgid: u32,
    /// One of [`mod@reader`].
    pub(crate) role: u32,
    pub(crate) goroutine: u64,
}

/// What a goroutine has to do with reading a connection, and what [`READERS`] has of it.
pub(crate) mod reader {
    /// It reads: the sock.
    pub(crate) const READS: u32 = 0;
    /// It started the one that reads: the sock.
    pub(crate) const STARTED: u32 = 1;
    /// It goes on with what another goroutine has begun to read: that one's number.
    pub(crate) const GOES_ON: u32 = 2;
}

/// Of a goroutine that handles a request, in [`Unit::shared`]: it takes one after the other, of any connection. What it has
/// started may still be at work on an earlier one.
///
/// [`Unit::shared`]: crate::context::Unit::shared
pub(crate) const POOLED: u64 = 2;

#[inline(always)]
fn number(sock: u64, stream: u32) -> Number {
    Number {
        sock,
        stream,
        reserved: 0,
    }
}

/// The stream that is received begins: its ids are the operation's. A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn stream_begins(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let unit = dialogue.unit as u32;
    if dialogue.requests_direction != RECEIVED || unit != GOROUTINE && dialogue.entered == 0 {
        return 0;
    }
    // SAFETY: a value that does not change its shape.
    let Some(runtime) = (unsafe { RUNTIMES.get(operation.tgid) }) else {
        return 0;
    };
    if unit == GOROUTINE && runtime.streams == 0 {
        return 0;
    }
    let number = number(sock, half.status);
    let _ = SERVED.insert(&number, &NEW, 0);
    if let Some(served) = SERVED.get_ptr_mut(&number) {
        // SAFETY: a map value.
        let served = unsafe { &mut *served };
        served.ids.set(&operation.exchange.ids);
        if unit == GOROUTINE {
            let _ = read_by_goroutine(operation, dialogue, runtime, served);
        } else {
            served.by = dialogue.serving.by;
        }
    }
    0
}
pub(crate) use stream_begins as begins;

/// Notes which goroutine reads the connection.
#[inline(always)]
fn read_by_goroutine(
    operation: &Operation,
    dialogue: &mut Dialogue,
    runtime: &Runtime,
    served: &mut Served,
) -> Option<()> {
    let goroutine = go::current()?;
    let reader: u64 = user(goroutine + runtime.goroutine_id as u64)?;
    let starter: u64 = user(goroutine + runtime.goroutine_parent as u64)?;
    let (tgid, sock) = (operation.tgid, operation.sock);
    served.by.tgid = tgid;
    served.by.unit = GOROUTINE;
    served.reader = reader;
    served.starter = starter;
    let by = &mut dialogue.serving.by;
    if by.id != reader || by.tgid != tgid || dialogue.reader == 0 {
        context::leave(&mut dialogue.serving);
        let by = &mut dialogue.serving.by;
        by.tgid = tgid;
        by.unit = GOROUTINE;
        by.id = reader;
        dialogue.reader = 1;
        let mut key = Reader {
            tgid,
            role: reader::READS,
            goroutine: reader,
        };
        let _ = READERS.insert(&key, sock, 0);
        key.role = reader::STARTED;
        key.goroutine = starter;
        let _ = READERS.insert(&key, sock, 0);
    }
    Some(())
}

/// What is known of a goroutine that begins to handle a stream.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// It was started by the goroutine with this number, which reads the connection, or by one that goes on with what that has
    /// read.
    OfReader(u64),
    /// It was started by the goroutine with this number, which has started the one that reads the connection, or has read the
    /// first of it by itself.
    OfServer(u64),
    /// It is one of a pool.
    Pooled,
}

/// A goroutine begins to handle a stream, which nobody does yet.
#[inline(always)]
pub(crate) fn handled(sock: u64, stream: u32, by: &Key, handler: Handler) -> Option<()> {
    // SAFETY: a map value.
    let served = unsafe { &mut *SERVED.get_ptr_mut(&number(sock, stream))? };
    if served.by.id != 0 || served.by.unit != GOROUTINE || served.by.tgid != by.tgid {
        return None;
    }
    // The sock's address may be another connection's by now.
    let is_of_connection = match handler {
        Handler::OfReader(goroutine) => served.reader == goroutine,
        Handler::OfServer(goroutine) => served.starter == goroutine || served.reader == goroutine,
        Handler::Pooled => true,
    };
    if !is_of_connection {
        return None;
    }
    // SAFETY: as above.
    let unit = unsafe { &mut *context::unit_of(by)? };
    // What it has handled before is over.
    unit.requests = 0;
    unit.sum.set(&served.ids);
    unit.shared = matches!(handler, Handler::Pooled) as u64 * POOLED;
    unit.requests = 1;
    served.by.id = by.id;
    log::stream(sock, stream, served.ids.span);
    Some(())
}

/// A frame says that the stream is answered, or that it `resets` it. A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn stream_ends(sock: u64, stream: u32, resets: u32) -> u32 {
    let number = number(sock, stream);
    let Some(served) = SERVED.get_ptr_mut(&number) else {
        return 0;
    };
    // SAFETY: a map value.
    let served = unsafe { &mut *served };
    if served.by.unit == GOROUTINE {
        // Who handles a stream that was broken off goes on until it notices, and what it tidies up is for that request still.
        // It is never another's: goroutines' numbers are not used again.
        if resets != 0 {
            return 0;
        }
        if let Some(unit) = UNITS.get_ptr_mut(&served.by) {
            // SAFETY: as above. One of a pool may be at its next.
            if unsafe { (*unit).sum.span } == served.ids.span {
                let _ = UNITS.remove(&served.by);
            }
        }
    } else if let Some(connection) = CONNECTIONS.get_ptr_mut(sock) {
        // SAFETY: as above.
        let serving = unsafe { &mut (*connection).dialogue.serving };
        if served.by.unit == CONTEXT && serving.by.id == served.by.id {
            context::leave_one(serving, &mut served.ids);
        }
    }
    let _ = SERVED.remove(&number);
    0
}
pub(crate) use stream_ends as ends;

/// What is known of a stream that is being handled.
#[inline(always)]
pub(crate) fn served<'a>(sock: u64, stream: u32) -> Option<&'a mut Served> {
    // SAFETY: a map value.
    SERVED
        .get_ptr_mut(&number(sock, stream))
        .map(|served| unsafe { &mut *served })
}
