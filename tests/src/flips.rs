//! A pod that is annotated and not, over and over, while somebody orders there without a pause: which orders have spans, and which
//! were passed on with a context.
//!
//! An order has a number, so that what was seen of it says whether it came before or behind what somebody was told.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::agent::{self, Hooks, Options};
use crate::api_server::{ApiServer, FakePod, NODE};
use crate::child::{self, Child};
use crate::cluster::kubernetes;
use crate::http::{self, Server};
use crate::service::Service;
use crate::session::Session;
use crate::span::{Kind, Span};
use crate::{port, wait};

/// Between two orders.
const PAUSE: Duration = Duration::from_millis(100);

/// Orders between a flip that was told and the next.
const BETWEEN: usize = 3;

/// Whose Pod it is.
const NAMESPACE: &str = "shop";
const POD: &str = "cart";

/// Serves, and passes what it is asked for on to `HOST PORT` by a connection that it keeps. Asked for `/idle`, it connects there,
/// and sends nothing.
pub const SERVICE: &str = "
const http = require('http'), net = require('net'), [port, host, other] = process.argv.slice(1);
const agent = new http.Agent({keepAlive: true, maxSockets: 1}), idle = [];
http.createServer((request, response) => {
  if (request.url == '/idle') return idle.push(net.connect(other, host, () => response.end('ok')));
  if (!request.url.startsWith('/call')) return response.end('ok');
  const path = '/asked' + request.url.slice(5);
  http.get({host, port: other, path, agent}, answer => answer.resume().on('end', () => response.end('ok')))
    .on('error', () => { response.statusCode = 502; response.end(); });
}).listen(port, '127.0.0.1');
";

/// Starts [`SERVICE`] in a pod's container.
///
/// # Errors
/// It does not listen.
pub fn serve(pod: &FakePod, host: &str, other: u16) -> Result<Service> {
    let port = port::free()?;
    let mut command = pod.command("node");
    command.args(["-e", SERVICE, &port.to_string(), host, &other.to_string()]);
    Service::listening(Child::spawn(command)?, port)
}

/// spanwire on that node.
#[must_use]
pub fn options(server: &ApiServer, hooks: Hooks) -> Options {
    Options::run(hooks)
        .environment("SPANWIRE_KUBECONFIG", server.kubeconfig().display().to_string())
        .environment("SPANWIRE_NODE_NAME", NODE)
}

/// Asks a service for a path, which has to go well.
///
/// # Errors
/// It does not.
pub fn call(address: SocketAddr, target: &str) -> Result<()> {
    let answer = http::connect(address)?.call("GET", target, &address.to_string(), &[])?;
    ensure!(answer.status() == 200, "{answer:?}");
    Ok(())
}

/// What `spanwire services` says of a process.
///
/// # Errors
/// It says nothing of it.
pub fn told(pid: u32) -> Result<Value> {
    let finished = agent::attempt_beside(&Options::bare(["services", "--all", "--json"]))?;
    let all: Value = serde_json::from_str(&finished.stdout.join("\n")).with_context(|| finished.message())?;
    let processes = all["processes"].as_array().context("a list")?;
    let found = processes.iter().find(|process| process["pid"] == pid);
    found.cloned().with_context(|| format!("no process {pid}"))
}

/// How many of a process's sockets are enrolled, of those of which anything is told.
#[must_use]
pub fn enrolled(told: &Value) -> u64 {
    told["injection"]["enrolled"].as_u64().unwrap_or_default()
}

/// An order: when it was given, and when it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Given.
    pub begun: SystemTime,
    /// Answered.
    pub ended: SystemTime,
}

/// There and back again. Each moment with the number of the order that was the next one to be given then.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// The API server was about to be told of the annotation.
    pub annotates: (usize, SystemTime),
    /// It had been.
    pub annotated: (usize, SystemTime),
    /// spanwire had said that the process is watched, and an order was passed on with a context.
    pub watched: (usize, SystemTime),
    /// The annotation was about to be taken away.
    pub removes: (usize, SystemTime),
    /// It had been.
    pub removed: (usize, SystemTime),
    /// spanwire had said that the process is not watched, and that nothing of it is enrolled.
    pub left: (usize, SystemTime),
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The orders, by number.
    pub orders: Vec<Order>,
    /// Each time.
    pub flips: Vec<Flip>,
    /// The pod's own span of each order that has one.
    pub spans: BTreeMap<usize, Span>,
    /// Whether an order was passed on with a context.
    pub contexts: BTreeMap<usize, bool>,
}

