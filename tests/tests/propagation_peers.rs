//! Contexts and those who are not enrolled: Java and nginx where the kernel would stall them, and proxies that are not
//! watched at all, through which a context gets as a header.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::bulk;
use spanwire_tests::calls::{self, Call, Peer};
use spanwire_tests::child::Child;
use spanwire_tests::http::{Connection, Server};
use spanwire_tests::injection::{
    Client, Got, Keeper, Keeper2, Outcome, Requests, clients, header_of, once, plan, propagating,
};
use spanwire_tests::namespaces::Namespaces;
use spanwire_tests::port;
use spanwire_tests::proxy::Proxy;
use spanwire_tests::seen::Seen;
use spanwire_tests::service::node;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};

spanwire_tests::under_one_hook_set!(
    java_is_left_alone,
    nginx_is_left_alone,
    through_a_proxy_that_is_not_watched,
    a_proxy_that_asks_again,
);

/// Where enrolled sockets answer FIONREAD with 0, nothing was put into what came: it is the same to the byte, and who left it so
/// says why. Elsewhere each request carries one context at most.
fn are_left_alone(plain: &Requests, got: &Requests, seen: &Seen) -> Result<()> {
    let outcome = Outcome::of(seen);
    let breaks_fionread = seen.finished.message().contains("this kernel answers FIONREAD");
    ensure!(
        breaks_fionread == (outcome == Outcome::default()),
        "{outcome:?}: {}",
        seen.finished.message()
    );
    ensure!(plain.keys().eq(got.keys()), "{} and {}", plain.len(), got.len());
    for (path, got) in got {
        let is_own = |line: &String| !breaks_fionread && line.starts_with("traceparent: ");
        let bare = |got: &Got| Got {
            head: got.head.iter().filter(|line| !is_own(line)).cloned().collect(),
            body: got.body.clone(),
        };
        ensure!(
            got.iter().map(bare).eq(plain[path].iter().map(bare)),
            "{got:#?}, not {:#?}",
            plain[path]
        );
        ensure!(
            got.iter().all(|got| got.values("traceparent").len() <= 1),
            "{got:#?}"
        );
    }
    Ok(())
}

/// Each server's span is a child of the client's whose id it names, which asked for the same.
fn both_ends_meet(seen: &Seen, count: usize) -> Result<()> {
    let of = |kind| seen.spans.iter().filter(move |span| span.kind == kind);
    let asked: HashMap<&str, &Span> = of(Kind::Client).map(|span| (&*span.span_id, span)).collect();
    ensure!(
        asked.len() == count && of(Kind::Server).count() == count,
        "{} asked, {} answered, {count} expected: {:?}",
        asked.len(),
        of(Kind::Server).count(),
        seen.summary
    );
    for span in of(Kind::Server) {
        let client = asked
            .get(&*span.parent)
            .with_context(|| format!("an orphan: {span:#?}"))?;
        ensure!(
            client.subject() == span.subject() && client.trace_id == span.trace_id,
            "{client:#?}\n{span:#?}"
        );
    }
    Ok(())
}

fn java_is_left_alone(hooks: Hooks) -> Result<()> {
    let (keeper, keeper2) = (Keeper::start()?, Keeper2::start()?);
    let folder = tempfile::tempdir()?;
    let ask_all = || -> Result<Requests> {
        for client in Client::JAVA {
            let plan = plan(&client.prefix(), 200, 1);
            Child::spawn(client.ask(keeper.address, &plan, 4, folder.path())?)?
                .succeed()
                .with_context(|| format!("{client:?}"))?;
        }
        keeper.kept.take()
    };
    let call_all = || -> Result<(Vec<Call>, Vec<String>)> {
        let mut command = Peer::GrpcJava.call(keeper2.address, 200, 20)?;
        command.args(["One", "List", "Send", "Chat", "Fail", "None", "One", "Sum"]);
        let told = calls::told(&Child::spawn(command)?.succeed()?)?;
        let all = keeper2.kept.take()?.into_values().flatten();
        let is_told = |line: &&String| !line.starts_with("grpc-timeout:");
        let mut all: Vec<String> = all
            .map(|got| {
                format!(
                    "{:?} {:?}",
                    got.head.iter().filter(is_told).collect::<Vec<_>>(),
                    got.body
                )
            })
            .collect();
        all.sort();
        Ok((told, all))
    };
    let (plain, (_, plain2)) = (ask_all()?, call_all()?);
    let options = propagating(hooks)
        .port(keeper.address.port())
        .port(keeper2.address.port());
    let session = Session::start(options)?;
    let (got, (told, got2)) = (ask_all()?, call_all()?);
    let count = got.len() + told.len();
    let seen = session.finish(2 * count)?;
    are_left_alone(&plain, &got, &seen)?;
    if Outcome::of(&seen) == Outcome::default() {
        ensure!(plain2 == got2, "{got2:#?}, not {plain2:#?}");
    }
    both_ends_meet(&seen, count)
}

