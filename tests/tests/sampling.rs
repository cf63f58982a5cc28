//! Which traces are kept is decided where they begin, and holds for all of them: for what is exported, and for what others are told.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Keeper, once, propagating, requests};
use spanwire_tests::metrics::Scrape;
use spanwire_tests::seen::Seen;
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, wait, workload};

spanwire_tests::under_both_hook_sets!(
    a_trace_is_kept_whole_or_not_at_all,
    a_parent_s_decision_is_carried_on,
);
spanwire_tests::under_one_hook_set!(
    what_is_joined_on_this_host_is_kept_together,
    a_sampler_on_its_own_goes_by_the_trace_s_id,
    rules_and_their_change,
    rules_hold_for_services_that_come_when_thousands_of_others_have_gone,
    the_tree_shows_what_is_not_kept_if_that_is_asked,
);

/// Of one request: both services are asked, and ask.
const SPANS: usize = 4;

const TRACE: &str = "4bf92f3577b34da6a3";

/// Randomness of a trace that is 56 bits wide, and more or less often kept.
const HALF: u64 = 1 << 55;

/// One service that asks another, which asks a keeper.
struct Chain {
    keeper: Keeper,
    front: Service,
    back: Service,
}

impl Chain {
    fn start() -> Result<Self> {
        let keeper = Keeper::start()?;
        let back = named("back", keeper.address)?;
        let front = named("front", back.address)?;
        Ok(Self { keeper, front, back })
    }

    fn watched(&self, options: Options) -> Options {
        options.pid(self.front.child.pid()).pid(self.back.child.pid())
    }

    /// What came to the keeper, by path: the values of `traceparent`.
    fn told(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let got = once(self.keeper.kept.take()?)?.into_iter();
        Ok(got
            .map(|(path, got)| {
                let values = got.values("traceparent").into_iter().map(str::to_owned);
                (path, values.collect())
            })
            .collect())
    }
}

fn named(name: &str, target: SocketAddr) -> Result<Service> {
    let port = port::free()?;
    let mut command = child::command(workload::PYTHON);
    command.arg(workload::file("propagation/pass_on.py")?);
    command.args([port.to_string(), target.to_string()]);
    command.env("OTEL_SERVICE_NAME", name);
    Service::listening(Child::spawn(command)?, port)
}

/// Asks for `path` with these header lines.
fn ask(address: SocketAddr, path: &str, fields: &[String]) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(())
}

/// A `traceparent` of a trace with this randomness, and its flags.
fn parent(randomness: u64, flags: u8) -> String {
    format!("traceparent: 00-{TRACE}{randomness:014x}-00f067aa0ba902b7-{flags:02x}")
}

/// Whether the flags of what came say that it is kept, and the randomness of its trace.
fn flag_of(values: &[String]) -> Result<(bool, u64)> {
    let [value] = values else {
        anyhow::bail!("{values:?}");
    };
    let randomness = u64::from_str_radix(value.get(21..35).context("a trace")?, 16)?;
    match &value[52..] {
        "-01" => Ok((true, randomness)),
        "-00" => Ok((false, randomness)),
        _ => anyhow::bail!("{value}"),
    }
}

/// The spans of each request, by its path.
fn by_path(seen: &Seen) -> BTreeMap<&str, Vec<&Span>> {
    let mut all: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in &seen.spans {
        all.entry(span.path()).or_default().push(span);
    }
    all
}

/// These are all spans of one request, each below the one before it, the first below `parent`.
fn is_whole(spans: &[&Span], parent: &str) -> Result<()> {
    ensure!(spans.len() == SPANS, "{spans:#?}");
    let mut above = parent;
    for (service, kind) in [
        ("front", Kind::Server),
        ("front", Kind::Client),
        ("back", Kind::Server),
        ("back", Kind::Client),
    ] {
        let of = |span: &&&Span| span.kind == kind && span.resource["service.name"] == service;
        let span = spans.iter().find(of).with_context(|| format!("{spans:#?}"))?;
        ensure!(
            span.parent == above && span.trace_id == spans[0].trace_id && span.state == spans[0].state,
            "{spans:#?}"
        );
        above = &span.span_id;
    }
    Ok(())
}

