//! Sources into configurations, as a user would meet them.

mod containers;
mod delivery;
mod naming;
mod otlp;
mod redaction;
mod sampling;
mod selector;
mod tail_sampling;

use super::environment::Environment;
use super::*;
use crate::cli::{Cli, Command, Exit};
use clap::Parser as _;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(text: &str) -> File {
    File {
        name: "spanwire.yaml".into(),
        text: text.into(),
    }
}

fn from(text: &str, variables: &[(&str, &str)], flags: &str) -> Result<Resolved, Error> {
    let command = Cli::parse_from(["spanwire", "run"].into_iter().chain(flags.split_whitespace())).command;
    let Command::Run(run) = command else {
        panic!("not run")
    };
    resolve(Some(&file(text)), &environment(variables), run.settings.layer())
}

fn of_variables(variables: &[(&str, &str)]) -> Resolved {
    resolve(None, &environment(variables), Layer::default()).unwrap()
}

fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
    of_variables(variables)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn nothing_said_is_everything_watched_and_nothing_exported() {
    let resolved = of_variables(&[]);
    let expect = Config {
        watch: Watch::default(),
        kubernetes: Kubernetes {
            peers: true,
            ..Kubernetes::default()
        },
        containers: Containers::default(),
        capture: Capture {
            hooks: Hooks::Auto,
            ring_buffer: 8 << 20,
            max_connections: 65_536,
            probes: true,
            kernel_log: KernelLog::Off,
        },
        http: Http {
            captured_request_headers: vec!["x-correlation-id".to_owned(), "x-request-id".to_owned()],
            ..Http::default()
        },
        messaging: Messaging {
            broker_spans: false,
            captured_headers: Vec::new(),
        },
        propagate: Propagate {
            headers: vec![Injected::None],
            refuse_from: Vec::new(),
            baggage: false,
            correlation: Correlation::None,
        },
        sdk: Sdk {
            detect: true,
            instrumented: Vec::new(),
            kept: Vec::new(),
            covers: vec![Covered::Http, Covered::Database, Covered::Messaging],
        },
        baggage: Vec::new(),
        routes: Routes {
            learn: Some(true),
            max_per_service: std::num::NonZeroU32::new(200),
            templates: None,
        },
        spans: Spans::defaults(),
        redaction: Redaction {
            set: Some(RuleSet::Standard),
            ..Redaction::standard()
        },
        sampling: crate::config::sampling::Section::defaults().settle().unwrap(),
        output: Output {
            format: Format::Tree,
            color: Color::Auto,
            open_after: None,
        },
        export: Export::default(),
        batch: Batch {
            schedule_delay: Duration::from_secs(5),
            export_timeout: Some(Duration::from_secs(30)),
            max_queue_size: 2_048,
            max_export_batch_size: 512,
            max_export_batch_bytes: 3 << 20,
        },
        limits: Limits {
            attribute_value_length: None,
            attribute_count: 128,
            event_count: 128,
            event_attribute_count: 128,
        },
        metrics: Metrics {
            listen: vec![Listen::Default],
            kernel_cost: false,
            requests: true,
            cardinality_limit: 2000,
            exemplars: true,
            export: None,
        },
        resource: vec![],
    };
    assert_eq!((resolved.config, resolved.warnings), (expect, vec![]));
}

#[test]
fn defaults_then_file_then_environment_then_flags() {
    let text = "output: {format: none}\n";
    let format = |text, variables: &[_], flags| from(text, variables, flags).unwrap().config.output.format;
    assert_eq!(format("", &[], ""), Format::Tree);
    assert_eq!(format(text, &[], ""), Format::None);
    assert_eq!(
        format(text, &[("SPANWIRE_OUTPUT", "otlp-json")], ""),
        Format::OtlpJson
    );
    assert_eq!(format(text, &[("SPANWIRE_OUTPUT", "")], ""), Format::None);
    assert_eq!(
        format(text, &[("SPANWIRE_OUTPUT", "otlp-json")], "--output tree"),
        Format::Tree
    );
    assert_eq!(
        format(text, &[("OTEL_TRACES_EXPORTER", "console")], ""),
        Format::Tree
    );
    let both = [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("SPANWIRE_OUTPUT", "otlp-json"),
    ];
    assert_eq!(format(text, &both, ""), Format::OtlpJson);
}

