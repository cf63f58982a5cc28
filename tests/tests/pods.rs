//! Pods of Kubernetes: a real API server, objects as a kubelet would leave them, and processes in their control groups.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::api_server::{ApiServer, FakePod, NODE};
use spanwire_tests::conventions;
use spanwire_tests::flips::{self, options, serve, told};
use spanwire_tests::http::{self, Server};
use spanwire_tests::relay::Relay;
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::Span;
use spanwire_tests::{port, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

spanwire_tests::under_one_hook_set!(
    annotations_decide_live_and_attributes_are_the_conventions,
    what_is_enrolled_leaves_with_the_annotation,
    orders_are_seen_from_the_annotation_to_its_removal,
    the_api_server_away,
    what_the_api_server_has_forgotten_is_asked_for_anew,
    a_watch_whose_connection_breaks_goes_on_where_it_was,
    without_a_right_what_it_is_for_is_missing_and_nothing_else,
    what_a_node_is_told_does_not_grow_with_pods_of_other_nodes
);

/// Ends of requests to pods while those are watched.
const REQUESTS: usize = 22;

fn call(service: &Service, target: &str) -> Result<()> {
    flips::call(service.address, target)
}

/// Waits until a process is watched, or is not.
fn watched(service: &Service, wanted: bool) -> Result<()> {
    let pid = service.child.pid();
    wait::until(&format!("process {pid} watched: {wanted}"), || {
        Ok((told(pid)?["watched"] == wanted).then_some(()))
    })
}

fn resource<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.resource.get(key)?.as_str()
}

fn namespace(server: &ApiServer, name: &str) -> Result<()> {
    server
        .make(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .map(drop)
}

/// A controller without anybody who acts on it, and how others name it as their owner.
fn controller(server: &ApiServer, kind: &str, name: &str, owner: Option<&Value>) -> Result<Value> {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "web", "image": "web"}]},
    });
    let mut long_lived = template.clone();
    long_lived["spec"]["restartPolicy"] = json!("Always");
    let selector = json!({"matchLabels": {"app": name}});
    let (version, spec) = match kind {
        "CronJob" => (
            "batch/v1",
            json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}),
        ),
        "Job" => ("batch/v1", json!({"template": template})),
        "StatefulSet" => (
            "apps/v1",
            json!({"selector": selector, "template": long_lived, "serviceName": "none"}),
        ),
        _ => ("apps/v1", json!({"selector": selector, "template": long_lived})),
    };
    let owners: Vec<&Value> = owner.into_iter().collect();
    let uid = server.make(&json!({
        "apiVersion": version, "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
    }))?;
    Ok(json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}))
}

