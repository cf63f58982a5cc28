//! Every map.

use crate::connection::Connection;
use crate::context::{Exchange, Ids, Key, Unit};
use crate::flow;
use crate::operation::{Operation, SLOTS};
use crate::promise::Promise;
use crate::propagate::Connecting;
use crate::propagate::carried::{Baggage, Correlation};
use crate::propagate::carriers;
use crate::propagate::tcp_option::{self, Offer};
use crate::propagate::tracestate::State;
use crate::runtime::go::{Handed, Head, Stream};
use crate::runtime::node::{self, Loop, Segment, Trust};
use crate::runtime::python::{Context, Place};
use crate::stream::{Number, Reader, Served};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash};
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use spanwire_ebpf::{Counter, PROCESS_LIMIT, Runtime, question, sampling};

/// Records for the agent. The agent sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Connections by the address of their sock. Least recently used, so that Unix sockets, whose end no hook shows, make
/// room by themselves. The agent sets the size.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(65_536, 0);

/// The operations this CPU is working on: too large for the stack.
#[map]
pub(crate) static OPERATIONS: PerCpuArray<Operation> = PerCpuArray::with_max_entries(SLOTS, 0);

/// [`spanwire_ebpf::Counter`]s.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// One bit a process: set where it is watched.
#[map]
pub(crate) static PROCESSES: Array<u64> = Array::with_max_entries(PROCESS_LIMIT / 64, 0);

/// What the agent asks to be told, and may ask at one time and not at another.
#[map]
pub(crate) static QUESTIONS: Array<u32> = Array::with_max_entries(question::COUNT, 0);

/// One bit a port: set where connections from or to it are watched.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(65_536 / 64, 0);

/// Ranges of addresses whose contexts are not taken over; IPv4 as IPv6 maps it (RFC 4291, section 2.5.5.2). The agent sets the
/// size.
#[map]
pub(crate) static REFUSED: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 0);

/// What is known of processes, by their number.
#[map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime> = HashMap::with_max_entries(32_768, 0);

/// Which traces are kept that begin in processes of each slot: [`sampling::word`].
#[map]
pub(crate) static THRESHOLDS: Array<u64> = Array::with_max_entries(sampling::SLOTS, 0);

/// Which requests each unit of execution handles.
#[map]
pub(crate) static UNITS: LruHashMap<Key, Unit> = LruHashMap::with_max_entries(16_384, 0);

/// What a connection was opened for, by the address of its sock, until it is first used. Of event loops alone.
#[map]
pub(crate) static ORIGINS: LruHashMap<u64, Ids> = LruHashMap::with_max_entries(4_096, 0);

/// Exchanges that were begun before their bytes were sent, until they are seen.
#[map]
pub(crate) static PROMISES: LruHashMap<Promise, Exchange> = LruHashMap::with_max_entries(8_192, 0);

/// What requests that are being handled carried beside their context, by their span.
#[map]
pub(crate) static STATES: LruHashMap<u64, State> = LruHashMap::with_max_entries(1_024, 0);

/// `baggage` of such requests, by their span. The agent sets the size.
#[map]
pub(crate) static BAGGAGE: LruHashMap<u64, Baggage> = LruHashMap::with_max_entries(1, 0);

/// The ids by which people find them, by their span. The agent sets the size.
#[map]
pub(crate) static CORRELATIONS: LruHashMap<u64, Correlation> = LruHashMap::with_max_entries(1, 0);

/// Which requests have, or had, something in these three: [`carriers`].
#[map]
pub(crate) static CARRIERS: Array<u64> = Array::with_max_entries(carriers::PLACES, 0);

/// What requests are part of that were sent on this host, until they are received.
#[map]
pub(crate) static FLOWS: LruHashMap<flow::Place, Ids> = LruHashMap::with_max_entries(16_384, 0);