#[test]
fn each_filter_replaces_the_one_of_its_name_below() {
    let variables = [
        ("SPANWIRE_WATCH_PORT", "90, 91-92"),
        ("SPANWIRE_WATCH_CONTAINER", "web"),
    ];
    let watch = from(
        "watch: {exe: [nginx], port: [80]}\n",
        &variables,
        "--pid 7 --port 99",
    )
    .unwrap()
    .config
    .watch;
    assert_eq!(watch.pids, [7]);
    assert_eq!(watch.executables, ["nginx".parse().unwrap()]);
    assert_eq!(watch.ports, ["99".parse().unwrap()]);
    assert_eq!(watch.containers, ["web"]);
}

#[test]
fn a_cluster_is_asked_as_file_and_environment_say() {
    let variables = [
        ("SPANWIRE_KUBERNETES", "true"),
        ("SPANWIRE_NODE_NAME", "n1"),
        ("SPANWIRE_PEERS", "false"),
    ];
    let text =
        "kubernetes: {enabled: false, kubeconfig: /k, watch_by_default: true, well_known_labels: true}\n";
    let kubernetes = from(text, &variables, "").unwrap().config.kubernetes;
    let expect = Kubernetes {
        enabled: Some(true),
        kubeconfig: Some("/k".into()),
        node_name: Some("n1".into()),
        watch_by_default: true,
        well_known_labels: true,
        peers: false,
    };
    assert_eq!(kubernetes, expect);
    let refused = |text: &str| from(text, &[], "").unwrap_err().to_string();
    let error = refused("kubernetes: {node_name: ''}\n");
    assert!(
        error.starts_with("`kubernetes.node_name` (") && error.ends_with("say the node's name"),
        "{error}"
    );
    let error = refused("kubernetes:\n  enabled: auto\n");
    assert!(
        error.contains(":2") && error.contains("kubernetes.enabled"),
        "{error}"
    );
}

#[test]
fn a_wrong_variable_of_ours_is_an_error_and_an_unknown_one_a_warning() {
    let error = from("", &[("SPANWIRE_HOOKS", "sokcet")], "")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "wrong value of the environment variable SPANWIRE_HOOKS: `sokcet` is not one of auto, socket, trampoline, \
         syscall; did you mean `socket`?"
    );
    assert!(from("", &[("SPANWIRE_MAX_CONNECTIONS", "0")], "").is_err());
    let expect = "environment variable SPANWIRE_OUTPTU: no such variable, did you mean SPANWIRE_OUTPUT?";
    assert_eq!(warnings(&[("SPANWIRE_OUTPTU", "none")]), [expect]);
    let kubernetes = [
        ("SPANWIRE_PORT", "tcp://10.96.0.1:80"),
        ("SPANWIRE_SERVICE_HOST", "10.96.0.1"),
    ];
    assert_eq!(warnings(&kubernetes), [""; 0]);
}

#[test]
fn ring_buffer_is_rounded_up_to_a_power_of_two_of_at_least_a_page() {
    let size = |size: &str| {
        from("", &[], &format!("--ring-buffer {size}")).map(|found| found.config.capture.ring_buffer)
    };
    assert_eq!(size("5M").unwrap(), 8 << 20);
    assert_eq!(u64::from(size("1").unwrap()), procfs::page_size());
    assert_eq!(size("1G").unwrap(), 1 << 30);
    let error = size("1025M").unwrap_err().to_string();
    assert_eq!(
        error,
        "`capture.ring_buffer` (from the command line) is 1025M; the most is 1G"
    );
    assert!(from("", &[("SPANWIRE_MAX_CONNECTIONS", "99999999")], "").is_err());
    assert!(from("watch: {container: ['']}", &[], "").is_err());
}

