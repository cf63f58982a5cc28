//! One read or write on a socket, while it is being walked: where its bytes are, and a window over them.

use crate::connection::{CARRY, Half};
use crate::context::Exchange;
use crate::extract::Fields;
use crate::maps::{OPERATIONS, add};
use crate::propagate::http1::Head;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};
use spanwire_ebpf::tracestate::Reading;
use spanwire_ebpf::{Counter, RECORD_BYTES, Record};

/// Room in front of the window, where a record's header is put.
pub(crate) const HEADER: usize = size_of::<Record>();

/// Length of the window; a power of two.
pub(crate) const WINDOW: usize = RECORD_BYTES;

/// Most bytes that one filling takes.
pub(crate) const ROOM: u64 = (WINDOW - CARRY) as u64;

/// Room behind the window. Nothing is ever there, but the verifier knows an index and a length each by its own bounds,
/// not that their sum stays inside; and reads of whole words may touch a little of it.
const SLACK: usize = WINDOW + LOOK + LINES;

/// Room for the rest of what is put in front of the end of a head, which is made in the window: `carried_lines`.
const LINES: usize = 1024;

/// All of it.
pub(crate) const TEXT: usize = WINDOW + SLACK;

/// Most buffers that are added to the one that a filling begins with.
const GATHERED: u32 = 8;

/// Most bytes that are looked at together.
pub(crate) const LOOK: usize = 64;

/// Where the bytes of an operation are.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// One buffer of the caller.
    Buffer(u64),
    /// An array of `iovec`s of the caller, and its length.
    Vectors(u64, u64),
    /// Nowhere that can be read from here.
    Nowhere,
}

/// Marks of [`Operation::marks`].
pub(crate) mod mark {
    /// The window holds bytes of a head, from `copy_from` on, that were not handed on yet.
    pub(crate) const PENDING: u32 = 1;
    /// A message starts at `copy_from`.
    pub(crate) const STARTS: u32 = 2;
    /// Its head ends at `copy_to`.
    pub(crate) const HEAD_ENDS: u32 = 4;
    /// The message ends in this operation.
    pub(crate) const MESSAGE_ENDS: u32 = 8;
    /// The rest of the head is cut.
    pub(crate) const CUT: u32 = 16;
    /// The connection is a tunnel from here on.
    pub(crate) const TUNNEL: u32 = 32;
    /// An exchange begins in these bytes.
    pub(crate) const EXCHANGE: u32 = 64;
}

/// Operations that one CPU may have under way: a program can be preempted by another task's, where its hook is one that
/// leaves preemption on.
pub(crate) const SLOTS: u32 = 4;

/// An operation. In a map, since it is larger than the stack.
#[repr(C)]
pub(crate) struct Operation {
    /// How many programs want to use it: who made it 1 does.
    busy: u64,
    /// State of this slot's random numbers; 0 before the first.
    pub(crate) random: u64,
    /// Records that this slot has put into the ring buffer.
    pub(crate) records: u32,
    /// Which of this CPU's slots it is.
    pub(crate) slot: u32,
    /// Address of the sock.
    pub(crate) sock: u64,
    /// When it began.
    pub(crate) time: u64,
    /// When it ended.
    pub(crate) end_time: u64,
    /// A pointer, on its way to be a number.
    pub(crate) pointer: u64,
    /// Next `iovec` of the caller.
    vector: u64,
    /// How many are left.
    pub(crate) vectors: u64,
    /// Next byte of the caller's buffer.
    buffer: u64,
    /// Bytes left of that buffer.
    buffer_left: u64,
    /// Bytes of the operation behind the window.
    pub(crate) unread: u64,
    /// Bytes to step over before the window is filled again.
    pub(crate) skip: u64,
    /// Stream position of the caller's next byte, before anything is skipped.
    next: u64,
    /// Stream position of the window's first byte.
    pub(crate) base: u64,
    /// Bytes of the message that ended in this operation, behind those that were copied.
    pub(crate) wire: u64,
    /// Its content's length.
    pub(crate) content: u64,
    /// Bytes that were not seen, for the record that says so.
    pub(crate) gap: u64,
    /// Next byte of the window.
    pub(crate) cursor: u32,
    /// End of the window's bytes.
    pub(crate) end: u32,
    /// How many of the window's first bytes are of an earlier operation.
    pub(crate) carried: u32,
    /// First byte of the window to be handed on.
    pub(crate) copy_from: u32,
    /// Behind the last one.
    pub(crate) copy_to: u32,
    /// [`mark`]s.
    pub(crate) marks: u32,
    /// Process and thread.
    pub(crate) tgid: u32,
    /// Thread.
    pub(crate) tid: u32,
    /// Direction.
    pub(crate) direction: u32,
    /// Number of a loss counter, or [`FINE`].
    pub(crate) failure: u32,
    /// Number of the loss counter for bytes that are [`Source::Nowhere`].
    pub(crate) nowhere: u32,
    /// Not 0 where the exchange that is about to begin has its trace already: that of its sender. Of one on another host it has
    /// the parent, too: [`REMOTE`](crate::propagate::tcp_option::REMOTE).
    pub(crate) heard: u32,
    /// A `tracestate` that is being read.
    pub(crate) reading: Reading,
    /// A head of HTTP/1 that is about to be sent.
    pub(crate) head: Head,
    /// Where a context is looked for in a frame.
    pub(crate) fields: Fields,
    /// The exchange that is marked.
    pub(crate) exchange: Exchange,
    /// A header goes here when the window's first byte is handed on.
    pub(crate) header: [u8; HEADER],
    /// The window.
    pub(crate) window: [u8; TEXT],
}

