//! Servers and clients of HTTP/2 and gRPC, and what the clients say they did.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::child::{self, Child};
use crate::service::Service;
use crate::{port, workload};

/// A request of HTTP/2 as its client tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Status.
    pub status: i64,
    /// Bytes of content each way.
    pub sent: i64,
    /// See `sent`.
    pub received: i64,
}

/// A call of gRPC as its client tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `/service/method`
    pub path: String,
    /// Status.
    pub code: i64,
    /// Messages each way.
    pub sent: i64,
    /// See `sent`.
    pub received: i64,
}

/// A program of `tests/workloads` that serves or calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// HTTP/2 by Go's net/http.
    GoHttp,
    /// HTTP/2 by Node.
    NodeHttp,
    /// gRPC by grpc-go.
    GrpcGo,
    /// gRPC by Python's grpcio.
    Grpcio,
    /// gRPC by @grpc/grpc-js, which only calls here.
    GrpcJs,
}

impl Peer {
    fn command(self) -> Result<Command> {
        let with = |program: &str, source: &str| -> Result<Command> {
            let mut command = child::command(program);
            command.arg(workload::file(source)?);
            Ok(command)
        };
        Ok(match self {
            Self::GoHttp => child::command(&workload::go_program("shelf")?.to_string_lossy()),
            Self::GrpcGo => child::command(&workload::go_program("orders")?.to_string_lossy()),
            Self::NodeHttp => with("node", "node/shelf.js")?,
            Self::Grpcio => with(&workload::environment("python")?.to_string_lossy(), "orders.py")?,
            Self::GrpcJs => {
                let mut command = with("node", "node/orders.js")?;
                command.env("NODE_PATH", workload::node_modules()?);
                command
            }
        })
    }

    /// Starts it as a server.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve(self) -> Result<Service> {
        let port = port::free()?;
        let mut command = self.command()?;
        command.args(["serve", &port.to_string()]);
        Service::listening(Child::spawn(command)?, port)
    }

    /// It as a client: `count` calls, `concurrency` at a time, over one connection.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn call(self, address: SocketAddr, count: usize, concurrency: usize) -> Result<Command> {
        let mut command = self.command()?;
        command.args([
            "call".to_owned(),
            address.to_string(),
            count.to_string(),
            concurrency.to_string(),
        ]);
        Ok(command)
    }
}

/// What a client said at its end, a line of JSON for each call.
///
/// # Errors
/// It said something else.
pub fn told<T: DeserializeOwned>(lines: &[String]) -> Result<Vec<T>> {
    let told = lines
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| line.clone()));
    told.collect()
}