/// The counters say that so many spans were kept, and so many were not.
fn counts(seen: &Seen, kept: usize, others: usize) -> Result<()> {
    seen.counted()?;
    let unsampled = seen.summary.value("spans.unsampled");
    ensure!(
        seen.spans.len() == kept && unsampled == others as u64,
        "{} and {unsampled}, not {kept} and {others}",
        seen.spans.len()
    );
    let losses = seen.summary.losses();
    ensure!(losses.is_empty(), "{losses:?}");
    Ok(())
}

fn sampler(options: Options, sampler: &str, argument: &str) -> Options {
    let options = options.environment("OTEL_TRACES_SAMPLER", sampler);
    options.environment("OTEL_TRACES_SAMPLER_ARG", argument)
}

fn a_trace_is_kept_whole_or_not_at_all(hooks: Hooks) -> Result<()> {
    let count = requests(hooks, 400)?;
    let chain = Chain::start()?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let options = sampler(
        chain.watched(propagating(hooks)),
        "parentbased_traceidratio",
        "0.25",
    );
    let options = options.flag("--listen").flag(metrics.to_string());
    let session = Session::start(options)?;
    for number in 0..count {
        ask(chain.front.address, &format!("/kept/{number}"), &[])?;
    }
    // Metrics are of all requests.
    for name in ["http_server", "http_client"] {
        let series = format!("{name}_request_duration_seconds_count");
        let all = 2 * count;
        Scrape::until(metrics, &series, |scrape| scrape.sum(&series, &[]) == all as f64)?;
    }
    let edges = "traces_service_graph_request_total";
    let edge = [r#"client="front""#, r#"server="back""#];
    Scrape::until(metrics, edges, |scrape| scrape.sum(edges, &edge) == count as f64)?;
    let told = chain.told()?;
    let mut kept = Vec::new();
    for (path, values) in &told {
        let (is_kept, randomness) = flag_of(values)?;
        ensure!(is_kept == (randomness >= 3 * HALF / 2), "{path}: {values:?}");
        kept.extend(is_kept.then_some(path.as_str()));
    }
    // Of 400, there is one chance in 10^12 to be outside of 40 to 160.
    ensure!(
        told.len() == count && kept.len() > count / 10 && kept.len() < count * 2 / 5 || count < 100,
        "{} of {count}",
        kept.len()
    );
    let seen = session.finish(SPANS * kept.len())?;
    let exported = by_path(&seen);
    ensure!(
        exported.keys().eq(kept.iter()),
        "{kept:?}, not {:?}",
        exported.keys()
    );
    for (path, spans) in &exported {
        is_whole(spans, "")?;
        ensure!(
            told[*path][0].contains(&spans[0].trace_id) && spans[0].state == "ot=th:c",
            "{spans:#?}"
        );
    }
    counts(&seen, SPANS * kept.len(), SPANS * (count - kept.len()))
}

fn a_parent_s_decision_is_carried_on(hooks: Hooks) -> Result<()> {
    for (word, root) in [("parentbased_always_on", true), ("parentbased_always_off", false)] {
        let chain = Chain::start()?;
        let options = sampler(chain.watched(propagating(hooks)), word, "0.5");
        let session = Session::start(options)?;
        let mut expect = BTreeMap::new();
        for number in 0..30 {
            let path = format!("/parent/{number}");
            let randomness = (number + 1) << 51;
            let (fields, is_kept, state) = match number % 3 {
                0 => (vec![], root, ""),
                1 => (vec![parent(randomness, 0)], false, ""),
                // By what others go is theirs.
                _ => {
                    let state = "tracestate: a=b,ot=th:4".to_owned();
                    (vec![parent(randomness, 1), state], true, "a=b,ot=th:4")
                }
            };
            ask(chain.front.address, &path, &fields)?;
            expect.insert(path, (is_kept, fields, state));
        }
        let kept = expect.values().filter(|(is_kept, ..)| *is_kept).count();
        let told = chain.told()?;
        let seen = session.finish(SPANS * kept)?;
        let exported = by_path(&seen);
        for (path, (is_kept, fields, state)) in &expect {
            let (flag, _) = flag_of(&told[path])?;
            let spans = exported.get(path.as_str());
            ensure!(
                flag == *is_kept && spans.is_some() == *is_kept,
                "{word}: {path}, {fields:?}: {:?}",
                told[path]
            );
            if let Some(spans) = spans {
                is_whole(spans, if fields.is_empty() { "" } else { "00f067aa0ba902b7" })?;
                ensure!(spans[0].state == *state, "{spans:#?}");
            }
        }
        counts(&seen, SPANS * kept, SPANS * (expect.len() - kept))?;
    }
    Ok(())
}

/// Nothing is put on the wire, so that what belongs together is known behind it only.
fn what_is_joined_on_this_host_is_kept_together(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 200;
    let chain = Chain::start()?;
    let options = sampler(
        chain.watched(Options::run(hooks)),
        "parentbased_traceidratio",
        "0.5",
    );
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let session = Session::start(options.flag("--listen").flag(metrics.to_string()))?;
    for number in 0..COUNT {
        ask(chain.front.address, &format!("/joined/{number}"), &[])?;
    }
    let all = (SPANS * COUNT) as f64;
    let is_all = |scrape: &Scrape| {
        scrape.value(r#"spanwire_spans_total{place="agent",kind="built"}"#)
            + scrape.value(r#"spanwire_spans_total{place="agent",kind="unsampled"}"#)
            == all
    };
    Scrape::until(metrics, "all spans", is_all)?;
    let seen = session.finish(0)?;
    let exported = by_path(&seen);
    for spans in exported.values() {
        is_whole(spans, "")?;
        let randomness = u64::from_str_radix(&spans[0].trace_id[18..], 16)?;
        ensure!(randomness >= HALF && spans[0].state == "ot=th:8", "{spans:#?}");
    }
    ensure!((40..160).contains(&exported.len()), "{}", exported.len());
    counts(&seen, SPANS * exported.len(), SPANS * (COUNT - exported.len()))
}

fn a_sampler_on_its_own_goes_by_the_trace_s_id(hooks: Hooks) -> Result<()> {
    let chain = Chain::start()?;
    let session = Session::start(sampler(chain.watched(propagating(hooks)), "traceidratio", "0.5"))?;
    let mut expect = BTreeMap::new();
    for number in 0..40 {
        let path = format!("/alone/{number}");
        let randomness = HALF - 20 + number;
        let fields = [
            parent(randomness, u8::from(number % 2 == 0)),
            "tracestate: ot=th:c,a=b".to_owned(),
        ];
        ask(chain.front.address, &path, &fields)?;
        expect.insert(path, randomness >= HALF);
    }
    let kept = expect.values().filter(|is_kept| **is_kept).count();
    let told = chain.told()?;
    let seen = session.finish(SPANS * kept)?;
    let exported = by_path(&seen);
    for (path, is_kept) in &expect {
        let spans = exported.get(path.as_str());
        let (flag, _) = flag_of(&told[path])?;
        ensure!(
            flag == *is_kept && spans.is_some() == *is_kept,
            "{path}: {:?}",
            told[path]
        );
        if let Some(spans) = spans {
            is_whole(spans, "00f067aa0ba902b7")?;
            ensure!(spans[0].state == "ot=th:8,a=b", "{spans:#?}");
        }
    }
    counts(&seen, SPANS * kept, SPANS * (expect.len() - kept))
}

/// A rule is for the service where a trace begins, not for those that it goes through.
fn rules_and_their_change(hooks: Hooks) -> Result<()> {
    let chain = Chain::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("spanwire.yaml");
    let write = |front: &str, back: &str| {
        let rule = |service: &str, ratio: &str| format!("  - {{services: [{service}], ratio: {ratio}}}\n");
        let rules = [rule("front*", front), rule("back", back)].concat();
        std::fs::write(
            &file,
            format!("sampling:\n  sampler: always_off\n  rules:\n{rules}"),
        )
    };
    write("0", "1")?;
    let options = chain.watched(propagating(hooks));
    let session = Session::start(options.flag("--config").flag(file.as_os_str()))?;
    let ask_both = |round: &str| -> Result<()> {
        for number in 0..10 {
            ask(chain.front.address, &format!("/{round}/front/{number}"), &[])?;
            ask(chain.back.address, &format!("/{round}/back/{number}"), &[])?;
        }
        Ok(())
    };
    ask_both("before")?;
    session.settle(20);
    write("1", "0")?;
    session.agent.signal(Signal::HUP)?;
    wait::until("the change", || {
        let said = session.agent.stderr();
        let is_changed = |line: &String| line.contains("changed: sampling.rules");
        Ok(said.iter().any(is_changed).then_some(()))
    })?;
    ask_both("after")?;
    let told = chain.told()?;
    let seen = session.finish(20 + 40)?;
    let exported = by_path(&seen);
    for (path, values) in &told {
        let is_kept = path.starts_with("/before/back/") || path.starts_with("/after/front/");
        let (flag, _) = flag_of(values)?;
        let spans = exported.get(path.as_str()).map_or(0, Vec::len);
        let expect = match (is_kept, path.contains("/front/")) {
            (false, _) => 0,
            (true, true) => SPANS,
            (true, false) => SPANS / 2,
        };
        ensure!(
            flag == is_kept && spans == expect,
            "{path}: {values:?}, {spans} spans"
        );
    }
    ensure!(told.len() == 40);
    counts(&seen, 60, 60)
}

/// There are places for 4,095 services whose traces are decided by rules; those of services that have gone are given to others.
fn rules_hold_for_services_that_come_when_thousands_of_others_have_gone(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("spanwire.yaml");
    let watch = "watch:\n  include:\n    - executables: [again]\n    - command_lines: [\"*/pass_on.py*\"]\n";
    let rules = "sampling:\n  rules:\n    - {services: [\"late*\"], ratio: 0}\n";
    std::fs::write(&file, [watch, rules].concat())?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let options = Options::run(hooks).flag("--config").flag(file.as_os_str());
    let session = Session::start(options.flag("--listen").flag(metrics.to_string()))?;
    let full = |scrape: &Scrape| scrape.sum("spanwire_sampling_total", &[r#"kind="services_full""#]);
    let spans =
        |scrape: &Scrape, kind: &str| scrape.sum("spanwire_spans_total", &[&format!(r#"kind="{kind}""#)]);

    let program = workload::c("again")?;
    let mut others = Child::spawn(child::command(program.to_str().context("path in UTF-8")?))?;
    wait::within(wait::START, "more services than there are places", || {
        others.ensure_running()?;
        Ok((full(&Scrape::of(metrics)?) > 0.0).then_some(()))
    })?;
    others.signal(Signal::KILL)?;
    others.wait()?;

    // It is looked for such places once in a while.
    let mut asked = 0_u32;
    let late = wait::within(wait::START, "a place for a service that comes now", || {
        asked += 1;
        let late = named(&format!("late-{asked}"), keeper.address)?;
        let before = spans(&Scrape::of(metrics)?, "unsampled");
        ask(late.address, "/late", &[])?;
        let all = f64::from(2 * asked);
        let both = |scrape: &Scrape| spans(scrape, "built") + spans(scrape, "unsampled");
        let scrape = Scrape::until(metrics, "its spans", |scrape| both(scrape) >= all)?;
        Ok((spans(&scrape, "unsampled") > before).then_some(late))
    })?;
    for number in 0..20 {
        ask(late.address, &format!("/held/{number}"), &[])?;
    }
    // Of those that came before there was a place, all is kept.
    let kept = 2 * (asked as usize - 1);
    let seen = session.finish(kept)?;
    let held = seen.spans.iter().filter(|span| span.path().starts_with("/held/"));
    ensure!(held.count() == 0 && seen.spans.len() == kept, "{:#?}", seen.spans);
    let unsampled = seen.summary.value("spans.unsampled");
    ensure!(unsampled == 2 * 21, "{:#?}", seen.summary);
    Ok(())
}

fn the_tree_shows_what_is_not_kept_if_that_is_asked(hooks: Hooks) -> Result<()> {
    let chain = Chain::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("spanwire.yaml");
    for is_asked in [false, true] {
        std::fs::write(
            &file,
            format!("sampling: {{sampler: always_off, show_unsampled: {is_asked}}}\n"),
        )?;
        let options = Options::bare(["run", "--output", "tree", "--hooks", hooks.name()]);
        let options = options.flag("--config").flag(file.as_os_str());
        let agent = Agent::start(&chain.watched(options))?;
        ask(chain.front.address, "/shown/or/not", &[])?;
        let finished = agent.stop()?;
        let shown = finished
            .stdout
            .iter()
            .filter(|line| line.contains("/shown/or/not"));
        let expect = if is_asked { SPANS } else { 0 };
        ensure!(shown.count() == expect, "{is_asked}: {:#?}", finished.stdout);
        let summary = finished.summary.context("a summary")?;
        ensure!(
            summary.value("spans.unsampled") == SPANS as u64 && summary.value("spans.built") == 0,
            "{summary:?}"
        );
    }
    Ok(())
}
