//! The API server of Kubernetes: which pods run on this node, what their annotations and those of their namespaces say, and which
//! Services there are. This is the only user of `kube`; what it finds is put into [`Pods`] and [`Peers`], where the rest reads it.
//!
//! What a node asks for does not grow with the cluster, but for Services: pods are those of this node, namespaces are
//! fetched one by one where a pod is in them (of all others only changes are told), and so are the owners of owners.

mod cluster;
mod complaints;
mod object;
mod restraint;
mod trouble;
mod watch;

use crate::config;
use crate::health::{Counter, Health};
use crate::process::{Owner, Peers, Pods};
use cluster::{Cluster, Complaint, Wanted};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, GetParams, PartialObjectMeta};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use object::{Controller, ControllerKind, PodObject, ServiceObject};
use restraint::{Restraint, Said};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::timeout;
use trouble::{Trouble, delays};
use watch::{ANSWER, Begins, Change, Followed};

/// Where a pod has what it needs to speak to the API server.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// What every pod is told.
const HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Whose UID is taken for the cluster's.
const OF_CLUSTER: &str = "kube-system";

/// Changes that wait to be taken in.
const WAITING: usize = 256;

/// Questions that are asked at a time.
const QUESTIONS: usize = 4;

/// So often something is asked for that is refused: for about a minute.
const REFUSALS: u32 = 8;

const CONNECT: Duration = Duration::from_secs(10);

/// Why the API server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is not there, or not such a one.
    #[error("cannot use the kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<KubeconfigError>,
    },
    /// There is no cluster around.
    #[error(
        "`kubernetes.enabled` is true, and this is no pod of a cluster ({0}): run spanwire as a DaemonSet, or set \
         `kubernetes.kubeconfig`"
    )]
    NoCluster(#[from] InClusterError),
    /// What it says cannot be used.
    #[error("cannot speak to the API server: {0}")]
    Client(Box<kube::Error>),
    /// Nobody says which node this is.
    #[error("this host has no name; set `kubernetes.node_name`")]
    NoNode,
}

/// What is watched of a cluster, until it is dropped.
#[derive(Debug)]
pub struct Kubernetes {
    _tasks: JoinSet<()>,
}

/// Whether the API server is asked, as configured and by where spanwire runs.
#[must_use]
pub fn is_wanted(config: &config::Kubernetes) -> bool {
    let in_cluster = || std::env::var_os(HOST).is_some() && Path::new(TOKEN).exists();
    config
        .enabled
        .unwrap_or_else(|| config.kubeconfig.is_some() || in_cluster())
}

impl Kubernetes {
    /// Begins to watch. That a server is not there is no error: it may yet come.
    ///
    /// # Errors
    /// What is configured cannot be used.
    pub async fn start(
        config: &config::Kubernetes,
        pods: &Arc<Pods>,
        peers: &Arc<Peers>,
        health: &Arc<Health>,
    ) -> Result<Self, StartError> {
        let client = client(config.kubeconfig.as_deref()).await?;
        let host = || {
            rustix::system::uname()
                .nodename()
                .to_str()
                .ok()
                .map(str::to_lowercase)
        };
        let node = config
            .node_name
            .clone()
            .or_else(host)
            .filter(|node| !node.is_empty());
        let node = node.ok_or(StartError::NoNode)?;
        let (tell, told) = mpsc::channel(WAITING);
        let (complain, complaints) = mpsc::channel(complaints::WAITING);
        let trouble = Trouble::new(Arc::clone(health));
        let mut tasks = JoinSet::new();
        let followed = Followed {
            api: Api::<PodObject>::all_with(client.clone(), &object::pods()),
            what: "pods",
            fields: Some(format!("spec.nodeName={node}")),
            begins: Begins::All,
        };
        tasks.spawn(followed.follow(tell.clone(), Told::Pods, trouble.clone()));
        let followed = Followed {
            api: Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
            what: "namespaces",
            fields: None,
            begins: Begins::Now,
        };
        tasks.spawn(followed.follow(tell.clone(), Told::Namespaces, trouble.clone()));
        if config.peers {
            let followed = Followed {
                api: Api::<ServiceObject>::all_with(client.clone(), &object::services()),
                what: "services",
                fields: None,
                begins: Begins::All,
            };
            tasks.spawn(followed.follow(tell.clone(), Told::Services, trouble.clone()));
        }
        tasks.spawn(complaints::tell(
            client.clone(),
            node.clone(),
            complaints,
            Arc::clone(health),
        ));
        let cluster = Cluster::new(Arc::clone(pods), Arc::clone(peers), config.well_known_labels);
        let asker = Asker {
            client,
            node,
            tell,
            complain,
            restraint: Restraint::new(),
            trouble,
            health: Arc::clone(health),
            places: Arc::new(Semaphore::new(QUESTIONS)),
            questions: JoinSet::new(),
        };
        tasks.spawn(asker.run(cluster, told));
        Ok(Self { _tasks: tasks })
    }
}

