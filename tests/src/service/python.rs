//! Python: `http.server`, gunicorn, and a client that uses requests.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::child::{self, Child};
use crate::service::Service;
use crate::{port, workload};

/// Arguments of Python by which it serves files on 127.0.0.1, speaking HTTP/1.1; the port is to come.
pub const FILE_SERVER: [&str; 6] = [
    "-m",
    "http.server",
    "--bind",
    "127.0.0.1",
    "--protocol",
    "HTTP/1.1",
];

/// `python3 -m http.server` over `folder`, speaking HTTP/1.1.
///
/// # Errors
/// It does not start.
pub fn files(folder: &Path) -> Result<Service> {
    files_at(port::free()?, folder, &[])
}

/// The same at `port`, with `options` beside.
///
/// # Errors
/// It does not start.
pub fn files_at(port: u16, folder: &Path, options: &[&str]) -> Result<Service> {
    let mut command = child::command(workload::PYTHON);
    command
        .args(FILE_SERVER)
        .args(options)
        .arg("-d")
        .arg(folder)
        .arg(port.to_string());
    Service::listening(Child::spawn(command)?, port)
}

/// gunicorn with one worker of threads, serving `shop:application`.
///
/// # Errors
/// It does not start.
pub fn gunicorn() -> Result<Service> {
    let port = port::free()?;
    let program = workload::environment("gunicorn")?;
    let folder = workload::file("shop.py")?;
    let mut command = child::command(&program.to_string_lossy());
    command
        .current_dir(folder.parent().unwrap_or(Path::new("/")))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["--workers", "1", "--threads", "4", "--keep-alive", "30", "--bind"])
        .args([&format!("127.0.0.1:{port}"), "shop:application"]);
    Service::listening(Child::spawn(command)?, port)
}

/// `python caller.py`: `count` requests with one `requests.Session`.
///
/// # Errors
/// It was not set up.
pub fn caller(address: SocketAddr, prefix: &str, count: usize) -> Result<Command> {
    let mut command = child::command(&workload::environment("python")?.to_string_lossy());
    command
        .arg(workload::file("caller.py")?)
        .arg(format!("http://{address}{prefix}"))
        .arg(count.to_string());
    Ok(command)
}
