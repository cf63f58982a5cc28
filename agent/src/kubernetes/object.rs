//! The part of the API server's objects that is looked at. What is not named here is skipped as it is read; what is named and not
//! kept, as the managed fields, goes with the object as soon as that was taken in.

use crate::process::{Namespace, Owner, Pod, PodContainer};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{ApiResource, Object};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A pod, as the API server has it.
pub(super) type PodObject = Object<PodSpec, PodStatus>;

/// A Service, as the API server has it.
pub(super) type ServiceObject = Object<ServiceSpec, NoStatus>;

/// Which resource a [`PodObject`] is of.
pub(super) fn pods() -> ApiResource {
    ApiResource::erase::<v1::Pod>(&())
}

/// Which resource a [`ServiceObject`] is of.
pub(super) fn services() -> ApiResource {
    ApiResource::erase::<v1::Service>(&())
}

/// `PodSpec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    node_name: Option<String>,
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

/// `Container`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

/// `PodStatus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

/// `ContainerStatus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    #[serde(rename = "imageID")]
    image_id: String,
    restart_count: i64,
}

/// `ServiceSpec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
}

/// A status that nobody looks at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct NoStatus {}

/// A pod on this node, as far as it can be told by its own object.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Its namespace has but a name, and of its owners the nearest alone is known.
    pub(super) pod: Pod,
    /// Its own addresses; none where it has the node's.
    pub(super) addresses: Vec<IpAddr>,
    /// The owner whose own owner is to be asked for.
    pub(super) controller: Option<Controller>,
}

/// An owner of a kind that most often has an owner itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) kind: ControllerKind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControllerKind {
    ReplicaSet,
    Job,
}

/// What there is to know of a pod.
pub(super) fn told(object: PodObject) -> Option<Told> {
    let PodObject {
        metadata,
        spec,
        status,
        ..
    } = object;
    let status = status.unwrap_or_default();
    let namespace = metadata.namespace.clone()?;
    let (owners, controller) = match controller(&metadata) {
        Some(owner) => (
            vec![named(owner)],
            kind_of(owner).map(|kind| Controller {
                kind,
                namespace: namespace.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            }),
        ),
        None => (Vec::new(), None),
    };
    let is_over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
    let addresses = match spec.host_network || is_over {
        true => Vec::new(),
        false => status
            .pod_ips
            .iter()
            .filter_map(|it| it.ip.parse().ok())
            .collect(),
    };
    let containers = [
        (spec.containers, status.container_statuses),
        (spec.init_containers, status.init_container_statuses),
        (spec.ephemeral_containers, status.ephemeral_container_statuses),
    ];
    let containers = containers.into_iter().flat_map(|(specified, statuses)| {
        let join = move |container| join(container, &statuses);
        specified.into_iter().map(join)
    });
    let pod = Pod {
        uid: metadata.uid?,
        name: metadata.name?,
        namespace: Arc::new(Namespace {
            name: namespace,
            ..Namespace::default()
        }),
        labels: metadata.labels.unwrap_or_default(),
        annotations: without_copies(metadata.annotations),
        owners,
        containers: containers.collect(),
        node: spec.node_name.map(Into::into),
        ..Pod::default()
    };
    Some(Told {
        pod,
        addresses,
        controller,
    })
}

fn join(container: Container, statuses: &[ContainerStatus]) -> PodContainer {
    let status = statuses.iter().find(|status| status.name == container.name);
    let id = status.and_then(|status| status.container_id.as_deref());
    let without_engine = |id: &str| id.split_once("://").map_or(id, |(_, id)| id).to_owned();
    PodContainer {
        id: id.map(without_engine).filter(|id| !id.is_empty()),
        name: container.name,
        image: container.image,
        image_id: status
            .map(|status| without_engine(&status.image_id))
            .filter(|id| !id.is_empty()),
        restarts: status.map(|status| u32::try_from(status.restart_count).unwrap_or_default()),
    }
}

/// What kubectl keeps there is a copy of the whole object.
fn without_copies(annotations: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut annotations = annotations.unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations
}

/// A namespace with what it says of its pods.
pub(super) fn namespace(metadata: ObjectMeta) -> Option<Namespace> {
    Some(Namespace {
        name: metadata.name?,
        labels: metadata.labels.unwrap_or_default(),
        annotations: without_copies(metadata.annotations),
    })
}

/// The owner that manages an object.
pub(super) fn owner_of(metadata: &ObjectMeta) -> Option<Owner> {
    controller(metadata).map(named)
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true))
}

fn named(owner: &OwnerReference) -> Owner {
    Owner {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    }
}

fn kind_of(owner: &OwnerReference) -> Option<ControllerKind> {
    let group = owner.api_version.split('/').next();
    match (group, owner.kind.as_str()) {
        (Some("apps"), "ReplicaSet") => Some(ControllerKind::ReplicaSet),
        (Some("batch"), "Job") => Some(ControllerKind::Job),
        _ => None,
    }
}

/// Who most likely owns a controller, by its name: what makes it puts a hash or the time behind its own name.
pub(super) fn likely_owner(controller: &Controller, labels: &BTreeMap<String, String>) -> Option<Owner> {
    let (kind, name) = match controller.kind {
        ControllerKind::ReplicaSet => {
            let hash = labels.get("pod-template-hash")?;
            let name = controller.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            ("Deployment", name)
        }
        ControllerKind::Job => {
            let (name, minutes) = controller.name.rsplit_once('-')?;
            let is_time = minutes.len() >= 8 && minutes.bytes().all(|byte| byte.is_ascii_digit());
            ("CronJob", is_time.then_some(name)?)
        }
    };
    (!name.is_empty()).then(|| Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: String::new(),
    })
}

/// Addresses of a Service of its own: none of one without a cluster address, as those are whose name stands for its pods.
pub(super) fn cluster_addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.iter().chain(Some(&spec.cluster_ip));
    let mut addresses: Vec<IpAddr> = all.filter_map(|it| it.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