#[test]
fn spanwire_s_own_name_never_becomes_every_service_s() {
    let variables = [
        ("OTEL_SERVICE_NAME", "spanwire"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=x,service.instance.id=y,deployment.environment.name=prod,zone=a",
        ),
    ];
    let found = from(
        "resource: {service.name: z, zone: b, rack: '3'}\n",
        &variables,
        "",
    )
    .unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expect = [
        pair("deployment.environment.name", "prod"),
        pair("rack", "3"),
        pair("zone", "a"),
    ];
    assert_eq!(found.config.resource, expect);
    let said: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["`resource`: `service.name` would give all services the same identity; it is ignored"]
    );
}

#[test]
fn names_of_headers_are_in_lower_case_and_once() {
    let text = "http: {captured_request_headers: [X-Request-Id, accept, x-request-id]}\n";
    let http = from(text, &[("SPANWIRE_CAPTURED_RESPONSE_HEADERS", "Server,")], "")
        .unwrap()
        .config
        .http;
    assert_eq!(http.captured_request_headers, ["accept", "x-request-id"]);
    assert_eq!(http.captured_response_headers, ["server"]);
    assert!(from("http: {captured_request_headers: ['a b']}\n", &[], "").is_err());
    let default = from("", &[], "").unwrap().config.http;
    assert_eq!(
        default.captured_request_headers,
        ["x-correlation-id", "x-request-id"]
    );
    let none = from("http: {captured_request_headers: []}\n", &[], "")
        .unwrap()
        .config
        .http;
    assert!(none.captured_request_headers.is_empty());
}

#[test]
fn known_methods_keep_their_case_and_replace_the_conventions_own() {
    let known = |text: &str, value: &str| {
        let found = from(text, &[("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", value)], "").unwrap();
        let said: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
        (found.config.http.known_methods.unwrap_or_default(), said)
    };
    let file = "http: {known_methods: [GET]}\n";
    assert_eq!(known("", ""), (vec![], vec![]));
    assert_eq!(known(file, ""), (vec!["GET".to_owned()], vec![]));
    let two = vec!["PROPFIND".to_owned(), "get".to_owned()];
    assert_eq!(known(file, "PROPFIND, get,"), (two, vec![]));
    let said = "environment variable OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS: `G T` is not an HTTP method; all of it is ignored";
    assert_eq!(known("", "PUT,G T"), (vec![], vec![said.to_owned()]));
    assert!(from("http: {known_methods: ['']}\n", &[], "").is_err());
}

#[test]
fn a_broker_makes_spans_where_anybody_says_so() {
    let broker = |text: &str, value: &str, flags: &str| {
        let found = from(text, &[("SPANWIRE_BROKER_SPANS", value)], flags);
        found.map(|found| found.config.messaging.broker_spans).ok()
    };
    let file = "messaging: {broker_spans: true}\n";
    assert_eq!(broker("", "", ""), Some(false));
    assert_eq!(broker(file, "", ""), Some(true));
    assert_eq!(broker(file, "false", ""), Some(false));
    assert_eq!(broker(file, "false", "--broker-spans"), Some(true));
    assert_eq!(broker("", "perhaps", ""), None);
}

#[test]
fn baggage_and_ids_are_carried_on_where_anybody_says_so() {
    let carried = |text: &str, variables: &[(&str, &str)]| {
        let found = from(text, variables, "").ok()?;
        let propagate = found.config.propagate;
        Some((propagate.baggage, propagate.correlation, found.warnings.len()))
    };
    let file = "propagate: {headers: [http1], baggage: true, correlation: x-correlation-id}\n";
    assert_eq!(carried("", &[]), Some((false, Correlation::None, 0)));
    assert_eq!(carried(file, &[]), Some((true, Correlation::CorrelationId, 0)));
    let variables = [
        ("SPANWIRE_PROPAGATE_BAGGAGE", "false"),
        ("SPANWIRE_CORRELATION", "x-request-id"),
    ];
    assert_eq!(
        carried(file, &variables),
        Some((false, Correlation::RequestId, 0))
    );
    let of_one =
        "watch: {include: [{executables: [node], propagate: [http1]}]}\npropagate: {baggage: true}\n";
    assert_eq!(carried(of_one, &[]), Some((true, Correlation::None, 0)));
    // Nothing that they could go with.
    let alone = "propagate: {headers: [http2], baggage: true, correlation: x-request-id}\n";
    assert_eq!(carried(alone, &[]), Some((true, Correlation::RequestId, 2)));
    let error = from("propagate: {correlation: x-trace-id}\n", &[], "").unwrap_err();
    assert!(error.to_string().contains("x-correlation-id"), "{error}");
    assert_eq!(carried("propagate: {baggage: 7}\n", &[]), None);
}

