//! `baggage` of a request goes on with what is sent for it (W3C Baggage, section 3), and so does the id by which people find it, or
//! one that is made. Each once, of lists whole members, and nothing of what is not asked for.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Body, Keeper, counting, once, propagating};
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(by_python, by_node, by_go);
spanwire_tests::under_one_hook_set!(
    over_http2,
    not_unless_asked_for,
    not_to_or_from_addresses_that_are_refused,
    an_id_may_have_the_other_name,
    a_request_behind_another_takes_nothing_of_its,
    of_more_than_there_is_room_for_some_are_counted,
);

/// A request, and what is carried on.
struct Case {
    /// Its header lines.
    fields: Vec<String>,
    /// How long the parts are in which it is sent; all of it in one where there is none.
    parts: Option<usize>,
    /// Bytes of its body.
    size: Option<usize>,
    baggage: String,
    id: Id,
}

/// The headers with ids that are carried on.
#[derive(Debug, PartialEq, Eq)]
enum Id {
    /// One, made of the trace's id.
    Made,
    /// One, as it came: its name and its value.
    Came(&'static str, String),
    /// None.
    None,
}

impl Case {
    /// One that is sent in one, without a body.
    fn new<T: AsRef<str>>(fields: &[T], baggage: &str, id: Id) -> Self {
        Self {
            fields: fields.iter().map(|field| field.as_ref().to_owned()).collect(),
            parts: None,
            size: None,
            baggage: baggage.to_owned(),
            id,
        }
    }
}

fn members(count: usize, length: usize) -> String {
    let members = (0..count).map(|number| format!("k{number:04}={}", "v".repeat(length - 6)));
    members.collect::<Vec<_>>().join(",")
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |fields: &[&str], baggage: &str, id: Id| cases.push(Case::new(fields, baggage, id));
    let came = |name, value: &str| Id::Came(name, value.to_owned());
    add(&["x-none: 1"], "", Id::Made);
    add(&["baggage: a=1"], "a=1", Id::Made);
    add(&["Baggage:user=%20x;p=1 , b=2"], "user=%20x;p=1 , b=2", Id::Made);
    add(
        &["baggage: a=1,b=2", "X-A: b", "BAGGAGE: c=3", "baggage:"],
        "a=1,b=2,c=3",
        Id::Made,
    );
    // Up to the limits, and above them.
    for length in [63, 64, 65, 127, 128, 129, 4071, 4072, 4096, 8190, 8191, 8192] {
        let list = format!("a={}", "v".repeat(length - 2));
        add(&[&format!("baggage: {list}")], &list, Id::Made);
    }
    add(
        &[&format!("baggage: {}", members(64, 40))],
        &members(64, 40),
        Id::Made,
    );
    add(
        &[&format!("baggage: {}", members(65, 40))],
        &members(64, 40),
        Id::Made,
    );
    add(
        &[&format!("baggage: {}", members(1000, 20))],
        &members(64, 20),
        Id::Made,
    );
    add(
        &[&format!("baggage: {}", members(20, 500))],
        &members(16, 500),
        Id::Made,
    );
    add(
        &[
            &format!("baggage: {}", members(16, 500)),
            "baggage: z=1,y=2",
            "baggage: x=3",
        ],
        &format!("{},z=1,y=2,x=3", members(16, 500)),
        Id::Made,
    );
    add(&[&format!("baggage: a={}", "v".repeat(8191))], "", Id::Made);
    add(&[&format!("baggage: a={}", "v".repeat(40_000))], "", Id::Made);
    // What is not as it should be.
    for list in ["a=\u{e4}", "a=1\u{7f}", "a=\u{1}b", " ", ",,", "\t"] {
        add(&[&format!("baggage: {list}")], "", Id::Made);
        if list.contains('a') {
            add(
                &["baggage: c=1", &format!("baggage: {list}"), "baggage: d=1"],
                "",
                Id::Made,
            );
        }
    }
    // Names that look like it.
    add(
        &[
            "baggages: a=1",
            "x-baggage: a=1",
            "baggag: a=1",
            "x-request-ids: 1",
        ],
        "",
        Id::Made,
    );
    // Ids.
    add(&["x-request-id: 7"], "", came("x-request-id", "7"));
    add(
        &["X-Request-ID:4bf92f35-77b3"],
        "",
        came("x-request-id", "4bf92f35-77b3"),
    );
    add(&["X-Correlation-Id: c-1"], "", came("x-correlation-id", "c-1"));
    add(
        &["x-correlation-id: c-1", "x-request-id: r-1"],
        "",
        came("x-request-id", "r-1"),
    );
    add(
        &["x-request-id: r-1", "baggage: a=1", "x-correlation-id: c-1"],
        "a=1",
        came("x-request-id", "r-1"),
    );
    add(&["x-request-id: 1", "x-request-id: 2"], "", Id::None);
    for length in [63, 64, 127, 128] {
        let id = "i".repeat(length);
        add(&[&format!("x-request-id: {id}")], "", came("x-request-id", &id));
    }
    add(&[&format!("x-request-id: {}", "i".repeat(129))], "", Id::None);
    add(&[&format!("x-request-id: {}", "i".repeat(20_000))], "", Id::None);
    add(&["x-request-id: \u{e4}"], "", Id::None);
    add(&["x-request-id:"], "", Id::None);
    // Beside a context.
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let longest = format!("baggage: {}", members(64, 127));
    let state = format!("tracestate: a={}", "s".repeat(256));
    let id = "i".repeat(128);
    add(
        &[&longest, parent, &state, &format!("x-request-id: {id}")],
        &members(64, 127),
        came("x-request-id", &id),
    );
    // Many, before and behind.
    let many: Vec<String> = (0..1000).map(|number| format!("x-{number}: {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let some = ["baggage: a=1", "x-request-id: 7"];
    add(&[&many[..], &some].concat(), "a=1", came("x-request-id", "7"));
    add(&[&some, &many[..]].concat(), "a=1", came("x-request-id", "7"));
    // Wherever it is cut.
    for parts in (1..40).chain([60, 100, 300]) {
        let fields = [
            "baggage: a=1,b=2",
            "X-A: b",
            "baggage: c=3",
            "x-request-id: seven-7",
        ];
        cases.push(Case {
            parts: Some(parts),
            ..Case::new(&fields, "a=1,b=2,c=3", came("x-request-id", "seven-7"))
        });
    }
    // Around the end of what is looked at together.
    for length in (3900..4100).step_by(3) {
        let list = members(30, 20);
        let fields = [
            format!("X-Long: {}", "l".repeat(length)),
            format!("baggage: {list}"),
        ];
        cases.push(Case::new(&fields, &list, Id::Made));
    }
    // With bodies.
    for size in [0, 1, 16, 3800, 4071, 4096, 16_384, 65_537, 1 << 20] {
        let list = members(50, 100);
        cases.push(Case {
            size: Some(size),
            ..Case::new(&[format!("baggage: {list}")], &list, Id::Made)
        });
    }
    cases
}

/// The request for `path` with these header lines, and its body.
fn request(path: &str, case: &Case) -> Vec<u8> {
    let index = path.rsplit('/').next().and_then(|last| last.parse().ok());
    let body = case.size.map(|size| counting(index.unwrap_or(0), size));
    let (method, length) = match &body {
        None => ("GET", String::new()),
        Some(body) => ("POST", format!("Content-Length: {}\r\n", body.len())),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{length}{}\r\n\r\n",
        case.fields.join("\r\n")
    );
    [head.into_bytes(), body.unwrap_or_default()].concat()
}

/// Asks for `path`, and is answered as the keeper does.
fn ask(address: SocketAddr, path: &str, case: &Case) -> Result<()> {
    let answer = answer(address, path, case)?;
    ensure!(
        answer.windows(2).any(|two| two == b"ok"),
        "{path} {:?}: {}",
        case.fields,
        answer.escape_ascii()
    );
    Ok(())
}

/// What comes when `path` is asked for.
fn answer(address: SocketAddr, path: &str, case: &Case) -> Result<Vec<u8>> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    let request = request(path, case);
    for part in request.chunks(case.parts.unwrap_or(request.len())) {
        connection.write_all(part)?;
        if case.parts.is_some() {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path} {:?}: {}",
        case.fields,
        answer.escape_ascii()
    );
    Ok(answer)
}

fn started(mut command: std::process::Command, target: SocketAddr) -> Result<Service> {
    let port = port::free()?;
    command.args([port.to_string(), target.to_string()]);
    Service::listening(Child::spawn(command)?, port)
}

fn python(target: SocketAddr) -> Result<Service> {
    let mut command = child::command(workload::PYTHON);
    command.arg(workload::file("propagation/pass_on.py")?);
    started(command, target)
}

fn by_python(hooks: Hooks) -> Result<()> {
    // Its reader takes no longer lines than 64 KiB, and reads bytes as Latin-1.
    goes_on(hooks, python)
}

fn by_node(hooks: Hooks) -> Result<()> {
    goes_on(hooks, |target| {
        let mut command = child::command("node");
        command.arg(workload::file("propagation/pass_on.js")?);
        started(command, target)
    })
}

fn by_go(hooks: Hooks) -> Result<()> {
    goes_on(hooks, |target| {
        let program = workload::go_with_modules("pass_on", "propagation/pass_on.go")?;
        started(child::command(&program.to_string_lossy()), target)
    })
}

fn carrying(options: Options) -> Options {
    let options = options.environment("SPANWIRE_PROPAGATE_BAGGAGE", "true");
    options.environment("SPANWIRE_CORRELATION", "x-request-id")
}

/// What servers refuse themselves is not asked.
fn is_borne(case: &Case) -> bool {
    let control = |field: &String| {
        field
            .bytes()
            .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
    };
    !case.fields.iter().any(control)
}

fn goes_on(hooks: Hooks, start: impl FnOnce(SocketAddr) -> Result<Service>) -> Result<()> {
    let keeper = Keeper::start()?;
    let service = start(keeper.address)?;
    let session = Session::start(carrying(propagating(hooks)).pid(service.child.pid()))?;
    let cases: Vec<_> = cases().into_iter().filter(is_borne).collect();
    for (number, case) in cases.iter().enumerate() {
        ask(service.address, &format!("/on/{number}"), case)?;
    }
    // What the application sends itself stays alone.
    let own = ["baggage=own=1", "x-request-id=own", "X-Correlation-Id=own"];
    for (number, own) in own.iter().enumerate() {
        let fields = [&format!("x-with: {own}"), "baggage: a=1", "x-request-id: 7"];
        let case = Case::new(&fields, "", Id::None);
        ask(service.address, &format!("/own/{number}"), &case)?;
    }
    let seen = session.finish(2 * (cases.len() + own.len()))?;
    let got = once(keeper.kept.take()?)?;
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let servers: HashMap<&str, &Span> = servers.map(|span| (span.path(), span)).collect();
    let (mut with_baggage, mut with_id) = (0, 0);
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/on/{number}");
        let server = servers.get(path.as_str()).context("no server")?;
        let got = &got[&path];
        let told = || {
            let fields: Vec<_> = case
                .fields
                .iter()
                .take(8)
                .map(|field| &field[..field.len().min(300)])
                .collect();
            let head: Vec<_> = got.head.iter().map(|line| &line[..line.len().min(300)]).collect();
            format!(
                "{path} in {:?}: {fields:#?}\n{head:#?}\n{server:#?}\n{:?}",
                case.parts, seen.summary
            )
        };
        ensure!(got.values("traceparent").len() == 1, "{}", told());
        ensure!(
            got.body == Body::Planned(case.size.unwrap_or(0)),
            "{:?} {}",
            got.body,
            told()
        );
        let baggage = got.values("baggage");
        let expected: Vec<&str> = Some(case.baggage.as_str())
            .filter(|list| !list.is_empty())
            .into_iter()
            .collect();
        ensure!(baggage == expected, "{} {}", case.baggage.len(), told());
        with_baggage += expected.len() as u64;
        let mut ids = Vec::new();
        for name in ["x-request-id", "x-correlation-id"] {
            ids.extend(
                got.values(name)
                    .into_iter()
                    .map(|value| Id::Came(name, value.to_owned())),
            );
        }
        let made = server.attributes.get("http.request.header.x-request-id");
        match &case.id {
            Id::Made => {
                ensure!(
                    ids == [Id::Came("x-request-id", server.trace_id.clone())],
                    "{ids:?} {}",
                    told()
                );
                ensure!(
                    made.is_some_and(|value| format!("{value:?}").contains(&server.trace_id)),
                    "{}",
                    told()
                );
            }
            Id::None => ensure!(ids.is_empty(), "{ids:?} {}", told()),
            came => ensure!(ids.len() == 1 && ids[0] == *came, "{ids:?} {}", told()),
        }
        with_id += ids.len() as u64;
    }
    for (number, own) in own.iter().enumerate() {
        let got = &got[&format!("/own/{number}")];
        let (baggage, id, other) = (
            got.values("baggage"),
            got.values("x-request-id"),
            got.values("x-correlation-id"),
        );
        let expected = match number {
            0 => (vec!["own=1"], vec!["7"], vec![]),
            1 => (vec!["a=1"], vec!["own"], vec![]),
            _ => (vec!["a=1"], vec![], vec!["own"]),
        };
        ensure!((baggage, id, other) == expected, "{own}: {got:#?}");
    }
    let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
    ensure!(
        value("baggage.injected") == with_baggage + 2
            && value("correlation.injected") == with_id + 1
            && value("baggage.cut") > 0
            && value("baggage.malformed") > 0
            && value("correlation.malformed") > 0
            && value("carried.full") == 0,
        "{with_baggage} {with_id} of {}: {:?}",
        cases.len(),
        seen.summary
    );
    Ok(())
}

/// By HTTP/1 to a service that asks another one by HTTP/2, which asks by HTTP/1: plain fields, as spanwire puts them, are taken over
/// there. What is more than servers may bear does not go. Once the application has sent one of its own on a connection, none is put
/// there, since its name may be a number from then on.
fn over_http2(hooks: Hooks) -> Result<()> {
    /// The first number of those with one of the application's own.
    const OWN: usize = 1000;
    let keeper = Keeper::start()?;
    let program = workload::go_program("streams")?;
    let serve = |role: &str, target: SocketAddr| {
        let port = port::free()?;
        let mut command = child::command(&program.to_string_lossy());
        command.args([role, &port.to_string(), &target.to_string()]);
        Service::listening(Child::spawn(command)?, port)
    };
    let store = serve("store", keeper.address)?;
    let relay = serve("relay", store.address)?;
    let options = carrying(propagating(hooks)).pid(store.child.pid());
    let session = Session::start(options.pid(relay.child.pid()))?;
    let came = |value: &str| Id::Came("x-request-id", value.to_owned());
    let other = || Id::Came("x-correlation-id", "c-1".to_owned());
    let mut cases = vec![
        Case::new(&["x-none: 1"], "", Id::Made),
        Case::new(&["x-request-id: 7"], "", came("7")),
        Case::new(&["x-correlation-id: c-1", "baggage: a=1"], "a=1", other()),
        Case::new(
            &["baggage: a=1,b=2", "X-A: b", "baggage: c=3"],
            "a=1,b=2,c=3",
            Id::Made,
        ),
        Case::new(
            &[format!("baggage: {}", members(65, 20))],
            &members(64, 20),
            Id::Made,
        ),
        Case::new(&[format!("baggage: a={}", "v".repeat(5_000))], "", Id::None),
        Case::new(&["baggage: a=\u{e4}"], "", Id::Made),
        // A field's value has no blanks around it.
        Case::new(&["baggage:  a=1\t ", "x-request-id: \t7 "], "a=1", came("7")),
        Case::new(
            &[format!("baggage: {}", members(65, 20).replace(',', " , "))],
            &members(64, 20).replace(',', " , "),
            Id::Made,
        ),
    ];
    let beside = [
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        format!("tracestate: a={}", "s".repeat(256)),
        format!("baggage: {}", members(50, 60)),
        format!("x-request-id: {}", "i".repeat(128)),
    ];
    cases.push(Case::new(&beside, &members(50, 60), came(&"i".repeat(128))));
    for length in (3..300)
        .step_by(7)
        .chain([126, 127, 128, 254, 255, 256, 382, 383, 1_000, 3_500])
    {
        let list = format!("a={}", "v".repeat(length - 2));
        cases.push(Case::new(&[format!("baggage: {list}")], &list, Id::Made));
    }
    for (number, case) in cases.iter().enumerate() {
        answer(relay.address, &format!("/on/{number}"), case)?;
    }
    let own = [
        "x-none=1",
        "baggage=own=1",
        "x-none=1",
        "x-request-id=own",
        "x-none=1",
    ];
    for (number, own) in own.iter().enumerate() {
        let fields = [&format!("x-with: {own}"), "baggage: a=1", "x-request-id: 7"];
        answer(
            relay.address,
            &format!("/own/{}", OWN + number),
            &Case::new(&fields, "", Id::None),
        )?;
    }
    let seen = session.finish(4 * (cases.len() + own.len()))?;
    let got = once(keeper.kept.take()?)?;
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/stock/{number}/store");
        let got = &got[&path];
        let told = || format!("{path} {:?}: {:#?}\n{:?}", case.fields, got.head, seen.summary);
        let ids = ["x-request-id", "x-correlation-id"].map(|name| got.values(name));
        let trace = got
            .values("traceparent")
            .first()
            .map_or("", |value| &value[3..35]);
        let expected = match &case.id {
            Id::Made => [vec![trace], vec![]],
            Id::Came("x-request-id", id) => [vec![id.as_str()], vec![]],
            Id::Came(_, id) => [vec![], vec![id.as_str()]],
            Id::None => [vec![], vec![]],
        };
        ensure!(ids == expected, "{ids:?} {}", told());
        let lists: Vec<&str> = Some(case.baggage.as_str())
            .filter(|list| !list.is_empty())
            .into_iter()
            .collect();
        ensure!(got.values("baggage") == lists, "{}", told());
    }
    let carried = |number: usize| {
        let got = &got[&format!("/stock/{}/store", OWN + number)];
        (got.values("baggage"), got.values("x-request-id"))
    };
    let expected = [
        (vec!["a=1"], vec!["7"]),
        (vec![], vec!["7"]),
        (vec![], vec!["7"]),
        (vec![], vec![]),
        (vec![], vec![]),
    ];
    for (number, expected) in expected.into_iter().enumerate() {
        ensure!(
            carried(number) == expected,
            "{number}: {:?}, not {expected:?}",
            carried(number)
        );
    }
    let full = seen.summary.value("kernel.propagation.carried.full");
    ensure!(full == 1, "{full}: {:?}", seen.summary);
    Ok(())
}

