//! Connections: who talks to whom, and what each direction carries, in order of stream position.

use std::net::SocketAddr;

pub mod piece;
pub mod unix;

/// Which way bytes go, as seen from the socket they were captured at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Read from the socket.
    Received,
    /// Written to the socket.
    Sent,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Ip(SocketAddr),
    /// A Unix stream socket; `None` where that end is not bound to a path. Abstract names begin with `@`.
    Unix(Option<String>),
}

impl Address {
    /// TCP port, `None` for a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

/// Both ends of a connection, as the kernel's sock names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The end that the captured socket is bound to.
    pub local: Address,
    /// The other end.
    pub remote: Address,
}

/// The end of a connection that asks, by what both ends know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Its address: also behind a translation of the server's address, as kube-proxy makes it.
    Ip(SocketAddr),
    /// Address of its sock in the kernel.
    Unix(u64),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Closed in order by either side.
    Closed,
    /// The peer reset it (`ECONNRESET`, `EPIPE`).
    Reset,
    /// The network gave up (`ETIMEDOUT`).
    TimedOut,
    /// spanwire stopped watching; the connection may well live on.
    Stopped,
}