/// nginx as a client. Of long answers it waits for ever on a socket that says that nothing is there.
fn nginx_is_left_alone(hooks: Hooks) -> Result<()> {
    const CALLS: usize = 200;
    let keeper = Keeper::start()?;
    let upstream = node::serve()?;
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let to_keeper = Proxy::Nginx.start(folders[0].path(), &[keeper.address])?;
    let to_node = Proxy::Nginx.start(folders[1].path(), &[upstream.address])?;
    let calls = bulk::of_lengths(CALLS);
    let plan = plan("nginx", CALLS, 1);
    let ask_all = || -> Result<Requests> {
        let ask = Client::HttpClient.ask(to_keeper.address, &plan, 4, folders[0].path())?;
        Child::spawn(ask)?.succeed()?;
        bulk::run(to_node.address, 10, &calls)?;
        keeper.kept.take()
    };
    let plain = ask_all()?;
    // nginx's clients are not watched.
    let options = propagating(hooks)
        .port(keeper.address.port())
        .port(upstream.address.port());
    let session = Session::start(options)?;
    let got = ask_all()?;
    let count = got.len() + CALLS;
    let seen = session.finish(2 * count)?;
    are_left_alone(&plain, &got, &seen)?;
    both_ends_meet(&seen, count)
}

/// Prints the contexts of each request, and its body's length.
const PRINT: &str = "
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    def log_message(self, *_): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        assert body == b'b' * len(body)
        print('got', self.path, len(body), *(self.headers.get_all('traceparent') or []), flush=True)
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
server = ThreadingHTTPServer(('10.77.0.2', int(sys.argv[1])), Answer)
print('listening', flush=True)
server.serve_forever()
";

/// Asks over each of the addresses in turn, once there is a file.
const ASK: &str = "
import http.client, os, sys, time
file, count, *addresses = sys.argv[1:]
while not os.path.exists(file): time.sleep(0.01)
connections = [http.client.HTTPConnection(address, timeout=30) for address in addresses]
for number in range(int(count)):
    for name, connection in enumerate(connections):
        connection.request('POST', f'/{name}/{number}', b'b' * (number * 997 % 50_000))
        assert connection.getresponse().read() == b'ok'
";