/// What came of filling the window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There are bytes in it.
    Some,
    /// The buffer was empty, or all of it is stepped over; the window is as it was, used up.
    Nothing,
    /// The caller's memory cannot be read; `failure` says why.
    Unreadable,
}

/// No failure.
const FINE: u32 = u32::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
struct Vector {
    base: u64,
    length: u64,
}

/// Reads user memory; `None` where that fails.
#[inline(always)]
pub(crate) fn user<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address; a bad one is an error.
    unsafe { aya_ebpf::helpers::bpf_probe_read_user(address as *const T).ok() }
}

/// A slot for one operation of this CPU; `None` where all are taken.
#[inline(always)]
pub(crate) fn claim() -> Option<*mut Operation> {
    for slot in 0..SLOTS {
        let operation = OPERATIONS.get_ptr_mut(slot)?;
        // SAFETY: a map value.
        let busy = unsafe { &raw mut (*operation).busy };
        add(busy, 1);
        // Who was there first has counted itself already, so two can never both see 1.
        // SAFETY: as above; volatile, since others write it.
        if unsafe { core::ptr::read_volatile(busy) } == 1 {
            // SAFETY: as above.
            unsafe { (*operation).slot = slot };
            return Some(operation);
        }
        add(busy, u64::MAX);
    }
    None
}

impl Operation {
    /// Gives the slot back.
    #[inline(always)]
    pub(crate) fn release(&mut self) {
        add(&raw mut self.busy, u64::MAX);
    }

    /// Notes who reads or writes which socket.
    #[inline(always)]
    pub(crate) fn identify(&mut self, sock: u64, direction: u8) {
        // SAFETY: the helper has no preconditions.
        let id = unsafe { bpf_get_current_pid_tgid() };
        self.sock = sock;
        self.direction = direction as u32;
        self.tgid = (id >> 32) as u32;
        self.tid = id as u32;
    }

    /// It ends now, and began then; 0 where only its end was seen. A short one ended, for all that can be seen, when it
    /// began.
    #[inline(always)]
    pub(crate) fn date(&mut self, began: u64, short: bool) {
        self.time = began;
        self.end_time = began;
        if began == 0 || !short {
            // SAFETY: the helper has no preconditions.
            self.end_time = unsafe { bpf_ktime_get_ns() };
            if began == 0 {
                self.time = self.end_time;
            }
        }
    }

    /// Starts to walk `bytes` bytes at `position`, of which nothing can be read until a `read_from` says where they are.
    #[inline(always)]
    pub(crate) fn begin(&mut self, bytes: u64, position: u64) {
        self.unread = bytes;
        self.skip = 0;
        self.next = position;
        self.base = position;
        self.cursor = 0;
        self.end = 0;
        self.marks = 0;
        self.failure = FINE;
        self.nowhere = Counter::GapNoBuffer as u32;
        self.buffer_left = 0;
        self.vectors = 0;
    }

    /// The bytes are in one buffer of the caller's.
    #[inline(always)]
    pub(crate) fn read_from(&mut self, buffer: u64, length: u64) {
        self.buffer = buffer;
        self.buffer_left = length;
    }

    /// The bytes are in so many buffers.
    #[inline(always)]
    pub(crate) fn read_from_vectors(&mut self, vectors: u64, count: u64) {
        self.vector = vectors;
        self.vectors = count;
    }

