//! Which span is the parent of which: of each of hundreds of requests, up to fifty at a time, the whole tree. A parent that
//! nobody can tell may be missing, and none may be wrong. `cargo xtask bench causality` counts what is missing.

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::chain::{Chain, Grpcio, Level, Library, Loop, Pools, Runtime, Server, Way};
use spanwire_tests::span::Kind;
use spanwire_tests::truth::{Report, Tally};

spanwire_tests::under_both_hook_sets!(
    threads_that_take_one_request_at_a_time,
    nginx_as_a_proxy,
    haproxy_as_a_proxy,
    goroutines_that_ask_and_others_that_send,
    streams_that_goroutines_serve,
    tasks_of_uvicorn
);
spanwire_tests::under_one_hook_set!(
    flask_under_gunicorn,
    messages_consumed_one_at_a_time,
    requests_handed_to_another_thread,
    one_thread_for_all_requests,
    epoll_and_nothing_else,
    streams_that_are_broken_off,
    tasks_of_aiohttp,
    tasks_of_aiohttp_on_uvloop,
    tasks_of_uvicorn_on_uvloop,
    goroutines,
    aiohttp,
    fastapi,
    fastapi_over_http2,
    node,
    node_with_exhausted_pools,
    node_with_requests_that_let_others_go_on,
    node_asked_by_http2,
    node_asked_by_grpc,
    node_in_a_worker_thread,
    node_that_hands_on_to_worker_threads,
    threads_of_grpcio,
    tasks_of_grpcio,
    messages_of_aio_pika,
    messages_of_amqplib,
    messages_of_amqplib_one_at_a_time,
    messages_of_amqp091
);

/// One at a time, a few, and many. Most of the time goes with those that wait for each other, of which there are fewer.
const LEVELS: [Level; 4] = [level(1, 40), level(3, 60), level(10, 100), level(50, 100)];

const fn level(concurrency: usize, count: usize) -> Level {
    Level { concurrency, count }
}

fn check(hooks: Hooks, runtime: Runtime) -> Result<()> {
    let report = all_right(hooks, runtime)?;
    print!("{report}");
    Ok(())
}

fn all_right(hooks: Hooks, runtime: Runtime) -> Result<Report> {
    Chain::start(runtime)?
        .grow(Options::run(hooks), &LEVELS)?
        .all_right()
}

/// Connections go from thread to thread, to the database and to the other service.
fn threads_that_take_one_request_at_a_time(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Threads)
}

fn flask_under_gunicorn(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Flask)
}

/// Two workers, with connections that are kept, and with one for each request.
fn nginx_as_a_proxy(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Nginx)
}

/// The same, with two event loops that read from many connections before they act on any.
fn haproxy_as_a_proxy(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::HaProxy)
}

/// What a consumer asks between a delivery and its acknowledgement. Nothing in the message says who published it.
fn messages_consumed_one_at_a_time(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Messages)
}

fn requests_handed_to_another_thread(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::HandedOver)
}

fn one_thread_for_all_requests(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::EventLoop)
}

/// As Redis does it: what it is asked is answered from memory, or by another service.
fn epoll_and_nothing_else(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Epoll)
}

/// net/http's client and that of gRPC send from goroutines of their connections; what a handler does side by side has
/// goroutines of its own.
fn goroutines_that_ask_and_others_that_send(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Goroutines)
}

/// gRPC and HTTP/2 without TLS, asked by each other, HTTP/1 and of a database; one of the servers has workers.
fn streams_that_goroutines_serve(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Streams)
}

/// Calls that are given up, and that take too long: what is tidied up then is for them, too. It says that they were over where
/// the server had been told so.
fn streams_that_are_broken_off(hooks: Hooks) -> Result<()> {
    let levels = [level(1, 20), level(3, 20)];
    let grown = Chain::start(Runtime::BrokenOff)?.grow(Options::run(hooks), &levels)?;
    for span in grown.seen.spans.iter().filter(|it| it.kind == Kind::Client) {
        let subject = span.subject();
        let is_late = span.attributes.contains_key("spanwire.parent.ended");
        if subject.contains("given") {
            ensure!(is_late == subject.contains("given over"), "{span:#?}");
        }
    }
    let report = grown.report()?;
    print!("{report}");
    report.all_right()
}

fn tasks_of_aiohttp(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Tasks(Server::Aiohttp, Loop::Asyncio))
}

fn tasks_of_aiohttp_on_uvloop(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Tasks(Server::Aiohttp, Loop::Uvloop))
}

fn tasks_of_uvicorn(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Tasks(Server::Uvicorn, Loop::Asyncio))
}

fn tasks_of_uvicorn_on_uvloop(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Tasks(Server::Uvicorn, Loop::Uvloop))
}

fn goroutines(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Go)
}

fn aiohttp(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Aiohttp)
}

fn fastapi(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::FastApi)
}

fn fastapi_over_http2(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Hypercorn)
}

