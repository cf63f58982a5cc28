//! Chains of services whose requests carry ids, so that the tree of each is known: what serves them and how it waits is
//! another's in each. The programs are in `workloads/chain`, `workloads/go` and `workloads/node`.

mod shapes;
mod start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::Options;
use crate::child::{self, Child};
use crate::seen::Seen;
use crate::session::Session;
use crate::truth::{self, Report, Shape};
use crate::workload;

/// What serves HTTP in asyncio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// aiohttp, which is the client too.
    Aiohttp,
    /// uvicorn with FastAPI, and httpx.
    Uvicorn,
}

/// What runs asyncio's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Its own loop.
    Asyncio,
    /// libuv.
    Uvloop,
}

/// Who waits for whom in a process of Node.js.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pools {
    /// Connections for all.
    Ample,
    /// Too few: who is done with one hands it over.
    Exhausted,
    /// What is done for one request lets others go on.
    HandedOver,
}

/// How a process of Node.js is asked, and which of its threads does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// HTTP/2 without TLS, over one connection.
    Http2,
    /// gRPC, over one connection.
    Grpc,
    /// HTTP/1, by a worker thread.
    Worker,
    /// HTTP/1, by the main thread, which hands requests on to worker threads.
    Workers,
}

/// A library that consumes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// aio-pika, in tasks.
    AioPika,
    /// amqplib.
    Amqplib,
    /// amqp091-go, in goroutines.
    Amqp091,
}

/// Which of grpcio's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grpcio {
    /// That with a pool of threads.
    Threads,
    /// That for asyncio.
    Aio,
}

/// Who serves the requests of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// A bare WSGI application under gunicorn's threads, with http.client and psycopg2.
    Threads,
    /// Flask under gunicorn's threads, with requests and psycopg2.
    Flask,
    /// net/http's server and client, pgx and grpc-go.
    Go,
    /// aiohttp's server and client, and asyncpg.
    Aiohttp,
    /// FastAPI under uvicorn, with httpx and asyncpg.
    FastApi,
    /// Tasks and threads of asyncio that are begun beside each other, and pools that they have in common.
    Tasks(Server, Loop),
    /// A handler's goroutines, and those of the connections that they send by.
    Goroutines,
    /// What is received by gRPC and HTTP/2 in Go, and asked for on by these, HTTP/1 and pgx.
    Streams,
    /// Calls of gRPC that are given up, or take too long.
    BrokenOff,
    /// FastAPI under hypercorn, which is asked by HTTP/2 over one connection.
    Hypercorn,
    /// Node's http, undici and pg.
    Node(Pools),
    /// The same, asked in another way.
    NodeBy(Way),
    /// A server of gRPC in Python.
    Grpcio(Grpcio),
    /// nginx with two workers, that keeps connections to what is behind it, and that does not.
    Nginx,
    /// HAProxy with two threads, that keeps connections to what is behind it, and that does not.
    HaProxy,
    /// A consumer of pika's, which takes messages one at a time.
    Messages,
    /// A consumer that takes so many at a time.
    Deliveries(Library, u16),
    /// One thread that reads requests, and others that serve them.
    HandedOver,
    /// asyncio without a framework.
    EventLoop,
    /// epoll and nothing else.
    Epoll,
}

impl Runtime {
    /// One of each kind.
    pub const ALL: [Self; 14] = [
        Self::Threads,
        Self::Flask,
        Self::Go,
        Self::Aiohttp,
        Self::FastApi,
        Self::Node(Pools::Ample),
        Self::Node(Pools::Exhausted),
        Self::Node(Pools::HandedOver),
        Self::Nginx,
        Self::HaProxy,
        Self::Messages,
        Self::HandedOver,
        Self::EventLoop,
        Self::Epoll,
    ];

    /// What its first service is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Flask => "flask",
            Self::Go => "go",
            Self::Aiohttp => "aiohttp",
            Self::FastApi | Self::Hypercorn => "fastapi",
            Self::Tasks(..) => "tasks",
            Self::Goroutines
            | Self::Streams
            | Self::BrokenOff
            | Self::Grpcio(_)
            | Self::NodeBy(Way::Grpc) => "front",
            Self::Node(Pools::Ample) | Self::NodeBy(_) => "node",
            Self::Node(Pools::Exhausted) => "node_exhausted",
            Self::Node(Pools::HandedOver) => "node_handed_over",
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Messages | Self::Deliveries(..) => "messages",
            Self::HandedOver => "handed_over",
            Self::EventLoop => "event_loop",
            Self::Epoll => "epoll",
        }
    }
}

/// Requests of one kind: how many, and how many of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// At a time.
    pub concurrency: usize,
    /// In all.
    pub count: usize,
}

/// A chain that has been started, with whatever it needs.
#[derive(Debug)]
pub struct Chain {
    /// Kept for as long as it runs. What was started last is ended first.
    parts: start::Parts,
    /// What is to be watched beside who asks.
    processes: Vec<u32>,
    entry: Entry,
}

