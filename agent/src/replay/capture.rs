//! Capture files, pcap and pcapng, one packet at a time: framing and errors here, the formats by pcap-parser.
//!
//! Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. A file that is compressed with gzip is read as what is
//! inside.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, pcap, pcapng};

/// Largest packet record or block: beyond it is not a capture's length but damage. (libpcap takes packets of 256 KiB.)
const LARGEST: usize = 16 << 20;
/// How much is read at a time.
const READ: usize = 256 << 10;
/// Most interfaces of a section.
const MOST_INTERFACES: usize = 4096;
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

/// A pcap file's header.
struct Pcap {
    link: u16,
    nanoseconds: bool,
    /// Length of a record's header, and how one is parsed.
    header: usize,
    big_endian: bool,
    largest: usize,
}

/// A pcapng file's current section.
#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    snap: u32,
    clock: Clock,
}

/// Timestamps of an interface.
#[derive(Clone, Copy)]
struct Clock {
    /// Units a second.
    resolution: u128,
    /// Seconds to be added.
    offset: i64,
}

impl Clock {
    /// `if_tsresol` (power of ten, or of two where the highest bit is set) and `if_tsoffset`.
    fn new(resolution: u8, offset: i64) -> Option<Self> {
        let exponent = u32::from(resolution & 0x7f);
        let resolution = match resolution & 0x80 {
            0 => 10_u128.checked_pow(exponent)?,
            _ => 1_u128.checked_shl(exponent)?,
        };
        Some(Self { resolution, offset })
    }

    fn nanoseconds(&self, high: u32, low: u32) -> u64 {
        let units = u64::from(high) << 32 | u64::from(low);
        let time = match u64::try_from(self.resolution) {
            Ok(NANOSECONDS) => Some(units),
            Ok(1_000_000) => units.checked_mul(1000),
            _ => u128::from(units)
                .checked_mul(NANOSECONDS.into())
                .and_then(|time| u64::try_from(time / self.resolution).ok()),
        };
        let offset = self.offset.saturating_mul(1_000_000_000);
        time.unwrap_or(0).saturating_add_signed(offset)
    }
}

impl<'i> Capture<Box<dyn Read + 'i>> {
    /// A capture in `input`, which may be compressed.
    ///
    /// # Errors
    /// It is no capture, or cannot be read.
    pub fn open(input: impl Read + 'i) -> Result<Self, CaptureError> {
        let mut input = BufReader::with_capacity(READ, input);
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
        let Ok((_, header)) = pcap::parse_pcap_header(input.peek(24)?) else {
            return Err(CaptureError::NotACapture);
        };
        let pcap = Pcap {
            // The upper bits tell of a frame check sequence.
            link: header.network.0 as u16,
            nanoseconds: header.is_nanosecond_precision(),
            header: if header.is_modified_format() { 24 } else { 16 },
            big_endian: header.is_bigendian(),
            largest: usize::try_from(header.snaplen)
                .unwrap_or(LARGEST)
                .clamp(256 << 10, LARGEST),
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
    pub fn next(&mut self) -> Result<Next<'_>, CaptureError> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.input),
            Format::Pcapng(section) => section.next(&mut self.input),
        }
    }
}

impl Pcap {
    fn next<'a>(&self, input: &'a mut Input<impl Read>) -> Result<Next<'a>, CaptureError> {
        let offset = input.offset;
        let Some(length) = input
            .peek(self.header)?
            .get(8..12)
            .and_then(|it| it.first_chunk())
        else {
            return Ok(input.end());
        };
        let captured = number(*length, self.big_endian);
        if captured > self.largest {
            let what = "a packet longer than captures hold";
            return Err(CaptureError::Damaged { offset, what });
        }
        let length = self.header + captured;
        if input.peek(length)?.len() < length {
            return Ok(input.end());
        }
        let data = input.look(length);
        let parsed = match (self.header, self.big_endian) {
            (24, _) => pcap::parse_pcap_frame_modified(data),
            (_, true) => pcap::parse_pcap_frame_be(data),
            (_, false) => pcap::parse_pcap_frame(data),
        };
        let Ok((_, frame)) = parsed else {
            let what = "a packet record that is none";
            return Err(CaptureError::Damaged { offset, what });
        };
        let fraction = u64::from(frame.ts_usec) * if self.nanoseconds { 1 } else { 1000 };
        let found = Found {
            link: self.link,
            time: u64::from(frame.ts_sec) * NANOSECONDS + fraction,
            from: self.header,
            captured,
            cut: (frame.origlen as usize).saturating_sub(captured),
        };
        let record = input.take(length);
        Ok(Next::Packet(input.packet(record, found)))
    }
}

