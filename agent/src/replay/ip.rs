//! IP: from a packet to the TCP segment in it, through extension headers, fragments and tunnels.
//!
//! RFC 791, RFC 8200 (headers by etherparse); VXLAN: RFC 7348; Geneve: RFC 8926; IP in IP: RFC 2003, RFC 4213.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use etherparse::defrag::IpDefragBuf;
use etherparse::{IpFragOffset, IpNumber, Ipv6ExtensionSlice, LaxIpSlice, TcpSlice, UdpSlice};
use hashbrown::HashMap;

use super::link;

/// Deepest stack of tunnels.
const MOST_TUNNELS: usize = 4;
/// Most datagrams of which fragments are missing; each has 64 KiB at most.
const MOST_DATAGRAMS: usize = 256;

/// Ports of VXLAN (RFC 7348; Linux chose its own before that), and of Geneve.
const VXLAN: [u16; 2] = [4789, 8472];
const GENEVE: u16 = 6081;
/// Ethernet in Geneve (RFC 8926, section 3.4).
const ETHERNET: u16 = 0x6558;

/// Why a packet carries no segment that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passed {
    /// Neither TCP nor a tunnel.
    NotTcp,
    /// A fragment of a datagram of which others are still missing.
    Fragment,
    /// A header that contradicts itself, or is cut.
    Malformed,
}

/// A TCP segment and between whom it goes.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Who gets it.
    pub destination: SocketAddr,
    /// Header and data.
    pub tcp: TcpSlice<'a>,
    /// Bytes of data that were not captured.
    pub cut: usize,
}

/// Which datagram a fragment belongs to (RFC 791, section 3.2; RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    protocol: u8,
}

/// Datagrams of which fragments are missing.
#[derive(Debug, Default)]
pub struct Fragments {
    open: HashMap<Datagram, (IpDefragBuf, u64)>,
    /// Fragments so far: the age of what is open.
    count: u64,
    lost: u64,
}

impl Fragments {
    /// Datagrams that were given up, or are still open.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost + self.open.len() as u64
    }

    /// Takes a fragment; the whole payload where it was the last one missing.
    fn add(&mut self, of: Datagram, offset: IpFragOffset, more: bool, payload: &[u8]) -> Option<Vec<u8>> {
        self.count += 1;
        if !self.open.contains_key(&of) && self.open.len() == MOST_DATAGRAMS {
            let oldest = self.open.iter().min_by_key(|(_, (_, touched))| *touched);
            if let Some(oldest) = oldest.map(|(of, _)| *of) {
                self.open.remove(&oldest);
                self.lost += 1;
            }
        }
        let count = self.count;
        let (buffer, touched) = self.open.entry(of).or_insert_with(|| {
            let buffer = IpDefragBuf::new(IpNumber(of.protocol), Vec::new(), Vec::new());
            (buffer, count)
        });
        *touched = count;
        if buffer.add(offset, more, payload).is_err() {
            self.open.remove(&of);
            self.lost += 1;
            return None;
        }
        if !buffer.is_complete() {
            return None;
        }
        self.open.remove(&of).map(|(buffer, _)| buffer.take_bufs().0)
    }
}