/// One request with baggage and one without an id, as `options` have it: what came with both.
fn two(options: Options) -> Result<[Vec<String>; 2]> {
    let keeper = Keeper::start()?;
    let service = python(keeper.address)?;
    let session = Session::start(options.pid(service.child.pid()))?;
    for (path, field) in [("/on/0", "x-request-id: 7"), ("/on/1", "x-none: 1")] {
        ask(
            service.address,
            path,
            &Case::new(&["baggage: a=1", field], "", Id::None),
        )?;
    }
    let seen = session.finish(4)?;
    ensure!(
        seen.summary.value("kernel.propagation.injected") == 2,
        "{:?}",
        seen.summary
    );
    let got = once(keeper.kept.take()?)?;
    Ok(["/on/0", "/on/1"].map(|path| {
        let lines = got[path].head.iter().map(|line| line.to_lowercase());
        let is_carried = |line: &String| line.starts_with("baggage") || line.starts_with("x-");
        lines.filter(is_carried).collect()
    }))
}

fn not_unless_asked_for(hooks: Hooks) -> Result<()> {
    let [first, second] = two(propagating(hooks))?;
    ensure!(first.is_empty() && second.is_empty(), "{first:?} {second:?}");
    let [first, second] = two(propagating(hooks).environment("SPANWIRE_PROPAGATE_BAGGAGE", "true"))?;
    ensure!(
        first == ["baggage: a=1"] && second == first,
        "{first:?} {second:?}"
    );
    let [first, second] = two(propagating(hooks).environment("SPANWIRE_CORRELATION", "x-request-id"))?;
    ensure!(
        first == ["x-request-id: 7"] && second.len() == 1,
        "{first:?} {second:?}"
    );
    Ok(())
}

