//! A cluster out of what an API server tells, in every order.

use super::*;
use serde_json::{Value, json};

const UID: &str = "3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a";
const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

struct Case {
    cluster: Cluster,
    pods: Arc<Pods>,
    peers: Arc<Peers>,
}

fn case() -> Case {
    let (pods, peers) = (Arc::<Pods>::default(), Arc::<Peers>::default());
    Case {
        cluster: Cluster::new(Arc::clone(&pods), Arc::clone(&peers), false),
        pods,
        peers,
    }
}

impl Case {
    /// The pod as processes see it.
    fn pod(&self) -> Option<Arc<Pod>> {
        self.pods.with_uid(UID)
    }

    fn peer(&self, address: &str) -> Option<String> {
        let peer = self.peers.at(address.parse().unwrap())?;
        Some(format!("{}/{}", peer.namespace, peer.name))
    }

    fn complaints(&mut self) -> Vec<String> {
        let wanted = self.cluster.take_wanted().into_iter();
        let complaints = wanted.filter_map(|wanted| match wanted {
            Wanted::Complaint(it) => Some(format!("{} {}={}", it.name, it.mistake.key, it.mistake.value)),
            Wanted::Namespace(_) | Wanted::Owner(_) => None,
        });
        complaints.collect()
    }
}

fn pod(annotations: &Value) -> PodObject {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "cart-5d-x",
            "namespace": "shop",
            "uid": UID,
            "resourceVersion": "7",
            "labels": {"pod-template-hash": "5d"},
            "annotations": annotations,
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "u0"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-5d", "uid": "u1", "controller": true},
            ],
        },
        "spec": {
            "nodeName": "n1",
            "initContainers": [{"name": "first", "image": "init"}],
            "containers": [{"name": "web", "image": "cart:1", "resources": {"limits": {"cpu": "1"}}}, {"name": "side", "image": "s"}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.1.0.5",
            "podIPs": [{"ip": "10.1.0.5"}, {"ip": "fd00::5"}],
            "containerStatuses": [{
                "name": "web",
                "containerID": format!("containerd://{ID}"),
                "imageID": "docker-pullable://cart@sha256:0f",
                "restartCount": 3,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }],
        },
    });
    serde_json::from_value(object).unwrap()
}

fn space(version: &str, annotations: &Value) -> ObjectMeta {
    let metadata =
        json!({"name": "shop", "uid": "n1", "resourceVersion": version, "annotations": annotations});
    serde_json::from_value(metadata).unwrap()
}

fn service(addresses: &Value) -> ServiceObject {
    let object = json!({
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "s1"},
        "spec": {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": [{"port": 80}]},
        "status": {"loadBalancer": {}},
    });
    serde_json::from_value(object).unwrap()
}

#[test]
fn a_pod_comes_out_whole_once_its_namespace_is_known() {
    let mut case = case();
    case.cluster.set_uid("c1");
    case.cluster.put_pod(pod(
        &json!({"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"}),
    ));
    let controller = Controller {
        kind: object::ControllerKind::ReplicaSet,
        namespace: "shop".into(),
        name: "cart-5d".into(),
        uid: "u1".into(),
    };
    let expect = [Wanted::Namespace("shop".into()), Wanted::Owner(controller)];
    assert_eq!(case.cluster.take_wanted(), expect);
    assert_eq!(case.pod(), None);
    case.cluster.put_namespace(space("5", &json!({"x": "y"})));
    let found = case.pod().unwrap();
    assert_eq!(
        (
            found.name.as_str(),
            found.node.as_deref(),
            found.cluster.as_deref()
        ),
        ("cart-5d-x", Some("n1"), Some("c1"))
    );
    assert_eq!(found.namespace.annotations["x"], "y");
    assert_eq!(found.annotations.keys().collect::<Vec<_>>(), ["a"]);
    let containers: Vec<_> = found
        .containers
        .iter()
        .map(|it| (it.name.as_str(), it.id.as_deref(), it.restarts))
        .collect();
    assert_eq!(
        containers,
        [
            ("web", Some(ID), Some(3)),
            ("side", None, None),
            ("first", None, None)
        ]
    );
    assert_eq!(found.containers[0].image_id.as_deref(), Some("cart@sha256:0f"));
    // By its name, and then by its word.
    let owners = |pod: &Pod| {
        pod.owners
            .iter()
            .map(|it| format!("{} {} {}", it.kind, it.name, it.uid))
            .collect::<Vec<_>>()
    };
    assert_eq!(owners(&found), ["ReplicaSet cart-5d u1", "Deployment cart "]);
    let rollout = Owner {
        kind: "Rollout".into(),
        name: "cart".into(),
        uid: "u2".into(),
    };
    case.cluster.put_owner("u1", Some(rollout));
    assert_eq!(
        owners(&case.pod().unwrap()),
        ["ReplicaSet cart-5d u1", "Rollout cart u2"]
    );
    case.cluster.put_owner("u1", None);
    assert_eq!(owners(&case.pod().unwrap()), ["ReplicaSet cart-5d u1"]);
    // What is known is not asked for again.
    case.cluster.put_pod(pod(&json!({})));
    assert_eq!(case.cluster.take_wanted(), []);
    case.cluster.all_pods(Vec::new());
    assert_eq!(case.pod(), None);
}

