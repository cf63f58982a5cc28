//! What is known of the cluster, put together: pods with their namespaces and the owners of their owners. No network here:
//! what is told goes in, and what is to be asked for comes out.

use super::object::{self, Controller, PodObject, ServiceObject, Told};
use crate::process::annotation::{Bearer, Mistake, Wishes};
use crate::process::{Namespace, Owner, Peer, Peers, Pod, Pods, service_of};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Namespaces and owners that nobody needs any more are kept up to these numbers, for the next pod.
const MAX_NAMESPACES: usize = 256;
const MAX_OWNERS: usize = 1_024;

/// For so long, a controller of which the API server would not tell is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// Something to be asked of the API server, or to be told to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The metadata of a namespace.
    Namespace(String),
    /// The owner of a controller.
    Owner(Controller),
    /// An Event.
    Complaint(Complaint),
}

/// A wrong annotation, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Namespace of the pod, or the namespace that it is about.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) mistake: Mistake,
}

#[derive(Debug)]
enum Space {
    /// It was asked for, and has not been told yet.
    Asked,
    Known {
        namespace: Arc<Namespace>,
        uid: String,
        /// Its resource version, by which a later state is told from an earlier one.
        version: u64,
    },
    /// The API server does not tell: it has a name, and says nothing.
    Nameless(Arc<Namespace>),
}

/// All of it.
#[derive(Debug)]
pub(super) struct Cluster {
    pods: Arc<Pods>,
    peers: Arc<Peers>,
    named_by_labels: bool,
    uid: Option<Arc<str>>,
    told: HashMap<String, (Told, Arc<Peer>)>,
    namespaces: HashMap<String, Space>,
    /// Owners of controllers, by their UID; `None` where there is none.
    owners: HashMap<String, Option<Owner>>,
    asked_owners: HashSet<String>,
    /// Controllers of which the API server would not tell, and since when.
    refused_owners: HashMap<String, Instant>,
    services: HashMap<String, (Arc<Peer>, Vec<IpAddr>)>,
    /// What was complained of, by UID.
    complained: HashMap<String, BTreeSet<(String, String)>>,
    wanted: Vec<Wanted>,
}

impl Cluster {
    pub(super) fn new(pods: Arc<Pods>, peers: Arc<Peers>, named_by_labels: bool) -> Self {
        Self {
            pods,
            peers,
            named_by_labels,
            uid: None,
            told: HashMap::new(),
            namespaces: HashMap::new(),
            owners: HashMap::new(),
            asked_owners: HashSet::new(),
            refused_owners: HashMap::new(),
            services: HashMap::new(),
            complained: HashMap::new(),
            wanted: Vec::new(),
        }
    }

    /// What is to be asked for or told since this was last asked.
    pub(super) fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// By which the cluster is told from others.
    pub(super) fn set_uid(&mut self, uid: &str) {
        self.uid = Some(uid.into());
        self.publish(|_| true);
    }

    /// These are all pods of this node.
    pub(super) fn all_pods(&mut self, objects: Vec<PodObject>) {
        let mut gone: HashSet<String> = self.told.keys().cloned().collect();
        for object in objects {
            if let Some(uid) = &object.metadata.uid {
                gone.remove(uid);
            }
            self.put_pod(object);
        }
        for uid in gone {
            self.remove_pod(&uid);
        }
    }

    pub(super) fn put_pod(&mut self, object: PodObject) {
        let Some(told) = object::told(object) else { return };
        let (uid, name) = (told.pod.uid.clone(), told.pod.namespace.name.clone());
        if !self.namespaces.contains_key(&name) {
            self.namespaces.insert(name.clone(), Space::Asked);
            self.wanted.push(Wanted::Namespace(name));
        }
        if let Some(controller) = &told.controller
            && !self.owners.contains_key(&controller.uid)
            && !is_refused(&self.refused_owners, &controller.uid)
            && self.asked_owners.insert(controller.uid.clone())
        {
            self.wanted.push(Wanted::Owner(controller.clone()));
        }
        let before = self.told.remove(&uid).map(|(told, peer)| (told.addresses, peer));
        let peer = match before {
            Some((before, peer)) => {
                self.peers.remove(&peer, &before);
                peer
            }
            None => Arc::new(Peer {
                name: String::new(),
                namespace: String::new(),
            }),
        };
        self.told.insert(uid.clone(), (told, peer));
        self.publish(|pod| pod.uid == uid);
    }

