//! What both halves of spanwire share: the records that the kernel half writes into the ring buffer, the layout of
//! its maps' keys and values, and the numbers of its counters.
//!
//! Everything here is `repr(C)`, without padding and without `bool`; sizes and offsets are asserted below.

#![no_std]

pub mod carried;
pub mod frame;
pub mod hpack;
pub mod sampling;
pub mod sql;
pub mod tcp_option;
pub mod traceparent;
pub mod tracestate;
pub mod word;

use core::mem::{offset_of, size_of};

/// Direction index: bytes read from the socket.
pub const RECEIVED: u8 = 0;
/// Direction index: bytes written to the socket.
pub const SENT: u8 = 1;

/// Values of [`Record::kind`].
pub mod kind {
    /// A connection is reported for the first time; an [`Opened`](crate::Opened) follows.
    pub const OPENED: u8 = 1;
    /// `length` bytes of a message head follow.
    pub const BYTES: u8 = 2;
    /// A message ended; its last `wire` bytes, from `position`, were not copied.
    pub const END: u8 = 3;
    /// `wire` bytes, from `position`, were not seen; `flags` holds the counter that says why.
    pub const GAP: u8 = 4;
    /// The peer will send no more (a read returned 0).
    pub const EOF: u8 = 5;
    /// The socket closed; `flags` is the socket's error number, `ordinal` the number of requests it carried,
    /// `content` the number of responses.
    pub const CLOSED: u8 = 6;
    /// A process called `execve`; 16 bytes of command name follow.
    pub const EXEC: u8 = 7;
    /// The last thread of a process is gone; as `EXEC`.
    pub const EXIT: u8 = 8;
    /// A process was forked: `tid` is the parent's number.
    pub const FORK: u8 = 9;
    /// A process listens on a socket of TCP from now on, where the agent asks for that ([`question`](crate::question)); as `EXEC`.
    pub const LISTENS: u8 = 10;
}

/// Values of [`Record::protocol`].
pub mod protocol {
    /// None yet.
    pub const UNDECIDED: u8 = 0;
    /// HTTP/1.
    pub const HTTP1: u8 = 1;
    /// HTTP/2.
    pub const HTTP2: u8 = 2;
    /// PostgreSQL.
    pub const POSTGRES: u8 = 3;
    /// AMQP 0-9-1.
    pub const AMQP: u8 = 4;
    /// Nothing of ours: left at the first lookup.
    pub const IGNORED: u8 = 255;
}

/// Bits of [`Record::flags`] in `BYTES` and `END` records.
pub mod flag {
    /// A message of HTTP/1, or a frame of another protocol, begins with the first byte of this record. `ordinal` is its
    /// exchange's, or that of the next exchange to begin; ids are those of an exchange that begins in this record.
    pub const STARTS: u8 = 1;
    /// The message's head ends with the last byte of this record.
    pub const HEAD_ENDS: u8 = 2;
    /// The message ends here: `content` is the length of its content, `wire` how many bytes after this record's own
    /// were not copied.
    pub const MESSAGE_ENDS: u8 = 4;
    /// The message is a request (else a response).
    pub const REQUEST: u8 = 8;
    /// What follows this record in the head was cut: over the limit.
    pub const CUT: u8 = 16;
    /// From here on the connection carries no HTTP any more (101, or 2xx to CONNECT).
    pub const TUNNEL: u8 = 32;
}

/// Values of [`Record::cause`]: how the parent of a request that is sent was found.
pub mod cause {
    /// It was not: nothing was being handled where it was sent.
    pub const NONE: u32 = 0;
    /// The thread that sends it handles one request.
    pub const THREAD: u32 = 1;
    /// The goroutine that sends it does, or the one that started it.
    pub const GOROUTINE: u32 = 2;
    /// The event loop that sends it has just read something of that request, or has no other in flight.
    pub const EVENT: u32 = 3;
    /// The thread that sends it handles several at a time: nobody can tell for which.
    pub const AMBIGUOUS: u32 = 4;
    /// The task that sends it was begun for that request, or handles the connection that it came on.
    pub const TASK: u32 = 5;
    /// Of a request that was received: another host has told, beside what was sent.
    pub const REMOTE: u32 = 6;
    /// Added where the request names its trace on the wire: no other may be found for it any more.
    pub const TOLD: u32 = 1 << 8;
    /// Added where the trace is kept, for all that is known here. By what that was decided is beside it:
    /// [`sampling::by`](crate::sampling::by).
    pub const SAMPLED: u32 = 1 << 9;
    /// Bits of the above values.
    pub const KINDS: u32 = 0xff;
}

