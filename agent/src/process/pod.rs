//! A pod of Kubernetes, as far as it concerns the processes in it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Its containers that were started.
    pub containers: Vec<PodContainer>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A controller of a pod, or of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its kind, as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// Its id, without its engine (`containerd://`).
    pub id: String,
    /// Its name in the pod's specification.
    pub name: String,
    /// Its image, as in the pod's specification.
    pub image: String,
    /// How often it was started again.
    pub restarts: u32,
}
