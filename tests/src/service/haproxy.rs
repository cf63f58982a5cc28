//! HAProxy: a proxy that keeps its connections to what is behind it, or does not.

use std::net::SocketAddr;

use anyhow::Result;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::port;
use crate::service::Service;

/// A running HAProxy: `/proxy/` and `/once/` are handed on.
#[derive(Debug)]
pub struct HaProxy {
    /// Its only process.
    pub service: Service,
    /// With its configuration.
    _folder: TempDir,
}

impl HaProxy {
    /// Starts it with `threads` event loops; `upstream` is where `/proxy/` goes, and `/once/` on a connection for each request.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(threads: usize, upstream: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = port::free()?;
        let configuration = format!(
            "global
    nbthread {threads}
defaults
    mode http
    maxconn 1000
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend front
    bind 127.0.0.1:{port}
    use_backend once if {{ path_beg /once/ }}
    default_backend proxy
backend proxy
    http-reuse always
    server stock {upstream}
backend once
    option httpclose
    http-reuse never
    server stock {upstream}
"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, configuration)?;
        let mut command = child::command("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Ok(Self {
            service: Service::listening(Child::spawn(command)?, port)?,
            _folder: folder,
        })
    }
}
