//! The container of a process: its id from the control groups, and what its engine says of it, or else has written on the host.

mod files;

use super::cgroup;
use super::containers::{Answer, Containers};
use super::root::Root;
pub(super) use files::Files;
use std::collections::BTreeMap;
use std::path::Path;

/// A container, as its engine knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id: 64 hexadecimal digits, or the name given to runc.
    pub id: String,
    /// The name its owner knows it by.
    pub name: Option<String>,
    /// The service of a compose file that it is an instance of: the same for all instances, which `name` is not.
    pub service: Option<String>,
    /// The project of that compose file.
    pub project: Option<String>,
    /// The image that it was made of, by the name that was asked for.
    pub image: Option<String>,
    /// The image's id, as its engine gives it: `sha256:...`.
    pub image_id: Option<String>,
    /// Tags that the image has by that name, beside the one in it.
    pub image_tags: Vec<String>,
    /// The image in registries: `NAME@sha256:...`.
    pub image_digests: Vec<String>,
    /// What runs it: `docker`, `podman`, `containerd`, `cri-o` or `runc`.
    pub runtime: Option<String>,
    /// The version of that.
    pub runtime_version: Option<String>,
    /// What its owner has labelled it with.
    pub labels: BTreeMap<String, String>,
}

/// Compose's labels for the service that a container is an instance of, and its project.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";

impl Container {
    /// What labels say of where it belongs.
    #[must_use]
    pub fn labelled(self, labels: BTreeMap<String, String>) -> Self {
        let label = |key: &str| labels.get(key).filter(|value| !value.is_empty()).cloned();
        Self {
            service: label(COMPOSE_SERVICE),
            project: label(COMPOSE_PROJECT),
            labels,
            ..self
        }
    }
}

/// What is looked at to find a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    /// The host's root, where engines have written.
    pub(super) root: Option<&'a Root>,
    /// What was read there before.
    pub(super) files: &'a Files,
    /// What engines have told, where they are asked.
    pub(super) told: Option<&'a Containers>,
}

/// A container, and whether more of it is about to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) container: Container,
    pub(super) is_awaited: bool,
}

/// Finds the container that has these control groups.
pub(super) fn find(cgroups: &[String], sources: Sources<'_>) -> Option<Found> {
    let Sources { root, files, told } = sources;
    if let Some(id) = cgroup::container_id(cgroups) {
        let answer = told.map_or(Answer::Nobodys, |told| told.look(id));
        if let Answer::Told(container) = answer {
            return Some(Found {
                container: Container::clone(&container),
                is_awaited: false,
            });
        }
        let written = root.and_then(|root| files.find(root, id)).unwrap_or_default();
        let runtime = written
            .runtime
            .or_else(|| cgroup::engine(cgroups).map(str::to_owned));
        return Some(Found {
            container: Container {
                id: id.to_owned(),
                runtime,
                ..written
            },
            is_awaited: answer == Answer::Awaited,
        });
    }
    // runc alone names the group like the container, and any group may be called so: its state folder decides.
    let id = cgroup::segments(cgroups).find(|segment| {
        root.is_some_and(|root| root.has(&Path::new("/run/runc").join(segment).join("state.json")))
    })?;
    Some(Found {
        container: Container {
            id: id.to_owned(),
            name: Some(id.to_owned()),
            runtime: Some("runc".to_owned()),
            ..Container::default()
        },
        is_awaited: false,
    })
}

#[cfg(test)]
mod tests;
