//! Attributes of pods, by the conventions' rules.

use super::super::super::{Container, Declared, Loaded, Namespace, Owner};
use super::super::{Host, attributes};
use super::*;
use std::sync::Arc;

fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        kind: kind.into(),
        name: name.into(),
        uid: format!("uid of {name}"),
    }
}

fn pod() -> Pod {
    let namespace = Namespace {
        name: "shop".into(),
        ..Namespace::default()
    };
    let container = PodContainer {
        id: Some("abc".into()),
        name: "web".into(),
        image: "registry.example:5000/shop/cart:1.2".into(),
        image_id: Some("registry.example:5000/shop/cart@sha256:0f".into()),
        restarts: Some(3),
    };
    Pod {
        uid: "3f0c".into(),
        name: "cart-5d-x".into(),
        namespace: Arc::new(namespace),
        containers: vec![container],
        owners: vec![owner("ReplicaSet", "cart-5d"), owner("Deployment", "cart")],
        node: Some("node-7".into()),
        cluster: Some("c1".into()),
        ..Pod::default()
    }
}

fn identity(pod: Pod) -> Identity {
    Identity {
        pid: 100,
        parent: 1,
        start: 5000,
        comm: "cart".into(),
        executable: Some("/cart".into()),
        owner: None,
        runtime: None,
        container: Some(Container {
            id: "abc".into(),
            name: None,
            service: None,
        }),
        pod: Some(Arc::new(pod)),
        unit: Some("containerd".into()),
        name: Some("server".into()),
        declared: Declared::default(),
        sdk: Loaded::default(),
    }
}

fn lines(identity: &Identity, shared: &[(String, String)]) -> Vec<String> {
    let host = Host {
        name: Some("box".into()),
        id: None,
        arch: "amd64",
        boot: None,
    };
    let attributes = attributes(identity, &host, shared);
    let line = |it: &crate::span::Attribute| {
        let value = match &it.value {
            Value::Text(text) => text.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Texts(texts) => texts.join(","),
        };
        format!("{}={value}", it.key)
    };
    let is_own = |line: &String| {
        ["service.", "k8s.", "container."]
            .iter()
            .any(|begin| line.starts_with(begin))
    };
    let mut lines: Vec<_> = attributes.iter().map(line).filter(is_own).collect();
    lines.sort_unstable();
    lines
}

fn value(identity: &Identity, key: &str) -> Option<String> {
    let lines = lines(identity, &[]);
    lines
        .iter()
        .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
}

#[test]
fn all_attributes_of_a_process_in_a_pod() {
    let expect = [
        "container.id=abc",
        "container.image.id=registry.example:5000/shop/cart@sha256:0f",
        "container.image.name=registry.example:5000/shop/cart",
        "container.image.repo_digests=registry.example:5000/shop/cart@sha256:0f",
        "container.image.tags=1.2",
        "k8s.cluster.uid=c1",
        "k8s.container.name=web",
        "k8s.container.restart_count=3",
        "k8s.deployment.name=cart",
        "k8s.deployment.uid=uid of cart",
        "k8s.namespace.name=shop",
        "k8s.node.name=node-7",
        "k8s.pod.name=cart-5d-x",
        "k8s.pod.uid=3f0c",
        "k8s.replicaset.name=cart-5d",
        "k8s.replicaset.uid=uid of cart-5d",
        "service.instance.id=shop.cart-5d-x.web",
        "service.name=cart",
        "service.namespace=shop",
        "service.version=1.2",
    ];
    assert_eq!(lines(&identity(pod()), &[]), expect);
}

