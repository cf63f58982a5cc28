//! Node: an HTTP server, and a client with a keep-alive agent.

use std::net::SocketAddr;

use anyhow::Result;

use crate::child::{self, Child};
use crate::service::Service;
use crate::{port, workload};

/// Starts `node-server/server.js`.
///
/// # Errors
/// It does not start.
pub fn serve() -> Result<Service> {
    let port = port::free()?;
    let mut command = child::command("node");
    command
        .arg(workload::file("node-server/server.js")?)
        .arg(port.to_string());
    Service::listening(Child::spawn(command)?, port)
}

/// `node client.js`: `count` requests to `http://ADDRESS/PREFIX/0…`, over `connections` connections that are kept.
///
/// # Errors
/// There is no such workload.
pub fn client(
    address: SocketAddr,
    prefix: &str,
    count: usize,
    connections: usize,
) -> Result<std::process::Command> {
    let mut command = child::command("node");
    command
        .arg(workload::file("client.js")?)
        .arg(format!("http://{address}{prefix}"))
        .args([count.to_string(), connections.to_string()]);
    Ok(command)
}
