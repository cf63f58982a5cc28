//! A pod of Kubernetes, as far as it concerns the processes in it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`, which is also in the path of its control groups.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: Arc<Namespace>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations: those of its template, and those that it got itself.
    pub annotations: BTreeMap<String, String>,
    /// Who made it, nearest first: a `ReplicaSet` and then its `Deployment`.
    pub owners: Vec<Owner>,
    /// Its containers, those that it begins with and those for a person who looks for a fault too.
    pub containers: Vec<PodContainer>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// `metadata.uid` of the namespace `kube-system`, by which clusters are told apart; `None` until that is known.
    pub cluster: Option<Arc<str>>,
    /// Its well-known labels (`app.kubernetes.io/name`) name its service, as its owner has agreed to.
    pub named_by_labels: bool,
}

impl Pod {
    /// The controller of a kind.
    #[must_use]
    pub fn owner(&self, kind: &str) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.kind == kind)
    }

    /// The container with an id, else the one with a name: what has just been started has an id that nobody has told yet.
    #[must_use]
    pub fn container(&self, id: &str, name: Option<&str>) -> Option<&PodContainer> {
        let with_id = |it: &&PodContainer| it.id.as_deref() == Some(id);
        let with_name = |it: &&PodContainer| Some(it.name.as_str()) == name;
        let found = self.containers.iter().find(with_id);
        found.or_else(|| self.containers.iter().find(with_name))
    }
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A controller of a pod, or of a controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its kind, as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContainer {
    /// Its id, without its engine (`containerd://`); `None` until it was started.
    pub id: Option<String>,
    /// Its name in the pod's specification.
    pub name: String,
    /// Its image, as in the pod's specification.
    pub image: String,
    /// What its engine says which image that is, as `REPOSITORY@sha256:…`.
    pub image_id: Option<String>,
    /// How often it was started again; `None` before it was started.
    pub restarts: Option<u32>,
}
