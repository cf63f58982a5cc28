//! Which span is the parent of which: of each of hundreds of requests, up to fifty at a time, the whole tree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::service::Service;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::postgres::{self, Postgres};
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::truth::{self, Shape};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(
    threads_that_take_one_request_at_a_time,
    nginx_as_a_proxy,
    messages_consumed_one_at_a_time,
    requests_handed_to_another_thread,
    one_thread_for_all_requests,
    goroutines_that_ask_and_others_that_send,
    tasks_of_aiohttp,
    tasks_of_aiohttp_on_uvloop,
    tasks_of_uvicorn,
    tasks_of_uvicorn_on_uvloop,
);

/// Requests at each level.
const COUNT: usize = 100;

/// How many at a time.
const LEVELS: [usize; 3] = [1, 10, 50];

/// `program` of the environment of Python, for a service `name`, where the workloads of `chain` are.
fn python(program: &str, name: &str) -> Result<Command> {
    let mut command = child::command(&workload::environment(program)?.to_string_lossy());
    command.current_dir(workload::file("chain")?);
    command.env("OTEL_SERVICE_NAME", name);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// `script` as a service, with its port and `argument`.
fn serve(script: &str, argument: Option<&str>) -> Result<Service> {
    let port = port::free()?;
    let mut command = python("python", script.trim_end_matches(".py"))?;
    command.args([script, &port.to_string()]).args(argument);
    Service::listening(Child::spawn(command)?, port)
}

/// gunicorn with `front.py`.
fn front(stock: SocketAddr, database: &str) -> Result<Service> {
    let port = port::free()?;
    let mut command = python("gunicorn", "front")?;
    command.env("STOCK", stock.to_string()).env("DATABASE", database);
    command.args([
        "--workers",
        "1",
        "--threads",
        "64",
        "--keep-alive",
        "60",
        "--bind",
    ]);
    command.args([&format!("127.0.0.1:{port}"), "front:application"]);
    Service::listening(Child::spawn(command)?, port)
}

/// `load.py` on each of `urls`, once there is a file `turn`.
fn load(urls: &[String], turn: &Path) -> Result<Child> {
    let mut command = python("python", "load")?;
    command.args(["load.py", &COUNT.to_string()]);
    command.arg(LEVELS.map(|level| level.to_string()).join(","));
    command.args(urls);
    Child::spawn(child::held(&command, turn))
}

/// The requests to `paths` of the service at `address`, each with the shape of its tree, while nothing is watched but their
/// client and `processes`.
fn trees(hooks: Hooks, processes: &[u32], address: SocketAddr, paths: &[(&str, &str)]) -> Result<()> {
    let mut shapes = Vec::new();
    for (path, shape) in paths {
        shapes.push((format!("ID-{path}-"), Shape::parse(shape)?));
    }
    let urls: Vec<String> = paths
        .iter()
        .map(|(path, _)| format!("http://{address}/{path}"))
        .collect();
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let load = load(&urls, &turn)?;
    let options = Options::run(hooks).flag("--no-redact").pid(load.pid());
    let options = processes.iter().copied().fold(options, Options::pid);
    let session = Session::start(options)?;
    std::fs::write(turn, "")?;
    let done = load.succeed()?;
    let mut expected = BTreeMap::new();
    for id in done {
        let shape = shapes.iter().find(|(begin, _)| id.starts_with(begin));
        let (_, shape) = shape.with_context(|| id.clone())?;
        expected.insert(id, shape);
    }
    ensure!(
        expected.len() == paths.len() * LEVELS.len() * COUNT,
        "{}",
        expected.len()
    );
    grown(session, &expected)
}

/// The spans are those of `expected`, each id's in trees of its shape.
fn grown(session: Session, expected: &BTreeMap<String, &Shape>) -> Result<()> {
    let seen = session.finish(expected.values().map(|shape| shape.size()).sum())?;
    seen.counted()?;
    ensure!(
        seen.summary.losses().is_empty() && seen.spans.iter().all(|span| !span.error),
        "{}",
        seen.finished.message()
    );
    print!("{}", truth::forest(&seen.spans, expected)?);
    Ok(())
}

/// Connections go from thread to thread, to the database and to the other service.
fn threads_that_take_one_request_at_a_time(hooks: Hooks) -> Result<()> {
    let database = Postgres::start()?;
    let stock = serve("stock.py", Some(&database.local_url()))?;
    let front = front(stock.address, &postgres::url(database.service.address))?;
    let mut processes = child::children(front.child.pid(), 1)?;
    processes.extend([database.service.child.pid(), stock.child.pid()]);
    let shape = "
CLIENT load GET: /order/ID
  SERVER front GET: /order/ID
    CLIENT front GET: /stock/ID/first
      SERVER stock GET: /stock/ID/first
        CLIENT stock SELECT: SELECT 'ID first'::text
          SERVER postgres SELECT: SELECT 'ID first'::text
    CLIENT front SELECT: SELECT 'ID'::text
      SERVER postgres SELECT: SELECT 'ID'::text
    CLIENT front GET: /stock/ID/second
      SERVER stock GET: /stock/ID/second
        CLIENT stock SELECT: SELECT 'ID second'::text
          SERVER postgres SELECT: SELECT 'ID second'::text
";
    trees(hooks, &processes, front.address, &[("order", shape)])
}

/// Two workers, with connections that are kept, and with one for each request.
fn nginx_as_a_proxy(hooks: Hooks) -> Result<()> {
    let stock = serve("stock.py", None)?;
    let nginx = Nginx::with_workers(2, Some(stock.address))?;
    let mut processes = child::children(nginx.service.child.pid(), 2)?;
    processes.push(stock.child.pid());
    let [kept, once] = ["proxy", "once"].map(|path| {
        format!(
            "
CLIENT load GET: /{path}/ID
  SERVER nginx GET: /{path}/ID
    CLIENT nginx GET: /{path}/ID
      SERVER stock GET: /{path}/ID
"
        )
    });
    let paths = [("proxy", &*kept), ("once", &*once)];
    trees(hooks, &processes, nginx.service.address, &paths)
}

/// What a consumer asks between a delivery and its acknowledgement. Nothing in the message says who published it.
fn messages_consumed_one_at_a_time(hooks: Hooks) -> Result<()> {
    let broker = RabbitMq::start()?;
    let stock = serve("stock.py", None)?;
    let messages = |what: &str| -> Result<Command> {
        let mut command = python("python", what)?;
        let port = broker.service.address.port().to_string();
        command.args(["messages.py", what, &port, &COUNT.to_string()]);
        Ok(command)
    };
    let mut consumer = messages("consume")?;
    consumer.arg(stock.address.to_string());
    let mut consumer = Child::spawn(consumer)?;
    consumer.line("listening")?;
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let publisher = Child::spawn(child::held(&messages("publish")?, &turn))?;
    let options = [consumer.pid(), publisher.pid(), stock.child.pid()];
    let options = options.into_iter().fold(Options::run(hooks), Options::pid);
    let session = Session::start(options)?;
    std::fs::write(turn, "")?;
    publisher.succeed()?;
    let shape = Shape::parse(
        "
PRODUCER publish publish orders: ID
  ? CONSUMER consume deliver orders: ID
    CLIENT consume GET: /stock/ID
      SERVER stock GET: /stock/ID
",
    )?;
    let done = consumer.succeed()?;
    let expected: BTreeMap<_, _> = done.into_iter().skip(1).map(|id| (id, &shape)).collect();
    ensure!(expected.len() == COUNT, "{}", expected.len());
    grown(session, &expected)
}

/// net/http's client and that of gRPC send from goroutines of their connections; what a handler does side by side has
/// goroutines of its own.
fn goroutines_that_ask_and_others_that_send(hooks: Hooks) -> Result<()> {
    let database = Postgres::start()?;
    let stock = serve("stock.py", None)?;
    let chain = |name: &str, arguments: &[String]| -> Result<Service> {
        let port = port::free()?;
        let mut command = child::command(&workload::go_program("chain")?.to_string_lossy());
        command.args([name, &port.to_string()]).args(arguments);
        command.env("OTEL_SERVICE_NAME", name);
        Service::listening(Child::spawn(command)?, port)
    };
    let shelf = chain("shelf", &[])?;
    let asked = [
        stock.address.to_string(),
        postgres::url(database.service.address),
        shelf.address.to_string(),
    ];
    let front = chain("front", &asked)?;
    let shape = "
CLIENT load GET: /order/ID
  SERVER front GET: /order/ID
    CLIENT front GET: /stock/ID/first
      SERVER stock GET: /stock/ID/first
    CLIENT front SELECT: SELECT 'ID'::text
      SERVER postgres SELECT: SELECT 'ID'::text
    CLIENT front GET: /stock/ID/second
      SERVER stock GET: /stock/ID/second
    CLIENT front shelf/ID: shelf/ID
      SERVER shelf shelf/ID: shelf/ID
";
    let services = [&front, &database.service, &stock, &shelf];
    let processes = services.map(|service| service.child.pid());
    trees(hooks, &processes, front.address, &[("order", shape)])
}

/// Tasks of a `server` on a `loop`, which have pools in common and begin other tasks and threads. Where `is_told` is not set,
/// the first request on a connection may do without its children.
fn tasks(hooks: Hooks, server: &str, event_loop: &str, is_told: bool) -> Result<()> {
    let database = Postgres::start()?;
    let stock = serve("stock.py", None)?;
    let port = port::free()?;
    let mut command = python("python", "tasks")?;
    command.args(["tasks.py", server, event_loop, &port.to_string()]);
    command.args([stock.address.to_string(), postgres::url(database.service.address)]);
    let service = Service::listening(Child::spawn(command)?, port)?;
    let processes = [
        service.child.pid(),
        database.service.child.pid(),
        stock.child.pid(),
    ];
    let shape = "
CLIENT load GET: /order/ID
  SERVER tasks GET: /order/ID
    CLIENT tasks GET: /stock/ID/first
      SERVER stock GET: /stock/ID/first
    CLIENT tasks SELECT: SELECT 'ID'::text
      SERVER postgres SELECT: SELECT 'ID'::text
    CLIENT tasks GET: /stock/ID/second
      SERVER stock GET: /stock/ID/second
    CLIENT tasks GET: /stock/ID/third
      SERVER stock GET: /stock/ID/third
";
    let shape = if is_told {
        shape.to_owned()
    } else {
        shape.replace("    CLIENT tasks", "    ? CLIENT tasks")
    };
    trees(hooks, &processes, service.address, &[("order", &shape)])
}

fn tasks_of_aiohttp(hooks: Hooks) -> Result<()> {
    tasks(hooks, "aiohttp", "asyncio", true)
}

fn tasks_of_aiohttp_on_uvloop(hooks: Hooks) -> Result<()> {
    tasks(hooks, "aiohttp", "uvloop", false)
}

fn tasks_of_uvicorn(hooks: Hooks) -> Result<()> {
    tasks(hooks, "uvicorn", "asyncio", true)
}

fn tasks_of_uvicorn_on_uvloop(hooks: Hooks) -> Result<()> {
    tasks(hooks, "uvicorn", "uvloop", true)
}

/// Requests to a service that asks stock. With the `mark` `? `, nobody can say for which request, by what its threads send and
/// receive.
fn asking(hooks: Hooks, script: &str, mark: &str) -> Result<()> {
    let stock = serve("stock.py", None)?;
    let service = serve(script, Some(&stock.address.to_string()))?;
    let name = script.trim_end_matches(".py");
    let shape = format!(
        "
CLIENT load GET: /order/ID
  SERVER {name} GET: /order/ID
    {mark}CLIENT {name} GET: /stock/ID
      SERVER stock GET: /stock/ID
"
    );
    let processes = [service.child.pid(), stock.child.pid()];
    trees(hooks, &processes, service.address, &[("order", &shape)])
}

fn requests_handed_to_another_thread(hooks: Hooks) -> Result<()> {
    asking(hooks, "handed_over.py", "? ")
}

/// Streams of asyncio, which it handles in tasks.
fn one_thread_for_all_requests(hooks: Hooks) -> Result<()> {
    asking(hooks, "event_loop.py", "")
}
