//! Attributes of what runs in a pod.
//!
//! `service.*` are found in the order that the semantic conventions give ("Specify resource attributes using Kubernetes
//! annotations", docs/non-normative/k8s-attributes.md).

use super::super::annotation::{RESOURCE, Wishes};
use super::super::declared::MAX_ATTRIBUTES;
use super::super::{Identity, Pod, PodContainer};
use super::Merged;
use super::image::Image;
use crate::span::Value;

/// Kinds of controllers with their attributes, in the order in which they name a service.
pub(super) const OWNERS: [(&str, &str, &str); 6] = [
    ("Deployment", "k8s.deployment.name", "k8s.deployment.uid"),
    ("ReplicaSet", "k8s.replicaset.name", "k8s.replicaset.uid"),
    ("StatefulSet", "k8s.statefulset.name", "k8s.statefulset.uid"),
    ("DaemonSet", "k8s.daemonset.name", "k8s.daemonset.uid"),
    ("CronJob", "k8s.cronjob.name", "k8s.cronjob.uid"),
    ("Job", "k8s.job.name", "k8s.job.uid"),
];

/// A process's place in its pod.
pub(super) struct Place<'a> {
    pod: &'a Pod,
    container: Option<&'a PodContainer>,
    container_name: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn of(identity: &'a Identity) -> Option<Self> {
        let pod = identity.pod.as_deref()?;
        let in_container = identity.container.as_ref();
        let name = in_container.and_then(|it| it.name.as_deref());
        let container = in_container.and_then(|it| pod.container(&it.id, name));
        Some(Self {
            pod,
            container,
            container_name: container.map(|it| it.name.as_str()),
        })
    }

    /// The name that its owner gives it for spanwire alone.
    pub(super) fn wished_name(&self) -> Option<String> {
        Wishes::of(self.pod).service_name
    }

    /// `service.name`, where no environment says it.
    pub(super) fn service_name(&self) -> &str {
        self.annotation("service.name")
            .or_else(|| self.label("app.kubernetes.io/instance"))
            .or_else(|| self.label("app.kubernetes.io/name"))
            .or_else(|| self.owner())
            .unwrap_or(&self.pod.name)
    }

    fn owner(&self) -> Option<&str> {
        let named = OWNERS.iter().find_map(|(kind, ..)| self.pod.owner(kind));
        named.map(|owner| owner.name.as_str())
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        let mut declared = self.declared();
        declared.find_map(|(name, value)| (name == key).then_some(value))
    }

    fn declared(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self.pod.annotations.iter();
        let declared = annotations.filter_map(|(key, value)| {
            let name = key.strip_prefix(RESOURCE).filter(|name| !name.is_empty())?;
            (!value.is_empty()).then_some((name, value.as_str()))
        });
        declared.take(MAX_ATTRIBUTES)
    }

    fn label(&self, key: &str) -> Option<&str> {
        let labels = self.pod.named_by_labels.then_some(&self.pod.labels)?;
        let value = labels.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Puts in what the pod's annotations declare.
    pub(super) fn declare(&self, merged: &mut Merged) {
        for (key, value) in self.declared() {
            merged.set(key.to_owned(), Value::Text(value.into()));
        }
    }

    /// Puts in what is found of the service.
    pub(super) fn service(&self, merged: &mut Merged) {
        merged.text("service.namespace", self.pod.namespace.name.as_str());
        let image = self.container.map(|it| Image::of(&it.image));
        let version = self.label("app.kubernetes.io/version").map(str::to_owned);
        if let Some(version) = version.or_else(|| image.and_then(|image| image.version())) {
            merged.text("service.version", version);
        }
        if let Some(container) = self.container_name {
            let Pod { name, namespace, .. } = self.pod;
            let namespace = &namespace.name;
            merged.text("service.instance.id", format!("{namespace}.{name}.{container}"));
        }
    }

    /// Puts in where it runs.
    pub(super) fn place(&self, merged: &mut Merged) {
        let pod = self.pod;
        merged.text("k8s.namespace.name", pod.namespace.name.as_str());
        merged.text("k8s.pod.name", pod.name.as_str());
        merged.text("k8s.pod.uid", pod.uid.as_str());
        merged.maybe("k8s.node.name", pod.node.as_deref());
        merged.maybe("k8s.cluster.uid", pod.cluster.as_deref());
        merged.maybe("k8s.container.name", self.container_name);
        for (kind, name, uid) in OWNERS {
            if let Some(owner) = pod.owner(kind) {
                merged.text(name, owner.name.as_str());
                // One that follows from a name has none.
                merged.maybe(uid, Some(owner.uid.as_str()).filter(|uid| !uid.is_empty()));
            }
        }
        let Some(container) = self.container else { return };
        if let Some(restarts) = container.restarts {
            merged.integer("k8s.container.restart_count", restarts);
        }
        let image = Image::of(&container.image);
        merged.text("container.image.name", image.name);
        if let Some(tag) = image.tag {
            merged.list("container.image.tags", &[tag]);
        }
        merged.maybe("container.image.id", container.image_id.as_deref());
        let digest = container.image_id.as_deref().filter(|id| id.contains('@'));
        if let Some(digest) = digest {
            merged.list("container.image.repo_digests", &[digest]);
        }
    }
}

/// `service.name` and `service.namespace` of a pod's processes, as far as the pod alone says them.
#[must_use]
pub fn service_of(pod: &Pod) -> (String, String) {
    let place = Place {
        pod,
        container: None,
        container_name: None,
    };
    let name = place
        .wished_name()
        .unwrap_or_else(|| place.service_name().to_owned());
    let namespace = place
        .annotation("service.namespace")
        .unwrap_or(&pod.namespace.name);
    (name, namespace.to_owned())
}

#[cfg(test)]
mod tests;
