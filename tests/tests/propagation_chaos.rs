//! Each client's load goes on while spanwire comes, goes, is killed and is stopped: all is answered, no byte is another, and no
//! request or message carries more than one context.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::calls::Peer;
use spanwire_tests::child::Child;
use spanwire_tests::injection::{Client, Got, Keeper, Keeper2, Requests, once, plan, propagating};
use spanwire_tests::publishers::{self, Publisher};
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::wait;

spanwire_tests::under_one_hook_set!(loaded_while_it_comes_and_goes, all_others_and_messages);

fn loaded_while_it_comes_and_goes(hooks: Hooks) -> Result<()> {
    const CLIENTS: [Client; 5] = [
        Client::Requests,
        Client::NodeHttp,
        Client::GoHttp,
        Client::NodeHttp2,
        Client::GoHttp2,
    ];
    loaded(hooks, 2, &CLIENTS, &[Peer::GrpcGo], &[])
}

fn all_others_and_messages(hooks: Hooks) -> Result<()> {
    const CLIENTS: [Client; 6] = [
        Client::HttpClient,
        Client::Waiting,
        Client::Httpx,
        Client::Aiohttp,
        Client::Fetch,
        Client::Curl,
    ];
    loaded(hooks, 1, &CLIENTS, &[Peer::Grpcio, Peer::GrpcJs], &Publisher::ALL)
}

/// Something that is done over and over.
type Work<'a> = Box<dyn Fn() -> Result<()> + Send + 'a>;

fn loaded(
    hooks: Hooks,
    times: usize,
    clients: &[Client],
    calling: &[Peer],
    publishing: &[Publisher],
) -> Result<()> {
    const REQUESTS: usize = 200;
    const MESSAGES: usize = 50;
    let (keeper, keeper2) = (Keeper::start()?, Keeper2::start()?);
    let broker = match publishing {
        [] => None,
        _ => Some(RabbitMq::start()?),
    };
    let folder = tempfile::tempdir()?;
    let ask = |client: Client| -> Result<()> {
        let address = if Client::HTTP2.contains(&client) {
            keeper2.address
        } else {
            keeper.address
        };
        let plan = plan(&client.prefix(), REQUESTS, 0);
        Child::spawn(client.ask(address, &plan, 4, folder.path())?)?
            .succeed()
            .map(drop)
    };
    let all = || -> Result<Requests> {
        let mut all = keeper.kept.take()?;
        all.extend(keeper2.kept.take()?);
        Ok(all)
    };
    for &client in clients {
        ask(client)?;
    }
    let plain = once(all()?)?;
    let call = |peer: Peer| -> Result<()> {
        Child::spawn(peer.call(keeper2.address, 400, 20)?)?
            .succeed()
            .map(drop)
    };
    let mut messages = Vec::new();
    for &publisher in publishing {
        let broker = broker.as_ref().context("a broker")?;
        messages.push((publisher, publishers::publish(publisher, broker, MESSAGES, 0)?));
    }
    let named = AtomicUsize::new(0);
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut works: Vec<(String, Work<'_>)> = Vec::new();
    let (ask, call, asked_so_far, named_so_far, broker) = (&ask, &call, &asked, &named, &broker);
    for &client in clients {
        let ask = move || {
            asked_so_far.fetch_add(REQUESTS, Ordering::Relaxed);
            ask(client)
        };
        works.push((format!("{client:?}"), Box::new(ask)));
    }
    for &peer in calling {
        works.push((format!("{peer:?}"), Box::new(move || call(peer))));
    }
    for (publisher, plain) in &messages {
        let publish = move || {
            let broker = broker.as_ref().context("a broker")?;
            let got = publishers::publish(*publisher, broker, MESSAGES, 0)?;
            for (key, got) in got {
                let context = got.context_beside(&plain[&key])?;
                named_so_far.fetch_add(usize::from(context.is_some()), Ordering::Relaxed);
            }
            Ok(())
        };
        works.push((format!("{publisher:?}"), Box::new(publish)));
    }
    std::thread::scope(|scope| {
        let done = &done;
        let go_on = |(name, work): (String, Work<'_>)| -> Result<()> {
            while !done.load(Ordering::Acquire) {
                work().with_context(|| name.clone())?;
            }
            Ok(())
        };
        let loads: Vec<_> = works
            .into_iter()
            .map(|work| scope.spawn(move || go_on(work)))
            .collect();
        let ports = [
            Some(keeper.address),
            Some(keeper2.address),
            broker.as_ref().map(|it| it.service.address),
        ];
        let with_ports = |options: Options| {
            let ports = ports.iter().flatten();
            ports.fold(options, |options, address| options.port(address.port()))
        };
        let came = come_and_go(
            times,
            &with_ports(propagating(hooks)),
            &with_ports(Options::run(hooks)),
            &keeper,
            &|| publishing.is_empty() || named_so_far.load(Ordering::Relaxed) > 0,
        );
        done.store(true, Ordering::Release);
        for load in loads {
            load.join().expect("no thread panics")?;
        }
        came
    })?;
    let (mut carried, mut count) = (0, 0);
    for (path, got) in all()? {
        let is_call = path.starts_with("/shop.");
        for got in got {
            let contexts = got.values("traceparent").len();
            ensure!(contexts <= 1, "{got:#?}");
            if is_call {
                continue;
            }
            carried += contexts;
            count += 1;
            let head = got.head.iter().filter(|line| !line.starts_with("traceparent: "));
            let bare = Got {
                head: head.cloned().collect(),
                body: got.body.clone(),
            };
            ensure!(bare == plain[&path], "{got:#?}, not {:#?}", plain[&path]);
        }
    }
    let asked = asked.into_inner();
    ensure!(
        count == asked && carried > 0,
        "{count} of {asked}, {carried} with a context"
    );
    Ok(())
}

/// Some times: killed at once; stopped, continued and, once messages are `named`, ended; then the same clients watched without
/// injection.
fn come_and_go(
    times: usize,
    injecting: &Options,
    watching: &Options,
    keeper: &Keeper,
    named: &dyn Fn() -> bool,
) -> Result<()> {
    for _ in 0..times {
        Agent::start(injecting)?.kill()?;
        let agent = Agent::start(injecting)?;
        keeper.kept.more(300)?;
        agent.signal(Signal::STOP)?;
        keeper.kept.more(300)?;
        agent.signal(Signal::CONT)?;
        keeper.kept.more(100)?;
        wait::until("a message with a context", || Ok(named().then_some(())))?;
        let finished = agent.stop()?;
        ensure!(finished.status == 0, "{}", finished.message());
    }
    let agent = Agent::start(watching)?;
    keeper.kept.more(100)?;
    let finished = agent.stop()?;
    ensure!(finished.status == 0, "{}", finished.message());
    Ok(())
}