/// Sockets that are connecting, by the address of their sock, until they are enrolled, once they are connected. And those that
/// begin to listen.
#[map]
pub(crate) static CONNECTING: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(8_192, 0);

/// The processes that have connected the sockets which were enrolled then, by the address of their sock, until those close: of
/// one that has carried nothing yet, nothing else is known. The agent sets the size.
#[map]
pub(crate) static CONNECTORS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(1, 0);

/// What is sent in options of TCP, by the cookie of the socket. The agent sets the size.
#[map]
pub(crate) static OFFERS: LruHashMap<u64, Offer> = LruHashMap::with_max_entries(1, 0);

/// What came in such options, until the request is received. The agent sets the size.
#[map]
pub(crate) static HEARD: LruHashMap<tcp_option::Place, Ids> = LruHashMap::with_max_entries(1, 0);

/// Sockets whose sends go by way of `inject`, by the address of their sock. The kernel takes them out when they close.
#[map]
pub(crate) static SOCKETS: SockHash<u64> = SockHash::with_max_entries(65_536, 0);

/// What the next request on a connection is sent for, by the address of its sock: handed over by the goroutine that asks.
#[map]
pub(crate) static HANDED: LruHashMap<u64, Handed> = LruHashMap::with_max_entries(8_192, 0);

/// What heads of gRPC's streams are sent for, by where they are in memory, until they are about to be sent; what streams of
/// HAProxy are for.
#[map]
pub(crate) static HEADS: LruHashMap<Head, Ids> = LruHashMap::with_max_entries(8_192, 0);

/// What such streams are sent for, until they are sent.
#[map]
pub(crate) static STREAMS: LruHashMap<Stream, Ids> = LruHashMap::with_max_entries(8_192, 0);

/// Requests that were received as streams of HTTP/2.
#[map]
pub(crate) static SERVED: LruHashMap<Number, Served> = LruHashMap::with_max_entries(16_384, 0);

/// Socks on which goroutines read streams of HTTP/2.
#[map]
pub(crate) static READERS: LruHashMap<Reader, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Python's contexts, by process and address.
#[map]
pub(crate) static CONTEXTS: LruHashMap<Place, Context> = LruHashMap::with_max_entries(32_768, 0);

/// When connections arrived, by the address of their sock, in nanoseconds.
#[map]
pub(crate) static ARRIVALS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Threads of Node.js, by process and thread.
#[map]
pub(crate) static LOOPS: LruHashMap<u64, Loop> = LruHashMap::with_max_entries(4_096, 0);

/// Which of their async ids were handed out for which request.
#[map]
pub(crate) static SEGMENTS: Array<Segment> = Array::with_max_entries(node::SEGMENT_COUNT, 0);

/// Async ids that native code has called.
#[map]
pub(crate) static FIRED: LruHashMap<node::Place, u8> = LruHashMap::with_max_entries(8_192, 0);

/// How many of their connections to a place are idle.
#[map]
pub(crate) static IDLE: LruHashMap<node::Place, u64> = LruHashMap::with_max_entries(8_192, 0);

/// Requests that such a thread has received and not answered, by their span.
#[map]
pub(crate) static OPEN: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// What the stream is for that runs in a thread of HAProxy, by process and thread.
#[map]
pub(crate) static STREAMING: LruHashMap<u64, Ids> = LruHashMap::with_max_entries(4_096, 0);

/// How far turns are a request's own, by process.
#[map]
pub(crate) static TRUST: LruHashMap<u32, Trust> = LruHashMap::with_max_entries(4_096, 0);

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        add(value, amount);
    }
}

/// Adds to a map value that another program may be adding to: one that was interrupted, or one on another CPU. Addition is
/// the one atomic operation that every kernel's BPF has; what it returns is not used, since that needs Linux 5.12.
#[inline(always)]
pub(crate) fn add(value: *mut u64, amount: u64) {
    // SAFETY: callers pass map values, which are aligned.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, amount) };
}
