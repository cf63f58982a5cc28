//! Containers out of what engines wrote, and out of what they told.

use super::super::fake::FakeProc;
use super::super::proc::Proc;
use super::*;
use std::sync::Arc;

const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

fn written(cgroups: &[String], root: Option<&Root>) -> Option<Container> {
    let sources = Sources {
        root,
        files: &Files::default(),
        told: None,
    };
    let found = find(cgroups, sources)?;
    assert!(!found.is_awaited);
    Some(found.container)
}

/// The container of a process in `cgroup`, on a host with one file more.
fn check(cgroup: &str, file: &str, content: &str, expect: Option<(&str, Option<&str>, Option<&str>)>) {
    let fake = FakeProc::new();
    fake.file(&file.replace("ID", ID), &content.replace("ID", ID));
    let root = Proc::at(fake.path()).root();
    let found = written(&[cgroup.replace("ID", ID)], root.as_ref());
    let expect = expect.map(|(id, name, service)| Container {
        id: id.replace("ID", ID),
        name: name.map(str::to_owned),
        service: service.map(str::to_owned),
        ..Container::default()
    });
    let found = found.map(|found| Container {
        image: None,
        project: None,
        runtime: None,
        labels: BTreeMap::new(),
        ..found
    });
    assert_eq!(found, expect, "{cgroup} {file}");
}

#[test]
fn names_from_each_engine() {
    let docker = "/var/lib/docker/containers/ID/config.v2.json";
    check(
        "/docker/ID",
        docker,
        r#"{"ID":"ID","Name":"/web"}"#,
        Some(("ID", Some("web"), None)),
    );
    check(
        "/system.slice/docker-ID.scope",
        docker,
        r#"{"Name":"/blog-web-1","Config":{"Labels":{"com.docker.compose.service":"web","x":"y"}}}"#,
        Some(("ID", Some("blog-web-1"), Some("web"))),
    );
    check(
        "/docker/ID",
        docker,
        r#"{"Name":"/web","Config":{"Labels":null}}"#,
        Some(("ID", Some("web"), None)),
    );
    check("/docker/ID", docker, "{", Some(("ID", None, None)));
    check(
        "/kubepods/burstable/pod1/ID",
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
        r#"{"annotations":{"io.kubernetes.cri.container-name":"cart"}}"#,
        Some(("ID", Some("cart"), None)),
    );
    check(
        "/kubepods.slice/crio-ID.scope",
        "/run/containers/storage/overlay-containers/ID/userdata/config.json",
        r#"{"annotations":{"io.kubernetes.container.name":"cart"}}"#,
        Some(("ID", Some("cart"), None)),
    );
    check(
        "/machine.slice/libpod-ID.scope/container",
        "/var/lib/containers/storage/vfs-containers/containers.json",
        r#"[{"id":"0","names":["other"]},{"id":"ID","names":["web"]}]"#,
        Some(("ID", Some("web"), None)),
    );
}

#[test]
fn images_and_labels_that_engines_wrote_down() {
    let check = |file: &str, content: &str, image: Option<&str>, labels: &[(&str, &str)]| {
        let fake = FakeProc::new();
        fake.file(&file.replace("ID", ID), &content.replace("ID", ID));
        let root = Proc::at(fake.path()).root();
        let found = written(&[format!("/docker/{ID}")], root.as_ref()).unwrap();
        assert_eq!(found.image.as_deref(), image, "{content}");
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        assert_eq!(found.labels, labels.collect(), "{content}");
    };
    check(
        "/var/lib/docker/containers/ID/config.v2.json",
        r#"{"Name":"/web","Config":{"Image":"shop/web:1.2","Labels":{"team":"blue"}}}"#,
        Some("shop/web:1.2"),
        &[("team", "blue")],
    );
    check(
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
        r#"{"annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.image-name":"ghcr.io/shop/cart:2"}}"#,
        Some("ghcr.io/shop/cart:2"),
        &[],
    );
    check(
        "/var/lib/containers/storage/overlay-containers/containers.json",
        r#"[{"id":"ID","names":["web"],"metadata":"{\"image-name\":\"localhost/web:latest\"}"}]"#,
        Some("localhost/web:latest"),
        &[],
    );
    check(
        "/var/lib/containers/storage/overlay-containers/containers.json",
        r#"[{"id":"ID","names":["web"],"metadata":"?"}]"#,
        None,
        &[],
    );
}

