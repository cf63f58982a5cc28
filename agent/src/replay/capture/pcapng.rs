//! pcapng: draft-ietf-opsawg-pcapng.

use super::input::Input;
use super::{CaptureError, Found, LARGEST, NANOSECONDS, Next, number};
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, pcapng};
use std::io::Read;

/// Most interfaces of a section.
const MOST_INTERFACES: usize = 4096;

/// A pcapng file's current section.
#[derive(Default)]
pub(super) struct Section {
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
pub(super) struct Clock {
    /// Units a second.
    resolution: u128,
    /// Seconds to be added.
    offset: i64,
}

impl Clock {
    /// `if_tsresol` (power of ten, or of two where the highest bit is set) and `if_tsoffset`.
    pub(super) fn new(resolution: u8, offset: i64) -> Option<Self> {
        let exponent = u32::from(resolution & 0x7f);
        let resolution = match resolution & 0x80 {
            0 => 10_u128.checked_pow(exponent)?,
            _ => 1_u128.checked_shl(exponent)?,
        };
        Some(Self { resolution, offset })
    }

    pub(super) fn nanoseconds(&self, high: u32, low: u32) -> u64 {
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

impl Section {
    pub(super) fn advance<'a>(&mut self, input: &'a mut Input<impl Read>) -> Result<Next<'a>, CaptureError> {
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
                return Ok(Next::Packet(input.packet(block, &found)));
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
