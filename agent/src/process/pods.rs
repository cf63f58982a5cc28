//! The pods on this host, as whoever watches them has told. Written by a task, read by the thread that captures.

use super::Pod;
use super::cgroup;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Of a pod that the kubelet has read from a file, the API server's object is a mirror with a UID of its own: this is the one in
/// the pod's control groups.
const STATIC_UID: &str = "kubernetes.io/config.hash";

/// Pods by what a process's control groups say.
#[derive(Debug, Default)]
pub struct Pods {
    index: RwLock<Index>,
    changed: Mutex<Changed>,
    /// Whether there is anything in `changed`.
    has_changed: AtomicBool,
}

#[derive(Debug, Default)]
struct Index {
    by_uid: HashMap<String, Arc<Pod>>,
    by_container: HashMap<String, Arc<Pod>>,
}

/// Pods that are no longer what they were.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// By UID; and whether it is still there.
    uids: HashMap<String, bool>,
    containers: HashMap<String, bool>,
}

impl Pods {
    /// The pod of a process with these control groups: by its container, else by the group that the kubelet has made.
    #[must_use]
    pub(super) fn find(&self, cgroups: &[String]) -> Option<Arc<Pod>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let of_container = cgroup::container_id(cgroups).and_then(|id| index.by_container.get(id));
        let found = match of_container {
            Some(pod) => Some(pod),
            None => index.by_uid.get(&cgroup::pod_uid(cgroups)?),
        };
        found.map(Arc::clone)
    }

    /// A pod is this from now on. Its processes are told of only if that is anything new.
    pub fn put(&self, pod: Pod) {
        let pod = Arc::new(pod);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let before = index.by_uid.get(&pod.uid).map(Arc::clone);
        if before.as_ref() == Some(&pod) {
            return;
        }
        if let Some(before) = before {
            index.take(&before);
        }
        index.add(&pod);
        drop(index);
        self.note(&pod, true);
    }

    /// A pod is gone.
    pub fn remove(&self, uid: &str) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = index.by_uid.get(uid).map(Arc::clone) else {
            return;
        };
        index.take(&pod);
        drop(index);
        self.note(&pod, false);
    }

    /// The pod with a UID.
    #[must_use]
    pub fn with_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.by_uid.get(uid).map(Arc::clone)
    }

    /// What has changed since this was last asked.
    pub(super) fn take_changed(&self) -> Changed {
        if !self.has_changed.swap(false, Ordering::Acquire) {
            return Changed::default();
        }
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, pod: &Pod, is_there: bool) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        for uid in uids(pod) {
            changed.uids.insert(uid.to_owned(), is_there);
        }
        for id in ids(pod) {
            changed.containers.insert(id.to_owned(), is_there);
        }
        self.has_changed.store(true, Ordering::Release);
    }
}

impl Index {
    /// What another pod has is not taken from it.
    fn add(&mut self, pod: &Arc<Pod>) {
        for uid in uids(pod) {
            self.by_uid
                .entry(uid.to_owned())
                .or_insert_with(|| Arc::clone(pod));
        }
        for id in ids(pod) {
            self.by_container
                .entry(id.to_owned())
                .or_insert_with(|| Arc::clone(pod));
        }
    }

    fn take(&mut self, pod: &Pod) {
        let is_its_own = |found: Option<&Arc<Pod>>| found.is_some_and(|found| found.uid == pod.uid);
        for uid in uids(pod) {
            if is_its_own(self.by_uid.get(uid)) {
                self.by_uid.remove(uid);
            }
        }
        for id in ids(pod) {
            if is_its_own(self.by_container.get(id)) {
                self.by_container.remove(id);
            }
        }
    }
}

impl Changed {
    pub(super) fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Whether a process with these control groups is of a pod that has changed, and whether that is still there.
    pub(super) fn concern(&self, cgroups: &[String]) -> Option<bool> {
        let of_container = cgroup::container_id(cgroups).and_then(|id| self.containers.get(id));
        match of_container {
            Some(is_there) => Some(*is_there),
            None => self.uids.get(&cgroup::pod_uid(cgroups)?).copied(),
        }
    }
}

fn uids(pod: &Pod) -> impl Iterator<Item = &str> {
    let of_file = pod.annotations.get(STATIC_UID).map(String::as_str);
    // Anybody may annotate a pod: what the API server gives as UID, with hyphens, is nobody else's.
    let of_file = of_file.filter(|uid| uid.len() == 32 && !uid.contains('-'));
    [Some(pod.uid.as_str()), of_file].into_iter().flatten()
}