async fn client(kubeconfig: Option<&Path>) -> Result<Client, StartError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let broken = |source| StartError::Kubeconfig {
                path: path.to_owned(),
                source: Box::new(source),
            };
            let read = Kubeconfig::read_from(path).map_err(broken)?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .map_err(broken)?
        }
        None => Config::incluster()?,
    };
    config.connect_timeout = Some(CONNECT);
    // Who asks again, and when, is decided in one place.
    config.default_retry = false;
    let agent = http::HeaderValue::from_static(concat!("spanwire/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    Client::try_from(config).map_err(|error| StartError::Client(Box::new(error)))
}

/// What the API server has said.
enum Told {
    Pods(Change<PodObject>),
    Namespaces(Change<PartialObjectMeta<Namespace>>),
    Services(Change<ServiceObject>),
    /// Of the one that was asked for; `None` where there is no answer to be had.
    Namespace(String, Option<ObjectMeta>),
    /// Of the controller with a UID, who owns it, if anybody does; `None` as above.
    Owner(String, Option<Option<Owner>>),
    Cluster(String),
}

/// Takes in what is told, and asks what is wanted.
struct Asker {
    client: Client,
    node: String,
    tell: Sender<Told>,
    complain: Sender<Complaint>,
    restraint: Restraint,
    trouble: Trouble,
    health: Arc<Health>,
    places: Arc<Semaphore>,
    questions: JoinSet<()>,
}

impl Asker {
    async fn run(mut self, mut cluster: Cluster, mut told: Receiver<Told>) {
        self.ask_cluster();
        let mut is_first = true;
        while let Some(told) = told.recv().await {
            if let Told::Pods(Change::All(pods)) = &told
                && std::mem::take(&mut is_first)
            {
                self.say(pods.len());
            }
            take_in(&mut cluster, told);
            for wanted in cluster.take_wanted() {
                match wanted {
                    Wanted::Namespace(name) => self.ask_namespace(name),
                    Wanted::Owner(controller) => self.ask_owner(controller),
                    Wanted::Complaint(complaint) => self.complain(complaint),
                }
            }
            while self.questions.try_join_next().is_some() {}
        }
    }

    fn say(&self, pods: usize) {
        let node = &self.node;
        if pods == 0 {
            tracing::warn!(
                "the API server knows of no pod on node {node}: if that is not the name of this node, set \
                 `kubernetes.node_name`"
            );
        } else {
            tracing::info!("{pods} pods run on node {node}");
        }
    }

    fn complain(&mut self, complaint: Complaint) {
        self.health.add(Counter::AnnotationsWrong, 1);
        let said = self.restraint.admit(&complaint.uid);
        if said == Said::No {
            return self.health.add(Counter::KubernetesEventsDropped, 1);
        }
        let what = match complaint.mistake.bearer {
            crate::process::annotation::Bearer::Pod => {
                format!("pod {}/{}", complaint.namespace, complaint.name)
            }
            crate::process::annotation::Bearer::Namespace => format!("namespace {}", complaint.name),
        };
        let more = match said {
            Said::LastOfOne => " (what more of it is wrong within the hour is counted alone)",
            Said::LastOfAll => " (what more is wrong within the hour, of whatever object, is counted alone)",
            Said::Yes | Said::No => "",
        };
        tracing::warn!("{what}: {}{more}", complaint.mistake);
        if self.complain.try_send(complaint).is_err() {
            self.health.add(Counter::KubernetesEventsDropped, 1);
        }
    }

    fn ask_cluster(&mut self) {
        let api = Api::<Namespace>::all(self.client.clone());
        self.ask(
            "the cluster's UID",
            move || {
                let api = api.clone();
                async move { api.get_metadata(OF_CLUSTER).await }
            },
            |found| found.and_then(|found| found.metadata.uid).map(Told::Cluster),
        );
    }

    fn ask_namespace(&mut self, name: String) {
        let api = Api::<Namespace>::all(self.client.clone());
        let wanted = name.clone();
        self.ask(
            "a namespace",
            move || {
                let (api, name) = (api.clone(), wanted.clone());
                async move { api.get_metadata(&name).await }
            },
            |found| Some(Told::Namespace(name, found.map(|found| found.metadata))),
        );
    }

    fn ask_owner(&mut self, controller: Controller) {
        let Controller {
            kind,
            namespace,
            name,
            uid,
        } = controller;
        let client = self.client.clone();
        let question = move || {
            let (client, namespace, name) = (client.clone(), namespace.clone(), name.clone());
            async move {
                let any = GetParams::any();
                Ok(match kind {
                    ControllerKind::ReplicaSet => {
                        Api::<ReplicaSet>::namespaced(client, &namespace)
                            .get_metadata_with(&name, &any)
                            .await?
                            .metadata
                    }
                    ControllerKind::Job => {
                        Api::<Job>::namespaced(client, &namespace)
                            .get_metadata_with(&name, &any)
                            .await?
                            .metadata
                    }
                })
            }
        };
        self.ask("an owner of a pod", question, |found| {
            let found = found.map(|metadata: ObjectMeta| object::owner_of(&metadata));
            Some(Told::Owner(uid, found))
        });
    }

    /// Asks until there is an answer: what is asked for, or that it cannot be had.
    fn ask<T, F>(
        &mut self,
        what: &'static str,
        question: impl Fn() -> F + Send + 'static,
        as_told: impl FnOnce(Option<T>) -> Option<Told> + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, kube::Error>> + Send,
    {
        let (tell, places, mut trouble) = (self.tell.clone(), Arc::clone(&self.places), self.trouble.clone());
        self.questions.spawn(async move {
            let (mut delays, mut refusals) = (delays(), 0);
            let answer = loop {
                let Ok(place) = places.acquire().await else { return };
                let answered = timeout(ANSWER, question()).await;
                drop(place);
                match answered {
                    Ok(Ok(answer)) => break Some(answer),
                    // A server that has just started refuses, and one whose token is just renewed.
                    Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                        trouble.met(what, &status.message);
                        refusals += 1;
                        if refusals == REFUSALS {
                            break None;
                        }
                    }
                    Ok(Err(kube::Error::Api(status))) if status.code == 404 => break None,
                    Ok(Err(error)) => trouble.met(what, &error.to_string()),
                    Err(_) => trouble.met(what, "no answer"),
                }
                delays.wait().await;
            };
            if let Some(told) = as_told(answer) {
                // Nobody listens once spanwire ends.
                let _ = tell.send(told).await;
            }
        });
    }
}

fn take_in(cluster: &mut Cluster, told: Told) {
    match told {
        Told::Pods(Change::All(objects)) => cluster.all_pods(objects),
        Told::Pods(Change::Put(object)) => cluster.put_pod(object),
        Told::Pods(Change::Gone(object)) => cluster.remove_pod(&object.metadata.uid.unwrap_or_default()),
        Told::Namespaces(Change::All(_)) => cluster.ask_namespaces(),
        Told::Namespaces(Change::Put(object)) => cluster.put_namespace(object.metadata),
        Told::Namespaces(Change::Gone(object)) => {
            cluster.remove_namespace(&object.metadata.name.unwrap_or_default());
        }
        Told::Services(Change::All(objects)) => cluster.all_services(objects),
        Told::Services(Change::Put(object)) => cluster.put_service(object),
        Told::Services(Change::Gone(object)) => {
            cluster.remove_service(&object.metadata.uid.unwrap_or_default());
        }
        Told::Namespace(_, Some(metadata)) => cluster.put_namespace(metadata),
        Told::Namespace(name, None) => cluster.refuse_namespace(&name),
        Told::Owner(uid, Some(owner)) => cluster.put_owner(&uid, owner),
        Told::Owner(uid, None) => cluster.refuse_owner(&uid),
        Told::Cluster(uid) => cluster.set_uid(&uid),
    }
}