fn annotations_decide_live_and_attributes_are_the_conventions(hooks: Hooks) -> Result<()> {
    let server = ApiServer::start()?;
    namespace(&server, "shop")?;
    namespace(&server, "other")?;
    let deployment = controller(&server, "Deployment", "cart", None)?;
    let cron = controller(&server, "CronJob", "report", None)?;
    let owners = [
        (
            "cart",
            controller(&server, "ReplicaSet", "cart-5d", Some(&deployment))?,
        ),
        ("store", controller(&server, "StatefulSet", "store", None)?),
        ("logs", controller(&server, "DaemonSet", "logs", None)?),
        (
            "report",
            controller(&server, "Job", "report-29374560", Some(&cron))?,
        ),
    ];
    let target = port::free()?;
    let _target = Server::tcp(TcpListener::bind(("0.0.0.0", target))?, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    let checkout = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "checkout", "namespace": "other"},
        "spec": {"clusterIP": "127.96.0.50", "ports": [{"port": 80}]},
    });
    server.make(&checkout)?;
    let mut pods = Vec::new();
    for (number, (name, owner)) in owners.into_iter().enumerate() {
        let pod = FakePod::make(&server, "shop", &format!("{name}-x"), Some(owner))?;
        pod.runs(&server, &format!("127.97.0.{}", number + 1))?;
        let peer = if name == "store" {
            "127.97.0.1"
        } else {
            "127.96.0.50"
        };
        let service = serve(&pod, peer, target)?;
        pods.push((name, service, pod));
    }
    let elsewhere = FakePod::make(&server, "other", "alone", None)?;
    let quiet = serve(&elsewhere, "127.0.0.1", target)?;
    let session = Session::start(options(&server, hooks))?;
    // Nobody is watched before somebody says so.
    for (_, service, _) in &pods {
        call(service, "/call?early")?;
    }
    server.annotate(&["namespace", "shop"], &["spanwire.dev/instrument=true"])?;
    for (_, service, _) in &pods {
        watched(service, true)?;
        wait::until("owners", || {
            let pid = service.child.pid();
            Ok((told(pid)?["service"] != "").then_some(()))
        })?;
        call(service, "/call?first")?;
        call(service, "/call?first")?;
    }
    call(&quiet, "/call?quiet")?;
    let [(_, cart, _), (_, store, _), ..] = pods.as_slice() else {
        unreachable!("four of them")
    };
    // The nearest counts, and a wrong value is no.
    server.annotate(
        &["pod", "cart-x", "-n", "shop"],
        &["spanwire.dev/instrument=false"],
    )?;
    watched(cart, false)?;
    call(cart, "/call?off")?;
    server.annotate(
        &["pod", "store-x", "-n", "shop"],
        &["spanwire.dev/instrument=yes"],
    )?;
    watched(store, false)?;
    call(store, "/call?wrong")?;
    let named = [
        "spanwire.dev/instrument-",
        "spanwire.dev/service-name=basket",
        "resource.opentelemetry.io/deployment.environment.name=test",
    ];
    server.annotate(&["pod", "cart-x", "-n", "shop"], &named)?;
    watched(cart, true)?;
    // Of a connection that was used meanwhile, what comes first is lost, and counted.
    call(cart, "/call?again")?;
    call(cart, "/call?named")?;
    // What is started later, too.
    let late = FakePod::make(&server, "shop", "late", None)?;
    let late_service = serve(&late, "127.96.0.50", target)?;
    watched(&late_service, true)?;
    call(&late_service, "/call?late")?;
    // And none of it.
    server.annotate(&["namespace", "shop"], &["spanwire.dev/instrument-"])?;
    for (_, service, _) in &pods {
        watched(service, false)?;
        call(service, "/call?over")?;
    }
    let events = wait::until("an Event", || {
        let events = server.ask(&["get", "events.events.k8s.io", "-A", "-o", "json"], "")?;
        let events: Value = serde_json::from_str(&events)?;
        Ok(events["items"]
            .as_array()
            .filter(|items| !items.is_empty())
            .cloned())
    })?;
    let said: Vec<_> = events
        .iter()
        .map(|it| (&it["regarding"]["name"], &it["reason"], &it["note"]))
        .collect();
    let note =
        "annotation spanwire.dev/instrument is \"yes\", expected \"true\" or \"false\": it is not watched";
    ensure!(
        said == [(&json!("store-x"), &json!("InvalidAnnotation"), &json!(note))],
        "{said:?}"
    );
    let seen = session.finish(REQUESTS - 1)?;
    let mut found = BTreeMap::<(String, String), usize>::new();
    for span in &seen.spans {
        let query = span.text("url.query").map(str::to_owned);
        let query = query
            .or_else(|| Some(span.text("url.full")?.split_once('?')?.1.to_owned()))
            .unwrap_or_default();
        *found
            .entry((
                resource(span, "service.name").unwrap_or_default().to_owned(),
                query,
            ))
            .or_default() += 1;
    }
    let expect = [
        ("cart", "first"),
        ("store", "first"),
        ("logs", "first"),
        ("report", "first"),
        ("basket", "again"),
        ("basket", "named"),
        ("late", "late"),
    ]
    .map(|(service, query)| (service.to_owned(), query.to_owned()));
    ensure!(
        found.keys().eq(&BTreeSet::from(expect)),
        "{found:#?} {:#?}",
        seen.summary
    );
    let lost = usize::try_from(seen.summary.value("lost.exchanges.incomplete"))?;
    ensure!(
        seen.spans.len() + lost == REQUESTS,
        "{found:#?} {:#?}",
        seen.summary
    );
    // Each attribute has its value, and each name is the conventions'.
    let registry = conventions::registry()?;
    ensure!(registry.contains("k8s.pod.name"), "{registry:?}");
    let mut keys = BTreeSet::new();
    for span in &seen.spans {
        for key in span.resource.keys().chain(span.attributes.keys()) {
            ensure!(
                registry.contains(key) || key.starts_with("spanwire."),
                "{key} is not in the registry"
            );
            keys.insert(key.clone());
        }
    }
    for kind in [
        "deployment",
        "replicaset",
        "statefulset",
        "daemonset",
        "cronjob",
        "job",
        "pod",
    ] {
        for what in ["name", "uid"] {
            ensure!(
                keys.contains(&format!("k8s.{kind}.{what}")),
                "k8s.{kind}.{what} in {keys:?}"
            );
        }
    }
    let first = |service: &str, kind: &str| {
        let is_it = |span: &&Span| {
            resource(span, "service.name") == Some(service) && span.attributes.contains_key(kind)
        };
        seen.spans
            .iter()
            .find(is_it)
            .with_context(|| format!("{service} {kind}"))
    };
    let span = first("cart", "url.full")?;
    for (key, value) in [
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "cart-x"),
        ("k8s.node.name", NODE),
        ("k8s.container.name", "web"),
        ("k8s.deployment.name", "cart"),
        ("k8s.replicaset.name", "cart-5d"),
        ("container.image.name", "registry.test/shop/web"),
        ("service.namespace", "shop"),
        ("service.version", "1.2"),
        ("service.instance.id", "shop.cart-x.web"),
    ] {
        ensure!(resource(span, key) == Some(value), "{key} in {:?}", span.resource);
    }
    ensure!(
        span.resource.get("k8s.container.restart_count") == Some(&json!(2)),
        "{:?}",
        span.resource
    );
    let cluster = server.ask(
        &[
            "get",
            "namespace",
            "kube-system",
            "-o",
            "jsonpath={.metadata.uid}",
        ],
        "",
    )?;
    ensure!(
        resource(span, "k8s.cluster.uid") == Some(&cluster),
        "{cluster} {:?}",
        span.resource
    );
    let named = first("basket", "url.full")?;
    ensure!(
        resource(named, "deployment.environment.name") == Some("test"),
        "{:?}",
        named.resource
    );
    // Whom clients ask: a Service by its address, a pod of this node by its own.
    for (span, name, namespace) in [
        (span, "checkout", "other"),
        (first("store", "url.full")?, "cart", "shop"),
    ] {
        let peer = (
            span.text("service.peer.name"),
            span.text("service.peer.namespace"),
        );
        ensure!(peer == (Some(name), Some(namespace)), "{peer:?} of {span:?}");
    }
    Ok(())
}

