//! Pods of Kubernetes: what is asked of its API server, and what follows for whom.

use super::layer::section;
use std::path::PathBuf;

/// What is asked of the API server of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// Whether it is asked; `None`: within a cluster, or where there is a `kubeconfig`.
    pub enabled: Option<bool>,
    /// How it is reached from without.
    pub kubeconfig: Option<PathBuf>,
    /// The node whose pods are asked for; the host's name where it is not told.
    pub node_name: Option<String>,
    /// Whether pods are watched of which no annotation says so.
    pub watch_by_default: bool,
    /// Whether well-known labels name services.
    pub well_known_labels: bool,
    /// Whether services are asked for, too.
    pub peers: bool,
}

section! {
    /// Pods of Kubernetes: names of what runs in them, and annotations that say what is watched.
    pub struct Section {
        /// Whether the API server is asked which pods run on this node. Unless set: in a pod of a cluster, and where
        /// `kubeconfig` is.
        pub enabled: Option<bool>,
        /// File that says how the API server is reached and with which credentials. Unless set: as a pod does.
        pub kubeconfig: Option<PathBuf>,
        /// Name of this node in the cluster. Unless set: the host's name.
        pub node_name: Option<String>,
        /// Whether pods are watched where neither their own annotation `spanwire.dev/instrument` nor their namespace's says
        /// whether they are.
        pub watch_by_default: Option<bool>,
        /// Whether the labels app.kubernetes.io/instance, name and version of a pod name its service, before its owner's name
        /// does.
        pub well_known_labels: Option<bool>,
        /// Whether the cluster's Services are watched, so that spans of clients say which one they ask.
        pub peers: Option<bool>,
    }
}

impl Section {
    pub(super) fn defaults() -> Self {
        Self {
            watch_by_default: Some(false),
            well_known_labels: Some(false),
            peers: Some(true),
            ..Self::default()
        }
    }

    /// What it comes to; what does not go together is told by its key.
    pub(super) fn settle(&self) -> Result<Kubernetes, (&'static str, String)> {
        if self.node_name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err((
                "kubernetes.node_name",
                "is empty; leave it out, or say the node's name".into(),
            ));
        }
        Ok(Kubernetes {
            enabled: self.enabled,
            kubeconfig: self.kubeconfig.clone(),
            node_name: self.node_name.clone(),
            watch_by_default: self.watch_by_default == Some(true),
            well_known_labels: self.well_known_labels == Some(true),
            peers: self.peers == Some(true),
        })
    }
}
