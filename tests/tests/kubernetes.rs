//! spanwire in a real cluster, by the shipped manifests as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use spanwire_tests::agent::Turn;
use spanwire_tests::cluster::bazaar::{self, Bazaar};
use spanwire_tests::cluster::{ADDRESS, Cluster, NODE, items, text};
use spanwire_tests::manifests::{self, NAMESPACE};
use spanwire_tests::receiver::Receiver;
use spanwire_tests::span::{Attributes, Kind, Span};
use spanwire_tests::{http, wait};

spanwire_tests::live!(
    the_manifests_as_they_are_shipped_trace_what_is_annotated_and_nothing_else,
    annotations_count_as_soon_as_they_are_there_and_the_nearest_one_wins,
    pods_that_come_and_go_are_told_apart_and_the_api_server_and_spanwire_may_go_too,
    the_api_server_takes_all_manifests_and_gives_spanwire_no_more_rights_than_it_uses,
);

/// The cluster's address of the collector that the manifests name.
const COLLECTOR: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 1);

/// How long it may take until orders are followed: several rounds of them, each exported.
const FOLLOWED: Duration = Duration::from_secs(40);

/// Numbers of spans by kind and service.
type Counts = BTreeMap<(Kind, String), usize>;

/// spanwire on the node of a cluster, and the collector that it sends to.
struct Fleet {
    cluster: Cluster,
    receiver: Receiver,
    number: AtomicUsize,
    _turn: Turn,
}

impl Fleet {
    /// Starts a cluster and applies `manifests`, as a user would.
    fn with(manifests: &str) -> Result<Self> {
        let turn = Turn::take()?;
        let folder = tempfile::tempdir()?;
        // The database is another user.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let mut images = vec![bazaar::spanwire(folder.path())?];
        images.extend(bazaar::images(folder.path())?);
        let cluster = Cluster::start(&images)?;
        let receiver = Receiver::start_at(ADDRESS)?;
        cluster.is_called("otel-collector.spanwire", COLLECTOR)?;
        cluster.apply(manifests)?;
        cluster.apply(&collector(receiver.grpc.port()))?;
        cluster.rolled_out(NAMESPACE, "daemonset/spanwire")?;
        Ok(Self {
            cluster,
            receiver,
            number: AtomicUsize::new(0),
            _turn: turn,
        })
    }

    /// An order with an id of its own.
    fn take_order(&self, shop: &Bazaar) -> Result<String> {
        let id = format!(
            "{}-{}",
            shop.namespace,
            self.number.fetch_add(1, Ordering::Relaxed)
        );
        shop.order(&id)?;
        Ok(id)
    }

    /// Waits until orders of this shop have all their spans. On connections that were open before spanwire came, or before it was
    /// asked to watch, they need not be of one trace: so what comes is counted.
    fn follows(&self, shop: &Bazaar) -> Result<()> {
        const COUNT: usize = 10;
        let followed = wait::within(FOLLOWED, &format!("spans of {}", shop.namespace), || {
            let before = self.kinds(shop)?;
            for _ in 0..COUNT {
                self.take_order(shop)?;
            }
            let all = wait::within(wait::SETTLE, "all spans", || {
                let now = self.kinds(shop)?;
                let came = |kind: Kind, name: &str| {
                    let of = |counts: &Counts| counts.get(&(kind, name.to_owned())).copied().unwrap_or(0);
                    of(&now) - of(&before)
                };
                let all = ORDER.iter().all(|(kind, name, _)| came(*kind, name) >= COUNT);
                Ok(all.then_some(()))
            });
            Ok(all.ok())
        });
        followed.with_context(|| {
            let pod = "daemonset/spanwire";
            let log = self
                .cluster
                .ask(&["logs", "--namespace", NAMESPACE, pod, "--tail=20"]);
            let status = self.cluster.execute(NAMESPACE, pod, &["spanwire", "status"]);
            format!("{:?}\n{log:?}\n{status:?}", self.kinds(shop))
        })
    }