/// Whether each of the requests that a server was sent carried a context.
fn contexts() -> Result<(Server, u16, Receiver<bool>)> {
    let target = port::free()?;
    let (tell, told) = mpsc::channel();
    let server = Server::tcp(TcpListener::bind(("127.0.0.1", target))?, move |connection| {
        let tell = tell.clone();
        http::serve(connection, move |request| {
            let _ = tell.send(request.header("traceparent").is_some());
            Some(http::response(200, b"ok"))
        });
    })?;
    Ok((server, target, told))
}

fn what_is_enrolled_leaves_with_the_annotation(hooks: Hooks) -> Result<()> {
    let server = ApiServer::start()?;
    namespace(&server, "shop")?;
    let (_server, target, told_context) = contexts()?;
    let pod = FakePod::make(&server, "shop", "cart", None)?;
    let service = serve(&pod, "127.0.0.1", target)?;
    let options = options(&server, hooks).flag("--propagate").flag("http1");
    let session = Session::start(options)?;
    let pid = service.child.pid();
    let enrolled = || Ok::<_, anyhow::Error>(flips::enrolled(&told(pid)?));
    let ask = |target: &str| -> Result<bool> {
        call(&service, target)?;
        Ok(told_context.recv_timeout(wait::LIMIT)?)
    };
    ensure!(!ask("/call?before")?, "a context of one that nobody watches");
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/instrument=true"])?;
    watched(&service, true)?;
    // The connection that is kept was open before: it is enrolled once it was seen to be used.
    wait::until("a context", || Ok(ask("/call?on")?.then_some(())))?;
    ensure!(enrolled()? == 1, "{}", told(pid)?);
    // Who never sends on a connection is told of it as well.
    call(&service, "/idle")?;
    ensure!(enrolled()? == 2, "{}", told(pid)?);
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/propagate=false"])?;
    wait::until("no context", || Ok((!ask("/call?narrowed")?).then_some(())))?;
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/propagate-"])?;
    wait::until("a context again", || Ok(ask("/call?wide")?.then_some(())))?;
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/instrument-"])?;
    watched(&service, false)?;
    wait::until("nothing enrolled", || Ok((enrolled()? == 0).then_some(())))?;
    for _ in 0..5 {
        ensure!(
            !ask("/call?after")?,
            "a context of one that is not watched any more"
        );
    }
    let seen = session.finish(0)?;
    let after = seen
        .spans
        .iter()
        .filter(|span| format!("{span:?}").contains("after"));
    ensure!(after.count() == 0, "{:#?}", seen.spans);
    Ok(())
}