fn not_to_or_from_addresses_that_are_refused(hooks: Hooks) -> Result<()> {
    let options = carrying(propagating(hooks)).environment("SPANWIRE_REFUSE_FROM", "127.0.0.0/8");
    let [first, second] = two(options)?;
    ensure!(first.is_empty() && second.is_empty(), "{first:?} {second:?}");
    let options = carrying(propagating(hooks)).environment("SPANWIRE_REFUSE_FROM", "10.0.0.0/8");
    let [first, _] = two(options)?;
    ensure!(first == ["baggage: a=1", "x-request-id: 7"], "{first:?}");
    Ok(())
}

fn an_id_may_have_the_other_name(hooks: Hooks) -> Result<()> {
    let [first, second] = two(propagating(hooks).environment("SPANWIRE_CORRELATION", "x-correlation-id"))?;
    ensure!(first == ["x-request-id: 7"], "{first:?}");
    let made = second
        .first()
        .and_then(|line| line.strip_prefix("x-correlation-id: "));
    ensure!(
        second.len() == 1
            && made.is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{second:?}"
    );
    Ok(())
}

/// On one connection, one after the other and before the answers: what came with one is not what goes with another.
fn a_request_behind_another_takes_nothing_of_its(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 60;
    let keeper = Keeper::start()?;
    let service = python(keeper.address)?;
    let session = Session::start(carrying(propagating(hooks)).pid(service.child.pid()))?;
    let mut connection = TcpStream::connect(service.address)?;
    let fields = |number: usize| match number % 3 {
        0 => format!("baggage: n={number}\r\n"),
        1 => format!("x-request-id: {number}\r\n"),
        _ => String::new(),
    };
    let mut all = String::new();
    for number in 0..COUNT {
        let end = if number + 1 == COUNT {
            "Connection: close\r\n"
        } else {
            ""
        };
        all.push_str(&format!(
            "GET /on/{number} HTTP/1.1\r\nHost: a\r\n{end}{}\r\n",
            fields(number)
        ));
    }
    connection.write_all(all.as_bytes())?;
    let mut answers = String::new();
    connection.read_to_string(&mut answers)?;
    ensure!(answers.matches("HTTP/1.1 200").count() == COUNT, "{answers}");
    let seen = session.finish(2 * COUNT)?;
    let got = once(keeper.kept.take()?)?;
    for number in 0..COUNT {
        let got = &got[&format!("/on/{number}")];
        let own = match number % 3 {
            0 => format!("n={number}"),
            _ => number.to_string(),
        };
        let ids = got.values("x-request-id");
        let lists = got.values("baggage");
        ensure!(lists.is_empty() || number % 3 == 0 && lists == [&own], "{got:#?}");
        ensure!(
            ids.len() <= 1
                && ids
                    .iter()
                    .all(|id| id.len() == 32 || number % 3 == 1 && *id == own),
            "{got:#?}\n{:?}",
            seen.summary
        );
    }
    Ok(())
}