#[test]
fn a_namespace_that_changes_changes_its_pods_and_an_old_answer_changes_nothing() {
    let mut case = case();
    case.cluster.put_pod(pod(&json!({})));
    case.cluster.put_namespace(space("9", &json!({"x": "new"})));
    case.cluster.put_namespace(space("5", &json!({"x": "old"})));
    assert_eq!(case.pod().unwrap().namespace.annotations["x"], "new");
    case.cluster.put_namespace(space("10", &json!({})));
    assert!(case.pod().unwrap().namespace.annotations.is_empty());
    // Another one of the same name.
    let mut again = space("3", &json!({"x": "again"}));
    again.uid = Some("n2".into());
    case.cluster.put_namespace(again);
    assert_eq!(case.pod().unwrap().namespace.annotations["x"], "again");
    // Where something may have been missed, what was known holds until it is told.
    case.cluster.take_wanted();
    case.cluster.ask_namespaces();
    assert_eq!(case.cluster.take_wanted(), [Wanted::Namespace("shop".into())]);
    case.cluster.refuse_namespace("shop");
    assert_eq!(case.pod().unwrap().namespace.annotations["x"], "again");
    // Nobody is in this one.
    let mut other = space("11", &json!({}));
    other.name = Some("other".into());
    case.cluster.put_namespace(other);
    assert_eq!(case.cluster.namespaces.len(), 1);
}

#[test]
fn a_namespace_of_which_nothing_is_told_leaves_the_pod_its_own_word() {
    let mut case = case();
    case.cluster
        .put_pod(pod(&json!({"spanwire.dev/instrument": "true"})));
    assert_eq!(case.pod(), None);
    case.cluster.refuse_namespace("shop");
    let found = case.pod().unwrap();
    assert_eq!(found.namespace.name, "shop");
    assert_eq!(Wishes::of(&found).instrument, Some(true));
}

#[test]
fn a_wrong_value_is_complained_of_once_and_again_after_it_was_right() {
    let mut case = case();
    let wrong = json!({"spanwire.dev/instrument": "yes", "spanwire.dev/sample": "much"});
    case.cluster.put_pod(pod(&wrong));
    case.cluster
        .put_namespace(space("5", &json!({"spanwire.dev/propagate": "all"})));
    let expect = [
        "cart-5d-x spanwire.dev/instrument=yes",
        "cart-5d-x spanwire.dev/sample=much",
        "shop spanwire.dev/propagate=all",
    ];
    assert_eq!(case.complaints(), expect);
    case.cluster.put_pod(pod(&wrong));
    case.cluster.set_uid("c1");
    assert_eq!(case.complaints(), [""; 0]);
    case.cluster
        .put_pod(pod(&json!({"spanwire.dev/instrument": "yes"})));
    case.cluster.put_pod(pod(&wrong));
    assert_eq!(case.complaints(), ["cart-5d-x spanwire.dev/sample=much"]);
    case.cluster.remove_pod(UID);
    assert!(!case.cluster.complained.contains_key(UID));
}

