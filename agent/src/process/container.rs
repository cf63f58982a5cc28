//! The container of a process: its id from the control groups, its name from the engine's own files on the host.

use super::cgroup;
use super::root::Root;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata of one container is read if it is not longer.
const MAX_METADATA: usize = 1 << 20;
/// Podman keeps all containers of an engine in one file.
const MAX_INDEX: usize = 8 << 20;

/// A container, as its engine knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id: 64 hexadecimal digits, or the name given to runc.
    pub id: String,
    /// The name its owner knows it by.
    pub name: Option<String>,
    /// The service of a compose file that it is an instance of: the same for all instances, which `name` is not.
    pub service: Option<String>,
    /// The image that it was made of, by the name that was asked for.
    pub image: Option<String>,
    /// What its owner has labelled it with.
    pub labels: BTreeMap<String, String>,
}

/// Finds the container that has these control groups, with what its engine wrote below the host's `root`.
pub(super) fn find(cgroups: &[String], root: Option<&Root>) -> Option<Container> {
    if let Some(id) = cgroup::container_id(cgroups) {
        let found = root.and_then(|root| {
            docker(root, id)
                .or_else(|| specification(root, id))
                .or_else(|| podman(root, id))
        });
        return Some(Container {
            id: id.to_owned(),
            ..found.unwrap_or_default()
        });
    }
    // runc alone names the group like the container, and any group may be called so: its state folder decides.
    let id = cgroup::segments(cgroups).find(|segment| {
        root.is_some_and(|root| root.has(&Path::new("/run/runc").join(segment).join("state.json")))
    })?;
    Some(Container {
        id: id.to_owned(),
        name: Some(id.to_owned()),
        ..Container::default()
    })
}

/// Compose's label for the service that a container is an instance of.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// A container but for its id.
fn docker(root: &Root, id: &str) -> Option<Container> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Metadata {
        name: String,
        #[serde(default)]
        config: Config,
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        #[serde(default)]
        labels: Option<BTreeMap<String, String>>,
        #[serde(default)]
        image: Option<String>,
    }

    let path = format!("/var/lib/docker/containers/{id}/config.v2.json");
    let metadata: Metadata = serde_json::from_slice(&root.read(Path::new(&path), MAX_METADATA)?).ok()?;
    let name = metadata.name.trim_start_matches('/').to_owned();
    let labels = metadata.config.labels.unwrap_or_default();
    Some(Container {
        name: Some(name).filter(|name| !name.is_empty()),
        service: labels.get(COMPOSE_SERVICE).cloned(),
        image: metadata.config.image.filter(|image| !image.is_empty()),
        labels,
        ..Container::default()
    })
}

/// The OCI runtime specification that containerd's and CRI-O's shims leave beside the container, with annotations of the
/// kubelet's or nerdctl's.
fn specification(root: &Root, id: &str) -> Option<Container> {
    #[derive(Deserialize)]
    struct Specification {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }

    let paths = [
        format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json"),
        format!("/run/containerd/io.containerd.runtime.v2.task/default/{id}/config.json"),
        format!("/run/containers/storage/overlay-containers/{id}/userdata/config.json"),
    ];
    let content = paths
        .iter()
        .find_map(|path| root.read(Path::new(path), MAX_METADATA))?;
    let mut annotations = serde_json::from_slice::<Specification>(&content)
        .ok()?
        .annotations;
    let name = [
        "io.kubernetes.cri.container-name",
        "io.kubernetes.container.name",
        "nerdctl/name",
    ]
    .into_iter()
    .find_map(|key| annotations.remove(key));
    let image = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]
        .into_iter()
        .find_map(|key| annotations.remove(key));
    name.map(|name| Container {
        name: Some(name),
        image,
        ..Container::default()
    })
}

fn podman(root: &Root, id: &str) -> Option<Container> {
    /// What podman keeps as text within the text.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Metadata {
        image_name: Option<String>,
    }

    #[derive(Deserialize)]
    struct Entry {
        id: String,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        metadata: String,
    }

    let paths = ["overlay", "vfs", "btrfs", "zfs"].map(|driver| {
        [
            format!("/var/lib/containers/storage/{driver}-containers/containers.json"),
            format!("/var/lib/containers/storage/{driver}-containers/volatile-containers.json"),
        ]
    });
    paths.iter().flatten().find_map(|path| {
        let entries: Vec<Entry> = serde_json::from_slice(&root.read(Path::new(path), MAX_INDEX)?).ok()?;
        let entry = entries.into_iter().find(|entry| entry.id == id)?;
        let metadata: Metadata = serde_json::from_str(&entry.metadata).unwrap_or_default();
        Some(Container {
            name: entry.names.into_iter().next(),
            image: metadata.image_name.filter(|image| !image.is_empty()),
            ..Container::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeProc;
    use super::super::proc::Proc;
    use super::*;

    const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

    /// The container of a process in `cgroup`, on a host with one file more.
    fn check(cgroup: &str, file: &str, content: &str, expect: Option<(&str, Option<&str>, Option<&str>)>) {
        let fake = FakeProc::new();
        fake.file(&file.replace("ID", ID), &content.replace("ID", ID));
        let found = find(&[cgroup.replace("ID", ID)], Proc::at(fake.path()).root().as_ref());
        let expect = expect.map(|(id, name, service)| Container {
            id: id.replace("ID", ID),
            name: name.map(str::to_owned),
            service: service.map(str::to_owned),
            ..Container::default()
        });
        let found = found.map(|found| Container {
            image: None,
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
            let found = find(&[format!("/docker/{ID}")], root.as_ref()).unwrap();
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
            ..Container::default()
        };
        assert_eq!(find(&[format!("/docker/{ID}")], None), Some(container));
        assert_eq!(find(&["/web".into()], None), None);
    }
}