#[test]
fn a_bare_group_is_a_container_if_runc_says_so() {
    check(
        "/web",
        "/run/runc/web/state.json",
        "{}",
        Some(("web", Some("web"), None)),
    );
    check(
        "/parent/web/init",
        "/run/runc/web/state.json",
        "{}",
        Some(("web", Some("web"), None)),
    );
    check("/web", "/run/runc/other/state.json", "{}", None);
    check("/", "/run/runc/web/state.json", "{}", None);
    check("/..", "/run/state.json", "{}", None);
}

#[test]
fn without_the_right_to_look_the_id_remains() {
    let container = Container {
        id: ID.into(),
        runtime: Some("docker".into()),
        ..Container::default()
    };
    assert_eq!(written(&[format!("/docker/{ID}")], None), Some(container));
    assert_eq!(written(&["/web".into()], None), None);
}

#[test]
fn what_runs_a_container_is_told_by_its_files_else_by_its_group() {
    let check = |cgroup: &str, file: &str, content: &str, expect: Option<&str>| {
        let fake = FakeProc::new();
        fake.file(&file.replace("ID", ID), &content.replace("ID", ID));
        let root = Proc::at(fake.path()).root();
        let found = written(&[cgroup.replace("ID", ID)], root.as_ref()).unwrap();
        assert_eq!(found.runtime.as_deref(), expect, "{cgroup} {file}");
    };
    let nowhere = ("/nowhere", "");
    for (cgroup, (file, content), expect) in [
        ("/docker/ID", nowhere, Some("docker")),
        ("/system.slice/docker-ID.scope", nowhere, Some("docker")),
        (
            "/machine.slice/libpod-ID.scope/container",
            nowhere,
            Some("podman"),
        ),
        (
            "/system.slice/web.service/libpod-payload-ID",
            nowhere,
            Some("podman"),
        ),
        ("/libpod_parent/libpod-ID", nowhere, Some("podman")),
        (
            "/kubepods.slice/cri-containerd-ID.scope",
            nowhere,
            Some("containerd"),
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod3f0c.slice:cri-containerd:ID",
            nowhere,
            Some("containerd"),
        ),
        ("/kubepods.slice/crio-ID.scope", nowhere, Some("cri-o")),
        ("/kubepods/burstable/pod1/ID", nowhere, None),
        (
            "/kubepods/burstable/pod1/ID",
            (
                "/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
                r#"{"annotations":{"io.kubernetes.cri.container-name":"cart"}}"#,
            ),
            Some("containerd"),
        ),
        (
            "/user.slice/ID",
            (
                "/var/lib/containers/storage/overlay-containers/containers.json",
                r#"[{"id":"ID"}]"#,
            ),
            Some("podman"),
        ),
        ("/web", ("/run/runc/web/state.json", "{}"), Some("runc")),
    ] {
        check(cgroup, file, content, expect);
    }
}

#[test]
fn what_an_engine_tells_goes_before_what_is_written_and_until_then_that_holds() {
    let fake = FakeProc::new();
    fake.file(
        &format!("/var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/written"}"#,
    );
    let (root, files) = (Proc::at(fake.path()).root(), Files::default());
    let told = Containers::default();
    let look = || {
        let sources = Sources {
            root: root.as_ref(),
            files: &files,
            told: Some(&told),
        };
        let found = find(&[format!("/docker/{ID}")], sources).unwrap();
        (found.container.name.unwrap(), found.is_awaited)
    };
    assert_eq!(look(), ("written".into(), true));
    told.put(ID, Answer::Late);
    assert_eq!(look(), ("written".into(), false));
    told.put(ID, Answer::Nobodys);
    assert_eq!(look(), ("written".into(), false));
    let container = Container {
        id: ID.into(),
        name: Some("told".into()),
        ..Container::default()
    };
    told.put(ID, Answer::Told(Arc::new(container)));
    assert_eq!(look(), ("told".into(), false));
}
