//! Capture files, pcap and pcapng, one packet at a time: framing and errors here, the formats by pcap-parser.
//!
//! A file that is compressed with gzip is read as what is inside.

mod input;
mod pcap;
mod pcapng;

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use input::Input;
use pcap::Pcap;
use pcapng::Section;

/// Largest packet record or block: beyond it is not a capture's length but damage. (libpcap takes packets of 256 KiB.)
const LARGEST: usize = 16 << 20;
const NANOSECONDS: u64 = 1_000_000_000;

/// Why a file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is something else.
    #[error("not a capture: it begins like neither pcap nor pcapng")]
    NotACapture,
    /// What is there cannot be.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the record begins, in the uncompressed file.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The system refuses.
    #[error("cannot be read on from byte {offset}: {source}")]
    Read {
        /// Where, in the uncompressed file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What its first header is: a `LINKTYPE_` number.
    pub link: u16,
    /// Nanoseconds since the epoch; 0 where the file does not say.
    pub time: u64,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Bytes at its end that were not.
    pub cut: usize,
}

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// The end.
    End,
    /// The end, in the middle of the record that begins at this byte (of the uncompressed file).
    Cut(u64),
}

/// A capture file, read from its beginning to its end.
pub struct Capture<R> {
    input: Input<R>,
    format: Format,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Section),
}

impl<'i> Capture<Box<dyn Read + 'i>> {
    /// A capture in `input`, which may be compressed.
    ///
    /// # Errors
    /// It is no capture, or cannot be read.
    pub fn open(input: impl Read + 'i) -> Result<Self, CaptureError> {
        let mut input = BufReader::new(input);
        let mut magic = Vec::with_capacity(2);
        let at_start = |source| CaptureError::Read { offset: 0, source };
        input.by_ref().take(2).read_to_end(&mut magic).map_err(at_start)?;
        let gzip = magic == [0x1f, 0x8b];
        let input = Cursor::new(magic).chain(input);
        if gzip {
            Self::read(Box::new(MultiGzDecoder::new(input)))
        } else {
            Self::read(Box::new(input))
        }
    }
}

impl<R: Read> Capture<R> {
    fn read(reader: R) -> Result<Self, CaptureError> {
        let mut input = Input::new(reader);
        let Some(magic) = input.peek(4)?.first_chunk::<4>().copied() else {
            return Err(CaptureError::NotACapture);
        };
        if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            let section = Section::default();
            return match input.peek(12)?.get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d] | [0x4d, 0x3c, 0x2b, 0x1a]) => Ok(Self {
                    input,
                    format: Format::Pcapng(section),
                }),
                _ => Err(CaptureError::NotACapture),
            };
        }
        let Some(pcap) = Pcap::new(input.peek(24)?) else {
            return Err(CaptureError::NotACapture);
        };
        input.take(24);
        Ok(Self {
            input,
            format: Format::Pcap(pcap),
        })
    }

    /// The next packet. What is no packet is stepped over.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read on.
    pub fn advance(&mut self) -> Result<Next<'_>, CaptureError> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.advance(&mut self.input),
            Format::Pcapng(section) => section.advance(&mut self.input),
        }
    }
}

/// Where in a block a packet is.
struct Found {
    link: u16,
    time: u64,
    from: usize,
    captured: usize,
    cut: usize,
}

fn number(bytes: [u8; 4], big_endian: bool) -> usize {
    let number = if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    };
    number as usize
}

#[cfg(test)]
mod tests;