/// What handles one request at a time in a process: values of [`Runtime::unit`].
pub mod unit {
    /// Nothing that is known.
    pub const UNKNOWN: u32 = 0;
    /// A thread.
    pub const THREAD: u32 = 1;
    /// The process, while it has no more than one thread.
    pub const PROCESS: u32 = 2;
    /// What a thread does until it reads from another connection.
    pub const EVENT: u32 = 3;
    /// A goroutine.
    pub const GOROUTINE: u32 = 4;
    /// A thread, while it has no more than one request in flight: it runs an event loop.
    pub const LOOP: u32 = 5;
    /// Python's context (contextvars) of a task, and a thread where there is none.
    pub const CONTEXT: u32 = 6;
    /// A thread of Node.js, with what its callbacks and its connections say.
    pub const NODE: u32 = 7;
    /// A stream of HAProxy.
    pub const STREAM: u32 = 8;
}

/// What the agent tells the kernel half of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// One of [`mod@unit`].
    pub unit: u32,
    /// Go: where `runtime.g` has its `goid`, in bytes.
    pub goroutine_id: u32,
    /// Go: where it has `parentGoid`.
    pub goroutine_parent: u32,
    /// Bits of [`propagate`]: into what the process sends, contexts are injected.
    pub propagate: u32,
    /// Go: where `persistConn` of net/http has its `conn`; 0 where hand-overs are not followed.
    pub connection: u32,
    /// Go: where `netFD` of net has its descriptor, `pfd.Sysfd`.
    pub descriptor: u32,
    /// CPython: where `PyThreadState` has its `context`; 0 where contexts are not followed.
    pub context: u32,
    /// CPython: how far the number of the key by which a thread finds its `PyThreadState` is behind `PyContext_Type`.
    pub key_distance: i32,
    /// CPython: that number, once a context was seen.
    pub key: u32,
    /// CPython: address of `PyContext_Type`, once a context was seen; low half and high.
    pub context_type: [u32; 2],
    /// Go: how far `net.(*TCPConn).Close` is behind the probed instruction of `persistConn.roundTrip`.
    pub close: i32,
    /// Go: the same of gRPC's `Server.handleStream`; 0 where that is not known.
    pub close_stream: i32,
    /// Go: 1 where it is seen which goroutine handles which stream of HTTP/2.
    pub streams: u32,
    /// Node.js: which register has the address of `AsyncHooks` at the probe: rbx, r12, r13 or r14.
    pub hooks_register: u32,
    /// Node.js: how far behind it is the number of callbacks that native code is in.
    pub hooks_depth: u32,
    /// By which slot it is decided which traces that begin in it are kept: [`sampling`](mod@sampling).
    pub sampling: u32,
}

/// Protocols into which contexts are injected: bits of [`Runtime::propagate`].
pub mod propagate {
    /// A header of HTTP/1.
    pub const HTTP1: u32 = 1;
    /// A field of HTTP/2, gRPC included.
    pub const HTTP2: u32 = 2;
    /// An entry of the headers of an AMQP message.
    pub const AMQP: u32 = 4;
    /// A comment behind a statement of PostgreSQL.
    pub const SQL: u32 = 8;
    /// An option of TCP: [`tcp_option`](crate::tcp_option).
    pub const TCP: u32 = 16;

    /// Into what `baggage` and ids go on: [`carried`](crate::carried).
    pub const CARRYING: u32 = HTTP1 | HTTP2;
}

