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
    wait::until(&format!("{count} connections to port {port}"), || {
        let is_it = |_: &str, remote: &str, state: &str| is_of(remote, port) && state == ESTABLISHED;
        Ok((sockets(is_it)? >= count).then_some(()))
    })
}

/// Whether somebody listens on `port`. Nobody is connected to for that: a server may have something to say to whoever comes.
///
/// # Errors
/// There is no /proc.
pub fn is_listened_to(port: u16) -> Result<bool> {
    Ok(sockets(|local, _, state| is_of(local, port) && state == LISTEN)? > 0)
}

/// States of TCP, as proc_pid_net(5) has them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

fn is_of(address: &str, port: u16) -> bool {
    address.ends_with(&format!(":{port:04X}"))
}

/// How many TCP sockets there are of which `is_it` holds: local address, remote address, state.
fn sockets(is_it: impl Fn(&str, &str, &str) -> bool) -> Result<usize> {
    let mut count = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table)?.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            if let (Some(local), Some(remote), Some(state)) = (fields.next(), fields.next(), fields.next()) {
                count += usize::from(is_it(local, remote, state));
            }
        }
    }
    Ok(count)
}