impl Section {
    fn next<'a>(&mut self, input: &'a mut Input<impl Read>) -> Result<Next<'a>, CaptureError> {
        loop {
            let offset = input.offset;
            let damaged = |what| CaptureError::Damaged { offset, what };
            let head = input.peek(12)?;
            let Some((kind, length)) = head
                .first_chunk()
                .zip(head.get(4..8).and_then(|it| it.first_chunk()))
            else {
                return Ok(input.end());
            };
            if *kind == [0x0a, 0x0d, 0x0d, 0x0a] {
                // Each section has its own byte order, and numbers its interfaces anew.
                let big_endian = match head.get(8..12) {
                    None => return Ok(input.end()),
                    Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
                    Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
                    Some(_) => return Err(damaged("a section of no byte order")),
                };
                *self = Self {
                    big_endian,
                    interfaces: Vec::new(),
                };
            }
            let length = number(*length, self.big_endian);
            if length < 12 || !length.is_multiple_of(4) || length > LARGEST {
                return Err(damaged("a block of impossible length"));
            }
            if input.peek(length)?.len() < length {
                return Ok(input.end());
            }
            let found = self.block(input.look(length)).map_err(damaged)?;
            let block = input.take(length);
            if let Some(found) = found {
                return Ok(Next::Packet(input.packet(block, found)));
            }
        }
    }

    /// A whole block: where in it a packet is, if it holds one.
    fn block(&mut self, data: &[u8]) -> Result<Option<Found>, &'static str> {
        let parse = if self.big_endian {
            pcapng::parse_block_be
        } else {
            pcapng::parse_block_le
        };
        let Ok((_, block)) = parse(data) else {
            return Err("a block whose parts do not fit together");
        };
        match block {
            Block::InterfaceDescription(it) => {
                if self.interfaces.len() == MOST_INTERFACES {
                    return Err("more interfaces than captures have");
                }
                // The crate reads this option as little-endian always.
                let offset = if self.big_endian {
                    it.if_tsoffset.swap_bytes()
                } else {
                    it.if_tsoffset
                };
                let clock = Clock::new(it.if_tsresol, offset).ok_or("an impossible time resolution")?;
                self.interfaces.push(Interface {
                    link: it.linktype.0 as u16,
                    snap: it.snaplen,
                    clock,
                });
                Ok(None)
            }
            Block::EnhancedPacket(it) => {
                let interface = self.interface(it.if_id)?;
                let captured = it.packet_data().len();
                Ok(Some(Found {
                    link: interface.link,
                    time: interface.clock.nanoseconds(it.ts_high, it.ts_low),
                    from: 28,
                    captured,
                    cut: (it.origlen as usize).saturating_sub(captured),
                }))
            }
            Block::SimplePacket(it) => {
                let interface = self.interface(0)?;
                let snap = match interface.snap {
                    0 => usize::MAX,
                    snap => snap as usize,
                };
                let captured = it.packet_data().len().min(snap);
                Ok(Some(Found {
                    link: interface.link,
                    time: 0,
                    from: 12,
                    captured,
                    cut: (it.origlen as usize).saturating_sub(captured),
                }))
            }
            _ => Ok(None),
        }
    }

    fn interface(&self, number: u32) -> Result<&Interface, &'static str> {
        let interface = usize::try_from(number)
            .ok()
            .and_then(|number| self.interfaces.get(number));
        interface.ok_or("a packet of an interface that was not described")
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

/// Bytes of a reader, as many in sight as one record needs.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What is in sight: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Bytes before `start`.
    offset: u64,
}

impl<R: Read> Input<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; READ],
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// The next `length` bytes, fewer at the end of the input. What is there at once is read, not more.
    fn peek(&mut self, length: usize) -> Result<&[u8], CaptureError> {
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
    fn look(&self, length: usize) -> &[u8] {
        &self.buffer[self.start..self.start + length]
    }

    /// Steps over bytes that were peeked at; they can be looked at until the next peek. Returns where they are.
    fn take(&mut self, length: usize) -> usize {
        let start = self.start;
        self.start += length;
        self.offset += length as u64;
        start
    }

    fn packet(&self, block: usize, found: Found) -> Packet<'_> {
        let from = block + found.from;
        Packet {
            link: found.link,
            time: found.time,
            data: &self.buffer[from..from + found.captured],
            cut: found.cut,
        }
    }

    /// What it means that no whole record is left.
    fn end(&self) -> Next<'static> {
        if self.start == self.end {
            Next::End
        } else {
            Next::Cut(self.offset)
        }
    }
}
