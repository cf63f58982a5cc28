//! The ring buffer, as the agent drains it.

use super::events::Event;
use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The reader's end of the ring buffer.
pub struct Ring {
    buffer: RingBuf<MapData>,
    /// `None` where they cannot be mapped.
    positions: Option<Positions>,
}

impl Ring {
    /// Reads what this map holds.
    #[must_use]
    pub(super) fn new(buffer: RingBuf<MapData>) -> Self {
        let positions = Positions::map(&buffer);
        if let Err(error) = &positions {
            tracing::debug!("cannot tell how full the ring buffer is: {error}");
        }
        Self {
            buffer,
            positions: positions.ok(),
        }
    }

    /// Waits until the kernel half says that the buffer fills up, at most so long: below that it says nothing, since
    /// waking costs the traced process more than a look now and then costs us.
    pub fn wait(&self, at_most: Duration) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        let mut descriptors = [PollFd::from_borrowed_fd(self.buffer.as_fd(), PollFlags::IN)];
        // Interrupted or not: whoever calls looks anyway.
        let _ = poll(&mut descriptors, Some(&timeout));
    }

    /// Hands what is there to `take`, at most so many records. Returns how many there were.
    pub fn drain(&mut self, at_most: usize, mut take: impl FnMut(&Event<'_>)) -> usize {
        let mut count = 0;
        while count < at_most
            && let Some(entry) = self.buffer.next()
        {
            if let Some(event) = Event::parse(&entry) {
                take(&event);
            }
            count += 1;
        }
        count
    }

    /// Bytes that were written and not taken yet, with the records' own headers.
    #[must_use]
    pub fn backlog(&self) -> Option<u64> {
        self.positions.as_ref().map(Positions::distance)
    }
}

/// The pages in which the kernel shows how far it was read and written (kernel/bpf/ringbuf.c, `struct bpf_ringbuf`).
struct Positions {
    consumer: NonNull<AtomicUsize>,
    producer: NonNull<AtomicUsize>,
}

#[expect(unsafe_code, reason = "pages that are shared with the kernel")]
// SAFETY: two pages that are mapped until it is dropped, and atomic words in them.
unsafe impl Send for Positions {}

impl Positions {
    fn map(buffer: &RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self {
            consumer: page(buffer, 0)?,
            producer: page(buffer, 1)?,
        })
    }

    #[expect(unsafe_code, reason = "the kernel's own words")]
    fn distance(&self) -> u64 {
        // SAFETY: both were mapped, and are unmapped by `drop` alone; the kernel keeps a word at the beginning of each page.
        let (consumer, producer) = unsafe { (self.consumer.as_ref(), self.producer.as_ref()) };
        let read = consumer.load(Ordering::Acquire);
        producer.load(Ordering::Acquire).wrapping_sub(read) as u64
    }
}

impl Drop for Positions {
    #[expect(unsafe_code, reason = "pages that we mapped")]
    fn drop(&mut self) {
        for page in [self.consumer, self.producer] {
            // SAFETY: what `page` mapped, with that length, and nobody has a reference to it.
            unsafe { libc::munmap(page.as_ptr().cast(), page_size()) };
        }
    }
}

/// One page of the map, to be read.
#[expect(unsafe_code, reason = "pages that are shared with the kernel")]
fn page(buffer: &RingBuf<MapData>, number: usize) -> io::Result<NonNull<AtomicUsize>> {
    let length = page_size();
    let offset = libc::off_t::try_from(number * length).map_err(io::Error::other)?;
    let descriptor = buffer.as_fd().as_raw_fd();
    // SAFETY: a new mapping wherever the kernel likes, of a descriptor that is open.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            descriptor,
            offset,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at 0"))
}

fn page_size() -> usize {
    usize::try_from(procfs::page_size()).unwrap_or(4096)
}
