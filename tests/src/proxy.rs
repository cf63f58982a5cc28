//! nginx and HAProxy that hand requests of HTTP/1.1 on, to one server or to the next where that one gives no answer.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::child::{self, Child};
use crate::service::Service;
use crate::{port, wait};

/// A proxy's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx with one worker.
    Nginx,
    /// HAProxy with one thread.
    HaProxy,
}

impl Proxy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nginx, Self::HaProxy];

    /// Its program, and the arguments with which it listens at `address` and hands on to each of `servers` in turn, over
    /// connections that it keeps. What it reads and writes is in `folder`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn with(
        self,
        folder: &Path,
        address: SocketAddr,
        servers: &[SocketAddr],
    ) -> Result<(&'static str, [String; 2])> {
        let file = folder.join(format!("{self:?}"));
        let root = folder.display();
        let each = |line: &dyn Fn(usize, &SocketAddr) -> String| -> String {
            servers
                .iter()
                .enumerate()
                .map(|(number, server)| line(number, server))
                .collect()
        };
        let (program, flag, text) = match self {
            Self::Nginx => {
                let servers = each(&|_, server| format!("server {server} max_fails=0;"));
                let text = format!(
                    "daemon off; user root; worker_processes 1; pid {root}/nginx.pid; error_log stderr crit;
                    events {{ worker_connections 1024; }}
                    http {{
                        access_log off; client_max_body_size 100m; keepalive_requests 100000;
                        client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
                        fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
                        upstream back {{ {servers} keepalive 16; keepalive_requests 100000; }}
                        server {{
                            listen {address};
                            proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host;
                            proxy_next_upstream error timeout non_idempotent;
                            location / {{ proxy_pass http://back; }}
                            location /sendfile/ {{ proxy_pass http://back; sendfile on; }}
                            location /streamed/ {{ proxy_pass http://back; proxy_request_buffering off; }}
                        }}
                    }}"
                );
                ("/usr/sbin/nginx", "-c", text)
            }
            Self::HaProxy => {
                let servers = each(&|number, server| format!("    server s{number} {server}\n"));
                let text = format!(
                    "global\n    nbthread 1\n    maxconn 1000\ndefaults\n    mode http\n    timeout connect 10s\n    \
                     timeout client 60s\n    timeout server 60s\n    retries 3\n    option redispatch 1\n    \
                     retry-on conn-failure empty-response\n    http-reuse always\nfrontend front\n    bind {address}\n    \
                     use_backend spliced if {{ path_beg /spliced/ }}\n    default_backend back\nbackend back\n    \
                     balance roundrobin\n{servers}backend spliced\n    option splice-request\n    option splice-response\n{servers}"
                );
                ("/usr/sbin/haproxy", "-f", text)
            }
        };
        std::fs::write(&file, text)?;
        Ok((program, [flag.to_owned(), file.display().to_string()]))
    }

    /// What paths begin with whose bodies it sends in a way of its own: from memory or by writes from a file, by sendfile, as they come,
    /// or by splice.
    #[must_use]
    pub const fn ways(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["buffered", "sendfile", "streamed"],
            Self::HaProxy => &["copied", "spliced"],
        }
    }

    /// Starts it on this host.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(self, folder: &Path, servers: &[SocketAddr]) -> Result<Service> {
        self.start_at(port::free()?, None, folder, servers)
    }

    /// The same at a port of 127.0.0.1, by another program than the installed one.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_at(
        self,
        port: u16,
        program: Option<&Path>,
        folder: &Path,
        servers: &[SocketAddr],
    ) -> Result<Service> {
        let (installed, arguments) = self.with(folder, SocketAddr::from(([127, 0, 0, 1], port)), servers)?;
        let program = program.unwrap_or(Path::new(installed));
        let mut command = child::command(&program.to_string_lossy());
        command.args(arguments);
        Service::listening(Child::spawn(command)?, port)
    }

    /// Starts it as `command`, which has its program already, and waits until it has children to work or listens by itself.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_as(self, mut command: Command, arguments: [String; 2]) -> Result<Child> {
        command.args(arguments);
        let mut child = Child::spawn(command)?;
        let pid = child.pid();
        // Another network's listeners are in its processes' own tables.
        wait::until(&format!("{self:?} to listen"), || {
            child.ensure_running()?;
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).context("its sockets")?;
            Ok(table
                .lines()
                .any(|line| line.contains(" 00000000:0000 0A "))
                .then_some(()))
        })?;
        Ok(child)
    }
}
