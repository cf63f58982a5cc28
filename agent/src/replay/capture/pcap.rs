//! pcap: draft-ietf-opsawg-pcap.

use super::input::Input;
use super::{CaptureError, Found, LARGEST, NANOSECONDS, Next, number};
use pcap_parser::pcap;
use std::io::Read;

/// A pcap file's header.
pub(super) struct Pcap {
    link: u16,
    nanoseconds: bool,
    /// Length of a record's header, and how one is parsed.
    header: usize,
    big_endian: bool,
    largest: usize,
}

impl Pcap {
    /// The header, where `start` is that of a pcap file.
    pub(super) fn new(start: &[u8]) -> Option<Self> {
        let (_, header) = pcap::parse_pcap_header(start).ok()?;
        Some(Self {
            // The upper bits tell of a frame check sequence.
            link: header.network.0 as u16,
            nanoseconds: header.is_nanosecond_precision(),
            header: if header.is_modified_format() { 24 } else { 16 },
            big_endian: header.is_bigendian(),
            largest: usize::try_from(header.snaplen)
                .unwrap_or(LARGEST)
                .clamp(256 << 10, LARGEST),
        })
    }

    pub(super) fn advance<'a>(&self, input: &'a mut Input<impl Read>) -> Result<Next<'a>, CaptureError> {
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
        Ok(Next::Packet(input.packet(record, &found)))
    }
}
