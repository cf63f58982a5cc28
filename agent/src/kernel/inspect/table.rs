//! All checks, in the order of the report.

use super::finding::{Group, Need};
use super::privileges::{Capability, capability, lock, locked_memory, pid_namespace};
use super::{Check, hooks, host, programs, propagation};

macro_rules! checks {
    ($($group:ident { $($id:literal $title:literal $need:ident $attempt:expr, lost $lost:literal, do $remedy:literal;)+ })+) => {
        /// All checks. Ids are stable.
        pub(super) const CHECKS: &[Check] = &[$($(Check {
            id: $id,
            group: Group::$group,
            title: $title,
            need: Need::$need,
            lost: $lost,
            remedy: $remedy,
            attempt: $attempt,
        },)+)+];
    };
}

/// The one line beside the hook sets that decides whether `run` starts.
pub(super) const LOCK: &str = "lock";

checks! {
    Privileges {
        "capability.bpf" "CAP_BPF" Capture |context| capability(context, Capability::Bpf),
            lost "no BPF program can be loaded: no capture",
            do "run it as root (`sudo spanwire run`) or add the capability";
        "capability.perfmon" "CAP_PERFMON" Capture |context| capability(context, Capability::Perfmon),
            lost "no program may trace: no capture",
            do "run it as root (`sudo spanwire run`) or add the capability";
        "capability.net_admin" "CAP_NET_ADMIN" Capture |context| capability(context, Capability::NetAdmin),
            lost "the map of sockets cannot be made: no capture",
            do "run it as root (`sudo spanwire run`) or add the capability";
        "capability.sys_ptrace" "CAP_SYS_PTRACE" Detail |context| capability(context, Capability::SysPtrace),
            lost "services of other users are named after their command alone",
            do "run it as root or add the capability";
        "capability.sys_resource" "CAP_SYS_RESOURCE" Information |context| capability(context, Capability::SysResource),
            lost "nothing where `locked memory` below works",
            do "nothing";
        "capability.sys_admin" "CAP_SYS_ADMIN" Information |context| capability(context, Capability::SysAdmin),
            lost "programs of others (Cilium, Envoy) that would be in the way of propagation are not noticed",
            do "run it as root or add the capability";
        "locked_memory" "locked memory" Capture locked_memory,
            lost "maps do not fit: no capture",
            do "add CAP_SYS_RESOURCE, or LimitMEMLOCK=infinity in the systemd unit";
        "lock" "lock" Capture lock,
            lost "spanwire cannot make sure that it is alone on this host: no capture",
            do "run it as root, make the file writable, or give the systemd unit RuntimeDirectory=spanwire";
        "pid_namespace" "pid namespace" Detail pid_namespace,
            lost "only processes of this namespace are seen, and pids mean something else than in the kernel",
            do "share the host's: `hostPID: true` in Kubernetes, `--pid=host` in Docker";
    }
    Kernel {
        "btf" "BTF" Capture host::btf,
            lost "field offsets are not known: no capture",
            do "run a kernel built with CONFIG_DEBUG_INFO_BTF, which the distributions' are; in a container, mount /sys";
        "ring_buffer" "ring buffer" Capture programs::ring_buffer,
            lost "records cannot reach the agent: no capture",
            do "run a kernel of 5.8 or later";
        "kernel_reads" "kernel memory reads" Capture programs::kernel_reads,
            lost "sockets cannot be looked into: no capture",
            do "boot without lockdown=confidentiality";
        "lockdown" "lockdown" Information programs::lockdown,
            lost "nothing with `integrity`, which forbids to write to other processes' memory; all capture with `confidentiality`",
            do "nothing with `integrity`; else boot without lockdown=confidentiality";
        "task_registers" "task registers" Information programs::task_registers,
            lost "nothing: they are looked for at the end of the task's stack",
            do "nothing";
        "bpf_loop" "bpf_loop" Information programs::loops,
            lost "nothing: programs with bounded loops are loaded instead, which only takes the kernel longer to verify",
            do "nothing";
    }
    Programs {
        "program.raw_tracepoint" "raw tracepoint" Capture programs::raw_tracepoint,
            lost "hook sets `socket` and `syscall`, and the life of processes: no capture",
            do "run a kernel with CONFIG_BPF_EVENTS";
        "program.tp_btf" "tp_btf" Information programs::typed_tracepoint,
            lost "nothing: raw tracepoints are used",
            do "nothing";
        "program.fentry" "fentry" Alternative programs::fentry,
            lost "hook set `trampoline`",
            do "nothing where another hook set works";
        "program.fexit" "fexit" Alternative programs::fexit,
            lost "hook set `trampoline`",
            do "nothing where another hook set works";
        "program.kprobe" "kprobe" Information programs::kprobe,
            lost "nothing: no hook set uses kprobes",
            do "nothing";
        "program.uprobe" "uprobe" Detail programs::uprobe,
            lost "what goroutines and tasks of Python hand over is not followed: fewer parents there",
            do "run a kernel with CONFIG_UPROBES; in a container, mount /sys";
        "program.sock_ops" "sock_ops" Detail programs::sock_ops,
            lost "`--propagate` puts no trace context into requests",
            do "mount cgroup2 where it is missing, and grant CAP_NET_ADMIN";
        "program.sk_msg" "sk_msg" Detail programs::sk_msg,
            lost "`--propagate` puts no trace context into requests",
            do "run a kernel with CONFIG_NET_SOCK_MSG (part of CONFIG_BPF_STREAM_PARSER)";
        "program.connect4" "cgroup connect4" Detail programs::connect,
            lost "nothing yet: it is for the address that a connection had before a load balancer rewrote it",
            do "mount cgroup2 where it is missing, and grant CAP_NET_ADMIN";
    }
    Socket {
        "raw_tracepoint.sock_send_length" "sock_send_length" Alternative |context| hooks::raw_tracepoint(context, "sock_send_length"),
            lost "hook set `socket`",
            do "nothing where another hook set works; it came with 6.3";
        "raw_tracepoint.sock_recv_length" "sock_recv_length" Alternative |context| hooks::raw_tracepoint(context, "sock_recv_length"),
            lost "hook set `socket`",
            do "nothing where another hook set works; it came with 6.3";
        "raw_tracepoint.tcp_sendmsg_locked" "tcp_sendmsg_locked" Detail |context| hooks::raw_tracepoint(context, "tcp_sendmsg_locked"),
            lost "with hook set `socket`, a request is taken to be sent when the send returned",
            do "nothing; it came with 6.16";
    }
    Trampoline {
        "function.inet_sendmsg" "inet_sendmsg" Alternative |context| hooks::function(context, "inet_sendmsg"),
            lost "hook set `trampoline`",
            do "nothing where another hook set works";
        "function.inet_recvmsg" "inet_recvmsg" Alternative |context| hooks::function(context, "inet_recvmsg"),
            lost "hook set `trampoline`",
            do "nothing where another hook set works";
        "function.inet6_sendmsg" "inet6_sendmsg" Alternative |context| hooks::function(context, "inet6_sendmsg"),
            lost "with hook set `trampoline`, connections over IPv6",
            do "nothing where another hook set works";
        "function.inet6_recvmsg" "inet6_recvmsg" Alternative |context| hooks::function(context, "inet6_recvmsg"),
            lost "with hook set `trampoline`, connections over IPv6",
            do "nothing where another hook set works";
        "function.unix_stream_sendmsg" "unix_stream_sendmsg" Alternative |context| hooks::function(context, "unix_stream_sendmsg"),
            lost "with hook set `trampoline`, connections over Unix sockets",
            do "nothing where another hook set works";
        "function.unix_stream_recvmsg" "unix_stream_recvmsg" Alternative |context| hooks::function(context, "unix_stream_recvmsg"),
            lost "with hook set `trampoline`, connections over Unix sockets",
            do "nothing where another hook set works";
        "function.inet_sendpage" "inet_sendpage" Detail |context| hooks::function(context, "inet_sendpage"),
            lost "with hook set `trampoline` up to Linux 6.4, what sendfile sends: a gap that shows at the next send",
            do "nothing; from 6.5 on sendfile goes through inet_sendmsg";
        "function.tcp_splice_read" "tcp_splice_read" Detail |context| hooks::function(context, "tcp_splice_read"),
            lost "with hook set `trampoline`, what splice takes out of a socket: a gap that shows at the next receive",
            do "nothing where another hook set works";
    }
    Syscall {
        "raw_tracepoint.sys_exit" "sys_exit" Alternative |context| hooks::raw_tracepoint(context, "sys_exit"),
            lost "hook set `syscall`, the last resort",
            do "run a kernel with CONFIG_FTRACE_SYSCALLS";
    }
    Beside {
        "raw_tracepoint.inet_sock_set_state" "inet_sock_set_state" Capture |context| hooks::raw_tracepoint(context, "inet_sock_set_state"),
            lost "how a connection ended is not known",
            do "run a kernel of 4.16 or later";
        "raw_tracepoint.sched_process_fork" "sched_process_fork" Capture |context| hooks::raw_tracepoint(context, "sched_process_fork"),
            lost "children of watched commands are not noticed",
            do "run a kernel with CONFIG_TRACEPOINTS";
        "raw_tracepoint.sched_process_exec" "sched_process_exec" Capture |context| hooks::raw_tracepoint(context, "sched_process_exec"),
            lost "services that start later are not named rightly",
            do "run a kernel with CONFIG_TRACEPOINTS";
        "raw_tracepoint.sched_process_exit" "sched_process_exit" Capture |context| hooks::raw_tracepoint(context, "sched_process_exit"),
            lost "what belongs to ended processes is kept too long",
            do "run a kernel with CONFIG_TRACEPOINTS";
    }
    Propagation {
        "cgroup2" "cgroup v2" Detail host::cgroup,
            lost "`--propagate` puts no trace context into requests",
            do "mount -t cgroup2 none /sys/fs/cgroup (or /sys/fs/cgroup/unified beside version 1); in a container, mount the host's";
        "sockhash.fionread" "sockhash: FIONREAD" Detail |context| propagation::enrolled(context, |behaviour| &behaviour.fionread),
            lost "services that read by FIONREAD (nginx, Java NIO, .NET) would stall in a sockhash, so `--propagate` leaves all out that may",
            do "nothing; kernels without commit 929e30f93125 are free of it";
        "sockhash.edge_triggered" "sockhash: wake-up" Detail |context| propagation::enrolled(context, |behaviour| &behaviour.edge_triggered),
            lost "a service in a sockhash could miss bytes and stall, so `--propagate` puts nothing into requests",
            do "update the kernel";
        "sockhash.half_close" "sockhash: half close" Detail |context| propagation::enrolled(context, |behaviour| &behaviour.half_close),
            lost "a service in a sockhash could miss its peer's end, so `--propagate` puts nothing into requests",
            do "update the kernel";
        "sockhash.splice" "sockhash: splice" Detail |context| propagation::enrolled(context, |behaviour| &behaviour.splice),
            lost "a proxy that splices would break in a sockhash, so `--propagate` puts nothing into requests",
            do "update the kernel";
        "sockhash.data_then_end" "sockhash: data, end" Detail |context| propagation::enrolled(context, |behaviour| &behaviour.data_then_end),
            lost "a connection in a sockhash could lose its last bytes, so `--propagate` puts nothing into requests",
            do "update the kernel";
        "sockhash.bytes" "sockhash: bytes" Detail |context| propagation::enrolled(context, |behaviour| &behaviour.bytes),
            lost "bytes of a connection in a sockhash could change, so `--propagate` puts nothing into requests",
            do "update the kernel";
        "other_sockmaps" "other sockmaps" Detail propagation::other_sockmaps,
            lost "two programs cannot share a socket, so `--propagate` puts nothing into requests",
            do "nothing, or switch off the other's socket acceleration (Cilium: `sockops.enabled=false`)";
        "tcp_option" "TCP option" Detail propagation::header_option,
            lost "`--propagate tcp` tells other hosts of nothing",
            do "mount cgroup2 where it is missing, and grant CAP_NET_ADMIN";
    }
    Host {
        "io_uring" "io_uring" Information host::io_uring,
            lost "heads that io_uring moves: a counted gap, and no span; hook set `syscall` sees nothing of it at all",
            do "nothing, or let the service use ordinary system calls (kernel.io_uring_disabled=2 forbids it on the host)";
    }
}
