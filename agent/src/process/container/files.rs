//! What engines have written of their containers, read again only where it has changed.

use super::Container;
use crate::process::root::Root;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Metadata of one container is read if it is not longer.
const MAX_METADATA: usize = 1 << 20;
/// Podman keeps all containers of an engine in one file.
const MAX_INDEX: usize = 8 << 20;
/// Files that are remembered; a container has one, and an engine of podman's one more.
const REMEMBERED: usize = 1_024;

/// Files by path, as they were when they were last read.
#[derive(Debug, Default)]
pub(in crate::process) struct Files(Mutex<HashMap<String, (Stamp, Written)>>);

/// Containers by id; those of a file of one container have none.
type Written = Arc<HashMap<String, Container>>;

/// What is another as soon as a file is written to, or another one takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Files {
    /// A container but for its id, out of what its engine wrote below the host's `root`.
    pub(super) fn find(&self, root: &Root, id: &str) -> Option<Container> {
        let of_one = |path: &str, parse: fn(&[u8]) -> Option<Container>| {
            let parse = |content: &[u8]| {
                parse(content)
                    .map(|container| (String::new(), container))
                    .into_iter()
                    .collect()
            };
            self.read(root, path, MAX_METADATA, parse)?.get("").cloned()
        };
        let runtime = |name: &str| Some(name.to_owned());
        let docker = || of_one(&format!("/var/lib/docker/containers/{id}/config.v2.json"), docker);
        let containerd = || {
            let found = ["k8s.io", "default"].into_iter().find_map(|namespace| {
                let path =
                    format!("/run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}/config.json");
                of_one(&path, specification)
            })?;
            Some(Container {
                runtime: runtime("containerd"),
                ..found
            })
        };
        let crio = || {
            let path = format!("/run/containers/storage/overlay-containers/{id}/userdata/config.json");
            Some(Container {
                runtime: runtime("cri-o"),
                ..of_one(&path, specification)?
            })
        };
        docker()
            .or_else(containerd)
            .or_else(crio)
            .or_else(|| self.podman(root, id))
    }

    fn podman(&self, root: &Root, id: &str) -> Option<Container> {
        let paths = ["overlay", "vfs", "btrfs", "zfs"].map(|driver| {
            [
                format!("/var/lib/containers/storage/{driver}-containers/containers.json"),
                format!("/var/lib/containers/storage/{driver}-containers/volatile-containers.json"),
            ]
        });
        let mut paths = paths.iter().flatten();
        paths.find_map(|path| self.read(root, path, MAX_INDEX, podman)?.get(id).cloned())
    }

    /// What a file says, parsed once for each time that it was written; `None` where there is none, or it cannot be read.
    fn read(
        &self,
        root: &Root,
        path: &str,
        limit: usize,
        parse: impl FnOnce(&[u8]) -> HashMap<String, Container>,
    ) -> Option<Written> {
        let mut file = root.open(Path::new(path))?;
        let stamp = Stamp::of(&file)?;
        let known = |all: &HashMap<String, (Stamp, Written)>| {
            let (read, written) = all.get(path)?;
            (*read == stamp).then(|| Arc::clone(written))
        };
        if let Some(written) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(written);
        }
        let mut content = Vec::new();
        file.by_ref()
            .take(limit as u64 + 1)
            .read_to_end(&mut content)
            .ok()?;
        let written = match content.len() <= limit {
            true => Arc::new(parse(&content)),
            false => Written::default(),
        };
        // Written to while it was read: the next time, it is read again.
        if Stamp::of(&file) != Some(stamp) {
            return Some(written);
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(path) {
            all.clear();
        }
        all.insert(path.to_owned(), (stamp, Arc::clone(&written)));
        Some(written)
    }
}

fn docker(content: &[u8]) -> Option<Container> {
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

    let metadata: Metadata = serde_json::from_slice(content).ok()?;
    let name = metadata.name.trim_start_matches('/').to_owned();
    let container = Container {
        name: Some(name).filter(|name| !name.is_empty()),
        image: metadata.config.image.filter(|image| !image.is_empty()),
        runtime: Some("docker".to_owned()),
        ..Container::default()
    };
    Some(container.labelled(metadata.config.labels.unwrap_or_default()))
}

/// The OCI runtime specification that containerd's and CRI-O's shims leave beside the container, with annotations of the
/// kubelet's or nerdctl's.
fn specification(content: &[u8]) -> Option<Container> {
    #[derive(Deserialize)]
    struct Specification {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }

    let mut annotations = serde_json::from_slice::<Specification>(content).ok()?.annotations;
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

fn podman(content: &[u8]) -> HashMap<String, Container> {
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

    let entries: Vec<Entry> = serde_json::from_slice(content).unwrap_or_default();
    let by_id = entries.into_iter().map(|entry| {
        let metadata: Metadata = serde_json::from_str(&entry.metadata).unwrap_or_default();
        let container = Container {
            name: entry.names.into_iter().next(),
            image: metadata.image_name.filter(|image| !image.is_empty()),
            runtime: Some("podman".to_owned()),
            ..Container::default()
        };
        (entry.id, container)
    });
    by_id.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::fake::Folder;

    const PATH: &str = "/var/lib/containers/storage/vfs-containers/containers.json";

    #[test]
    fn a_file_is_parsed_once_for_each_time_that_it_is_written() {
        let folder = Folder::new();
        let root = Root::new(File::open(folder.path("")).unwrap());
        let files = Files::default();
        let parsed = std::cell::Cell::new(0);
        let read = || {
            let parse = |content: &[u8]| {
                parsed.set(parsed.get() + 1);
                podman(content)
            };
            let written = files.read(&root, PATH, 64, parse)?;
            Some(written.get("a").and_then(|it| it.name.clone()))
        };
        assert_eq!((read(), parsed.get()), (None, 0));
        folder.write(PATH, r#"[{"id":"a","names":["one"]}]"#);
        for _ in 0..3 {
            assert_eq!((read(), parsed.get()), (Some(Some("one".into())), 1));
        }
        // As engines write: into another file, which takes the first one's place.
        folder.write("new", r#"[{"id":"a","names":["two"]}]"#);
        std::fs::rename(folder.path("new"), folder.path(PATH)).unwrap();
        assert_eq!((read(), parsed.get()), (Some(Some("two".into())), 2));
        assert_eq!((read(), parsed.get()), (Some(Some("two".into())), 2));
        folder.write(PATH, &format!("[{}]", " ".repeat(64)));
        assert_eq!((read(), parsed.get()), (Some(None), 2));
        std::fs::remove_file(folder.path(PATH)).unwrap();
        assert_eq!(read(), None);
    }

    #[test]
    fn however_many_containers_come_and_go_no_more_files_are_remembered() {
        let folder = Folder::new();
        let root = Root::new(File::open(folder.path("")).unwrap());
        let files = Files::default();
        for number in 0..=REMEMBERED {
            let path = format!("/var/lib/docker/containers/{number}/config.v2.json");
            folder.write(&path, r#"{"Name":"/web"}"#);
            assert_eq!(
                files
                    .find(&root, &number.to_string())
                    .and_then(|it| it.name)
                    .as_deref(),
                Some("web")
            );
        }
        assert!(files.0.lock().unwrap().len() <= REMEMBERED);
    }
}