    pub(super) fn remove_pod(&mut self, uid: &str) {
        let Some((told, peer)) = self.told.remove(uid) else {
            return;
        };
        self.peers.remove(&peer, &told.addresses);
        self.pods.remove(uid);
        self.complained.remove(uid);
        self.forget();
    }

    /// Something may have been missed of namespaces: those that count are asked for anew, and hold until they are told.
    pub(super) fn ask_namespaces(&mut self) {
        let used = self.used_namespaces();
        self.namespaces.retain(|name, _| used.contains(name));
        self.wanted.extend(used.into_iter().map(Wanted::Namespace));
    }

    /// A namespace as it is now; nothing becomes of one that no pod here is in.
    pub(super) fn put_namespace(&mut self, metadata: ObjectMeta) {
        let version = metadata
            .resource_version
            .as_deref()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        let uid = metadata.uid.clone().unwrap_or_default();
        let Some(namespace) = object::namespace(metadata) else {
            return;
        };
        let name = namespace.name.clone();
        match self.namespaces.get(&name) {
            None => return,
            Some(Space::Known {
                version: known,
                uid: of,
                ..
            }) if *known > version && *of == uid => return,
            Some(_) => {}
        }
        let namespace = Arc::new(namespace);
        self.namespaces.insert(
            name.clone(),
            Space::Known {
                namespace,
                uid,
                version,
            },
        );
        self.publish(|pod| pod.namespace.name == name);
    }

    /// The API server does not tell of a namespace. What it once told holds.
    pub(super) fn refuse_namespace(&mut self, name: &str) {
        if let Some(space @ Space::Asked) = self.namespaces.get_mut(name) {
            *space = Space::Nameless(Arc::new(Namespace {
                name: name.to_owned(),
                ..Namespace::default()
            }));
            self.publish(|pod| pod.namespace.name == name);
        }
    }

    /// A namespace is gone, and its pods were before it.
    pub(super) fn remove_namespace(&mut self, name: &str) {
        if self.used_namespaces().contains(name) {
            return;
        }
        if let Some(Space::Known { uid, .. }) = self.namespaces.remove(name) {
            self.complained.remove(&uid);
        }
    }

    /// The owner of a controller, or that it has none.
    pub(super) fn put_owner(&mut self, uid: &str, owner: Option<Owner>) {
        self.asked_owners.remove(uid);
        self.refused_owners.remove(uid);
        self.owners.insert(uid.to_owned(), owner);
        self.publish(|pod| pod.owners.iter().any(|owner| owner.uid == uid));
        self.forget();
    }

    /// The API server does not tell who owns a controller: its name has to do. It is not asked again each time that a pod of it
    /// changes, which is at every word of the kubelet's.
    pub(super) fn refuse_owner(&mut self, uid: &str) {
        self.asked_owners.remove(uid);
        self.refused_owners.insert(uid.to_owned(), Instant::now());
        self.forget();
    }

    /// These are all Services.
    pub(super) fn all_services(&mut self, objects: Vec<ServiceObject>) {
        let mut gone: HashSet<String> = self.services.keys().cloned().collect();
        for object in objects {
            if let Some(uid) = &object.metadata.uid {
                gone.remove(uid);
            }
            self.put_service(object);
        }
        for uid in gone {
            self.remove_service(&uid);
        }
    }

    pub(super) fn put_service(&mut self, object: ServiceObject) {
        let ObjectMeta {
            uid: Some(uid),
            name: Some(name),
            namespace: Some(namespace),
            ..
        } = object.metadata
        else {
            return;
        };
        let addresses = object::cluster_addresses(&object.spec);
        if addresses.is_empty() {
            self.remove_service(&uid);
            return;
        }
        match self.services.get(&uid) {
            Some((_, before)) if *before == addresses => return,
            Some((peer, before)) => self.peers.remove(peer, before),
            None => {}
        }
        let peer = Arc::new(Peer { name, namespace });
        self.peers.put(&peer, &addresses);
        self.services.insert(uid, (peer, addresses));
    }

