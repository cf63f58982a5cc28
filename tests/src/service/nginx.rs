//! nginx: static files by sendfile, and a proxy that keeps its upstream connections, or does not.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::port;
use crate::service::Service;

/// A running nginx: files put there by [`Nginx::file`], `/proxy/` and `/once/` handed on.
#[derive(Debug)]
pub struct Nginx {
    /// Master process and IPv4 address.
    pub service: Service,
    /// The same port on `::1`.
    pub address6: SocketAddr,
    /// A port of IPv4 that speaks HTTP/2 at once.
    pub http2: SocketAddr,
    /// A Unix socket that it listens on too.
    pub unix: PathBuf,
    folder: TempDir,
}

impl Nginx {
    /// Starts it with one worker; `upstream` is where `/proxy/` goes, and `/once/` on a connection for each request.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(upstream: Option<SocketAddr>) -> Result<Self> {
        Self::with_workers(1, upstream)
    }

    /// The same with `count` workers.
    ///
    /// # Errors
    /// It does not start.
    pub fn with_workers(count: usize, upstream: Option<SocketAddr>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().display().to_string();
        std::fs::create_dir(folder.path().join("www"))?;
        let [port, http2] = [port::free()?, port::free()?];
        let proxy = upstream.map_or_else(String::new, |upstream| {
            format!("upstream backend {{ server {upstream}; keepalive 64; keepalive_requests 100000; }}")
        });
        let location = upstream.map_or_else(String::new, |upstream| {
            format!(
                "location /proxy/ {{ proxy_pass http://backend; proxy_http_version 1.1;
                    proxy_set_header Connection ''; proxy_set_header Host $http_host; }}
                location /once/ {{ proxy_pass http://{upstream}; }}"
            )
        });
        let configuration = format!(
            "daemon off; user root; worker_processes {count}; pid {root}/pid; error_log stderr warn;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; client_max_body_size 100m;
                client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
                uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
                {proxy}
                server {{
                    listen 127.0.0.1:{port}; listen [::1]:{port}; listen unix:{root}/socket;
                    listen 127.0.0.1:{http2} http2;
                    root {root}/www;
                    {location}
                    location = /nothing {{ return 204; }}
                    location = /broken {{ return 503; }}
                }}
            }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let mut command = child::command("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let child = Child::spawn(command)?;
        Ok(Self {
            service: Service::listening(child, port)?,
            address6: SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)),
            http2: SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, http2)),
            unix: folder.path().join("socket"),
            folder,
        })
    }

    /// Puts a file where `GET /NAME` finds it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<()> {
        Ok(std::fs::write(
            self.folder.path().join("www").join(name),
            content,
        )?)
    }
}
