//! Free TCP ports below the ephemeral range, so that no client's own port is ever taken for a server's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

use crate::wait;

const FIRST: u16 = 18_000;
const COUNT: u16 = 12_000;

/// A port that nobody listens on, neither on IPv4 nor on IPv6, and that this process hands out once.
///
/// # Errors
/// None of the range is free.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (offset + step) % COUNT;
        let v4 = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        let v6 = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
        if v4.is_ok() && v6.is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT)
}

/// A listener of the test's own on a free port of 127.0.0.1.
///
/// # Errors
/// No port is free.
pub fn listener() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free()?))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Waits until `count` connections to `port` are open.
///
/// # Errors
/// They do not open in time.
pub fn connected(port: u16, count: usize) -> Result<()> {
    // Remote address and state of a client's end, as proc_pid_net(5) has them.
    let client = format!(":{port:04X} 01 ");
    wait::until(&format!("{count} connections to port {port}"), || {
        let mut open = 0;
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let table = std::fs::read_to_string(table)?;
            open += table.lines().filter(|line| line.contains(&client)).count();
        }
        Ok((open >= count).then_some(()))
    })
}
