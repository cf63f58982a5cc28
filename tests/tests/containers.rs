//! Containers of real engines, Docker and podman, which are asked by Docker's API: what spans say of them, and which of them are
//! watched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use spanwire_tests::agent::{self, Hooks, Options};
use spanwire_tests::conventions;
use spanwire_tests::docker::Docker;
use spanwire_tests::expect::Expected;
use spanwire_tests::http;
use spanwire_tests::podman::{Engine, Podman};
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::Span;
use spanwire_tests::wait;

spanwire_tests::under_one_hook_set!(
    what_podman_says_selects_and_is_on_spans,
    what_docker_says_selects_and_is_on_spans,
    what_an_engine_says_excludes_from_the_first_request_on,
    an_engine_that_comes_late_and_is_killed_is_asked_when_it_is_there
);

const IMAGE: &str = "localhost/shop/files:1.2";
const LABELS: [&str; 2] = ["com.shop.tier=front", "com.shop.password=hunter2"];

fn podman() -> Result<Podman> {
    let podman = Podman::new()?;
    podman.image(IMAGE, &LABELS)?;
    Ok(podman)
}

/// Options with a configuration file, whose `containers.sockets` is the engine's.
fn options(hooks: Hooks, folder: &Path, engine: &impl Engine, rest: &str) -> Result<Options> {
    let file = folder.join("spanwire.yaml");
    let socket = engine.socket();
    let containers = format!(
        "containers:\n  sockets: [{}]\n  labels: [team, com.shop.*]\n",
        socket.display()
    );
    std::fs::write(&file, containers + rest)?;
    Ok(Options::run(hooks).flag("--config").flag(file))
}

fn hello(address: SocketAddr) -> Result<()> {
    let answer = http::connect(address)?.call("GET", "/hello", &address.to_string(), &[])?;
    ensure!(answer.text() == "hello", "{answer:?}");
    Ok(())
}

/// What `spanwire services` says of containers, by their names, else ids.
fn services() -> Result<BTreeMap<String, Value>> {
    let told = agent::attempt_beside(&Options::bare(["services", "--all", "--json"]))?;
    ensure!(told.status == 0, "{}", told.message());
    let told: Value = serde_json::from_str(&told.stdout.join("\n"))?;
    let processes = told["processes"].as_array().context("a list")?.iter();
    let in_containers = processes.filter_map(|it| Some((it["container"].as_str()?.to_owned(), it.clone())));
    Ok(in_containers.collect())
}

fn decided(container: &str, why: &str) -> Result<Value> {
    wait::until(&format!("{why} of {container}"), || {
        let found = services()?.remove(container);
        Ok(found.filter(|it| it["why"] == why))
    })
}

fn server(service: &Service) -> Expected {
    Expected::server("GET", "/hello", service.address).body(5)
}

/// Attributes of the container and of the service, but for what differs from run to run.
fn place(span: &Span) -> BTreeMap<&str, &Value> {
    let begins = ["container.", "service.", "process.runtime."];
    let pairs = span.resource.iter().filter(|(key, _)| {
        begins.iter().any(|begin| key.starts_with(begin)) && *key != "service.instance.id"
    });
    pairs.map(|(key, value)| (key.as_str(), value)).collect()
}

fn what_podman_says_selects_and_is_on_spans(hooks: Hooks) -> Result<()> {
    let podman = Podman::new()?;
    let _service = podman.serve()?;
    what_it_says_selects_and_is_on_spans(hooks, &podman)
}

fn what_docker_says_selects_and_is_on_spans(hooks: Hooks) -> Result<()> {
    what_it_says_selects_and_is_on_spans(hooks, &Docker::start()?)
}