    /// How many spans of a shop have come, by kind and service.
    fn kinds(&self, shop: &Bazaar) -> Result<Counts> {
        let mut counts = BTreeMap::new();
        for span in self.receiver.spans()? {
            let of = |key| span.resource.get(key).and_then(Value::as_str).unwrap_or_default();
            if of("k8s.namespace.name") == shop.namespace {
                *counts
                    .entry((span.kind, of("service.name").to_owned()))
                    .or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Waits until orders of a shop have no spans of these services. All that was done before is there once an order of `steady` is
    /// that was made behind it.
    fn leaves_alone(&self, shop: &Bazaar, services: &[&str], steady: &Bazaar) -> Result<()> {
        let of_these = || -> Result<Counts> {
            let mut counts = self.kinds(shop)?;
            counts.retain(|(_, name), _| services.contains(&&**name));
            Ok(counts)
        };
        wait::within(FOLLOWED, &format!("no spans of {services:?}"), || {
            let all_was_sent = || -> Result<()> {
                let id = self.take_order(steady)?;
                self.order(&id, ORDER.len()).map(drop)
            };
            all_was_sent()?;
            let before = of_these()?;
            for _ in 0..5 {
                self.take_order(shop)?;
            }
            all_was_sent()?;
            Ok((of_these()? == before).then_some(()))
        })
    }

    /// The spans of an order, once `count` have come.
    fn order(&self, id: &str, count: usize) -> Result<Vec<Span>> {
        let whole = wait::until("the spans of an order", || {
            Ok(Some(self.found(id)?).filter(|spans| spans.len() >= count))
        });
        whole.with_context(|| format!("{:#?}", self.found(id)))
    }

    /// Those that have come.
    fn found(&self, id: &str) -> Result<Vec<Span>> {
        let spans = self.receiver.spans()?;
        let path = format!("/order/{id}");
        let traces: BTreeSet<_> = spans
            .iter()
            .filter(|span| span.path() == path)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|span| span.trace_id.clone())
            .collect();
        Ok(spans
            .into_iter()
            .filter(|span| traces.contains(&span.trace_id))
            .collect())
    }
}

/// A service with the name and port that the manifests send to, whose only endpoint is the test's own receiver.
fn collector(port: u16) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "otel-collector", "namespace": NAMESPACE},
        "spec": {"clusterIP": COLLECTOR, "ports": [{"port": 4317}]},
    });
    let endpoints = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "otel-collector-1",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": "otel-collector"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ADDRESS]}],
        "ports": [{"port": port}],
    });
    format!("{service}\n---\n{endpoints}\n")
}

/// What an order is made of: kind, workload, container.
const ORDER: [(Kind, &str, &str); 5] = [
    (Kind::Server, "front", "web"),
    (Kind::Client, "front", "web"),
    (Kind::Server, "stock", "server"),
    (Kind::Client, "stock", "server"),
    (Kind::Server, "database", "postgres"),
];

/// Its services.
const SERVICES: [&str; 3] = ["front", "stock", "database"];

/// What spans of the pods of a shop have to say of where they are from, by workload: as the API server has it.
fn places(cluster: &Cluster, shop: &Bazaar) -> Result<BTreeMap<String, Attributes>> {
    let of_cluster = cluster.object(&["namespace", "kube-system"])?;
    let namespace = format!("--namespace={}", shop.namespace);
    let pods = cluster.object(&["pods", &namespace, "--field-selector=status.phase=Running"])?;
    let mut all = BTreeMap::new();
    for pod in items(&pods)? {
        let workload = text(pod, "/metadata/labels/app.kubernetes.io~1name")?;
        let name = text(pod, "/metadata/name")?;
        let container = text(pod, "/spec/containers/0/name")?;
        let id = text(pod, "/status/containerStatuses/0/containerID")?;
        let image = text(pod, "/spec/containers/0/image")?;
        let (image, tag) = image.rsplit_once(':').context("an image with its tag")?;
        let mut place = vec![
            ("service.name", workload.to_owned()),
            ("service.namespace", shop.namespace.clone()),
            ("service.version", tag.to_owned()),
            (
                "service.instance.id",
                format!("{}.{name}.{container}", shop.namespace),
            ),
            ("host.name", NODE.to_owned()),
            ("k8s.node.name", NODE.to_owned()),
            ("k8s.cluster.uid", text(&of_cluster, "/metadata/uid")?.to_owned()),
            ("k8s.namespace.name", shop.namespace.clone()),
            ("k8s.pod.name", name.to_owned()),
            ("k8s.pod.uid", text(pod, "/metadata/uid")?.to_owned()),
            ("k8s.container.name", container.to_owned()),
            ("container.id", id.trim_start_matches("containerd://").to_owned()),
            ("container.image.name", image.to_owned()),
        ];
        let owner = pod.pointer("/metadata/ownerReferences/0").context("an owner")?;
        let owned_by = text(owner, "/name")?.to_owned();
        if text(owner, "/kind")? == "ReplicaSet" {
            let deployment = cluster.object(&["deployment", workload, &namespace])?;
            place.push(("k8s.replicaset.name", owned_by));
            place.push(("k8s.replicaset.uid", text(owner, "/uid")?.to_owned()));
            place.push(("k8s.deployment.name", workload.to_owned()));
            place.push((
                "k8s.deployment.uid",
                text(&deployment, "/metadata/uid")?.to_owned(),
            ));
        } else {
            place.push(("k8s.statefulset.name", owned_by));
            place.push(("k8s.statefulset.uid", text(owner, "/uid")?.to_owned()));
        }
        let place = place
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()));
        all.insert(workload.to_owned(), place.collect());
    }
    Ok(all)
}