#[test]
fn who_is_at_an_address_follows_services_and_pods() {
    let mut case = case();
    case.cluster
        .all_services(vec![service(&json!(["10.96.0.7", "fd96::7"]))]);
    assert_eq!(case.peer("10.96.0.7").as_deref(), Some("shop/checkout"));
    assert_eq!(case.peer("fd96::7").as_deref(), Some("shop/checkout"));
    case.cluster.put_service(service(&json!(["10.96.0.8"])));
    assert_eq!((case.peer("10.96.0.7"), case.peer("fd96::7")), (None, None));
    assert_eq!(case.peer("10.96.0.8").as_deref(), Some("shop/checkout"));
    case.cluster.put_service(service(&json!(["None"])));
    assert!(case.peers.is_empty());
    case.cluster.put_pod(pod(&json!({})));
    case.cluster.put_namespace(space("2", &json!({})));
    assert_eq!(case.peer("10.1.0.5").as_deref(), Some("shop/cart"));
    case.cluster
        .put_pod(pod(&json!({"resource.opentelemetry.io/service.name": "basket"})));
    assert_eq!(case.peer("fd00::5").as_deref(), Some("shop/basket"));
    case.cluster.remove_pod(UID);
    assert!(case.peers.is_empty());
}

#[test]
fn who_owns_a_controller_is_guessed_only_from_what_controllers_write() {
    let check = |kind, name: &str, hash: Option<&str>, expect: Option<&str>| {
        let controller = Controller {
            kind,
            namespace: "n".into(),
            name: name.into(),
            uid: "u".into(),
        };
        let labels = hash
            .map(|hash| ("pod-template-hash".to_owned(), hash.to_owned()))
            .into_iter()
            .collect();
        let owner = object::likely_owner(&controller, &labels);
        assert_eq!(
            owner
                .map(|owner| format!("{} {}", owner.kind, owner.name))
                .as_deref(),
            expect,
            "{name}"
        );
    };
    use super::object::ControllerKind::{Job, ReplicaSet};
    check(ReplicaSet, "cart-5d", Some("5d"), Some("Deployment cart"));
    check(ReplicaSet, "cart-5d", None, None);
    check(ReplicaSet, "cart-5d", Some("6e"), None);
    check(ReplicaSet, "-5d", Some("5d"), None);
    check(Job, "report-29374560", None, Some("CronJob report"));
    check(Job, "report-2026", None, None);
    check(Job, "report", None, None);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_not_told_is_asked_for_again_after_a_while_and_not_at_each_change() {
    let mut case = case();
    let owners = |case: &mut Case| {
        let wanted = case.cluster.take_wanted().into_iter();
        wanted.filter(|it| matches!(it, Wanted::Owner(_))).count()
    };
    case.cluster.put_pod(pod(&json!({})));
    assert_eq!(owners(&mut case), 1);
    case.cluster.refuse_owner("u1");
    for _ in 0..3 {
        case.cluster.put_pod(pod(&json!({})));
        assert_eq!(owners(&mut case), 0);
    }
    tokio::time::advance(REFUSED_FOR).await;
    case.cluster.put_pod(pod(&json!({})));
    assert_eq!(owners(&mut case), 1);
    for number in 0..3 * MAX_OWNERS {
        case.cluster.refuse_owner(&number.to_string());
    }
    assert!(case.cluster.refused_owners.len() <= MAX_OWNERS + 1);
}

#[test]
fn what_is_kept_for_pods_that_are_gone_is_bounded() {
    let mut case = case();
    for number in 0..3_000 {
        let (uid, name) = (format!("u{number}"), format!("n{number}"));
        let object = json!({
            "metadata": {
                "name": "p", "namespace": name, "uid": uid,
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": format!("j{number}"), "controller": true},
                ],
            },
            "spec": {"nodeName": "n1"},
        });
        case.cluster.put_pod(serde_json::from_value(object).unwrap());
        let metadata = json!({"name": name, "uid": name, "resourceVersion": "1"});
        case.cluster
            .put_namespace(serde_json::from_value(metadata).unwrap());
        case.cluster.put_owner(&format!("j{number}"), None);
        case.cluster.remove_pod(&uid);
    }
    let Cluster {
        told,
        namespaces,
        owners,
        asked_owners,
        complained,
        ..
    } = &case.cluster;
    assert_eq!((told.len(), asked_owners.len(), complained.len()), (0, 0, 0));
    assert!(
        namespaces.len() <= MAX_NAMESPACES && owners.len() <= MAX_OWNERS,
        "{} {}",
        namespaces.len(),
        owners.len()
    );
}