#[test]
fn contexts_are_put_where_anybody_says_so() {
    let headers = |text: &str, value: &str, flags: &str| {
        let found = from(text, &[("SPANWIRE_PROPAGATE", value)], flags);
        found.map(|found| found.config.propagate.headers).ok()
    };
    let file = "propagate: {headers: [http1, amqp]}\n";
    assert_eq!(headers("", "", ""), Some(vec![Injected::None]));
    assert_eq!(headers(file, "", ""), Some(vec![Injected::Http1, Injected::Amqp]));
    assert_eq!(headers(file, "http2", ""), Some(vec![Injected::Http2]));
    assert_eq!(
        headers(file, "http2", "--propagate none"),
        Some(vec![Injected::None])
    );
    assert_eq!(
        headers("", "", "--propagate http1,http2").map(|headers| headers.len()),
        Some(2)
    );
    assert_eq!(headers("", "sql", ""), Some(vec![Injected::Sql]));
    assert_eq!(headers("", "smtp", ""), None);
    assert_eq!(headers("propagate: {header: [http1]}\n", "", ""), None);
}

#[test]
fn open_streams_are_shown_where_anybody_says_when() {
    let after = |text: &str, value: &str, flags: &str| {
        let found = from(text, &[("SPANWIRE_OPEN_AFTER", value)], flags);
        found.map(|found| found.config.output.open_after).ok()
    };
    let file = "output: {open_after: 10s}\n";
    let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
    assert_eq!(after("", "", ""), Some(None));
    assert_eq!(after(file, "", ""), seconds(10));
    assert_eq!(after(file, "1min", ""), seconds(60));
    assert_eq!(after(file, "1min", "--open-after 5s"), seconds(5));
    assert_eq!(after(file, "0", ""), Some(None));
    assert_eq!(after("", "soon", ""), None);
}

