//! Names of attributes against the registry of the semantic conventions, as it is published for Python.

use spanwire::process::{
    Container, Declared, Host, Identity, Loaded, Namespace, Owner, Pod, PodContainer, Proc, attributes,
};
use spanwire_tests::workload;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

/// Prints the value of each constant of the registry, stable or not.
const REGISTRY: &str = "
import importlib, pkgutil
for package in ('opentelemetry.semconv.attributes', 'opentelemetry.semconv._incubating.attributes'):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        for name, value in vars(importlib.import_module(package + '.' + module.name)).items():
            if name.isupper() and isinstance(value, str):
                print(value)
";

#[test]
fn every_attribute_of_a_process_in_a_pod_is_in_the_registry() {
    let output = Command::new(workload::environment("python").unwrap()).args(["-c", REGISTRY]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let registry: BTreeSet<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert!(registry.contains("k8s.pod.name") && !registry.contains("k8s.pod.nam"));
    let kinds = [
        "ReplicaSet",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
    ];
    let owner = |kind: &&str| Owner {
        kind: (*kind).to_owned(),
        name: "name".into(),
        uid: "uid".into(),
    };
    let pod = Pod {
        uid: "uid".into(),
        name: "cart".into(),
        namespace: Arc::new(Namespace::default()),
        owners: kinds.iter().map(owner).collect(),
        containers: vec![PodContainer {
            id: Some("abc".into()),
            name: "web".into(),
            image: "cart:1".into(),
            image_id: Some("cart@sha256:0f".into()),
            restarts: Some(1),
        }],
        node: Some("node".into()),
        cluster: Some("cluster".into()),
        ..Pod::default()
    };
    let identity = Identity {
        pid: 1,
        parent: 0,
        start: 0,
        comm: "cart".into(),
        executable: Some("/cart".into()),
        owner: Some("root".into()),
        runtime: None,
        container: Some(Container {
            id: "abc".into(),
            name: Some("web".into()),
            service: None,
        }),
        pod: Some(Arc::new(pod)),
        unit: None,
        name: None,
        declared: Declared::default(),
        sdk: Loaded::default(),
    };
    let attributes = attributes(&identity, &Host::read(&Proc::host()), &[]);
    let of_pods = attributes.iter().filter(|it| it.key.starts_with("k8s."));
    assert_eq!(of_pods.count(), 19);
    for attribute in attributes {
        assert!(
            registry.contains(&*attribute.key),
            "{} is not in the registry",
            attribute.key
        );
    }
    for key in ["service.peer.name", "service.peer.namespace"] {
        assert!(registry.contains(key), "{key}");
    }
}
