//! Hook set 2: fentry and fexit of the socket operations, for kernels without the tracepoints of set 1.
//!
//! These are the protocols' `struct proto_ops`, so they are there on every kernel, with the same arguments from 5.10 on.

use crate::globals::{global, kernel};
use crate::process::is_watched;
use crate::socket::{after, before_send};
use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use spanwire_ebpf::{RECEIVED, SENT};

#[inline(always)]
fn sock(socket: u64) -> u64 {
    kernel(socket, global!(socket_sock)).unwrap_or(0)
}

macro_rules! send_begins {
    ($($(#[doc = $doc:literal])+ $name:ident => $function:literal;)+) => {$(
        $(#[doc = $doc])+
        #[fentry(function = $function)]
        pub(crate) fn $name(context: FEntryContext) -> i32 {
            if is_watched() {
                before_send(sock(context.arg(0)));
            }
            0
        }
    )+};
}

macro_rules! send_ends {
    ($($(#[doc = $doc:literal])+ $name:ident => $function:literal, $result:literal;)+) => {$(
        $(#[doc = $doc])+
        #[fexit(function = $function)]
        pub(crate) fn $name(context: FExitContext) -> i32 {
            if is_watched() {
                after(sock(context.arg(0)), SENT, context.arg($result), 0);
            }
            0
        }
    )+};
}

macro_rules! receive_ends {
    ($($(#[doc = $doc:literal])+ $name:ident => $function:literal, $flags:literal, $result:literal;)+) => {$(
        $(#[doc = $doc])+
        #[fexit(function = $function)]
        pub(crate) fn $name(context: FExitContext) -> i32 {
            if is_watched() {
                after(sock(context.arg(0)), RECEIVED, context.arg($result), context.arg($flags));
            }
            0
        }
    )+};
}

send_begins! {
    /// net/ipv4/af_inet.c: int inet_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
    inet_sendmsg_begins => "inet_sendmsg";
    /// net/ipv6/af_inet6.c: int inet6_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
    inet6_sendmsg_begins => "inet6_sendmsg";
}

send_ends! {
    /// net/ipv4/af_inet.c: int inet_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
    inet_sendmsg_ends => "inet_sendmsg", 3;
    /// net/ipv6/af_inet6.c: int inet6_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
    inet6_sendmsg_ends => "inet6_sendmsg", 3;
    /// net/unix/af_unix.c: static int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)
    unix_stream_sendmsg_ends => "unix_stream_sendmsg", 3;
    /// net/ipv4/af_inet.c, up to 6.4: ssize_t inet_sendpage(struct socket *sock, struct page *page, int offset,
    /// size_t size, int flags): sendfile
    inet_sendpage_ends => "inet_sendpage", 5;
}

receive_ends! {
    /// net/ipv4/af_inet.c: int inet_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)
    inet_recvmsg_ends => "inet_recvmsg", 3, 4;
    /// net/ipv6/af_inet6.c: int inet6_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)
    inet6_recvmsg_ends => "inet6_recvmsg", 3, 4;
    /// net/unix/af_unix.c: static int unix_stream_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)
    unix_stream_recvmsg_ends => "unix_stream_recvmsg", 3, 4;
}

/// net/ipv4/tcp.c: ssize_t tcp_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe, size_t len,
/// unsigned int flags): splice out of a socket
#[fexit(function = "tcp_splice_read")]
pub(crate) fn tcp_splice_read_ends(context: FExitContext) -> i32 {
    if is_watched() {
        after(sock(context.arg(0)), RECEIVED, context.arg(5), 0);
    }
    0
}