/// Checks that these are the spans of one order, each with what `places` says and nothing else of Kubernetes.
fn check(spans: &[Span], places: &BTreeMap<String, Attributes>) -> Result<()> {
    let mut found = Vec::new();
    for span in spans {
        let workload = span.resource.get("service.name").and_then(Value::as_str);
        let (workload, place) = workload
            .and_then(|name| places.get_key_value(name))
            .with_context(|| format!("a span of no workload: {span:#?}"))?;
        let is_about_it = |key: &str| {
            ["k8s.", "service.", "container."]
                .iter()
                .any(|of| key.starts_with(of))
                || key == "host.name"
        };
        let mut said: Attributes = span.resource.clone();
        said.retain(|key, _| is_about_it(key));
        ensure!(
            said.remove("k8s.container.restart_count") == Some(0.into()),
            "{span:#?}"
        );
        for key in [
            "container.image.id",
            "container.image.repo_digests",
            "container.image.tags",
        ] {
            said.remove(key);
        }
        assert_eq!(&said, place, "{workload}");
        found.push((
            span.kind,
            workload.as_str(),
            text(&said["k8s.container.name"], "")?.to_owned(),
        ));
    }
    found.sort_unstable();
    let mut expected = ORDER.map(|(kind, workload, container)| (kind, workload, container.to_owned()));
    expected.sort_unstable();
    assert_eq!(found, expected, "{spans:#?}");
    Ok(())
}

/// Requests by way of one connection after the other, until it is dropped.
struct Customers {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, Vec<String>)>>,
}

impl Customers {
    fn come(shop: &Bazaar) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (until, shop) = (done.clone(), shop.clone());
        let thread = std::thread::spawn(move || {
            let (mut count, mut failed) = (0, Vec::new());
            while !until.load(Ordering::Acquire) {
                count += 1;
                if let Err(error) = shop.order(&format!("all{count}")) {
                    failed.push(format!("{error:#}"));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            (count, failed)
        });
        Self {
            done,
            thread: Some(thread),
        }
    }

    /// How many there were, none of whom was let down.
    fn leave(mut self) -> Result<usize> {
        self.done.store(true, Ordering::Release);
        let thread = self.thread.take().context("customers leave once")?;
        let (count, failed) = thread.join().expect("customers do not panic");
        ensure!(
            failed.is_empty(),
            "{} of {count} orders failed: {failed:?}",
            failed.len()
        );
        Ok(count)
    }
}

impl Drop for Customers {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
    }
}

fn the_manifests_as_they_are_shipped_trace_what_is_annotated_and_nothing_else() -> Result<()> {
    let fleet = Fleet::with(&manifests::built("base")?)?;
    let cluster = &fleet.cluster;
    for name in ["shop", "other"] {
        cluster.namespace(name)?;
    }
    cluster.ask(&["annotate", "namespace", "shop", "spanwire.dev/instrument=true"])?;
    let shop = Bazaar::open(cluster, "shop", 10)?;
    let other = Bazaar::open(cluster, "other", 11)?;
    fleet.follows(&shop)?;
    let places = places(cluster, &shop)?;
    for id in ["1", "2", "3"] {
        other.order(id)?;
        shop.order(&format!("s{id}"))?;
        check(&fleet.order(&format!("s{id}"), ORDER.len())?, &places)?;
    }
    for span in fleet.receiver.spans()? {
        let of = span.resource.get("k8s.namespace.name");
        ensure!(of == Some(&"shop".into()), "a span of another: {span:#?}");
        let asked = match span.name.as_str() {
            _ if span.kind != Kind::Client => None,
            name if name.contains("Reserve") => Some("stock"),
            _ => Some("database"),
        };
        let peer = span.text("service.peer.name");
        ensure!(peer == asked, "{span:#?}");
    }
    // It can be asked where it runs.
    let status = cluster.execute(NAMESPACE, "daemonset/spanwire", &["spanwire", "status"])?;
    ensure!(status.contains("ready"), "{status}");
    Ok(())
}