/// How long each takes is measured (`cargo xtask bench annotations`); here it is about what comes before what.
fn orders_are_seen_from_the_annotation_to_its_removal(hooks: Hooks) -> Result<()> {
    let outcome = flips::run(hooks, 3)?;
    let (mut from, mut told) = (0, 0);
    for (count, flip) in outcome.flips.iter().enumerate() {
        // Before the annotation, and behind the word that it is gone, nothing; in between, from one word to the next step, all.
        for number in from..flip.annotates.0.saturating_sub(1) {
            ensure!(
                !outcome.spans.contains_key(&number),
                "order {number} before {flip:?}"
            );
            ensure!(
                !outcome.contexts[&number],
                "a context in order {number} before {flip:?}"
            );
        }
        for number in flip.watched.0..flip.removes.0.saturating_sub(1) {
            ensure!(
                outcome.spans.contains_key(&number),
                "no span of order {number} in {flip:?}"
            );
            ensure!(
                outcome.contexts[&number],
                "no context in order {number} in {flip:?}"
            );
            told += 1;
        }
        from = flip.left.0;
        ensure!(told > count, "no order in {flip:?}");
    }
    for number in from..outcome.orders.len() {
        ensure!(!outcome.spans.contains_key(&number), "order {number} behind all");
        ensure!(
            !outcome.contexts[&number],
            "a context in order {number} behind all"
        );
    }
    ensure!(from < outcome.orders.len(), "no order behind all");
    Ok(())
}

fn the_api_server_away(hooks: Hooks) -> Result<()> {
    let mut server = ApiServer::start()?;
    namespace(&server, "shop")?;
    server.annotate(&["namespace", "shop"], &["spanwire.dev/instrument=true"])?;
    let pod = FakePod::make(&server, "shop", "cart", None)?;
    let first = serve(&pod, "127.0.0.1", 1)?;
    let session = Session::start(options(&server, hooks))?;
    watched(&first, true)?;
    let mut second = None;
    server.restart(|_| {
        call(&first, "/x?away")?;
        // A container that is started again: of its pod all is known.
        let service = serve(&pod, "127.0.0.1", 1)?;
        watched(&service, true)?;
        call(&service, "/x?again")?;
        second = Some(service);
        Ok(())
    })?;
    // And what changes then is heard of.
    server.annotate(&["namespace", "shop"], &["spanwire.dev/instrument=false"])?;
    watched(&first, false)?;
    call(&first, "/x?over")?;
    let seen = session.finish(2)?;
    let queries: BTreeSet<_> = seen
        .spans
        .iter()
        .filter_map(|span| span.text("url.query"))
        .collect();
    ensure!(queries == BTreeSet::from(["away", "again"]), "{queries:?}");
    ensure!(
        seen.spans
            .iter()
            .all(|span| resource(span, "k8s.pod.name") == Some("cart")),
        "{:#?}",
        seen.spans
    );
    Ok(())
}

fn what_the_api_server_has_forgotten_is_asked_for_anew(hooks: Hooks) -> Result<()> {
    let mut server = ApiServer::start()?;
    namespace(&server, "shop")?;
    let pod = FakePod::make(&server, "shop", "cart", None)?;
    let service = serve(&pod, "127.0.0.1", 1)?;
    let session = Session::start(options(&server, hooks))?;
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/instrument=true"])?;
    watched(&service, true)?;
    // What it goes on from is not known any more when it is back: 410.
    server.restart(ApiServer::compact)?;
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/instrument=false"])?;
    watched(&service, false)?;
    server.annotate(&["namespace", "shop"], &["spanwire.dev/instrument=true"])?;
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/instrument-"])?;
    watched(&service, true)?;
    let seen = session.finish(0)?;
    let restarted = seen.summary.value("kubernetes.watches.restarted");
    ensure!(restarted > 0, "{:#?}", seen.summary);
    Ok(())
}

