//! Offsets and switches, set by the agent before the object is loaded.

use spanwire_ebpf::Globals;

/// Zeroes here; the agent writes the real values into the object's read-only data.
#[unsafe(no_mangle)]
static GLOBALS: Globals = Globals {
    sock_family: 0,
    sock_local_port: 0,
    sock_remote_port: 0,
    sock_local_v4: 0,
    sock_remote_v4: 0,
    sock_local_v6: 0,
    sock_remote_v6: 0,
    sock_type: 0,
    sock_protocol: 0,
    sock_error: 0,
    sock_shutdown: 0,
    sock_queued: 0,
    sock_send_buffer: 0,
    sock_net: 0,
    net_unsent_limit: 0,
    sock_socket: 0,
    socket_file: 0,
    file_flags: 0,
    sock_cookie: 0,
    tcp_write_seq: 0,
    tcp_snd_nxt: 0,
    tcp_mss: 0,
    tcp_unsent_limit: 0,
    tcp_copied_seq: 0,
    tcp_rcv_nxt: 0,
    tcp_bytes_received: 0,
    tcp_snd_una: 0,
    tcp_bytes_acked: 0,
    unix_address: 0,
    unix_peer: 0,
    unix_address_length: 0,
    unix_address_name: 0,
    socket_sock: 0,
    socket_inode: 0,
    task_pid: 0,
    task_tgid: 0,
    task_signal: 0,
    signal_live: 0,
    signal_threads: 0,
    task_fsbase: 0,
    task_stack: 0,
    stack_registers: 0,
    task_compat: 0,
    task_files: 0,
    files_table: 0,
    table_descriptors: 0,
    table_size: 0,
    file_private: 0,
    file_inode: 0,
    inode_mode: 0,
    has_task_pt_regs: 0,
    filter_ports: 0,
    broker_spans: 0,
    propagates: 0,
    refuses: 0,
    carries: 0,
    instance: 0,
    parent_of_watched: 0,
    wake_at: 0,
};

/// Reads one field of the globals: `global!(sock_family)`.
macro_rules! global {
    ($field:ident) => {
        // SAFETY: a static; volatile, so that the compiler does not fold the zeroes of the object file.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::globals::address()).$field) }
    };
}
pub(crate) use global;

/// Where the globals are.
#[inline(always)]
pub(crate) fn address() -> *const Globals {
    &raw const GLOBALS
}

/// Reads a field at a kernel address; `None` where the address is bad.
#[inline(always)]
pub(crate) fn kernel<T: Copy>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address; a bad one is an error.
    unsafe { aya_ebpf::helpers::bpf_probe_read_kernel((base + offset as u64) as *const T).ok() }
}