    pub(super) fn remove_service(&mut self, uid: &str) {
        if let Some((peer, addresses)) = self.services.remove(uid) {
            self.peers.remove(&peer, &addresses);
        }
    }

    fn used_namespaces(&self) -> HashSet<String> {
        self.told
            .values()
            .map(|(told, _)| told.pod.namespace.name.clone())
            .collect()
    }

    /// Lets go what is kept for pods that are gone.
    fn forget(&mut self) {
        if self.namespaces.len() > MAX_NAMESPACES {
            let used = self.used_namespaces();
            self.namespaces.retain(|name, _| used.contains(name));
        }
        if self.owners.len() > MAX_OWNERS {
            let controllers = self
                .told
                .values()
                .filter_map(|(told, _)| told.controller.as_ref());
            let used: HashSet<&String> = controllers.map(|controller| &controller.uid).collect();
            self.owners.retain(|uid, _| used.contains(uid));
        }
        if self.refused_owners.len() > MAX_OWNERS {
            self.refused_owners
                .retain(|_, since| since.elapsed() < REFUSED_FOR);
        }
        if self.refused_owners.len() > MAX_OWNERS {
            self.refused_owners.clear();
        }
    }

    /// Hands on the pods that `concern` says of which something new is known, as soon as their namespace is.
    fn publish(&mut self, concern: impl Fn(&Pod) -> bool) {
        for (told, peer) in self.told.values_mut().filter(|(told, _)| concern(&told.pod)) {
            let (namespace, uid_of_namespace) = match self.namespaces.get(&told.pod.namespace.name) {
                Some(Space::Known { namespace, uid, .. }) => (namespace, uid.as_str()),
                Some(Space::Nameless(namespace)) => (namespace, ""),
                Some(Space::Asked) | None => continue,
            };
            let mut pod = told.pod.clone();
            pod.namespace = Arc::clone(namespace);
            pod.cluster = self.uid.clone();
            pod.named_by_labels = self.named_by_labels;
            if let Some(controller) = &told.controller {
                let owner = match self.owners.get(&controller.uid) {
                    Some(owner) => owner.clone(),
                    None => object::likely_owner(controller, &pod.labels),
                };
                pod.owners.extend(owner);
            }
            let (name, namespace) = service_of(&pod);
            *peer = Arc::new(Peer { name, namespace });
            self.peers.put(peer, &told.addresses);
            let (_, mistakes) = Wishes::with_mistakes(&pod);
            complain(
                &mut self.complained,
                &mut self.wanted,
                &pod,
                uid_of_namespace,
                mistakes,
            );
            self.pods.put(pod);
        }
    }
}

fn is_refused(refused: &HashMap<String, Instant>, uid: &str) -> bool {
    refused
        .get(uid)
        .is_some_and(|since| since.elapsed() < REFUSED_FOR)
}

/// Complains of what is wrong and has not been complained of.
fn complain(
    complained: &mut HashMap<String, BTreeSet<(String, String)>>,
    wanted: &mut Vec<Wanted>,
    pod: &Pod,
    uid_of_namespace: &str,
    mistakes: Vec<Mistake>,
) {
    let of_pod = |it: &Mistake| it.bearer == Bearer::Pod;
    let now: BTreeSet<_> = mistakes
        .iter()
        .filter(|it| of_pod(it))
        .map(|it| (it.key.clone(), it.value.clone()))
        .collect();
    match complained.get_mut(&pod.uid) {
        Some(known) => known.retain(|mistake| now.contains(mistake)),
        None if now.is_empty() => {}
        None => drop(complained.insert(pod.uid.clone(), BTreeSet::new())),
    }
    for mistake in mistakes {
        let (name, uid) = match mistake.bearer {
            Bearer::Pod => (&pod.name, pod.uid.as_str()),
            Bearer::Namespace => (&pod.namespace.name, uid_of_namespace),
        };
        let known = complained.entry(uid.to_owned()).or_default();
        // Of a namespace, what is right again is not noticed: one that goes through all values is bounded by this.
        if known.len() < 64 && known.insert((mistake.key.clone(), mistake.value.clone())) {
            wanted.push(Wanted::Complaint(Complaint {
                namespace: pod.namespace.name.clone(),
                name: name.clone(),
                uid: uid.to_owned(),
                mistake,
            }));
        }
    }
}

#[cfg(test)]
mod tests;
