//! Servers and clients of HTTP/2 and gRPC, and what the clients say they did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::child::{self, Child};
use crate::expect::{Expected, Matcher, both};
use crate::seen::nanoseconds;
use crate::service::Service;
use crate::span::{Kind, Span};
use crate::{port, workload};

/// Names of gRPC's status codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Those that are errors at the server too.
const SERVERS_FAULT: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// What a call is that the client gave up.
const GIVEN_UP: [&str; 2] = ["DEADLINE_EXCEEDED", "CANCELLED"];

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

impl Request {
    /// The request that a span tells of.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        let path = span.path();
        let query = match span.text("url.full") {
            Some(url) => url.split_once('?').map(|(_, query)| query),
            None => span.text("url.query"),
        };
        Self {
            method: span.text("http.request.method").unwrap_or_default().to_owned(),
            path: query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
            status: number(span, "http.response.status_code"),
            sent: number(span, "http.request.body.size"),
            received: number(span, "http.response.body.size"),
        }
    }

    /// Its spans at both ends of a connection to `address`.
    ///
    /// # Errors
    /// It has a status or a length below zero.
    pub fn spans(&self, address: SocketAddr) -> Result<[Expected; 2]> {
        let (status, sent, received) = (
            self.status.try_into()?,
            self.sent.try_into()?,
            self.received.try_into()?,
        );
        Ok(both(&self.method, &self.path, address, |span| {
            let span = span.is("network.protocol.version", "2").status(status);
            let span = match self.method.as_str() {
                "HEAD" => span.bodiless(),
                // Without a frame of DATA it is as that of HEAD.
                _ if received == 0 => span.with("http.response.body.size", Matcher::IsIfAny(0.into())),
                _ => span.body(received),
            };
            let span = span.with("user_agent.original", Matcher::Anything);
            if sent > 0 { span.request_body(sent) } else { span }
        }))
    }
}

impl Call {
    /// The call that a span tells of.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        let code = span.text("rpc.response.status_code");
        let code = CODES.iter().position(|name| Some(*name) == code);
        Self {
            path: format!("/{}", span.text("rpc.method").unwrap_or_default()),
            code: code.and_then(|code| code.try_into().ok()).unwrap_or(-1),
            sent: number(span, "spanwire.rpc.request.messages"),
            received: number(span, "spanwire.rpc.response.messages"),
        }
    }

    /// Its spans at both ends of a connection to `address`.
    ///
    /// # Errors
    /// It has a status that gRPC does not know.
    pub fn spans(&self, address: SocketAddr) -> Result<[Expected; 2]> {
        let code = usize::try_from(self.code).ok().and_then(|code| CODES.get(code));
        let code = *code.context("a status of gRPC")?;
        Ok([Kind::Server, Kind::Client].map(|kind| self.span(kind, code, address)))
    }

    /// One of its spans where the client gave up: the two ends may call that by other names.
    #[must_use]
    pub fn given_up(&self, seen: &Span, address: SocketAddr) -> Expected {
        let code = seen.text("rpc.response.status_code");
        let code = GIVEN_UP.into_iter().find(|name| Some(*name) == code);
        self.span(seen.kind, code.unwrap_or(GIVEN_UP[0]), address)
            .perhaps_answered()
            .with("spanwire.rpc.response.messages", Matcher::Anything)
    }

    fn span(&self, kind: Kind, code: &str, address: SocketAddr) -> Expected {
        let method = self.path.trim_start_matches('/');
        // What a server does not know may be called anything.
        let is_unknown = kind == Kind::Server && code == "UNIMPLEMENTED";
        let name = if is_unknown { "grpc" } else { method };
        let mut span = Expected::new(kind, name, method)
            .answered()
            .is("rpc.system.name", "grpc")
            .is("rpc.response.status_code", code)
            .is("network.protocol.name", "http")
            .is("network.protocol.version", "2")
            .is("server.address", address.ip().to_string())
            .is("server.port", address.port())
            .is("network.peer.address", address.ip().to_string())
            .is("spanwire.rpc.request.messages", self.sent)
            .is("spanwire.rpc.response.messages", self.received)
            .with("spanwire.rpc.timeout_us", Matcher::Anything);
        span = if is_unknown {
            span.is("rpc.method", "_OTHER").is("rpc.method_original", method)
        } else {
            span.is("rpc.method", method)
        };
        span = match kind {
            Kind::Server => span
                .is("client.address", address.ip().to_string())
                .with("client.port", Matcher::Port)
                .with("network.peer.port", Matcher::Port),
            _ => span.is("network.peer.port", address.port()),
        };
        if self.code != 0 {
            // How much of a failing call's messages gets out is up to the moment.
            span = span.with("spanwire.rpc.request.messages", Matcher::Anything);
        }
        let is_error = self.code != 0 && (kind == Kind::Client || SERVERS_FAULT.contains(&code));
        if is_error { span.failed(code) } else { span }
    }
}

fn number(span: &Span, name: &str) -> i64 {
    span.attributes.get(name).and_then(Value::as_i64).unwrap_or(0)
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
    /// gRPC by grpc-java.
    GrpcJava,
    /// gRPC by Rust's tonic.
    Tonic,
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
            Self::Tonic => child::command(&workload::rust("orders")?.to_string_lossy()),
            Self::NodeHttp => with("node", "node/shelf.js")?,
            Self::Grpcio => with(&workload::environment("python")?.to_string_lossy(), "orders.py")?,
            Self::GrpcJs => {
                let mut command = with("node", "node/orders.js")?;
                command.env("NODE_PATH", workload::node_modules()?);
                command
            }
            Self::GrpcJava => workload::java("Orders")?,
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

/// What a client said, and when it began with it.
#[derive(Clone, Debug, Deserialize)]
pub struct Timed<T> {
    /// Nanoseconds since the Unix epoch.
    pub at: u64,
    /// The call.
    #[serde(flatten)]
    pub told: T,
}

/// The moment from which on a spanwire that has just become ready has to have seen all, in a second: nanoseconds since the Unix
/// epoch.
///
/// # Errors
/// The clock is before that.
pub fn all_seen_from() -> Result<u64> {
    nanoseconds(SystemTime::now() + Duration::from_secs(1))
}

/// Of a run that spanwire saw from its middle on: what was begun from `from` on was seen, each once, and nothing else but
/// what was on its way then, of at most `concurrency` calls. `seen` are the starts of the spans of one end, and their calls.
///
/// # Errors
/// Something of that is not so.
pub fn seen_from<T: Ord + Clone + std::fmt::Debug>(
    from: u64,
    told: &[Timed<T>],
    seen: Vec<(u64, T)>,
    concurrency: usize,
) -> Result<()> {
    let (due, before): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.at >= from);
    ensure!(
        due.len() > 100 && !before.is_empty(),
        "{} and {}",
        due.len(),
        before.len()
    );
    let mut found: BTreeMap<T, usize> = BTreeMap::new();
    for (_, call) in seen.into_iter().filter(|(start, _)| *start >= from) {
        *found.entry(call).or_default() += 1;
    }
    let mut take = |call: &T| match found.get_mut(call) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    let missing: Vec<_> = due.iter().filter(|due| !take(&due.told)).collect();
    ensure!(
        missing.is_empty(),
        "{} of {} are missing: {:?}",
        missing.len(),
        due.len(),
        &missing[..missing.len().min(3)]
    );
    let under_way = before.iter().filter(|before| take(&before.told)).count();
    ensure!(under_way <= concurrency, "{under_way} were under way");
    found.retain(|_, count| *count > 0);
    ensure!(found.is_empty(), "made up: {found:?}");
    Ok(())
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