fn annotations_count_as_soon_as_they_are_there_and_the_nearest_one_wins() -> Result<()> {
    let fleet = Fleet::with(&manifests::built("base")?)?;
    let cluster = &fleet.cluster;
    for name in ["steady", "shop"] {
        cluster.namespace(name)?;
    }
    cluster.ask(&["annotate", "namespace", "steady", "spanwire.dev/instrument=true"])?;
    let steady = Bazaar::open(cluster, "steady", 10)?;
    let shop = Bazaar::open(cluster, "shop", 11)?;
    fleet.follows(&steady)?;
    let annotate = |object: &[&str], annotation: &str| -> Result<()> {
        let mut arguments = vec!["annotate", "--overwrite", "--namespace=shop"];
        arguments.extend(object);
        arguments.push(annotation);
        cluster.ask(&arguments).map(drop)
    };
    fleet.leaves_alone(&shop, &SERVICES, &steady)?;

    annotate(&["namespace", "shop"], "spanwire.dev/instrument=true")?;
    fleet.follows(&shop)?;

    // A pod's own annotation goes before its namespace's.
    let pod = cluster.ask(&[
        "get",
        "pods",
        "--namespace=shop",
        "--selector=app.kubernetes.io/name=front",
        "--output=name",
    ])?;
    annotate(&[&pod], "spanwire.dev/instrument=false")?;
    fleet.leaves_alone(&shop, &["front"], &steady)?;
    annotate(&[&pod], "spanwire.dev/instrument-")?;
    fleet.follows(&shop)?;

    // What is wrong is said where it is, and counts as the safe value.
    annotate(&[&pod], "spanwire.dev/instrument=yes")?;
    let name = pod.trim_start_matches("pod/");
    let event = wait::until("an Event", || {
        let selector = "--field-selector=reason=InvalidAnnotation";
        let events = cluster.object(&["events.v1.events.k8s.io", "--namespace=shop", selector])?;
        Ok(items(&events)?.first().cloned())
    })?;
    ensure!(
        text(&event, "/regarding/name")? == name
            && text(&event, "/note")?.contains("spanwire.dev/instrument"),
        "{event}"
    );
    fleet.leaves_alone(&shop, &["front"], &steady)?;

    annotate(&["namespace", "shop"], "spanwire.dev/instrument-")?;
    fleet.leaves_alone(&shop, &SERVICES, &steady)?;
    cluster.ask(&["delete", "namespace", "shop", "--timeout=100s"])?;
    fleet.follows(&steady)
}