#[test]
fn a_service_is_named_by_the_first_that_says_it() {
    let mut identity = identity(pod());
    let name = |identity: &Identity| value(identity, "service.name").unwrap();
    let change = |identity: &mut Identity, change: &dyn Fn(&mut Pod)| {
        change(Arc::get_mut(identity.pod.as_mut().unwrap()).unwrap());
    };
    change(&mut identity, &|pod| pod.owners.clear());
    assert_eq!(name(&identity), "cart-5d-x");
    let rising = [
        "Job",
        "CronJob",
        "DaemonSet",
        "StatefulSet",
        "ReplicaSet",
        "Deployment",
    ];
    for kind in rising {
        change(&mut identity, &|pod| {
            pod.owners.push(owner(kind, &format!("by {kind}")));
        });
        assert_eq!(name(&identity), format!("by {kind}"));
    }
    let label = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        move |pod: &mut Pod| drop(pod.labels.insert(key.clone(), value.clone()))
    };
    change(&mut identity, &label("app.kubernetes.io/name", "by name"));
    // Labels that are meant for something else do not name services unless that was asked for.
    assert_eq!(name(&identity), "by Deployment");
    change(&mut identity, &|pod| pod.named_by_labels = true);
    assert_eq!(name(&identity), "by name");
    change(&mut identity, &label("app.kubernetes.io/instance", "by instance"));
    assert_eq!(name(&identity), "by instance");
    let annotate = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        move |pod: &mut Pod| drop(pod.annotations.insert(key.clone(), value.clone()))
    };
    change(
        &mut identity,
        &annotate("resource.opentelemetry.io/service.name", "by annotation"),
    );
    assert_eq!(name(&identity), "by annotation");
    identity.declared.service_name = Some("by environment".into());
    assert_eq!(name(&identity), "by environment");
    change(
        &mut identity,
        &annotate("spanwire.dev/service-name", "by its owner's wish"),
    );
    assert_eq!(name(&identity), "by its owner's wish");
}

#[test]
fn what_annotations_declare_goes_before_what_is_found_and_behind_the_environment() {
    let mut pod = pod();
    for (key, value) in [
        ("resource.opentelemetry.io/service.version", "7"),
        ("resource.opentelemetry.io/service.instance.id", "i1"),
        ("resource.opentelemetry.io/service.namespace", "store"),
        ("resource.opentelemetry.io/k8s.cluster.name", "annotated"),
        ("resource.opentelemetry.io/deployment.environment.name", ""),
        ("resource.opentelemetry.io/", "nothing"),
        ("example.com/other", "left alone"),
    ] {
        pod.annotations.insert(key.into(), value.into());
    }
    let mut identity = identity(pod);
    identity.declared.attributes = vec![("service.namespace".into(), "declared".into())];
    let shared = [
        ("k8s.cluster.name".to_owned(), "shared".to_owned()),
        ("service.version".to_owned(), "0".to_owned()),
    ];
    let lines = lines(&identity, &shared);
    for expect in [
        "service.version=7",
        "service.instance.id=i1",
        "service.namespace=declared",
        "k8s.namespace.name=shop",
        "k8s.cluster.name=annotated",
    ] {
        assert!(lines.iter().any(|line| line == expect), "{expect} in {lines:#?}");
    }
    assert_eq!(lines.len(), 21, "{lines:#?}");
}

#[test]
fn what_is_not_known_yet_is_left_out() {
    let mut pod = pod();
    pod.owners = vec![
        owner("ReplicaSet", "cart-5d"),
        Owner {
            uid: String::new(),
            ..owner("Deployment", "cart")
        },
    ];
    pod.cluster = None;
    pod.containers[0] = PodContainer {
        id: None,
        image_id: None,
        restarts: None,
        ..pod.containers[0].clone()
    };
    let mut identity = identity(pod);
    let expect = [
        "container.id=abc",
        "k8s.deployment.name=cart",
        "k8s.namespace.name=shop",
        "k8s.node.name=node-7",
        "k8s.pod.name=cart-5d-x",
        "k8s.pod.uid=3f0c",
        "k8s.replicaset.name=cart-5d",
        "k8s.replicaset.uid=uid of cart-5d",
        "service.name=cart",
        "service.namespace=shop",
    ];
    let found: Vec<_> = lines(&identity, &[])
        .into_iter()
        .filter(|line| !line.starts_with("service.instance.id="))
        .collect();
    assert_eq!(found, expect);
    // The engine has told its name before the kubelet tells its id.
    identity.container.as_mut().unwrap().name = Some("web".into());
    assert_eq!(value(&identity, "k8s.container.name").as_deref(), Some("web"));
    assert_eq!(value(&identity, "service.version").as_deref(), Some("1.2"));
}

#[test]
fn versions_from_references_of_images() {
    let check = |reference: &str, name: &str, version: Option<&str>| {
        let image = Image::of(reference);
        assert_eq!(
            (image.name, image.version().as_deref()),
            (name, version),
            "{reference}"
        );
    };
    check("nginx", "nginx", None);
    check("nginx:1.27", "nginx", Some("1.27"));
    check("localhost:5000/nginx", "localhost:5000/nginx", None);
    check("localhost:5000/nginx:1.27", "localhost:5000/nginx", Some("1.27"));
    check("nginx@sha256:0f", "nginx", Some("sha256:0f"));
    check("a.b/nginx:1.27@sha256:0f", "a.b/nginx", Some("1.27@sha256:0f"));
    check("", "", None);
}
