//! Where this kernel keeps its fields, for the kernel half's globals.

use super::btf::Btf;
use spanwire_ebpf::Globals;
use thiserror::Error;

/// Fields that capture cannot do without, and that this kernel's BTF does not have.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("this kernel's BTF has no {0}; spanwire knows kernels 5.10 to 7.x")]
pub struct MissingField(String);

/// Offsets of all fields, from the kernel's BTF. Switches are left at zero.
///
/// # Errors
/// The first field that is missing and that no hook set can do without.
pub fn globals(btf: &Btf) -> Result<Globals, MissingField> {
    let need = |of: &str, field: &str| {
        btf.offset(of, field)
            .ok_or_else(|| MissingField(format!("{of}.{field}")))
    };
    // A kernel without IPv6 or Unix sockets has none of their fields, and no such socket to read them from.
    let maybe = |of: &str, field: &str| btf.offset(of, field).unwrap_or(0);
    Ok(Globals {
        sock_family: need("sock", "__sk_common.skc_family")?,
        sock_local_port: need("sock", "__sk_common.skc_num")?,
        sock_remote_port: need("sock", "__sk_common.skc_dport")?,
        sock_local_v4: need("sock", "__sk_common.skc_rcv_saddr")?,
        sock_remote_v4: need("sock", "__sk_common.skc_daddr")?,
        sock_local_v6: maybe("sock", "__sk_common.skc_v6_rcv_saddr"),
        sock_remote_v6: maybe("sock", "__sk_common.skc_v6_daddr"),
        sock_type: need("sock", "sk_type")?,
        sock_protocol: need("sock", "sk_protocol")?,
        sock_error: need("sock", "sk_err")?,
        sock_shutdown: need("sock", "sk_shutdown")?,
        sock_queued: need("sock", "sk_wmem_queued")?,
        sock_send_buffer: need("sock", "sk_sndbuf")?,
        sock_net: need("sock", "__sk_common.skc_net")?,
        net_unsent_limit: need("net", "ipv4.sysctl_tcp_notsent_lowat")?,
        sock_socket: need("sock", "sk_socket")?,
        socket_file: need("socket", "file")?,
        file_flags: need("file", "f_flags")?,
        sock_cookie: need("sock", "__sk_common.skc_cookie")?,
        tcp_write_seq: need("tcp_sock", "write_seq")?,
        tcp_snd_nxt: need("tcp_sock", "snd_nxt")?,
        tcp_mss: need("tcp_sock", "mss_cache")?,
        tcp_unsent_limit: need("tcp_sock", "notsent_lowat")?,
        tcp_copied_seq: need("tcp_sock", "copied_seq")?,
        tcp_rcv_nxt: need("tcp_sock", "rcv_nxt")?,
        tcp_bytes_received: need("tcp_sock", "bytes_received")?,
        tcp_snd_una: need("tcp_sock", "snd_una")?,
        tcp_bytes_acked: need("tcp_sock", "bytes_acked")?,
        unix_address: maybe("unix_sock", "addr"),
        unix_peer: maybe("unix_sock", "peer"),
        unix_address_length: maybe("unix_address", "len"),
        unix_address_name: maybe("unix_address", "name"),
        socket_sock: need("socket", "sk")?,
        socket_inode: need("socket_alloc", "vfs_inode")? + need("inode", "i_ino")?,
        task_pid: need("task_struct", "pid")?,
        task_tgid: need("task_struct", "tgid")?,
        task_signal: need("task_struct", "signal")?,
        signal_live: need("signal_struct", "live")?,
        signal_threads: need("signal_struct", "nr_threads")?,
        // Where there is none, there are no goroutines to be found.
        task_fsbase: maybe("task_struct", "thread.fsbase"),
        task_stack: need("task_struct", "stack")?,
        stack_registers: stack_size()
            - btf
                .size("pt_regs")
                .ok_or_else(|| MissingField("pt_regs".to_owned()))?,
        task_compat: need("task_struct", COMPAT)?,
        task_files: need("task_struct", "files")?,
        files_table: need("files_struct", "fdt")?,
        table_descriptors: need("fdtable", "fd")?,
        table_size: need("fdtable", "max_fds")?,
        file_private: need("file", "private_data")?,
        file_inode: need("file", "f_inode")?,
        inode_mode: need("inode", "i_mode")?,
        has_task_pt_regs: u32::from(btf.helper("task_pt_regs").is_some()),
        ..Globals::default()
    })
}

/// What says that a process is one of 32 bits.
#[cfg(target_arch = "x86_64")]
const COMPAT: &str = "thread_info.status";
#[cfg(target_arch = "aarch64")]
const COMPAT: &str = "thread_info.flags";

/// `THREAD_SIZE` without KASAN, in bytes: four pages (arch/x86/include/asm/page_64_types.h), or four of 4 KiB and at least one
/// (arch/arm64/include/asm/memory.h). Used where the helper `bpf_task_pt_regs`, which knows better, is not there.
fn stack_size() -> u32 {
    const LEAST: u32 = 16 << 10;
    u32::try_from(procfs::page_size()).map_or(LEAST, |page| page.max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::VMLINUX;

    #[test]
    fn this_kernel_has_all_fields() {
        let globals = globals(&Btf::load(VMLINUX).expect("BTF")).expect("fields");
        // Both are at the very beginning of their structs, in this order, on every kernel so far.
        assert!(globals.sock_remote_v4 < globals.sock_local_v4);
        assert!(
            globals.tcp_write_seq > globals.sock_socket,
            "tcp_sock begins with a sock"
        );
        assert!(globals.socket_inode > globals.socket_sock);
        let registers = stack_size() - globals.stack_registers;
        assert!((160..512).contains(&registers), "{registers}");
    }
}