/// Hands the TCP segment in the IP packet `packet` to `take`. `cut` bytes of the frame were not captured.
///
/// # Errors
/// Why there is none.
pub fn segment(
    packet: &[u8],
    cut: usize,
    fragments: &mut Fragments,
    take: &mut impl FnMut(Segment<'_>),
) -> Result<(), Passed> {
    at_depth(packet, cut, fragments, take, 0)
}

fn at_depth(
    packet: &[u8],
    cut: usize,
    fragments: &mut Fragments,
    take: &mut impl FnMut(Segment<'_>),
    depth: usize,
) -> Result<(), Passed> {
    let Ok((ip, None)) = LaxIpSlice::from_slice(packet) else {
        return Err(Passed::Malformed);
    };
    let (source, destination) = (ip.source_addr(), ip.destination_addr());
    let payload = ip.payload();
    // An offloaded packet may have no length in its header: then the frame's counts.
    let cut = if payload.incomplete {
        declared(&ip).saturating_sub(packet.len())
    } else {
        0
    }
    .max(if is_unsized(&ip) { cut } else { 0 });
    let protocol = payload.ip_number;
    let payload = if ip.is_fragmenting_payload() {
        let (identification, offset, more) = place(&ip).ok_or(Passed::Malformed)?;
        if cut > 0 {
            return Err(Passed::Malformed);
        }
        let datagram = Datagram {
            source,
            destination,
            identification,
            protocol: protocol.0,
        };
        let whole = fragments.add(datagram, offset, more, payload.payload);
        Cow::Owned(whole.ok_or(Passed::Fragment)?)
    } else {
        Cow::Borrowed(payload.payload)
    };
    match protocol {
        IpNumber::TCP => {
            let tcp = TcpSlice::from_slice(&payload).map_err(|_| Passed::Malformed)?;
            take(Segment {
                source: SocketAddr::new(source, tcp.source_port()),
                destination: SocketAddr::new(destination, tcp.destination_port()),
                tcp,
                cut,
            });
            Ok(())
        }
        _ if depth == MOST_TUNNELS => Err(Passed::NotTcp),
        IpNumber::UDP => {
            let udp = UdpSlice::from_slice_lax(&payload).map_err(|_| Passed::Malformed)?;
            let inner = tunnelled(udp.destination_port(), udp.payload()).ok_or(Passed::NotTcp)?;
            at_depth(inner, cut, fragments, take, depth + 1)
        }
        IpNumber::IPV4 | IpNumber::IPV6 => at_depth(&payload, cut, fragments, take, depth + 1),
        _ => Err(Passed::NotTcp),
    }
}

/// Length of the packet by its own header.
fn declared(ip: &LaxIpSlice<'_>) -> usize {
    match ip {
        LaxIpSlice::Ipv4(ip) => ip.header().total_len().into(),
        LaxIpSlice::Ipv6(ip) => 40 + usize::from(ip.header().payload_length()),
    }
}

/// Whether the header leaves the length out.
fn is_unsized(ip: &LaxIpSlice<'_>) -> bool {
    match ip {
        LaxIpSlice::Ipv4(ip) => ip.header().total_len() == 0,
        LaxIpSlice::Ipv6(ip) => ip.header().payload_length() == 0,
    }
}

/// Where in its datagram a fragment is: the datagram's number, the offset, and whether more follows.
fn place(ip: &LaxIpSlice<'_>) -> Option<(u32, IpFragOffset, bool)> {
    match ip {
        LaxIpSlice::Ipv4(ip) => {
            let header = ip.header();
            let identification = header.identification().into();
            Some((identification, header.fragments_offset(), header.more_fragments()))
        }
        LaxIpSlice::Ipv6(ip) => ip
            .extensions()
            .clone()
            .into_iter()
            .find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(it) => {
                    Some((it.identification(), it.fragment_offset(), it.more_fragments()))
                }
                _ => None,
            }),
    }
}

/// The IP packet in a tunnel's datagram.
fn tunnelled(port: u16, datagram: &[u8]) -> Option<&[u8]> {
    if VXLAN.contains(&port) {
        // The I flag has to be set; of the rest nothing is needed.
        let is_vxlan = datagram.first()? & 0x08 != 0;
        return link::ethernet(datagram.get(8..).filter(|_| is_vxlan)?);
    }
    if port != GENEVE {
        return None;
    }
    let first = *datagram.first()?;
    let protocol = u16::from_be_bytes(*datagram.get(2..)?.first_chunk()?);
    let inner = datagram.get(8 + usize::from(first & 0x3f) * 4..)?;
    match (first >> 6, protocol) {
        (0, ETHERNET) => link::ethernet(inner),
        (0, protocol) => link::tagged(protocol, inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