/// Where requests go in.
#[derive(Debug)]
enum Entry {
    /// By HTTP, with the shapes of the requests to each path.
    Http(SocketAddr, Vec<(&'static str, Shape)>),
    /// By a broker.
    Broker(Shape),
}

/// What came of a load.
#[derive(Debug)]
pub struct Grown {
    /// All that was seen.
    pub seen: Seen,
    /// The requests, each with the shape of its tree.
    expected: Vec<(String, Shape)>,
}

impl Chain {
    /// Starts it.
    ///
    /// # Errors
    /// One of its parts does not start.
    pub fn start(runtime: Runtime) -> Result<Self> {
        start::chain(runtime)
    }

    /// Loads it at each of `levels`, while spanwire runs with `options` and nothing is watched but its processes and who asks.
    /// Where it is asked by messages there is one level, of all requests.
    ///
    /// # Errors
    /// A request is not answered as it should be.
    pub fn grow(self, options: Options, levels: &[Level]) -> Result<Grown> {
        let folder = tempfile::tempdir()?;
        let turn = folder.path().join("turn");
        let count: usize = levels.iter().map(|level| level.count).sum();
        let (asking, consuming) = match &self.entry {
            Entry::Http(address, paths) => {
                let mut load = python("load.py", "load")?;
                let levels: Vec<String> = levels
                    .iter()
                    .map(|level| format!("{}:{}", level.concurrency, level.count))
                    .collect();
                load.arg(levels.join(","));
                load.args(paths.iter().map(|(path, _)| format!("http://{address}/{path}")));
                (load, None)
            }
            Entry::Broker(_) => {
                let mut consumer = Child::spawn(self.parts.consume(count)?)?;
                consumer.line("listening")?;
                (self.parts.publish(count)?, Some(consumer))
            }
        };
        let asking = Child::spawn(child::held(&asking, &turn))?;
        let watched = self.processes.iter().copied().chain([asking.pid()]);
        let watched = watched.chain(consuming.as_ref().map(Child::pid));
        let options = watched.fold(options.flag("--no-redact"), Options::pid);
        let session = Session::start(options)?;
        std::fs::write(turn, "")?;
        // As long as a few for each, on a machine that has other things to do.
        let limit = Duration::from_secs(60) + Duration::from_millis(100) * u32::try_from(count)?;
        // Why a service failed is known to the service.
        let mut done = asking.succeed_within(limit).with_context(|| self.parts.said())?;
        if let Some(consuming) = consuming {
            done = consuming.succeed_within(limit)?.split_off(1);
        }
        let expected = self.entry.shapes(done)?;
        let due = match &self.entry {
            Entry::Http(_, paths) => paths.len() * count,
            Entry::Broker(_) => count,
        };
        ensure!(expected.len() == due, "{} of {due}", expected.len());
        let seen = session.finish(expected.iter().map(|(_, shape)| shape.size()).sum())?;
        Ok(Grown { seen, expected })
    }
}

impl Entry {
    fn shapes(&self, ids: Vec<String>) -> Result<Vec<(String, Shape)>> {
        let with_shape = |id: String| {
            let shape = match self {
                Self::Broker(shape) => shape,
                Self::Http(_, paths) => {
                    let path = paths
                        .iter()
                        .find(|(path, _)| id.starts_with(&format!("ID-{path}-")));
                    &path.with_context(|| id.clone())?.1
                }
            };
            Ok((id, shape.clone()))
        };
        ids.into_iter().map(with_shape).collect()
    }
}

impl Grown {
    /// What the trees came to.
    ///
    /// # Errors
    /// The spans contradict each other.
    pub fn report(&self) -> Result<Report> {
        let expected: BTreeMap<_, _> = self
            .expected
            .iter()
            .map(|(id, shape)| (id.clone(), shape))
            .collect();
        truth::report(&self.seen.spans, &expected, &shapes::BESIDES)
    }

    /// Nothing was lost, and no parent is wrong; what may have none may.
    ///
    /// # Errors
    /// Something of that is not so.
    pub fn all_right(&self) -> Result<Report> {
        self.seen.counted()?;
        ensure!(
            self.seen.summary.losses().is_empty() && self.seen.spans.iter().all(|span| !span.error),
            "{}",
            self.seen.finished.message()
        );
        let report = self.report()?;
        report.all_right().with_context(|| self.seen.finished.message())?;
        Ok(report)
    }
}

/// `script` of `workloads/chain` in the environment of Python, for a service `name`.
fn python(script: &str, name: &str) -> Result<Command> {
    let mut command = environment("python", name)?;
    command.arg(script);
    Ok(command)
}

/// `program` of the environment of Python, for a service `name`, where the workloads are.
fn environment(program: &str, name: &str) -> Result<Command> {
    let mut command = child::command(&workload::environment(program)?.to_string_lossy());
    command.current_dir(workload::file("chain")?);
    command.env("OTEL_SERVICE_NAME", name);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}