    /// Stream position of the cursor.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        if self.cursor < self.end {
            self.base + self.cursor as u64
        } else {
            self.next + self.skip
        }
    }

    /// Bytes from the cursor to the end of the window.
    #[inline(always)]
    pub(crate) fn available(&self) -> u32 {
        self.end.wrapping_sub(self.cursor)
    }

    /// The byte at an index of the window.
    #[inline(always)]
    pub(crate) fn byte(&self, index: u32) -> u8 {
        // SAFETY: masked to the window.
        unsafe { *self.window.as_ptr().add(index as usize & (WINDOW - 1)) }
    }

    /// The eight bytes from an index of the window on, the first one lowest.
    #[inline(always)]
    pub(crate) fn word(&self, index: u32) -> u64 {
        self.word_behind(index, 0)
    }

    /// The eight bytes that are `offset` behind an index of the window; that and their length is at most [`LOOK`].
    #[inline(always)]
    pub(crate) fn word_behind(&self, index: u32, offset: usize) -> u64 {
        // SAFETY: masked to the window, which has slack behind it. The bpf target's loads need no alignment on the
        // machines that spanwire supports; `read_unaligned` would become eight loads.
        unsafe {
            let at = self.window.as_ptr().add((index as usize & (WINDOW - 1)) + offset);
            core::ptr::read_volatile(at.cast::<u64>())
        }
    }

    /// Steps over `count` bytes, which may reach behind the window, but not behind the operation.
    #[inline(always)]
    pub(crate) fn step_over(&mut self, count: u64) {
        let available = self.available() as u64;
        if count <= available {
            self.cursor += count as u32;
            return;
        }
        let behind = count - available;
        self.cursor = self.end;
        self.skip += behind;
        self.unread = self.unread.wrapping_sub(behind);
    }

    /// Puts the next bytes into the window, behind what the half carried over: at most `room` bytes, of one buffer, which
    /// may be empty.
    #[inline(always)]
    pub(crate) fn fill(&mut self, half: &mut Half, room: u64) -> Filled {
        if self.buffer_left == 0 {
            if self.vectors == 0 {
                // The system call's number and arguments are there, but name no memory of the caller's.
                self.failure = self.nowhere;
                return Filled::Unreadable;
            }
            let Some(vector) = user::<Vector>(self.vector) else {
                self.failure = Counter::GapFault as u32;
                return Filled::Unreadable;
            };
            self.vector += size_of::<Vector>() as u64;
            self.vectors -= 1;
            self.buffer = vector.base;
            self.buffer_left = vector.length;
        }
        if self.skip >= self.buffer_left {
            self.skip -= self.buffer_left;
            self.next += self.buffer_left;
            self.buffer_left = 0;
            return Filled::Nothing;
        }
        self.buffer += self.skip;
        self.buffer_left -= self.skip;
        self.next += self.skip;
        self.skip = 0;
        let carried = half.carried & 31;
        // SAFETY: constant offsets within the window.
        unsafe {
            let window = self.window.as_mut_ptr().cast::<u64>();
            *window = half.carry[0];
            *window.add(1) = half.carry[1];
            *window.add(2) = half.carry[2];
        }
        let mut count = if self.buffer_left < self.unread {
            self.buffer_left
        } else {
            self.unread
        };
        if count > room {
            count = room;
        }
        if count > ROOM {
            count = ROOM;
        }
        // SAFETY: `carried` is below 32 and `count` at most `room`, which the slack covers.
        let result = unsafe {
            let into = self.window.as_mut_ptr().add(carried as usize);
            bpf_probe_read_user(into.cast(), count as u32, self.buffer as *const _)
        };
        if result != 0 {
            self.failure = Counter::GapFault as u32;
            return Filled::Unreadable;
        }
        self.base = self.next - carried as u64;
        self.carried = carried;
        self.cursor = 0;
        self.end = carried + count as u32;
        self.next += count;
        self.buffer += count;
        self.buffer_left -= count;
        self.unread -= count;
        half.carried = 0;
        Filled::Some
    }

    /// Adds the caller's next buffers to the window, where there is room: frames are often sent in parts, each in a buffer of
    /// its own.
    #[inline(always)]
    pub(crate) fn gather(&mut self) {
        for _ in 0..GATHERED {
            if self.buffer_left != 0 || self.vectors == 0 || self.unread == 0 || self.end >= ROOM as u32 {
                return;
            }
            let Some(vector) = user::<Vector>(self.vector) else {
                return;
            };
            let mut count = if vector.length < self.unread {
                vector.length
            } else {
                self.unread
            };
            let room = ROOM - self.end as u64;
            if count > room {
                count = room;
            }
            if count > ROOM {
                return;
            }
            // SAFETY: masked to the window; `count` is at most as much as the slack covers.
            let result = unsafe {
                let into = self.window.as_mut_ptr().add(self.end as usize & (WINDOW - 1));
                bpf_probe_read_user(into.cast(), count as u32, vector.base as *const _)
            };
            // The next filling will say so.
            if result != 0 {
                return;
            }
            self.vector += size_of::<Vector>() as u64;
            self.vectors -= 1;
            self.buffer = vector.base + count;
            self.buffer_left = vector.length - count;
            self.next += count;
            self.end += count as u32;
            self.unread -= count;
        }
    }

    /// Keeps the rest of the window for the next operation, or the next filling.
    #[inline(always)]
    pub(crate) fn carry(&mut self, half: &mut Half) {
        let rest = self.available();
        half.carry[0] = self.word(self.cursor);
        half.carry[1] = self.word(self.cursor + 8);
        half.carry[2] = self.word(self.cursor + 16);
        half.carried = if rest < CARRY as u32 {
            rest
        } else {
            CARRY as u32 - 1
        };
        self.cursor = self.end;
    }
}
