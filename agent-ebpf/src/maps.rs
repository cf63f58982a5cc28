//! Every map.

use crate::connection::Connection;
use crate::operation::Operation;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use spanwire_ebpf::{Counter, PROCESS_LIMIT};

/// Records for the agent. The agent sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Connections by the address of their sock. Least recently used, so that Unix sockets, whose end no hook shows, make
/// room by themselves. The agent sets the size.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(65_536, 0);

/// The operation this CPU is working on: too large for the stack.
#[map]
pub(crate) static OPERATION: PerCpuArray<Operation> = PerCpuArray::with_max_entries(1, 0);

/// A new connection, before it is copied into [`CONNECTIONS`]: too large for the stack.
#[map]
pub(crate) static TEMPLATE: PerCpuArray<Connection> = PerCpuArray::with_max_entries(1, 0);

/// [`spanwire_ebpf::Counter`]s.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// One bit a process: set where it is watched.
#[map]
pub(crate) static PROCESSES: Array<u64> = Array::with_max_entries(PROCESS_LIMIT / 64, 0);

/// One bit a port: set where connections from or to it are watched.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(65_536 / 64, 0);

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's own value.
        unsafe { *value += amount }
    }
}