/// First bytes of every entry of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// One of [`kind`].
    pub kind: u8,
    /// [`RECEIVED`] or [`SENT`].
    pub direction: u8,
    /// One of [`protocol`].
    pub protocol: u8,
    /// [`flag`] bits, or as the kind says.
    pub flags: u8,
    /// Number of bytes behind this header.
    pub length: u32,
    /// Address of the kernel's sock; with `born` the identity of a connection.
    pub sock: u64,
    /// When the kernel half first saw the connection, `CLOCK_MONOTONIC` nanoseconds.
    pub born: u64,
    /// When it happened, `CLOCK_MONOTONIC` nanoseconds.
    pub time: u64,
    /// Stream position of the first byte this record speaks of.
    pub position: u64,
    /// Bytes on the wire that are spoken of but not copied: in `BYTES` of a protocol with frames those before `position`, in
    /// all others those behind the record's own.
    pub wire: u64,
    /// Bytes of message content (RFC 9110, section 6.4); of a protocol with frames, how many whole ones are within `wire`.
    pub content: u64,
    /// Number of the exchange on its connection, from 0.
    pub ordinal: u32,
    /// Number of the record in its connection and direction: a jump is a loss.
    pub sequence: u32,
    /// Process, as the host numbers it.
    pub tgid: u32,
    /// Thread, as the host numbers it.
    pub tid: u32,
    /// Trace id minted for the request that starts here.
    pub trace_id: [u64; 2],
    /// Span id minted for the request that starts here.
    pub span_id: u64,
    /// Span that the request which starts here is sent for, or by which another host has sent it; 0 where that is not known.
    pub parent: u64,
    /// How that was found: one of [`cause`], perhaps with [`cause::TOLD`]. And whether the trace is kept.
    pub cause: u32,
    /// TCP sequence number of the first byte of the request that starts here; else the low half of its stream position.
    pub begins: u32,
}

/// What the agent may ask the kernel half, by its place in the map of questions: 1 where it does.
pub mod question {
    /// Who begins to listen?
    pub const LISTENS: u32 = 0;
    /// How many there are.
    pub const COUNT: u32 = 1;
}

/// Address families as the kernel numbers them.
pub mod family {
    /// Unix sockets.
    pub const UNIX: u16 = 1;
    /// IPv4.
    pub const INET: u16 = 2;
    /// IPv6.
    pub const INET6: u16 = 10;
}

/// Longest path of a Unix socket, with its terminating zero (`UNIX_PATH_MAX`).
pub const UNIX_PATH_MAX: usize = 108;

/// Bits of [`Opened::flags`].
pub mod opened {
    /// The connection was already in use when it was first seen.
    pub const LATE: u16 = 1;
    /// [`Record::begins`](crate::Record::begins) is the same at both ends: a sequence number of TCP, or a position on a
    /// connection that was at rest when it was first seen, so that both ends count from the same byte.
    pub const ALIGNED: u16 = 2;
    /// Requests are sent here.
    pub const CLIENT: u16 = 4;
    /// The socket is enrolled for injection.
    pub const ENROLLED: u16 = 8;
}

/// Both ends of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// One of [`family`].
    pub family: u16,
    /// [`opened`] bits.
    pub flags: u16,
    /// Port of the local end, host order.
    pub local_port: u16,
    /// Port of the remote end, host order.
    pub remote_port: u16,
    /// Inode of the socket in sockfs.
    pub inode: u64,
    /// Address of the peer's sock of a Unix socket, 0 where it is gone.
    pub peer: u64,
    /// IPv6 address, or IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// The same of the remote end.
    pub remote: [u8; 16],
    /// Path of a Unix socket; abstract names begin with a zero byte.
    pub local_path: [u8; UNIX_PATH_MAX],
    /// The same of the peer.
    pub remote_path: [u8; UNIX_PATH_MAX],
    /// Number of valid bytes of `local_path`.
    pub local_path_length: u32,
    /// The same of `remote_path`.
    pub remote_path_length: u32,
}

/// Most bytes of a message that one record carries.
pub const RECORD_BYTES: usize = 4096;

/// Longest message head that is followed, in bytes.
pub const HEAD_LIMIT: u32 = 64 * 1024;

/// Size of a value of the map of connections, in bytes.
pub const CONNECTION_SIZE: usize = 504;
/// Where in it is [`Record::born`].
pub const CONNECTION_BORN: usize = 208;
/// Where in it is [`Record::protocol`], one byte.
pub const CONNECTION_PROTOCOL: usize = 260;
/// Where in it is the process that used it last, 32 bits.
pub const CONNECTION_PROCESS: usize = 256;
/// Where in it is the number of final responses so far, 32 bits.
pub const CONNECTION_RESPONSES: usize = 252;

/// Number of bits of the process bitmap: `PID_MAX_LIMIT` (include/linux/threads.h).
pub const PROCESS_LIMIT: u32 = 4 * 1024 * 1024;

