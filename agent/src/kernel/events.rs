//! What the kernel half says, as values.

use crate::connection::{Address, Close, Direction, Endpoints};
use crate::span::{SpanId, TraceId};
use spanwire_ebpf::sampling::{self, By};
use spanwire_ebpf::{Opened, RECEIVED, Record, cause, family, flag, kind, opened};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Identity of a connection on one side: its sock's address, and when it was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Address of the kernel's sock.
    pub sock: u64,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub born: u64,
}

/// Where, when and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Which connection.
    pub connection: ConnectionId,
    /// Which way.
    pub direction: Direction,
    /// What the connection is claimed for, one of [`spanwire_ebpf::protocol`].
    pub protocol: u8,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time: u64,
    /// Process, as the host numbers it.
    pub pid: u32,
    /// Thread, as the host numbers it.
    pub tid: u32,
    /// Number of the record in its connection and direction.
    pub sequence: u32,
    /// Stream position of the first byte that is spoken of.
    pub position: u64,
}

/// Ids minted in the kernel for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Trace id.
    pub trace_id: TraceId,
    /// Span id.
    pub span_id: SpanId,
    /// Whether the trace is kept.
    pub decision: Decision,
}

/// What the kernel half has decided of a trace, or was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// It is kept.
    pub is_sampled: bool,
    /// The threshold by which that was decided, if it was here.
    pub by: Option<By>,
}

/// How the kernel half found what a request is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was being handled where it was sent, for all that is known.
    Unknown,
    /// What sends it handles that one request: a thread, a goroutine.
    Unit,
    /// The event loop that sends it has just read something of that request, or has no other in flight.
    Event,
    /// What sends it handles several requests.
    Ambiguous,
    /// It was received, and another host has told whose it is.
    Remote,
}

/// An exchange that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    /// Its ids.
    pub ids: Ids,
    /// The span that it is sent for, or by which another host has sent it.
    pub parent: Option<SpanId>,
    /// How that was found.
    pub cause: Cause,
    /// The trace is named on the wire.
    pub is_told: bool,
    /// Where its first byte is, in numbers that are the same at both ends.
    pub at: u32,
}

/// The end of a message, as the kernel's walker found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageEnd {
    /// Bytes behind those that were copied.
    pub wire: u64,
    /// Length of the content.
    pub content: u64,
}

/// One record of the ring buffer.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection was seen for the first time.
    Opened {
        /// Where.
        origin: Origin,
        /// Both ends.
        endpoints: Endpoints,
        /// Inode of a Unix socket.
        inode: Option<u64>,
        /// It had been in use before.
        late: bool,
        /// Address of the peer's sock, of a Unix socket.
        peer: Option<u64>,
        /// Both ends number their bytes alike.
        aligned: bool,
        /// Inode of a TCP socket by which requests are sent.
        client: Option<u64>,
        /// It is enrolled for injection.
        enrolled: bool,
    },
    /// Bytes of a message's head.
    Bytes {
        /// Where.
        origin: Origin,
        /// Part of a request, else of a response.
        request: bool,
        /// A message begins here, or a frame: the ordinal of the exchange that it belongs to, or that comes next, and an
        /// exchange that begins in these bytes.
        starts: Option<(u32, Option<Began>)>,
        /// What was stepped over in front of these bytes.
        before: Option<MessageEnd>,
        /// The bytes.
        data: &'a [u8],
        /// The message ends in the same operation.
        ends: Option<MessageEnd>,
        /// What follows in the head was cut.
        cut: bool,
    },
    /// A message ended whose last bytes were not copied.
    End {
        /// Where the bytes begin that were not copied.
        origin: Origin,
        /// Of a request, else of a response.
        request: bool,
        /// How much was not copied.
        end: MessageEnd,
    },
    /// Bytes that were not seen.
    Gap {
        /// Where they begin.
        origin: Origin,
        /// How many.
        length: u64,
    },
    /// The peer will send no more.
    EndOfStream {
        /// Where the bytes begin that were not copied.
        origin: Origin,
        /// How much was not copied.
        end: MessageEnd,
    },
    /// The socket closed.
    Closed {
        /// Of the direction of the responses.
        origin: Origin,
        /// How.
        close: Close,
        /// How much of the response under way was not copied.
        end: MessageEnd,
        /// Requests that the connection carried.
        requests: u32,
        /// Final responses that it carried.
        responses: u32,
    },
    /// A process was forked.
    Fork {
        /// The new process.
        pid: u32,
        /// The one that forked.
        parent: u32,
        /// Its command name, which the new one begins with.
        name: String,
    },
    /// A process called `execve`.
    Exec {
        /// Process.
        pid: u32,
        /// Its command name.
        name: String,
    },
    /// A process listens on a socket of TCP from now on.
    Listens {
        /// Process.
        pid: u32,
        /// Its command name.
        name: String,
    },
    /// A process is gone.
    Exit {
        /// Process.
        pid: u32,
        /// Its command name.
        name: String,
    },
}