/// Two hosts and a proxy between client and server that nobody watches: its connections are others than the client's and the
/// server's, so nothing but the header can join the two. What is not sent with one is joined with nothing.
fn through_a_proxy_that_is_not_watched(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 100;
    let hosts = Namespaces::new("proxy")?;
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let address = || -> Result<SocketAddr> { Ok(SocketAddr::from(([10, 77, 0, 2], port::free()?))) };
    let behind = address()?;
    let mut server = hosts.python(1);
    server.args(["-c", PRINT, &behind.port().to_string()]);
    let mut server = Child::spawn(server)?;
    server.line("listening")?;
    let (mut proxies, mut fronts) = (Vec::new(), Vec::new());
    for proxy in Proxy::ALL {
        let front = address()?;
        let (program, arguments) = proxy.with(folder.path(), front, &[behind])?;
        proxies.push(proxy.start_as(hosts.command(1, program), arguments)?);
        fronts.push(front.to_string());
    }
    let run = |injects: bool| -> Result<Seen> {
        let mut client = hosts.python(0);
        client
            .args(["-c", ASK])
            .arg(&turn)
            .arg(COUNT.to_string())
            .args(&fronts);
        let client = Child::spawn(client)?;
        let options = if injects {
            propagating(hooks)
        } else {
            spanwire_tests::agent::Options::run(hooks)
        };
        let session = Session::start(options.pid(client.pid()).pid(server.pid()))?;
        std::fs::write(&turn, "")?;
        client.succeed()?;
        std::fs::remove_file(&turn)?;
        let seen = session.finish(2 * 2 * COUNT)?;
        ensure!(seen.spans.len() == 2 * 2 * COUNT, "{} spans", seen.spans.len());
        Ok(seen)
    };
    let without = run(false)?;
    let servers = without.spans.iter().filter(|span| span.kind == Kind::Server);
    for span in servers {
        ensure!(
            span.parent.is_empty(),
            "joined with nothing on the wire: {span:#?}"
        );
    }
    let before = server.stdout.all().len();
    let seen = run(true)?;
    both_ends_meet(&seen, 2 * COUNT)?;
    let spans = clients(&seen);
    let expected: Vec<String> = (0..COUNT)
        .flat_map(|number| (0..fronts.len()).map(move |name| (name, number)))
        .map(|(name, number)| {
            let path = format!("/{name}/{number}");
            let header = header_of(spans[path.as_str()]);
            let size = number * 997 % 50_000;
            format!("got {path} {size} {}", header.trim_start_matches("traceparent: "))
        })
        .collect();
    let printed = server.stdout.all();
    ensure!(
        printed[before..] == expected,
        "{:#?}, not {expected:#?}",
        &printed[before..]
    );
    Ok(())
}

/// The heads of what it is asked, which it never answers.
fn hanger(listener: TcpListener, heads: Arc<Mutex<Vec<Got>>>) -> Result<Server> {
    Server::tcp(listener, move |connection: Connection<TcpStream>| {
        let lines = BufReader::new(connection.socket()).lines();
        let head: Vec<String> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        if !head.is_empty() {
            let body = spanwire_tests::injection::Body::Planned(0);
            heads.lock().expect("no holder panics").push(Got { head, body });
        }
    })
}

/// A proxy that gets no answer asks another server: the same context, and one of it.
fn a_proxy_that_asks_again(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 60;
    let keeper = Keeper::start()?;
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (listener, silent) = port::listener()?;
    let _silent = hanger(listener, heads.clone())?;
    let folder = tempfile::tempdir()?;
    for proxy in Proxy::ALL {
        let front = proxy.start(folder.path(), &[silent, keeper.address])?;
        let session = Session::start(propagating(hooks).port(front.address.port()))?;
        let plan = plan(&format!("{proxy:?}"), COUNT, 0);
        // Requests with bodies are not asked again by everyone.
        let plan: Vec<_> = plan
            .into_iter()
            .filter(|planned| planned.size.is_none())
            .collect();
        let ask = Client::HttpClient.ask(front.address, &plan, 2, folder.path())?;
        Child::spawn(ask)?
            .succeed()
            .with_context(|| format!("{proxy:?}"))?;
        let seen = session.finish(2 * plan.len())?;
        let got = once(keeper.kept.take()?)?;
        let asked = std::mem::take(&mut *heads.lock().expect("no holder panics"));
        ensure!(
            got.len() == plan.len() && asked.len() >= plan.len() / 3,
            "{} and {}",
            got.len(),
            asked.len()
        );
        let spans = clients(&seen);
        let path = |got: &Got| got.head[0].split(' ').nth(1).unwrap_or_default().to_owned();
        for got in got.values().chain(&asked) {
            let span = spans
                .get(path(got).as_str())
                .with_context(|| format!("{got:#?}"))?;
            let header = header_of(span);
            ensure!(
                got.values("traceparent") == [header.trim_start_matches("traceparent: ")],
                "{got:#?}, not {header}"
            );
        }
    }
    Ok(())
}
