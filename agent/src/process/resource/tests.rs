//! Resources, attribute by attribute.

use super::super::{Container, Declared, Runtime};
use super::*;

fn host() -> Host {
    Host {
        name: Some("box".into()),
        id: Some("3d12".into()),
        arch: "amd64",
        boot: Some("6fd2".into()),
    }
}

fn nginx() -> Identity {
    Identity {
        pid: 100,
        parent: 1,
        start: 5000,
        comm: "nginx".into(),
        executable: Some("/usr/sbin/nginx".into()),
        owner: Some("www-data".into()),
        runtime: None,
        container: None,
        pod: None,
        unit: None,
        name: None,
        declared: Declared::default(),
        sdk: crate::process::Loaded::default(),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A line an attribute, `KEY=VALUE`.
fn lines(attributes: &[Attribute]) -> Vec<String> {
    let mut lines: Vec<String> = attributes
        .iter()
        .map(|attribute| match &attribute.value {
            Value::Text(text) => format!("{}={text}", attribute.key),
            other => format!("{}={other:?}", attribute.key),
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn value(identity: &Identity, shared: &[(String, String)], key: &str) -> Option<String> {
    let attributes = attributes(identity, &host(), shared);
    assert_eq!(
        attributes
            .iter()
            .filter(|attribute| attribute.key == key)
            .count()
            .max(1),
        1,
        "{key} once"
    );
    attributes
        .into_iter()
        .find(|attribute| attribute.key == key)
        .map(|attribute| match attribute.value {
            Value::Text(text) => text.to_string(),
            other => format!("{other:?}"),
        })
}

#[test]
fn all_attributes_of_a_process() {
    let identity = Identity {
        runtime: Some(Runtime::new("nodejs", Some("20.1.0".into()))),
        container: Some(Container {
            id: "abc".into(),
            name: Some("web-1".into()),
            service: None,
            ..Container::default()
        }),
        ..nginx()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        lines(&attributes(&identity, &host(), &[])),
        [
            "container.id=abc",
            "container.name=web-1",
            "host.arch=amd64",
            "host.id=3d12",
            "host.name=box",
            "os.type=linux",
            "process.executable.name=nginx",
            "process.executable.path=/usr/sbin/nginx",
            "process.owner=www-data",
            "process.parent_pid=Integer(1)",
            "process.pid=Integer(100)",
            "process.runtime.name=nodejs",
            "process.runtime.version=20.1.0",
            // python3: uuid.uuid5(uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320"), "3d12/6fd2/100/5000")
            "service.instance.id=757b5980-3e1d-509b-8e58-476a0d54579d",
            "service.name=web-1",
            "telemetry.distro.name=spanwire",
            &format!("telemetry.distro.version={version}"),
            "telemetry.sdk.language=rust",
            "telemetry.sdk.name=spanwire",
            &format!("telemetry.sdk.version={version}"),
        ]
    );
}

#[test]
fn the_name_comes_from_the_nearest_that_a_person_named() {
    let name = |identity: &Identity| value(identity, &[], "service.name").unwrap();
    let mut identity = nginx();
    assert_eq!(name(&identity), "unknown_service:nginx");
    identity.name = Some("argv".into());
    assert_eq!(name(&identity), "argv");
    identity.container = Some(Container {
        id: "abc".into(),
        name: None,
        service: None,
        ..Container::default()
    });
    assert_eq!(name(&identity), "argv");
    identity.container = Some(Container {
        id: "abc".into(),
        name: Some("blog-web-1".into()),
        service: None,
        ..Container::default()
    });
    assert_eq!(name(&identity), "blog-web-1");
    identity.container = Some(Container {
        id: "abc".into(),
        name: Some("blog-web-1".into()),
        service: Some("web".into()),
        ..Container::default()
    });
    assert_eq!(name(&identity), "web");
    identity.unit = Some("unit".into());
    assert_eq!(name(&identity), "unit");
    identity.declared.attributes = pairs(&[("service.name", "attribute")]);
    assert_eq!(name(&identity), "attribute");
    identity.declared.service_name = Some("variable".into());
    assert_eq!(name(&identity), "variable");
    identity.executable = None;
    assert_eq!(value(&identity, &[], "process.executable.name").unwrap(), "nginx");
}

#[test]
fn declared_before_configured_before_found() {
    let declared = [
        ("service.name", "cart"),
        ("service.version", "1.2"),
        ("zone", "declared"),
        ("host.name", "declared"),
        ("telemetry.sdk.name", "opentelemetry"),
    ];
    let declared = Declared {
        service_name: None,
        attributes: pairs(&declared),
    };
    let identity = Identity { declared, ..nginx() };
    let shared = pairs(&[
        ("zone", "configured"),
        ("host.id", "configured"),
        ("rack", "configured"),
    ]);
    let value = |key| value(&identity, &shared, key);
    assert_eq!(value("service.version").as_deref(), Some("1.2"));
    assert_eq!(value("zone").as_deref(), Some("declared"));
    assert_eq!(value("host.name").as_deref(), Some("declared"));
    assert_eq!(value("host.id").as_deref(), Some("configured"));
    assert_eq!(value("rack").as_deref(), Some("configured"));
    assert_eq!(value("telemetry.sdk.name").as_deref(), Some("spanwire"));
}

#[test]
fn an_instance_is_one_process_of_one_boot() {
    let id = |identity: &Identity| value(identity, &[], "service.instance.id").unwrap();
    let first = id(&nginx());
    assert_eq!(first, id(&nginx()));
    assert_eq!(Uuid::parse_str(&first).unwrap().get_version_num(), 5);
    assert_ne!(first, id(&Identity { pid: 101, ..nginx() }));
    assert_ne!(
        first,
        id(&Identity {
            start: 5001,
            ..nginx()
        })
    );
    let declared = Declared {
        service_name: None,
        attributes: pairs(&[("service.instance.id", "pod-1")]),
    };
    assert_eq!(id(&Identity { declared, ..nginx() }), "pod-1");
}

#[test]
fn what_only_an_event_tells_of_is_marked() {
    let shared = pairs(&[("zone", "a")]);
    let version = env!("CARGO_PKG_VERSION");
    let of_event = |comm| lines(&of_event(7, comm, &host(), &shared));
    assert_eq!(
        of_event(Some("curl")),
        [
            "host.arch=amd64",
            "host.id=3d12",
            "host.name=box",
            "os.type=linux",
            "process.executable.name=curl",
            "process.pid=Integer(7)",
            "service.name=curl",
            "spanwire.process.incomplete=Boolean(true)",
            "telemetry.distro.name=spanwire",
            &format!("telemetry.distro.version={version}"),
            "telemetry.sdk.language=rust",
            "telemetry.sdk.name=spanwire",
            &format!("telemetry.sdk.version={version}"),
            "zone=a",
        ]
    );
    assert!(of_event(Some("python3.11")).contains(&"service.name=unknown_service:python3.11".to_owned()));
    assert!(of_event(None).contains(&"service.name=unknown_service".to_owned()));
}

#[test]
fn a_child_has_its_parent_s_name_but_not_its_instance() {
    let parent = Identity {
        name: Some("nginx".into()),
        ..nginx()
    };
    let child = lines(&of_child(200, &parent, &host(), &[]));
    for line in [
        "service.name=nginx",
        "process.pid=Integer(200)",
        "process.parent_pid=Integer(100)",
        "spanwire.process.incomplete=Boolean(true)",
    ] {
        assert!(child.iter().any(|found| found == line), "{line}: {child:?}");
    }
    assert!(
        !child.iter().any(|found| found.starts_with("service.instance.id")),
        "{child:?}"
    );
}
