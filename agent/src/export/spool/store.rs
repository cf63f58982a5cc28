//! Segments in order, bounded in bytes and age: written at the end, read from the beginning.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::super::form::Request;
use super::directory::Folder;
use super::record::{Header, record};
use super::segment::{Step, content, finish, step};
use super::{Fsync, Settings, Size};
use crate::health::{Counter, Health};

/// Size from which on a segment is not written to any more, at most: that much is dropped in one piece where there is no room.
const SEGMENT: u64 = 4 << 20;

/// How often what was written is made safe against a power failure (`Fsync::Interval`).
const INTERVAL: Duration = Duration::from_secs(1);

/// Which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: u64,
    offset: u64,
}

/// A record that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(super) place: Place,
    pub(crate) request: Request,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    size: u64,
    /// Spans of records that are to be sent.
    waiting: u64,
    /// Open while it is read or written.
    file: Option<File>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    folder: Folder,
    settings: Settings,
    health: Arc<Health>,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// Whether the last one is being written to.
    is_writing: bool,
    next: u64,
    /// How far the first one was read.
    cursor: u64,
    /// What is being sent.
    sending: Option<(Place, Header)>,
    /// When what is not safe yet was first written.
    unsafe_since: Option<Instant>,
}

impl Store {
    /// Finds what is there.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn open(folder: Folder, settings: Settings, health: Arc<Health>) -> io::Result<Self> {
        let numbers = folder.numbers()?;
        let mut store = Self {
            next: numbers.last().map_or(0, |last| last + 1),
            folder,
            settings,
            health,
            segments: VecDeque::new(),
            is_writing: false,
            cursor: 0,
            sending: None,
            unsafe_since: None,
        };
        for number in numbers {
            match store.found(number) {
                Ok(segment) => store.segments.push_back(segment),
                Err(error) => warn!(
                    "{}: segment {number:016x} is left alone: {error}",
                    store.folder.path.display()
                ),
            }
        }
        store.health.add(Counter::SpoolFound, store.waiting());
        Ok(store)
    }

    fn found(&self, number: u64) -> io::Result<Segment> {
        let (file, size) = self.folder.open(number)?;
        let (mut offset, mut waiting) = (0, 0);
        loop {
            match step(&file, offset, size)? {
                Step::Record(header) => {
                    waiting += if header.is_done {
                        0
                    } else {
                        u64::from(header.spans)
                    };
                    offset += header.size();
                }
                Step::Torn(header) => {
                    waiting += u64::from(header.spans);
                    offset = size;
                }
                Step::Damaged(to) => offset = to,
                Step::End => break,
            }
        }
        Ok(Segment {
            number,
            size,
            waiting,
            file: None,
        })
    }

    /// Spans that are to be sent.
    pub(super) fn waiting(&self) -> u64 {
        self.segments.iter().map(|segment| segment.waiting).sum()
    }

    /// Bytes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// How much is in it.
    pub(super) fn size(&self) -> Size {
        Size {
            spans: self.waiting(),
            bytes: self.bytes(),
            max_bytes: self.settings.max_size,
        }
    }

    /// Adds a request. Where there is no room by the settings, the oldest make it.
    ///
    /// # Errors
    /// It could not be written; nothing is left of it.
    pub(super) fn append(&mut self, request: &Request) -> io::Result<()> {
        let record = record(request, SystemTime::now()).ok_or_else(|| io::Error::other("it is too large"))?;
        let size = record.len() as u64;
        if size > self.settings.max_size {
            return Err(io::Error::other("it is larger than the spool may be"));
        }
        while self.bytes() + size > self.settings.max_size && self.drop_oldest() {}
        let largest = SEGMENT.min(self.settings.max_size / 4);
        if self.is_writing
            && self
                .segments
                .back()
                .is_none_or(|last| last.size > 0 && last.size + size > largest)
        {
            self.seal();
        }
        if !self.is_writing {
            self.begin()?;
        }
        let last = self
            .segments
            .back_mut()
            .ok_or_else(|| io::Error::other("no segment"))?;
        let file = last.file.as_ref().ok_or_else(|| io::Error::other("no file"))?;
        if let Err(error) = file.write_all_at(&record, last.size) {
            // What was written of it goes; if not even that can be, nothing is written behind it.
            if file.set_len(last.size).is_err() {
                last.size = file.metadata().map_or(last.size, |found| found.len());
                self.is_writing = false;
            }
            return Err(error);
        }
        last.size += size;
        last.waiting += request.spans;
        self.health.add(Counter::SpoolStored, request.spans);
        self.unsafe_since.get_or_insert_with(Instant::now);
        self.sync(false);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        let number = self.next;
        let file = self.folder.create(number)?;
        self.next += 1;
        if self.settings.fsync != Fsync::Never {
            // A disk that is full or broken shows when it is written to.
            let _ = self.folder.sync();
        }
        self.segments.push_back(Segment {
            number,
            size: 0,
            waiting: 0,
            file: Some(file),
        });
        self.is_writing = true;
        Ok(())
    }

    /// Writes no more to the last segment.
    fn seal(&mut self) {
        self.sync(true);
        self.is_writing = false;
        let is_read = self.segments.len() == 1;
        if let Some(last) = self.segments.back_mut().filter(|_| !is_read) {
            last.file = None;
        }
    }

    /// Makes what was written safe against a power failure, as often as the settings have it; `now` where it is due anyway.
    pub(super) fn sync(&mut self, now: bool) {
        let Some(since) = self.unsafe_since else { return };
        let is_due = match self.settings.fsync {
            Fsync::Always => true,
            Fsync::Interval => now || since.elapsed() >= INTERVAL,
            Fsync::Never => false,
        };
        if is_due && let Some(file) = self.segments.back().and_then(|last| last.file.as_ref()) {
            self.unsafe_since = None;
            if let Err(error) = file.sync_data() {
                self.health.add(Counter::SpoolFailures, 1);
                warn!(
                    "{}: what was written may not outlive a power failure: {error}",
                    self.folder.path.display()
                );
            }
        }
    }

    /// Drops the oldest segment; `false` where there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.segments.front() else {
            return false;
        };
        // What is being sent is not lost yet.
        let sending = self.sending.filter(|(place, _)| place.segment == oldest.number);
        let spans = sending.map_or(0, |(_, header)| u64::from(header.spans));
        let spans = oldest.waiting.saturating_sub(spans);
        self.health.add(Counter::SpansSpoolFull, spans);
        self.remove_first();
        true
    }

    fn remove_first(&mut self) {
        if self.segments.len() == 1 {
            self.is_writing = false;
            self.unsafe_since = None;
        }
        self.cursor = 0;
        if let Some(first) = self.segments.pop_front()
            && let Err(error) = self.folder.remove(first.number)
        {
            // It is sent again after the next start.
            warn!(
                "{}: cannot remove segment {:016x}: {error}",
                self.folder.path.display(),
                first.number
            );
        }
    }

    /// The oldest record that is to be sent. What is too old, or damaged, is counted and left out.
    pub(super) fn oldest(&mut self) -> Option<Stored> {
        loop {
            let is_last = self.segments.len() == 1 && self.is_writing;
            let first = self.segments.front()?;
            let (number, size, waiting) = (first.number, first.size, first.waiting);
            match self.look(size) {
                Ok((Step::Record(header), Some(content))) => {
                    let place = Place {
                        segment: number,
                        offset: self.cursor,
                    };
                    if header.age(SystemTime::now()) > self.settings.max_age {
                        self.health.add(Counter::SpansSpoolExpired, header.spans.into());
                    } else if let Some(request) = header.request(&content) {
                        self.sending = Some((place, header));
                        return Some(Stored { place, request });
                    } else {
                        self.health.add(Counter::SpansSpoolDamaged, header.spans.into());
                    }
                    self.step_over(&header);
                }
                Ok((Step::Record(header), None)) => self.cursor += header.size(),
                Ok((Step::Torn(header), _)) => {
                    self.health.add(Counter::SpansSpoolDamaged, header.spans.into());
                    self.cursor = size;
                    if let Some(first) = self.segments.front_mut() {
                        first.waiting = 0;
                    }
                }
                Ok((Step::Damaged(to), _)) => {
                    self.health.add(Counter::SpoolGaps, 1);
                    self.cursor = to;
                }
                // All of it is done: the file is of no use any more.
                Ok((Step::End, _)) if !is_last || size > 0 => self.remove_first(),
                Ok((Step::End, _)) => return None,
                Err(error) => {
                    warn!(
                        "{}: segment {number:016x} cannot be read: {error}",
                        self.folder.path.display()
                    );
                    self.health.add(Counter::SpansSpoolDamaged, waiting);
                    self.remove_first();
                }
            }
        }
    }

    /// What is where the first segment was read to; its content where that is to be sent.
    fn look(&mut self, size: u64) -> io::Result<(Step, Option<Vec<u8>>)> {
        let offset = self.cursor;
        let folder = &self.folder;
        let Some(first) = self.segments.front_mut() else {
            return Ok((Step::End, None));
        };
        if first.file.is_none() {
            first.file = Some(folder.open(first.number)?.0);
        }
        let file = first.file.as_ref().ok_or_else(|| io::Error::other("no file"))?;
        let found = step(file, offset, size)?;
        let content = match found {
            Step::Record(header) if !header.is_done => Some(content(file, offset, &header)?),
            _ => None,
        };
        Ok((found, content))
    }

    /// The record at the cursor is done with.
    fn step_over(&mut self, header: &Header) {
        let offset = self.cursor;
        if let Some(first) = self.segments.front_mut() {
            first.waiting -= u64::from(header.spans).min(first.waiting);
            if let Some(file) = &first.file {
                // Where that fails, it is sent again after the next start.
                let _ = finish(file, offset);
            }
        }
        self.cursor += header.size();
    }

    /// `stored` was delivered, or is given up.
    pub(super) fn done(&mut self, stored: &Stored) {
        let sending = self.sending.take();
        if let Some((_, header)) = sending.filter(|_| self.is_there(stored)) {
            self.step_over(&header);
        }
    }

    /// `stored` could not be delivered, and waits on. `false` where it was dropped meanwhile: now it is lost, and counted.
    pub(super) fn keep(&mut self, stored: &Stored) -> bool {
        self.sending = None;
        let is_there = self.is_there(stored);
        if !is_there {
            self.health.add(Counter::SpansSpoolFull, stored.request.spans);
        }
        is_there
    }

    fn is_there(&self, stored: &Stored) -> bool {
        let first = self.segments.front().map(|first| first.number);
        first == Some(stored.place.segment) && self.cursor == stored.place.offset
    }
}
