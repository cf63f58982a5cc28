//! Bytes of a reader, as many in sight as one record needs.

use super::{CaptureError, Found, Next, Packet};
use std::io::{self, Read};

/// How much is read at a time.
const READ: usize = 256 << 10;

/// Bytes of a reader, as many in sight as one record needs.
pub(super) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What is in sight: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Bytes before `start`.
    pub(super) offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; READ],
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// The next `length` bytes, fewer at the end of the input. What is there at once is read, not more.
    pub(super) fn peek(&mut self, length: usize) -> Result<&[u8], CaptureError> {
        if self.end - self.start < length {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() < length {
                self.buffer.resize(length.next_power_of_two(), 0);
            }
        }
        while self.end - self.start < length {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A compressed file that is cut.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(source) => {
                    let offset = self.offset + (self.end - self.start) as u64;
                    return Err(match source.kind() {
                        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => CaptureError::Damaged {
                            offset,
                            what: "what is compressed does not fit its checksum or format",
                        },
                        _ => CaptureError::Read { offset, source },
                    });
                }
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + length)])
    }

    /// Bytes that were peeked at.
    pub(super) fn look(&self, length: usize) -> &[u8] {
        &self.buffer[self.start..self.start + length]
    }

    /// Steps over bytes that were peeked at; they can be looked at until the next peek. Returns where they are.
    pub(super) fn take(&mut self, length: usize) -> usize {
        let start = self.start;
        self.start += length;
        self.offset += length as u64;
        start
    }

    pub(super) fn packet(&self, block: usize, found: &Found) -> Packet<'_> {
        let from = block + found.from;
        Packet {
            link: found.link,
            time: found.time,
            data: &self.buffer[from..from + found.captured],
            cut: found.cut,
        }
    }

    /// What it means that no whole record is left.
    pub(super) fn end(&self) -> Next<'static> {
        if self.start == self.end {
            Next::End
        } else {
            Next::Cut(self.offset)
        }
    }
}