fn what_it_says_selects_and_is_on_spans(hooks: Hooks, engine: &impl Engine) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let inspected = engine.image(IMAGE, &LABELS)?;
    let rest = "watch:\n  include:\n    - {container_labels: {team: blue}}\n    - {images: [files], containers: [named-*]}\n";
    let before = engine.files(
        IMAGE,
        &[
            "--name=shop-web-1",
            "--label=team=blue",
            "--label=com.docker.compose.service=web",
            "--label=com.docker.compose.project=shop",
        ],
    )?;
    let session = Session::start(options(hooks, folder.path(), engine, rest)?)?;
    let after = engine.files(IMAGE, &["--name=named-after"])?;
    let other = engine.files(IMAGE, &["--name=other", "--label=team=red"])?;
    decided("shop-web-1", "watch.include[0]")?;
    decided("named-after", "watch.include[1]")?;
    let told = decided("other", "not asked for")?;
    ensure!(told["watched"] == false, "{told}");
    for service in [&before, &after, &other] {
        hello(service.address)?;
    }
    let id = engine.id("shop-web-1")?;
    let inspected = &inspected[0];
    let version = engine.version()?;
    let seen = session.finish(2)?;
    seen.exactly(&[
        server(&before).service("web"),
        server(&after).service("named-after"),
    ])?;
    for counter in [
        "containers.requests.failed",
        "containers.cut",
        "containers.unasked",
    ] {
        ensure!(seen.summary.value(counter) == 0, "{}", seen.finished.message());
    }
    let span = seen
        .spans
        .iter()
        .find(|span| span.resource["service.name"] == "web");
    let span = span.context("its span")?;
    // Podman gives an image one without a registry, and Docker does not.
    let digests = inspected["RepoDigests"].as_array().context("a list")?;
    ensure!(digests.is_empty() == (engine.name() == "docker"), "{inspected}");
    let hash = inspected["Id"].as_str().context("an id")?;
    let mut expect = json!({
        "container.id": id,
        "container.name": "shop-web-1",
        "container.image.id": format!("sha256:{}", hash.trim_start_matches("sha256:")),
        "container.image.name": "localhost/shop/files",
        "container.image.tags": ["1.2"],
        "container.label.com.shop.password": "REDACTED",
        "container.label.com.shop.tier": "front",
        "container.label.team": "blue",
        "container.runtime.name": engine.name(),
        "container.runtime.version": version.trim(),
        "process.runtime.name": "cpython",
        "process.runtime.version": span.resource.get("process.runtime.version"),
        "service.name": "web",
        "service.namespace": "shop",
    });
    if !digests.is_empty() {
        expect["container.image.repo_digests"] = inspected["RepoDigests"].clone();
    }
    let found = serde_json::to_value(place(span))?;
    ensure!(found == expect, "{found:#} is not {expect:#}");
    let python = found["process.runtime.version"].as_str().context("a version")?;
    ensure!(python.starts_with("3."), "{python}");
    let registry = conventions::registry()?;
    for key in expect.as_object().context("an object")?.keys() {
        let template = key.starts_with("container.label.").then_some("container.label");
        ensure!(
            registry.contains(template.unwrap_or(key)),
            "{key} is not in the registry"
        );
    }
    Ok(())
}

fn what_an_engine_says_excludes_from_the_first_request_on(hooks: Hooks) -> Result<()> {
    let (folder, podman) = (tempfile::tempdir()?, podman()?);
    let _engine = podman.serve()?;
    let rest = "watch:\n  include: [{images: [files]}]\n  exclude: [{container_labels: {team: red}}]\n";
    let session = Session::start(options(hooks, folder.path(), &podman, rest)?)?;
    let excluded = podman.files(IMAGE, &["--name=excluded", "--label=team=red"])?;
    hello(excluded.address)?;
    let watched = podman.files(IMAGE, &["--name=watched", "--label=team=blue"])?;
    decided("watched", "watch.include[0]")?;
    decided("excluded", "excluded by watch.exclude[0]")?;
    for service in [&excluded, &watched] {
        hello(service.address)?;
    }
    session.finish(1)?.exactly(&[server(&watched).service("watched")])
}

fn an_engine_that_comes_late_and_is_killed_is_asked_when_it_is_there(hooks: Hooks) -> Result<()> {
    let (folder, podman) = (tempfile::tempdir()?, podman()?);
    let rest = "watch: {include: [{images: [files]}]}\n";
    let early = podman.files(IMAGE, &["--name=early"])?;
    let session = Session::start(options(hooks, folder.path(), &podman, rest)?)?;
    let warned = |text: &str| {
        session
            .agent
            .stderr()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    ensure!(
        warned("`containers.sockets`: there is no ") == 1,
        "{:?}",
        session.agent.stderr()
    );
    let unknown = services()?;
    ensure!(
        unknown
            .get(&podman.id("early")?)
            .is_some_and(|it| it["watched"] == false),
        "{unknown:?}"
    );
    let engine = podman.serve()?;
    decided("early", "watch.include[0]")?;
    hello(early.address)?;

    engine.signal(Signal::KILL)?;
    drop(engine);
    let late = podman.files(IMAGE, &["--name=late"])?;
    let refused = "for containers, and goes by what is known: ";
    wait::until("a warning", || Ok((warned(refused) > 0).then_some(())))?;
    // What was told holds.
    hello(early.address)?;
    let _engine = podman.serve()?;
    decided("late", "watch.include[0]")?;
    hello(late.address)?;
    ensure!(warned(refused) == 1, "{:?}", session.agent.stderr());
    let seen = session.finish(3)?;
    seen.exactly(&[
        server(&early).service("early"),
        server(&early).service("early"),
        server(&late).service("late"),
    ])?;
    let failed = seen.summary.value("containers.requests.failed");
    ensure!(failed > 0, "{}", seen.finished.message());
    Ok(())
}