fn a_watch_whose_connection_breaks_goes_on_where_it_was(hooks: Hooks) -> Result<()> {
    let server = ApiServer::start()?;
    namespace(&server, "shop")?;
    let pod = FakePod::make(&server, "shop", "cart", None)?;
    let service = serve(&pod, "127.0.0.1", 1)?;
    let relay = Relay::start(server.address())?;
    let folder = tempfile::tempdir()?;
    let options = by_way_of(&relay, &server, folder.path(), hooks)?;
    let session = Session::start(options)?;
    let value = |truth: bool| format!("spanwire.dev/instrument={truth}");
    for truth in [true, false, true] {
        server.annotate(&["pod", "cart", "-n", "shop"], &[&value(truth)])?;
        watched(&service, truth)?;
        ensure!(relay.cut() > 0, "nobody was connected");
    }
    server.annotate(&["namespace", "shop"], &[&value(false)])?;
    server.annotate(&["pod", "cart", "-n", "shop"], &["spanwire.dev/instrument-"])?;
    watched(&service, false)?;
    let seen = session.finish(0)?;
    // A watch that was cut between two events is over, which is no failure; what came behind each cut was followed.
    let restarted = seen.summary.value("kubernetes.watches.restarted");
    ensure!(restarted == 0, "{:#?}", seen.summary);
    Ok(())
}

/// The shipped role, without what it says of a kind of objects.
fn role_without(resource: &str) -> Result<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/base/access.yaml");
    let text = std::fs::read_to_string(shipped)?;
    let role = text
        .split("---\n")
        .find(|part| part.contains("kind: ClusterRole\n"))
        .context("a role")?;
    let rules: Vec<&str> = role.split("  - apiGroups:").collect();
    let rest: Vec<&str> = rules
        .iter()
        .copied()
        .filter(|rule| !rule.contains(&format!("resources: [{resource}]")))
        .collect();
    ensure!(
        rest.len() + usize::from(!resource.is_empty()) == rules.len(),
        "{resource} in {role}"
    );
    Ok(rest.join("  - apiGroups:"))
}

fn without_a_right_what_it_is_for_is_missing_and_nothing_else(hooks: Hooks) -> Result<()> {
    let server = ApiServer::start()?;
    namespace(&server, "shop")?;
    server.annotate(&["namespace", "shop"], &["spanwire.dev/instrument=true"])?;
    let deployment = controller(&server, "Deployment", "cart", None)?;
    let cron = controller(&server, "CronJob", "report", None)?;
    let replicas = controller(&server, "ReplicaSet", "cart-5d", Some(&deployment))?;
    let job = controller(&server, "Job", "report-29374560", Some(&cron))?;
    let target = port::free()?;
    let _target = Server::tcp(TcpListener::bind(("0.0.0.0", target))?, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    server.make(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"clusterIP": "127.96.0.50", "ports": [{"port": 80}]},
    }))?;
    let cart_pod = FakePod::make(&server, "shop", "cart-x", Some(replicas))?;
    let report_pod = FakePod::make(&server, "shop", "report-x", Some(job))?;
    server.annotate(&["pod", "cart-x", "-n", "shop"], &["spanwire.dev/sample=often"])?;
    let cart = serve(&cart_pod, "127.96.0.50", target)?;
    let report = serve(&report_pod, "127.96.0.50", target)?;

    for missing in [
        "",
        "services",
        "replicasets",
        "jobs",
        "events",
        "namespaces",
        "pods",
    ] {
        server.apply(&role_without(missing)?)?;
        let session = Session::start(options(&server, hooks))?;
        let pid = cart.child.pid();
        if ["pods", "namespaces"].contains(&missing) {
            wait::until("a refusal", || {
                let said = session.agent.stderr();
                Ok(said.iter().any(|line| line.contains("forbidden")).then_some(()))
            })?;
            ensure!(told(pid)?["watched"] == false, "{missing}: {}", told(pid)?);
            call(&cart, "/call?unseen")?;
            let seen = session.finish(0)?;
            ensure!(seen.spans.is_empty(), "{missing}: {:#?}", seen.spans);
            continue;
        }
        let name = if missing == "replicasets" {
            "cart-5d"
        } else {
            "cart"
        };
        wait::until("its name", || Ok((told(pid)?["service"] == name).then_some(())))
            .with_context(|| format!("without {missing}: {:?}", told(pid)))?;
        watched(&report, true)?;
        call(&cart, "/call?cart")?;
        // Who owns a Job is told a moment later; its name says it before.
        let times = if missing.is_empty() { 10 } else { 1 };
        for _ in 0..times {
            call(&report, "/call?report")?;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        // On a connection that was used while nobody was watched, the first exchange is lost.
        call(&cart, "/call?cart")?;
        call(&report, "/call?report")?;
        let seen = session.finish(2 * (times + 2) - 2)?;
        let of = |service: &str| -> Result<Vec<&Span>> {
            let spans = seen.spans.iter();
            let own: Vec<_> = spans
                .filter(|span| resource(span, "service.name") == Some(service))
                .collect();
            ensure!(!own.is_empty(), "without {missing}: {:#?}", seen.spans);
            Ok(own)
        };
        let (carts, reports) = (of(name)?, of("report")?);
        let has = |spans: &[&Span], key: &str| spans.iter().any(|span| span.resource.contains_key(key));
        let asks = carts
            .iter()
            .filter(|span| span.attributes.contains_key("url.full"));
        let peers: BTreeSet<_> = asks.map(|span| span.text("service.peer.name")).collect();
        let found = [
            ("services", peers == BTreeSet::from([Some("checkout")])),
            ("replicasets", has(&carts, "k8s.deployment.uid")),
            (
                "jobs",
                has(&reports, "k8s.cronjob.uid") || !["", "jobs"].contains(&missing),
            ),
            ("events", seen.summary.value("kubernetes.events.dropped") == 0),
        ];
        for (right, is_there) in found {
            ensure!(
                is_there == (right != missing),
                "{right} without {missing:?}: {:#?} {:#?}",
                seen.spans,
                seen.summary
            );
        }
        ensure!(has(&reports, "k8s.cronjob.name"), "without {missing}");
        ensure!(
            seen.summary.value("kubernetes.annotations.wrong") == 1,
            "{:#?}",
            seen.summary
        );
    }
    Ok(())
}