/// What the agent tells the kernel half before it loads: offsets of kernel fields in bytes, from the kernel's BTF, and
/// switches. The verifier sees constants, so what is switched off costs nothing and need not exist on that kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Globals {
    /// `sock.__sk_common.skc_family`.
    pub sock_family: u32,
    /// `sock.__sk_common.skc_num`: local port, host order.
    pub sock_local_port: u32,
    /// `sock.__sk_common.skc_dport`: remote port, network order.
    pub sock_remote_port: u32,
    /// `sock.__sk_common.skc_rcv_saddr`: local IPv4 address.
    pub sock_local_v4: u32,
    /// `sock.__sk_common.skc_daddr`: remote IPv4 address.
    pub sock_remote_v4: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`: local IPv6 address.
    pub sock_local_v6: u32,
    /// `sock.__sk_common.skc_v6_daddr`: remote IPv6 address.
    pub sock_remote_v6: u32,
    /// `sock.sk_type`.
    pub sock_type: u32,
    /// `sock.sk_protocol`.
    pub sock_protocol: u32,
    /// `sock.sk_err`.
    pub sock_error: u32,
    /// `sock.sk_shutdown`.
    pub sock_shutdown: u32,
    /// `sock.sk_wmem_queued`: bytes that the send queue takes.
    pub sock_queued: u32,
    /// `sock.sk_sndbuf`: how many it may take.
    pub sock_send_buffer: u32,
    /// `sock.__sk_common.skc_net`.
    pub sock_net: u32,
    /// `net.ipv4.sysctl_tcp_notsent_lowat`.
    pub net_unsent_limit: u32,
    /// `sock.sk_socket`.
    pub sock_socket: u32,
    /// `socket.file`.
    pub socket_file: u32,
    /// `file.f_flags`.
    pub file_flags: u32,
    /// `sock.__sk_common.skc_cookie`.
    pub sock_cookie: u32,
    /// `tcp_sock.write_seq`.
    pub tcp_write_seq: u32,
    /// `tcp_sock.snd_nxt`.
    pub tcp_snd_nxt: u32,
    /// `tcp_sock.mss_cache`.
    pub tcp_mss: u32,
    /// `tcp_sock.notsent_lowat`.
    pub tcp_unsent_limit: u32,
    /// `tcp_sock.copied_seq`.
    pub tcp_copied_seq: u32,
    /// `tcp_sock.rcv_nxt`.
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.bytes_received`.
    pub tcp_bytes_received: u32,
    /// `tcp_sock.snd_una`.
    pub tcp_snd_una: u32,
    /// `tcp_sock.bytes_acked`.
    pub tcp_bytes_acked: u32,
    /// `unix_sock.addr`.
    pub unix_address: u32,
    /// `unix_sock.peer`.
    pub unix_peer: u32,
    /// `unix_address.len`.
    pub unix_address_length: u32,
    /// `unix_address.name`.
    pub unix_address_name: u32,
    /// `socket.sk`.
    pub socket_sock: u32,
    /// From a `socket` to the inode number of its sockfs inode (`socket_alloc.vfs_inode.i_ino`).
    pub socket_inode: u32,
    /// `task_struct.pid`.
    pub task_pid: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live`: threads that have not begun to exit.
    pub signal_live: u32,
    /// `task_struct.stack`.
    pub task_stack: u32,
    /// `signal_struct.nr_threads`.
    pub signal_threads: u32,
    /// `task_struct.thread.fsbase`, of x86-64 alone.
    pub task_fsbase: u32,
    /// From a thread's stack to the registers of a system call, where `has_task_pt_regs` is 0.
    pub stack_registers: u32,
    /// What says that a process is one of 32 bits: `task_struct.thread_info.status`, on aarch64 `flags`.
    pub task_compat: u32,
    /// `task_struct.files`.
    pub task_files: u32,
    /// `files_struct.fdt`.
    pub files_table: u32,
    /// `fdtable.fd`.
    pub table_descriptors: u32,
    /// `fdtable.max_fds`.
    pub table_size: u32,
    /// `file.private_data`.
    pub file_private: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// 1 where the helper `bpf_task_pt_regs` exists (Linux 5.15).
    pub has_task_pt_regs: u32,
    /// 1 where only connections with a port of the port bitmap are watched.
    pub filter_ports: u32,
    /// 1 where brokers of AMQP are watched, and not their clients alone.
    pub broker_spans: u32,
    /// Bits of [`propagate`], of all processes together: where there are any, sockets are enrolled.
    pub propagates: u32,
    /// 1: contexts from some addresses are not taken over.
    pub refuses: u32,
    /// Bits of [`carried::carries`]: what goes on with a request beside its context.
    pub carries: u32,
    /// A number that other hosts hardly have: that of this spanwire in options of TCP.
    pub instance: u32,
    /// Process whose children are watched from their first instruction (spanwire itself, with `-- COMMAND`); else 0.
    pub parent_of_watched: u32,
    /// Bytes waiting in the ring buffer from which the agent is woken at once; below, it comes by itself.
    pub wake_at: u32,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// What the kernel half counts, per CPU.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }

        impl Counter {
            /// All counters, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Stable name, as the summary and the metrics show it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The counter with this number.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                Self::ALL.get(number as usize).copied()
            }
        }
    };
}

counters! {
    /// Records that found no room in the ring buffer.
    RingFull => "kernel.lost.records.ring_full",
    /// Requests among them: each is an exchange without a span.
    RequestsRingFull => "kernel.lost.exchanges.ring_full",
    /// Connections that found no room in the connection map.
    ConnectionsFull => "kernel.lost.connections.map_full",
    /// Bytes that no hook of this set shows: splice out of a socket, io_uring, sendfile of a head.
    GapNoBuffer => "kernel.gap.no_buffer",
    /// Bytes that passed unseen between two calls on a socket.
    GapUnseen => "kernel.gap.unseen",
    /// User memory that could not be read.
    GapFault => "kernel.gap.unreadable_memory",
    /// Calls of 32-bit processes, whose system call arguments are laid out otherwise.
    GapCompat => "kernel.gap.compat_syscall",
    /// A call with more bytes or more buffers than one run of the walker takes.
    GapTooLong => "kernel.gap.walk_limit",
    /// Bytes on a connection claimed as HTTP/1 that are no HTTP/1 where a message should begin.
    GapSyntax => "kernel.gap.syntax",
    /// Heads over the limit.
    HeadsCut => "kernel.cut.heads",
    /// Connections whose first bytes are TLS.
    UnclaimedTls => "kernel.unclaimed.tls",
    /// Connections whose first bytes are nothing that is known.
    UnclaimedOther => "kernel.unclaimed.other",
    /// Claims taken back: the first line looked like HTTP/1 and was not.
    ClaimsRevoked => "kernel.unclaimed.revoked",
    /// Pipelined connections given up after a loss, since responses could no longer be told apart.
    PipelinesGivenUp => "kernel.lost.connections.pipelined",
    /// Connections first seen in the middle.
    JoinedLate => "kernel.connections.joined_late",
    /// Connections claimed as HTTP/1.
    Http1 => "kernel.connections.http1",
    /// Connections claimed as HTTP/2.
    Http2 => "kernel.connections.http2",
    /// Connections claimed as PostgreSQL.
    Postgres => "kernel.connections.postgres",
    /// Connections claimed as AMQP 0-9-1.
    Amqp => "kernel.connections.amqp",
    /// Sockets that were enrolled for injection.
    Enrolled => "kernel.propagation.enrolled",
    /// Sockets that the kernel refused to enrol: another program's sockmap has them, or there is no room.
    EnrolRefused => "kernel.propagation.refused",
    /// Requests into which a context was injected.
    Injected => "kernel.propagation.injected",
    /// Requests among them that also carry on a `tracestate`.
    StatesInjected => "kernel.propagation.states.injected",
    /// Values of `tracestate` that were received and are not as they should be, and are not carried on.
    StatesMalformed => "kernel.propagation.states.malformed",
    /// Values of `tracestate` that were received in parts, or may have been, or are coded, and are not carried on.
    StatesCut => "kernel.propagation.states.cut",
    /// Requests whose `tracestate` had made room for that of others before it was carried on.
    StatesEvicted => "kernel.propagation.states.evicted",
    /// Requests without the threshold by which their trace is kept, since it has changed since it was decided.
    StatesOutdated => "kernel.propagation.states.outdated",
    /// Requests with an injected context that also carry on `baggage`.
    BaggageInjected => "kernel.propagation.baggage.injected",
    /// Requests whose `baggage` has more bytes or members than are carried on: its last ones are left out.
    BaggageCut => "kernel.propagation.baggage.cut",
    /// Requests whose `baggage` is not as it should be, and is not carried on.
    BaggageMalformed => "kernel.propagation.baggage.malformed",
    /// Requests whose `baggage` had made room for that of others before it was carried on.
    BaggageEvicted => "kernel.propagation.baggage.evicted",
    /// Requests with an injected context that also carry on an id, or one that was made.
    CorrelationInjected => "kernel.propagation.correlation.injected",
    /// Requests whose id is too long or not as it should be, and is not carried on.
    CorrelationMalformed => "kernel.propagation.correlation.malformed",
    /// Requests whose id, or that they were to be given one, had made room for that of others before it was carried on.
    CorrelationEvicted => "kernel.propagation.correlation.evicted",
    /// Requests with an injected context alone, since there was no room for what else would have been carried on.
    CarriedFull => "kernel.propagation.carried.full",
    /// `baggage` and ids that are not carried on, since those of other requests took their place while they were read.
    CarriedReplaced => "kernel.propagation.carried.replaced",
    /// Requests that carry a context of the application's own.
    InjectionOwn => "kernel.propagation.own",
    /// Requests without an injected context, since a send cut their head where that could not be borne, or it is too long; once for
    /// each send, also where the kernel took nothing of it.
    InjectionCut => "kernel.propagation.skipped.cut",
    /// Requests without an injected context, since it could not be told that they begin where they do.
    InjectionUnseen => "kernel.propagation.skipped.unseen",
    /// Statements without an injected context, since they have a comment already, or are of a kind that is left alone.
    InjectionUnfit => "kernel.propagation.skipped.unfit",
    /// Requests into which the kernel refused to inject.
    InjectionRefused => "kernel.propagation.skipped.refused",
    /// Requests on connections of which only the first is injected into, since whoever reads them waits in the kernel.
    InjectionBlocking => "kernel.propagation.skipped.blocking",
    /// Requests behind which the send queue may have been full, so that the kernel would have taken a part of the send.
    InjectionFull => "kernel.propagation.skipped.full",
    /// Requests of HTTP/2 on connections that were enrolled late, which are looked at first.
    InjectionUnproven => "kernel.propagation.skipped.unproven",
    /// Requests without an injected context, since the one that they are sent for names its trace in a way that is read in the
    /// agent alone.
    InjectionUntold => "kernel.propagation.skipped.untold",
    /// Connections to hosts whose spanwire understands options of TCP.
    OptionPeers => "kernel.propagation.tcp.peers",
    /// Requests whose context was sent in an option of TCP.
    OptionsSent => "kernel.propagation.tcp.sent",
    /// Requests whose context another host has told in such an option.
    OptionsTaken => "kernel.propagation.tcp.taken",
    /// Segments with the beginning of a request in which there was no room for the option.
    OptionsNoRoom => "kernel.propagation.tcp.skipped.no_room",
    /// Requests that were not looked at before they were sent to such a host, as those behind another one in the same send.
    OptionsUnseen => "kernel.propagation.tcp.skipped.unseen",
    /// Contexts that made room for that of the next request before their segment was sent.
    OptionsOvertaken => "kernel.propagation.tcp.skipped.overtaken",
    /// Options that name no trace or no span.
    OptionsMalformed => "kernel.propagation.tcp.malformed",
    /// Options from addresses whose contexts are not taken over.
    OptionsRefused => "kernel.propagation.tcp.refused",
}

const _: () = {
    assert!(size_of::<Record>() == 112);
    assert!(offset_of!(Record, sock) == 8);
    assert!(offset_of!(Record, content) == 48);
    assert!(offset_of!(Record, ordinal) == 56);
    assert!(offset_of!(Record, trace_id) == 72);
    assert!(offset_of!(Record, span_id) == 88);
    assert!(offset_of!(Record, begins) == 108);
    assert!(size_of::<Opened>() == 8 + 8 + 8 + 32 + 2 * UNIX_PATH_MAX + 8);
    assert!(size_of::<Record>().is_multiple_of(8) && size_of::<Opened>().is_multiple_of(8));
};