fn pods_that_come_and_go_are_told_apart_and_the_api_server_and_spanwire_may_go_too() -> Result<()> {
    let mut fleet = Fleet::with(&manifests::built("base")?)?;
    fleet.cluster.namespace("shop")?;
    fleet
        .cluster
        .ask(&["annotate", "namespace", "shop", "spanwire.dev/instrument=true"])?;
    let shop = Bazaar::open(&fleet.cluster, "shop", 10)?;
    fleet.follows(&shop)?;
    let customers = Customers::come(&shop);

    // Twenty a minute, each with a request of its own.
    let mut visited = BTreeMap::new();
    for number in 0..10 {
        let name = format!("visitor-{number}");
        let run = [
            "run",
            &*name,
            "--namespace=shop",
            "--image=spanwire.test/bazaar:1",
            "--restart=Never",
        ];
        let begun = Instant::now();
        let mut arguments = run.to_vec();
        arguments.extend(["--", "front", "8080", "stock.shop:81"]);
        fleet.cluster.ask(&arguments)?;
        fleet
            .cluster
            .wait_for(&["pod", &name, "--namespace=shop"], "condition=Ready")?;
        let pod = fleet.cluster.object(&["pod", &name, "--namespace=shop"])?;
        let address: Ipv4Addr = text(&pod, "/status/podIP")?.parse()?;
        let visit = || -> Result<()> {
            let answer = http::connect((address, 8080).into())?.call(
                "GET",
                &format!("/order/{name}"),
                "visitor",
                b"",
            )?;
            ensure!(answer.status() == 200, "{}", answer.text());
            Ok(())
        };
        wait::until("a visitor that serves", || Ok(visit().ok()))?;
        visited.insert(name.clone(), text(&pod, "/metadata/uid")?.to_owned());
        // What it has just done is read before it goes.
        std::thread::sleep(Duration::from_millis(500));
        fleet
            .cluster
            .ask(&["delete", "pod", &name, "--namespace=shop", "--wait=false"])?;
        std::thread::sleep(Duration::from_secs(3).saturating_sub(begun.elapsed()));
    }
    for (name, uid) in &visited {
        let spans = fleet.order(name, 5)?;
        let front = spans
            .iter()
            .find(|span| span.kind == Kind::Server && span.path() == format!("/order/{name}"));
        let front = front.with_context(|| format!("{spans:#?}"))?;
        ensure!(
            front.resource["k8s.pod.uid"] == **uid && front.resource["k8s.pod.name"] == **name,
            "{front:#?}"
        );
    }

    // Without the API server what was known holds, and what changes meanwhile is taken in once it is back.
    fleet.cluster.take_api_away()?;
    fleet.follows(&shop)?;
    fleet.cluster.return_api()?;
    fleet.cluster.ask(&[
        "annotate",
        "--overwrite",
        "namespace",
        "shop",
        "spanwire.dev/instrument=false",
    ])?;
    wait::within(FOLLOWED, "orders without spans", || {
        let before = fleet.kinds(&shop)?;
        std::thread::sleep(wait::SETTLE);
        Ok((fleet.kinds(&shop)? == before).then_some(()))
    })?;
    fleet.cluster.ask(&[
        "annotate",
        "--overwrite",
        "namespace",
        "shop",
        "spanwire.dev/instrument=true",
    ])?;
    fleet.follows(&shop)?;

    // spanwire's own pod goes, and another comes.
    let pods = [
        "--namespace",
        NAMESPACE,
        "--selector=app.kubernetes.io/name=spanwire",
    ];
    let mut delete = vec!["delete", "pods"];
    delete.extend(pods);
    fleet.cluster.ask(&delete)?;
    fleet.cluster.rolled_out(NAMESPACE, "daemonset/spanwire")?;
    fleet.follows(&shop)?;
    let count = customers.leave()?;
    ensure!(count > 100, "{count} orders");
    Ok(())
}

fn the_api_server_takes_all_manifests_and_gives_spanwire_no_more_rights_than_it_uses() -> Result<()> {
    let cluster = Cluster::start(&[])?;
    cluster.apply(&fs::read_to_string(manifests::shipped("base/namespace.yaml"))?)?;
    let mut folders = vec!["base".to_owned()];
    folders.extend(
        manifests::overlays()?
            .into_iter()
            .map(|name| format!("overlays/{name}")),
    );
    for folder in folders {
        let mut manifests = manifests::built(&folder)?;
        if folder.ends_with("pod-monitor") {
            // Its kind is the Prometheus operator's, who is not here.
            let known = manifests
                .split("---\n")
                .filter(|part| !part.contains("kind: PodMonitor"));
            manifests = known.collect::<Vec<_>>().join("---\n");
        }
        let dry = ["apply", "--dry-run=server", "--validate=strict"];
        cluster.give(&dry, &manifests).with_context(|| folder.clone())?;
        let misspelt = manifests.replace("hostPID: true", "hostPid: true");
        let refused = cluster
            .give(&dry, &misspelt)
            .err()
            .context("a misspelt field is taken")?;
        ensure!(format!("{refused:#}").contains("hostPid"), "{refused:#}");
    }
    cluster.apply(&manifests::built("base")?)?;
    let may = |verb: &str, resource: &str| -> bool {
        let user = format!("--as=system:serviceaccount:{NAMESPACE}:spanwire");
        cluster
            .ask(&[
                "auth",
                "can-i",
                verb,
                resource,
                &user,
                "--all-namespaces",
                "--quiet",
            ])
            .is_ok()
    };
    let resources = [
        "pods",
        "namespaces",
        "services",
        "replicasets.apps",
        "jobs.batch",
        "events.events.k8s.io",
        "secrets",
        "configmaps",
        "nodes",
        "events",
        "daemonsets.apps",
    ];
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let mut rights = Vec::new();
    for resource in resources {
        let of: Vec<_> = verbs.into_iter().filter(|verb| may(verb, resource)).collect();
        if !of.is_empty() {
            rights.push((resource, of));
        }
    }
    let expected = vec![
        ("pods", vec!["list", "watch"]),
        ("namespaces", vec!["get", "list", "watch"]),
        ("services", vec!["list", "watch"]),
        ("replicasets.apps", vec!["get"]),
        ("jobs.batch", vec!["get"]),
        ("events.events.k8s.io", vec!["create"]),
    ];
    assert_eq!(rights, expected);
    Ok(())
}