#[test]
fn print_shows_values_origins_and_no_secret() {
    let text = "watch: {port: [80, 90-99]}\nexport: {otlp: {headers: {authorization: Bearer hunter2}, timeout: 1500}}\n\
                resource: {team: 'yes'}\n";
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:hunter2@c?k=hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "zone=a"),
    ];
    let yaml = from(text, &variables, "--output none").unwrap().yaml();
    // As long as a page, and shown by a test of its own.
    let (start, end) = (yaml.find("redaction:").unwrap(), yaml.find("sampling:").unwrap());
    let yaml = [&yaml[..start], &yaml[end..]].concat();
    assert_eq!(
        yaml,
        "\
watch:
  port:  # from spanwire.yaml
  - '80'
  - 90-99
kubernetes:
  watch_by_default: false  # default
  well_known_labels: false  # default
  peers: true  # default
capture:
  hooks: auto  # default
  ring_buffer: 8M  # default
  max_connections: 65536  # default
  probes: true  # default
  kernel_log: off  # default
messaging:
  broker_spans: false  # default
propagate:
  headers:  # default
  - none
  baggage: false  # default
  correlation: none  # default
sdk:
  detect: true  # default
  covers:  # default
  - http
  - database
  - messaging
routes:
  learn: true  # default
  max_per_service: 200  # default
spans:
  drop:  # default
  - user_agents:
    - kube-probe/*
    - Prometheus/*
sampling:
  sampler: parentbased_always_on  # default
  ratio: 1.0  # default
  tail:
    decision_wait: 10s  # default
    max_bytes: 64M  # default
    max_traces: 50000  # default
    decision_cache: 100000  # default
    max_operations: 1000  # default
output:
  format: none  # from the command line
  color: auto  # default
export:
  otlp:
    endpoint: https://********@c?********  # from $OTEL_EXPORTER_OTLP_ENDPOINT
    protocol: http/protobuf  # default
    headers:  # from spanwire.yaml
      authorization: '********'
    timeout: 1500ms  # from spanwire.yaml
    compression: none  # default
  zipkin:
    timeout: 10s  # default
  file:
    max_size: 64M  # default
    max_files: 4  # default
  spool:
    max_size: 256M  # default
    max_age: 86400s  # default
    fsync: interval  # default
    rate: 4M  # default
batch:
  schedule_delay: 5s  # default
  export_timeout: 30s  # default
  max_queue_size: 2048  # default
  max_export_batch_size: 512  # default
  max_export_batch_bytes: 3M  # default
limits:
  attribute_count: 128  # default
  event_count: 128  # default
  event_attribute_count: 128  # default
metrics:
  listen:  # default
  - unix
  kernel_cost: false  # default
  requests: true  # default
  cardinality_limit: 2000  # default
  exemplars: true  # default
  interval: 60s  # default
  timeout: 30s  # default
  temporality: cumulative  # default
  histograms: explicit_bucket_histogram  # default
resource:
  team: yes  # from spanwire.yaml
  zone: a  # from $OTEL_RESOURCE_ATTRIBUTES
"
    );
    let debug = format!(
        "{:?}",
        from(text, &variables, "")
            .unwrap()
            .config
            .export
            .otlp
            .remove(0)
            .headers
    );
    assert!(!debug.contains("hunter2"));
}

#[test]
fn what_print_shows_is_a_configuration_that_says_the_same() {
    let first = from(
        "watch: {exe: ['/opt/**', a b]}\ncapture: {ring_buffer: 3M}\n",
        &[],
        "",
    )
    .unwrap();
    let again = resolve(Some(&file(&first.yaml())), &Environment::new(), Layer::default()).unwrap();
    assert_eq!(first.config, again.config);
}

/// Runs `spanwire ARGUMENTS`, a `config` command: status, standard output, standard error.
fn command(arguments: &[&str]) -> (Exit, String, String) {
    let parsed = Cli::parse_from(["spanwire", "config"].iter().chain(arguments)).command;
    let Command::Config(command) = parsed else {
        panic!("not config")
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(&command, &Environment::new(), &mut out, &mut err).unwrap();
    (
        exit,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[test]
fn config_check_says_ok_or_what_is_wrong() {
    let folder = std::env::temp_dir().join(format!("spanwire-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = write("good.yaml", "watch: {port: [80]}\n");
    assert_eq!(
        command(&["check", &good]),
        (Exit::Success, format!("{good}: ok\n"), String::new())
    );
    let bad = write("bad.yaml", "outptu: none\n");
    let said = format!("error: unknown key `outptu` at {bad}:1, did you mean `output`?\n");
    assert_eq!(command(&["check", &bad]), (Exit::Usage, String::new(), said));
    let (exit, out, err) = command(&["check", "/nowhere/spanwire.yaml"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(
        err.starts_with("error: cannot read the configuration file /nowhere/spanwire.yaml: No such file")
    );
    let (exit, out, _) = command(&["print", "--config", &good, "--hooks", "socket"]);
    assert_eq!(exit, Exit::Success);
    assert!(
        out.contains(&format!("port:  # from {good}"))
            && out.contains("hooks: socket  # from the command line")
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_schema_knows_and_describes_every_key() {
    let (exit, out, _) = command(&["schema"]);
    assert_eq!(exit, Exit::Success);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let watch = schema.pointer("/$defs/Watch/properties/pid/description").unwrap();
    assert_eq!(watch, "Process ids on the host.");
    let hooks = schema.pointer("/$defs/Hooks").unwrap().to_string();
    assert!(
        hooks.contains("trampoline") && hooks.contains("fentry/fexit"),
        "{hooks}"
    );
    let keys = print::keys();
    assert!(
        keys.iter().any(|key| key == "export.otlp.client_key") && keys.contains(&"resource".to_owned()),
        "{keys:?}"
    );
    for (name, key) in environment::VARIABLES
        .iter()
        .filter(|(name, _)| *name != environment::CONFIG)
    {
        assert!(keys.iter().any(|known| known == key), "{name} sets {key}");
    }
}