/// Of more requests at a time than there is room for, each goes on with what is its own or without, and those without are counted.
fn of_more_than_there_is_room_for_some_are_counted(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 1_500;
    /// There is room for as many.
    const ROOM: usize = 1_024;
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    child::may_open(COUNT as u64 + 500)?;
    let keeper = Keeper::start()?;
    let service = python(keeper.address)?;
    let session = Session::start(carrying(propagating(hooks)).pid(service.child.pid()))?;
    let mut waiting = Vec::new();
    for number in 0..COUNT {
        let mut connection = TcpStream::connect(service.address)?;
        let head = format!(
            "POST /on/{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\
             traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\ntracestate: n={number}\r\nbaggage: n={number}\r\n\
             x-request-id: {number}\r\n\r\n"
        );
        connection.write_all(head.as_bytes())?;
        // It is read up to its body.
        let mut goes_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        connection.read_exact(&mut goes_on)?;
        ensure!(goes_on.starts_with(b"HTTP/1.1 100"), "{}", goes_on.escape_ascii());
        waiting.push(connection);
    }
    for (number, mut connection) in waiting.into_iter().enumerate() {
        connection.write_all(&counting(number, 1))?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer}");
    }
    let seen = session.finish(2 * COUNT)?;
    let got = once(keeper.kept.take()?)?;
    let mut lost = HashMap::from([("baggage", 0), ("tracestate", 0)]);
    for number in 0..COUNT {
        let got = &got[&format!("/on/{number}")];
        let context = got.values("traceparent");
        ensure!(context.len() == 1 && context[0].contains(TRACE), "{got:#?}");
        ensure!(got.values("x-request-id") == [number.to_string()], "{got:#?}");
        ensure!(got.body == Body::Planned(1), "{got:#?}");
        for (name, lost) in &mut lost {
            let values = got.values(name);
            ensure!(values.is_empty() || values == [format!("n={number}")], "{got:#?}");
            *lost += usize::from(values.is_empty());
        }
    }
    for (name, kept) in [("baggage", "baggage"), ("tracestate", "states")] {
        let lost = lost[name];
        let counted = seen.summary.value(&format!("kernel.propagation.{kept}.evicted")) as usize;
        // Some are forgotten.
        ensure!(
            lost >= COUNT - ROOM && counted <= lost && counted >= lost - lost / 10,
            "{name}: {counted} of {lost}: {:?}",
            seen.summary
        );
    }
    let ids = seen.summary.value("kernel.propagation.correlation.evicted");
    ensure!(ids == 0, "{ids}: {:?}", seen.summary);
    Ok(())
}
