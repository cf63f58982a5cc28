//! Who emitted a span: names that a person would give, what the process says of itself, and never a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::conventions;
use spanwire_tests::http;
use spanwire_tests::service::{Service, nginx::Nginx, node, python};
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::live!(services_have_the_names_a_person_would_give,);

const TOKEN: &str = "token-in-an-argument-5f1c";
const PASSWORD: &str = "password-in-the-environment-77ab";

/// A copy of Python's file server under a name of its own, with secrets on its command line and in its environment.
fn script(folder: &Path, environment: &[(&str, &str)]) -> Result<Service> {
    let port = port::free()?;
    let file = folder.join("billing.py");
    let code = "import http.server, sys\nhttp.server.test(http.server.SimpleHTTPRequestHandler, bind='127.0.0.1', port=int(sys.argv[1]))\n";
    std::fs::write(&file, code)?;
    let mut command = child::command(workload::PYTHON);
    command
        .current_dir(folder)
        .arg(file)
        .args([&port.to_string(), "--token", TOKEN])
        .env("DATABASE_PASSWORD", PASSWORD)
        .envs(environment.iter().copied());
    Service::listening(Child::spawn(command)?, port)
}

fn services_have_the_names_a_person_would_give() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let go_port = port::free()?;
    let mut go = child::command(&workload::go("shuttle")?.to_string_lossy());
    go.args(["serve", &format!("127.0.0.1:{go_port}")]);
    let nginx = Nginx::start(None)?;
    let own_name = [("OTEL_SERVICE_NAME", "named-by-itself")];
    let own_resource = [(
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=from-resource,deployment.environment.name=test,service.version=1.2.3",
    )];
    let services = [
        ("billing", script(folder.path(), &[])?),
        ("named-by-itself", script(folder.path(), &own_name)?),
        ("from-resource", script(folder.path(), &own_resource)?),
        ("checkout", node::serve()?),
        ("shuttle", Service::listening(Child::spawn(go)?, go_port)?),
        ("shop", python::gunicorn()?),
    ];
    let mut addresses: Vec<(&str, std::net::SocketAddr)> = services
        .iter()
        .map(|(name, service)| (*name, service.address))
        .collect();
    addresses.push(("nginx", nginx.service.address));

    let mut options = Options::run(Hooks::Syscall).environment("OTEL_SERVICE_NAME", "spanwire-itself");
    for (_, address) in &addresses {
        options = options.port(address.port());
    }
    let session = Session::start(options)?;
    for (name, address) in &addresses {
        http::connect(*address)?.call("GET", &format!("/{name}"), &address.to_string(), &[])?;
    }
    let seen = session.finish(2 * addresses.len())?;
    seen.well_formed()?;
    let servers: BTreeMap<&str, &Span> = seen
        .spans
        .iter()
        .filter(|span| span.kind == Kind::Server)
        .map(|span| (span.path().trim_start_matches('/'), span))
        .collect();
    ensure!(servers.len() == addresses.len(), "{servers:#?}");
    for (name, span) in &servers {
        ensure!(
            span.resource["service.name"] == *name,
            "{name}: {:#?}",
            span.resource
        );
        let all = format!("{:?}", span.resource);
        ensure!(!all.contains(TOKEN) && !all.contains(PASSWORD), "{all}");
    }
    let registry = conventions::registry()?;
    for key in seen
        .spans
        .iter()
        .flat_map(|span| span.resource.keys().chain(span.attributes.keys()))
    {
        ensure!(
            registry.contains(key) || key.starts_with(OURS),
            "{key} is not in the registry"
        );
    }
    let resource = &servers.get("from-resource").context("its span")?.resource;
    ensure!(resource["deployment.environment.name"] == "test", "{resource:#?}");
    ensure!(resource["service.version"] == "1.2.3", "{resource:#?}");

    // Instances of one service are told apart, and all spans of one instance agree.
    let instances: BTreeSet<String> = servers
        .values()
        .map(|span| span.resource["service.instance.id"].to_string())
        .collect();
    ensure!(instances.len() == servers.len(), "{instances:?}");
    for span in seen.spans.iter().filter(|span| span.kind == Kind::Client) {
        ensure!(
            span.resource["process.pid"] == std::process::id(),
            "{:#?}",
            span.resource
        );
    }
    Ok(())
}

/// What attributes begin with that are no convention's.
const OURS: &str = "spanwire.";

/// Names that look like the conventions' and are not: an event, and headers of messages, as OpenTelemetry's own
/// instrumentation of Java calls them.
const OTHERS: [&str; 2] = ["http.response.first_byte", "messaging.header"];

#[test]
fn each_name_that_a_span_may_have_is_in_the_registry() -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/src/span/semconv.rs");
    let source = std::fs::read_to_string(source)?;
    let registry = conventions::registry()?;
    let values = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
    // Of a template, the conventions have what it begins with.
    let names = values.filter(|value| value.contains('.') && !value.contains("://"));
    let names: Vec<&str> = names.map(|name| name.trim_end_matches('.')).collect();
    ensure!(names.len() > 50, "{names:?}");
    for name in &names {
        ensure!(
            registry.contains(*name) || name.starts_with(OURS) || OTHERS.contains(name),
            "{name} is not in the registry"
        );
    }
    for name in OTHERS {
        ensure!(names.contains(&name) && !registry.contains(name), "{name}");
    }
    Ok(())
}