fn ids(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.containers.iter().filter_map(|it| it.id.as_deref())
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeProc;
    use super::super::proc::Proc;
    use super::super::watch::Asks;
    use super::super::{Namespace, PodContainer};
    use super::*;

    const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";
    const UID: &str = "3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a";
    const GROUP: &str = "/kubepods/burstable/pod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a";

    fn pod(uid: &str, id: Option<&str>) -> Pod {
        let namespace = Namespace {
            name: "shop".into(),
            ..Namespace::default()
        };
        let container = PodContainer {
            id: id.map(Into::into),
            name: "web".into(),
            ..PodContainer::default()
        };
        Pod {
            uid: uid.into(),
            name: format!("pod of {uid}"),
            namespace: Arc::new(namespace),
            containers: vec![container],
            ..Pod::default()
        }
    }

    fn found(pods: &Pods, path: &str) -> Option<String> {
        let pod = pods.find(&["/".to_owned(), path.to_owned()]);
        pod.map(|pod| pod.uid.clone())
    }

    #[test]
    fn a_pod_is_found_by_container_and_before_that_is_told_by_its_group() {
        let pods = Pods::default();
        pods.put(pod(UID, None));
        assert_eq!(found(&pods, GROUP).as_deref(), Some(UID));
        assert_eq!(found(&pods, &format!("{GROUP}/{ID}")).as_deref(), Some(UID));
        assert_eq!(found(&pods, &format!("/elsewhere/{ID}")), None);
        pods.put(pod(UID, Some(ID)));
        assert_eq!(found(&pods, &format!("/elsewhere/{ID}")).as_deref(), Some(UID));
        // A container that was started again has another id.
        pods.put(pod(UID, Some(&"0".repeat(64))));
        assert_eq!(found(&pods, &format!("/elsewhere/{ID}")), None);
        pods.remove(UID);
        assert_eq!(found(&pods, GROUP), None);
        assert_eq!(found(&pods, &format!("/elsewhere/{}", "0".repeat(64))), None);
        assert_eq!(pods.with_uid(UID), None);
    }

    #[test]
    fn no_pod_takes_the_place_of_another() {
        const OTHER: &str = "00000000-7f5b-4a57-9f57-3a8c3d6f1b2a";
        let pods = Pods::default();
        pods.put(pod(UID, None));
        let mut impostor = pod(OTHER, None);
        impostor.annotations.insert(STATIC_UID.to_owned(), UID.to_owned());
        pods.put(impostor);
        assert_eq!(found(&pods, GROUP).as_deref(), Some(UID));
        pods.remove(OTHER);
        assert_eq!(found(&pods, GROUP).as_deref(), Some(UID));
    }

    #[test]
    fn a_pod_out_of_a_file_is_found_by_the_uid_that_its_groups_have() {
        let pods = Pods::default();
        let mut mirror = pod(UID, None);
        let hash = "f7bb7e8c5b1b4a57aa573a8c3d6f1b2a";
        mirror.annotations.insert(STATIC_UID.into(), hash.into());
        pods.put(mirror);
        assert_eq!(
            found(&pods, &format!("/kubepods/pod{hash}/{ID}")).as_deref(),
            Some(UID)
        );
        assert_eq!(pods.with_uid(UID), pods.with_uid(hash));
        pods.remove(UID);
        assert_eq!(found(&pods, &format!("/kubepods/pod{hash}/{ID}")), None);
    }

    #[test]
    fn processes_of_a_pod_are_told_once_of_each_change_and_of_nothing_else() {
        let fake = FakeProc::new();
        fake.add_in(100, &format!("{GROUP}/{ID}"));
        fake.add_in(200, "/system.slice/ssh.service");
        let pods = Arc::new(Pods::default());
        let proc = Proc::at(fake.path()).knowing(Arc::clone(&pods));
        assert_eq!(proc.changed(), []);
        pods.put(pod(UID, None));
        assert_eq!(proc.changed(), [(100, true)]);
        assert_eq!(proc.glance(100, &Asks::default()).unwrap().pod.unwrap().uid, UID);
        assert_eq!(proc.glance(200, &Asks::default()).unwrap().pod, None);
        pods.put(pod(UID, None));
        assert_eq!(proc.changed(), []);
        pods.put(pod(UID, Some(ID)));
        assert_eq!(proc.changed(), [(100, true)]);
        pods.remove(UID);
        assert_eq!(proc.changed(), [(100, false)]);
        assert_eq!(proc.glance(100, &Asks::default()).unwrap().pod, None);
        pods.remove(UID);
        assert_eq!(proc.changed(), []);
    }
}
