//! The ring buffer, as the agent drains it.

use super::events::Event;
use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// The reader's end of the ring buffer.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// Reads what this map holds.
    #[must_use]
    pub(super) const fn new(map: RingBuf<MapData>) -> Self {
        Self(map)
    }

    /// Waits until the kernel half says that the buffer fills up, at most so long: below that it says nothing, since
    /// waking costs the traced process more than a look now and then costs us.
    pub fn wait(&self, at_most: Duration) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        let mut descriptors = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        // Interrupted or not: whoever calls looks anyway.
        let _ = poll(&mut descriptors, Some(&timeout));
    }

    /// Hands what is there to `take`, at most so many records. Returns how many there were.
    pub fn drain(&mut self, at_most: usize, mut take: impl FnMut(&Event<'_>)) -> usize {
        let mut count = 0;
        while count < at_most
            && let Some(entry) = self.0.next()
        {
            if let Some(event) = Event::parse(&entry) {
                take(&event);
            }
            count += 1;
        }
        count
    }
}