/// By callbacks and promises, with timers, files and names in between. Not all parents can be told: of the first requests, and
/// where a connection is used again at once.
fn node(hooks: Hooks) -> Result<()> {
    let report = all_right(hooks, Runtime::Node(Pools::Ample))?;
    let found = report.levels();
    for level in [1, 50] {
        let Tally { right, requests, .. } = found[&level];
        let is_enough = right * 100 >= requests * if level == 1 { 100 } else { 95 };
        ensure!(
            is_enough,
            "{right} of {requests} wholly told at {level}:\n{report}"
        );
    }
    Ok(())
}

/// Connections go to whoever waits for one, in the turn of who is done with it.
fn node_with_exhausted_pools(hooks: Hooks) -> Result<()> {
    check(hooks, Runtime::Node(Pools::Exhausted))
}

/// There turns say nothing, which is seen soon: a few were believed until then, and say that they are inferred.
fn node_with_requests_that_let_others_go_on(hooks: Hooks) -> Result<()> {
    let grown = Chain::start(Runtime::Node(Pools::HandedOver))?.grow(Options::run(hooks), &LEVELS)?;
    let report = grown.report()?;
    let found = report.levels().into_values().fold(Tally::default(), Tally::and);
    ensure!(
        found.wrong * 1000 <= found.spans && found.certain == 0,
        "{report}"
    );
    ensure!(found.without + found.missing + found.surplus == 0, "{report}");
    Ok(())
}

/// Of processes that are not followed: where they handle one request at a time its children are told, as inferred. Where they
/// handle more, no parent is claimed as certain, hardly one is wrong, and who has none is counted.
fn never_wrong(hooks: Hooks, runtime: Runtime, levels: &[Level]) -> Result<()> {
    let grown = Chain::start(runtime)?.grow(Options::run(hooks), levels)?;
    let report = grown.report()?;
    print!("{report}");
    let shown = || {
        let example = report.example().unwrap_or_default();
        format!("{report}{example}\n{:?}", grown.seen.summary)
    };
    let found = report.levels();
    let all = found.values().copied().fold(Tally::default(), Tally::and);
    ensure!(all.wrong * 1000 <= all.spans && all.certain == 0, "{}", shown());
    ensure!(all.without + all.missing + all.surplus == 0, "{}", shown());
    let open = |tally: Tally| match runtime {
        // Nothing in a message says who published it.
        Runtime::Deliveries(..) => tally.open - tally.requests,
        _ => tally.open,
    };
    let is_alone = !matches!(runtime, Runtime::Deliveries(_, 2..));
    if let Some(&alone) = found.get(&1).filter(|_| is_alone) {
        ensure!(open(alone) * 20 <= alone.spans, "{}", shown());
    }
    let counted = grown.seen.summary.value("causality.ambiguous");
    ensure!(open(all) == 0 || counted > 0, "{}", shown());
    grown.seen.counted()
}

/// One at a time, a few, and many.
const FEW: [Level; 3] = [level(1, 30), level(3, 60), level(50, 150)];

/// Streams that one connection brings cannot be told apart.
fn node_asked_by_http2(hooks: Hooks) -> Result<()> {
    never_wrong(hooks, Runtime::NodeBy(Way::Http2), &FEW)
}

fn node_asked_by_grpc(hooks: Hooks) -> Result<()> {
    never_wrong(hooks, Runtime::NodeBy(Way::Grpc), &FEW)
}

/// It is followed as the main thread is.
fn node_in_a_worker_thread(hooks: Hooks) -> Result<()> {
    never_wrong(hooks, Runtime::NodeBy(Way::Worker), &FEW)
}

fn node_that_hands_on_to_worker_threads(hooks: Hooks) -> Result<()> {
    never_wrong(hooks, Runtime::NodeBy(Way::Workers), &FEW)
}

fn threads_of_grpcio(hooks: Hooks) -> Result<()> {
    never_wrong(hooks, Runtime::Grpcio(Grpcio::Threads), &FEW)
}

fn tasks_of_grpcio(hooks: Hooks) -> Result<()> {
    never_wrong(hooks, Runtime::Grpcio(Grpcio::Aio), &FEW)
}

fn messages_of_aio_pika(hooks: Hooks) -> Result<()> {
    messages(hooks, Library::AioPika, 10)
}

fn messages_of_amqp091(hooks: Hooks) -> Result<()> {
    messages(hooks, Library::Amqp091, 10)
}

fn messages_of_amqplib(hooks: Hooks) -> Result<()> {
    messages(hooks, Library::Amqplib, 10)
}

/// Of any library that is not followed: only one is in flight then.
fn messages_of_amqplib_one_at_a_time(hooks: Hooks) -> Result<()> {
    messages(hooks, Library::Amqplib, 1)
}

/// What is asked between a delivery and its acknowledgement, with so many deliveries at a time.
fn messages(hooks: Hooks, library: Library, at_a_time: u16) -> Result<()> {
    never_wrong(hooks, Runtime::Deliveries(library, at_a_time), &[level(1, 100)])
}
