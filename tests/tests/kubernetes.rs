//! spanwire in a real cluster, by the shipped manifests as they are.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use spanwire_tests::agent::Turn;
use spanwire_tests::cluster::bazaar::{self, Bazaar};
use spanwire_tests::cluster::{ADDRESS, Cluster, NODE, items, text};
use spanwire_tests::manifests::{self, NAMESPACE};
use spanwire_tests::receiver::Receiver;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::wait;

/// The cluster's address of the collector that the manifests name.
const COLLECTOR: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 1);

/// spanwire on the node of a cluster, and the collector that it sends to.
struct Fleet {
    cluster: Cluster,
    receiver: Receiver,
    _turn: Turn,
}

impl Fleet {
    /// Starts a cluster and applies `manifests`, as a user would.
    fn with(manifests: &str) -> Result<Self> {
        let turn = Turn::take()?;
        let folder = tempfile::tempdir()?;
        // The database is another user.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
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
            _turn: turn,
        })
    }

    /// The spans of an order, once `count` have come.
    fn order(&self, id: &str, count: usize) -> Result<Vec<Span>> {
        let found = || -> Result<Vec<Span>> {
            let spans = self.receiver.spans()?;
            let mut traces = BTreeSet::new();
            for span in &spans {
                if span.path() == format!("/order/{id}") {
                    traces.insert(span.trace_id.clone());
                }
            }
            Ok(spans
                .into_iter()
                .filter(|span| traces.contains(&span.trace_id))
                .collect())
        };
        let whole = wait::until("the spans of an order", || {
            Ok(Some(found()?).filter(|it| it.len() >= count))
        });
        whole.with_context(|| format!("{:#?}", found()))
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

/// Whether a span is of the test's own process.
fn is_ours(span: &Span) -> bool {
    span.resource.get("process.pid") == Some(&std::process::id().into())
}

/// Ids of the containers of a namespace, by the name of the container.
fn containers(cluster: &Cluster, namespace: &str) -> Result<Vec<(String, String)>> {
    let pods = cluster.object(&["pods", "--namespace", namespace])?;
    let mut all = Vec::new();
    for pod in items(&pods)? {
        let id = text(pod, "/status/containerStatuses/0/containerID")?;
        let id = id
            .strip_prefix("containerd://")
            .context("a container of containerd's")?;
        all.push((text(pod, "/spec/containers/0/name")?.to_owned(), id.to_owned()));
    }
    Ok(all)
}

/// What an order is made of: kind, container.
const ORDER: [(Kind, &str); 5] = [
    (Kind::Server, "web"),
    (Kind::Client, "web"),
    (Kind::Server, "server"),
    (Kind::Client, "server"),
    (Kind::Server, "postgres"),
];

#[test]
fn the_manifests_as_they_are_shipped_trace_the_pods_of_a_node() -> Result<()> {
    let fleet = Fleet::with(&manifests::built("base")?)?;
    fleet.cluster.namespace("shop")?;
    let shop = Bazaar::open(&fleet.cluster, "shop", 10)?;
    shop.order("1")?;
    let spans = fleet.order("1", ORDER.len() + 1)?;
    let containers = containers(&fleet.cluster, "shop")?;
    let mut found = Vec::new();
    for span in spans.iter().filter(|span| !is_ours(span)) {
        let id = span.resource.get("container.id").and_then(|id| id.as_str());
        let container = containers.iter().find(|(_, of)| Some(&**of) == id);
        let (name, _) = container.with_context(|| format!("a span of no container: {span:#?}"))?;
        found.push((span.kind, name.as_str()));
        ensure!(span.resource["host.name"] == NODE, "{span:#?}");
    }
    found.sort_unstable();
    let mut expected = ORDER.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{spans:#?}");
    Ok(())
}