/// spanwire on that node, which reaches the API server by a relay alone.
fn by_way_of(relay: &Relay, server: &ApiServer, folder: &Path, hooks: Hooks) -> Result<Options> {
    let config = folder.join("kubeconfig");
    let text = std::fs::read_to_string(server.kubeconfig())?;
    let [there, here] = [server.address(), relay.address].map(|address| address.to_string());
    ensure!(text.contains(&there), "{text}");
    std::fs::write(&config, text.replace(&there, &here))?;
    Ok(Options::run(hooks)
        .environment("SPANWIRE_KUBECONFIG", config.display().to_string())
        .environment("SPANWIRE_NODE_NAME", NODE))
}

fn what_a_node_is_told_does_not_grow_with_pods_of_other_nodes(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 1_000;
    let server = ApiServer::start()?;
    namespace(&server, "shop")?;
    let pod = FakePod::make(&server, "shop", "cart", None)?;
    let service = serve(&pod, "127.0.0.1", 1)?;
    let folder = tempfile::tempdir()?;
    // What it is told until it has followed an annotation, and while `meanwhile` is done.
    let told = |meanwhile: &dyn Fn() -> Result<()>| -> Result<u64> {
        let relay = Relay::start(server.address())?;
        let session = Session::start(by_way_of(&relay, &server, folder.path(), hooks)?)?;
        meanwhile()?;
        for truth in [true, false] {
            let value = format!("spanwire.dev/instrument={truth}");
            server.annotate(&["pod", "cart", "-n", "shop"], &[&value])?;
            watched(&service, truth)?;
        }
        session.finish(0)?;
        Ok(relay.answered())
    };
    let make_others = || -> Result<()> {
        let pods = (0..COUNT).map(|number| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("other-{number}"), "namespace": "shop"},
                "spec": {"nodeName": "node-2", "containers": [{"name": "web", "image": "registry.test/shop/web:1.2"}]},
            })
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": pods.collect::<Value>()});
        server.ask(&["create", "--filename=-", "--output=name"], &list.to_string())?;
        Ok(())
    };
    let alone = told(&|| Ok(()))?;
    let meanwhile = told(&make_others)?;
    let after = told(&|| Ok(()))?;
    let all = server.ask(&["get", "--raw=/api/v1/pods"], "")?.len() as u64;
    ensure!(all > 1_000_000, "{all} bytes of all pods");
    for bytes in [meanwhile, after] {
        ensure!(
            bytes < alone + all / 100,
            "{bytes} bytes, {alone} without {COUNT} pods of other nodes, all of which have {all}"
        );
    }
    Ok(())
}