impl<'a> Event<'a> {
    /// Reads an entry of the ring buffer; `None` where it is none of the kernel half's.
    #[must_use]
    pub fn parse(entry: &'a [u8]) -> Option<Self> {
        let (record, data) = split(entry)?;
        let direction = if record.direction == RECEIVED {
            Direction::Received
        } else {
            Direction::Sent
        };
        let origin = Origin {
            connection: ConnectionId {
                sock: record.sock,
                born: record.born,
            },
            direction,
            protocol: record.protocol,
            time: record.time,
            pid: record.tgid,
            tid: record.tid,
            sequence: record.sequence,
            position: record.position,
        };
        let has = |bit: u8| record.flags & bit != 0;
        let end = MessageEnd {
            wire: record.wire,
            content: record.content,
        };
        Some(match record.kind {
            kind::OPENED => {
                let opened = read::<Opened>(data)?;
                let inode = (opened.family == family::UNIX).then_some(opened.inode);
                let late = opened.flags & opened::LATE != 0;
                let aligned = opened.flags & opened::ALIGNED != 0;
                let is_client = opened.flags & opened::CLIENT != 0;
                let client = (inode.is_none() && is_client).then_some(opened.inode);
                let enrolled = opened.flags & opened::ENROLLED != 0;
                let peer = (opened.peer != 0).then_some(opened.peer);
                Self::Opened {
                    origin,
                    endpoints: endpoints(&opened),
                    inode,
                    late,
                    peer,
                    aligned,
                    client,
                    enrolled,
                }
            }
            kind::BYTES => {
                let elided = (end.wire > 0).then_some(end);
                let ends = has(flag::MESSAGE_ENDS);
                let began = (record.span_id != 0).then(|| began(&record));
                Self::Bytes {
                    origin,
                    request: has(flag::REQUEST),
                    starts: has(flag::STARTS).then_some((record.ordinal, began)),
                    before: elided.filter(|_| !ends),
                    data,
                    ends: ends.then_some(end),
                    cut: has(flag::CUT),
                }
            }
            kind::END => Self::End {
                origin,
                request: has(flag::REQUEST),
                end,
            },
            kind::GAP => Self::Gap {
                origin,
                length: record.wire,
            },
            kind::EOF => Self::EndOfStream { origin, end },
            kind::CLOSED => Self::Closed {
                origin,
                close: close(record.flags),
                end,
                requests: record.ordinal,
                responses: record.sequence,
            },
            kind::FORK => Self::Fork {
                pid: record.tgid,
                parent: record.tid,
                name: name(data),
            },
            kind::EXEC => Self::Exec {
                pid: record.tgid,
                name: name(data),
            },
            kind::LISTENS => Self::Listens {
                pid: record.tgid,
                name: name(data),
            },
            kind::EXIT => Self::Exit {
                pid: record.tgid,
                name: name(data),
            },
            _ => return None,
        })
    }
}

impl Event<'_> {
    /// When it happened, in nanoseconds of `CLOCK_MONOTONIC`; `None` of what happens to processes.
    #[must_use]
    pub const fn time(&self) -> Option<u64> {
        match self {
            Self::Opened { origin, .. }
            | Self::Bytes { origin, .. }
            | Self::End { origin, .. }
            | Self::Gap { origin, .. }
            | Self::EndOfStream { origin, .. }
            | Self::Closed { origin, .. } => Some(origin.time),
            Self::Fork { .. } | Self::Exec { .. } | Self::Listens { .. } | Self::Exit { .. } => None,
        }
    }
}

fn began(record: &Record) -> Began {
    let span = |id: u64| SpanId(id.to_ne_bytes());
    Began {
        ids: Ids {
            trace_id: trace_id(record.trace_id),
            span_id: span(record.span_id),
            decision: Decision {
                is_sampled: record.cause & cause::SAMPLED != 0,
                by: sampling::by(record.cause.into()),
            },
        },
        parent: (record.parent != 0).then(|| span(record.parent)),
        is_told: record.cause & cause::TOLD != 0,
        cause: match record.cause & cause::KINDS {
            cause::THREAD | cause::GOROUTINE | cause::TASK => Cause::Unit,
            cause::EVENT => Cause::Event,
            cause::AMBIGUOUS => Cause::Ambiguous,
            cause::REMOTE => Cause::Remote,
            _ => Cause::Unknown,
        },
        at: record.begins,
    }
}

fn split(entry: &[u8]) -> Option<(Record, &[u8])> {
    let record = read::<Record>(entry)?;
    let data = entry.get(size_of::<Record>()..)?.get(..record.length as usize)?;
    Some((record, data))
}

/// Types of which any bytes are a value.
trait AnyBytes: Copy {}
impl AnyBytes for Record {}
impl AnyBytes for Opened {}

/// Reads a value from the beginning of some bytes, which need not be aligned.
#[expect(unsafe_code, reason = "the kernel half writes the value's bytes")]
fn read<T: AnyBytes>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, and any bytes are a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn trace_id(words: [u64; 2]) -> TraceId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    TraceId(bytes)
}

fn name(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

fn close(error: u8) -> Close {
    match i32::from(error) {
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Close::Reset,
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH => Close::TimedOut,
        _ => Close::Closed,
    }
}

fn endpoints(opened: &Opened) -> Endpoints {
    if opened.family == family::UNIX {
        return Endpoints {
            local: unix(&opened.local_path, opened.local_path_length),
            remote: unix(&opened.remote_path, opened.remote_path_length),
        };
    }
    let v4 = opened.family == family::INET;
    Endpoints {
        local: Address::Ip(SocketAddr::new(address(opened.local, v4), opened.local_port)),
        remote: Address::Ip(SocketAddr::new(address(opened.remote, v4), opened.remote_port)),
    }
}

/// IPv4 addresses mapped into IPv6, as a dual-stack socket shows them, come out as IPv4.
fn address(bytes: [u8; 16], v4: bool) -> IpAddr {
    if v4 {
        let [a, b, c, d, ..] = bytes;
        return Ipv4Addr::new(a, b, c, d).into();
    }
    IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
}

fn unix(path: &[u8], length: u32) -> Address {
    let path = &path[..path.len().min(length as usize)];
    let Some((first, rest)) = path.split_first() else {
        return Address::Unix(None);
    };
    if *first == 0 {
        return Address::Unix(Some(format!("@{}", String::from_utf8_lossy(rest))));
    }
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    Address::Unix(Some(String::from_utf8_lossy(&path[..end]).into_owned()))
}