/// Orders without a pause, until it is stopped.
struct Customer {
    stop: Arc<AtomicBool>,
    orders: Arc<Mutex<Vec<Order>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Customer {
    fn of(address: SocketAddr) -> Self {
        let (stop, orders) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Order>>>::default());
        let thread = std::thread::spawn({
            let (stop, orders) = (Arc::clone(&stop), Arc::clone(&orders));
            move || {
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    let begun = SystemTime::now();
                    call(address, &format!("/call?order={number}"))?;
                    let ended = SystemTime::now();
                    orders
                        .lock()
                        .expect("no holder panics")
                        .push(Order { begun, ended });
                    std::thread::sleep(PAUSE);
                }
                Ok(())
            }
        });
        Self {
            stop,
            orders,
            thread: Some(thread),
        }
    }

    fn count(&self) -> usize {
        self.orders.lock().expect("no holder panics").len()
    }

    /// The number of the first order that was certainly not given before.
    fn now(&self) -> (usize, SystemTime) {
        // One may be under way.
        (self.count() + 1, SystemTime::now())
    }

    /// Waits for some more orders.
    fn more(&self, count: usize) -> Result<()> {
        let enough = self.count() + count;
        wait::until("orders", || Ok((self.count() >= enough).then_some(())))
    }

    fn finish(mut self) -> Result<Vec<Order>> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("it is finished once")?;
        thread.join().map_err(|_| anyhow!("the customer panicked"))??;
        Ok(self.orders.lock().expect("no holder panics").clone())
    }
}

impl Drop for Customer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// `kubectl proxy`: an annotation by it takes milliseconds, where a `kubectl` takes a tenth of a second to start.
struct Proxy {
    _child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn of(server: &ApiServer) -> Result<Self> {
        let port = port::free()?;
        let mut command = child::command(kubernetes("kubectl")?.to_str().context("path in UTF-8")?);
        command.arg("--kubeconfig").arg(server.administrator());
        command.args(["proxy", "--port", &port.to_string()]);
        let service = Service::listening(Child::spawn(command)?, port)?;
        Ok(Self {
            _child: service.child,
            address: service.address,
        })
    }

    /// Annotates the pod, or takes the annotation away.
    fn annotate(&self, instrument: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {"spanwire.dev/instrument": instrument}}}).to_string();
        let request = format!(
            "PATCH /api/v1/namespaces/{NAMESPACE}/pods/{POD} HTTP/1.1\r\nHost: {}\r\nContent-Type: \
             application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{patch}",
            self.address,
            patch.len()
        );
        let mut connection = http::connect(self.address)?;
        connection.send(request)?;
        let answer = connection.response("PATCH")?;
        ensure!(answer.status() == 200, "{answer:?}");
        Ok(())
    }
}

/// The number that an order's target has.
fn number(text: &str) -> Option<usize> {
    text.split_once("order=")?.1.parse().ok()
}

/// Annotates a pod and takes that back, `count` times.
///
/// # Errors
/// Something does not start, an order fails, or spanwire does not say what it is to say.
pub fn run(hooks: Hooks, count: usize) -> Result<Outcome> {
    let server = ApiServer::start()?;
    server
        .make(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
        .map(drop)?;
    let contexts = Arc::<Mutex<BTreeMap<usize, bool>>>::default();
    let target = port::free()?;
    let _target = Server::tcp(TcpListener::bind(("127.0.0.1", target))?, {
        let contexts = Arc::clone(&contexts);
        move |connection| {
            http::serve(connection, |request| {
                if let Some(number) = number(request.target()) {
                    let has_context = request.header("traceparent").is_some();
                    contexts
                        .lock()
                        .expect("no holder panics")
                        .insert(number, has_context);
                }
                Some(http::response(200, b"ok"))
            });
        }
    })?;
    let pod = FakePod::make(&server, NAMESPACE, POD, None)?;
    let service = serve(&pod, "127.0.0.1", target)?;
    let proxy = Proxy::of(&server)?;
    let session = Session::start(options(&server, hooks).flag("--propagate").flag("http1"))?;
    let pid = service.child.pid();
    let customer = Customer::of(service.address);
    customer.more(BETWEEN)?;
    let mut flips = Vec::new();
    for flip in 0..count {
        let annotates = customer.now();
        proxy.annotate(Some("true"))?;
        let annotated = customer.now();
        wait::until("a pod that is watched", || {
            let told = told(pid)?;
            // What was sent meanwhile on the connection that is kept has to be caught up with first.
            let has_context = contexts
                .lock()
                .expect("no holder panics")
                .last_entry()
                .is_some_and(|it| *it.get());
            Ok((told["watched"] == true && enrolled(&told) > 0 && has_context).then_some(()))
        })
        .with_context(|| format!("time {flip}: {:?}", told(pid)))?;
        let watched = customer.now();
        // A connection that is enrolled at once, and never used.
        call(service.address, "/idle")?;
        ensure!(enrolled(&told(pid)?) > 1, "{}", told(pid)?);
        customer.more(BETWEEN)?;
        let removes = customer.now();
        proxy.annotate(None)?;
        let removed = customer.now();
        wait::until("a pod that is not watched", || {
            let told = told(pid)?;
            Ok((told["watched"] == false && enrolled(&told) == 0).then_some(()))
        })
        .with_context(|| format!("time {flip}: {:?}", told(pid)))?;
        let left = customer.now();
        customer.more(BETWEEN)?;
        flips.push(Flip {
            annotates,
            annotated,
            watched,
            removes,
            removed,
            left,
        });
    }
    let orders = customer.finish()?;
    let seen = session.finish(0)?;
    let own = seen.spans.into_iter().filter(|span| span.kind == Kind::Server);
    let spans = own.filter_map(|span| Some((number(span.text("url.query")?)?, span)));
    let spans = spans.collect();
    let contexts = contexts.lock().expect("no holder panics").clone();
    Ok(Outcome {
        orders,
        flips,
        spans,
        contexts,
    })
}
