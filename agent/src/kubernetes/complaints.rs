//! Events of wrong annotations, on the objects that have them (`events.k8s.io/v1`).
//!
//! An Event's name follows from what it says, so that the server refuses a second one: that of another node, of whose pods'
//! namespace it is, or of a spanwire that was started again.

use super::cluster::Complaint;
use super::watch::ANSWER;
use crate::health::{Counter, Health};
use crate::process::annotation::Bearer;
use chrono::{SecondsFormat, Utc};
use kube::Client;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Complaints that wait at most.
pub(super) const WAITING: usize = 64;

/// Least time between two Events.
const PAUSE: Duration = Duration::from_millis(500);

/// Namespace for names of Events.
const EVENTS: Uuid = Uuid::from_u128(0x6a3f_1f0b_9a54_4c9e_8b1e_2d64_33a7_10c5);

/// `note` is at most 1 kB long (k8s.io/api/events/v1).
const MAX_NOTE: usize = 1_000;

/// Objects of no namespace have their Events in this one.
const NO_NAMESPACE: &str = "default";

/// Tells the API server of complaints, no more than two a second.
pub(super) async fn tell(
    client: Client,
    node: String,
    mut complaints: Receiver<Complaint>,
    health: Arc<Health>,
) {
    while let Some(complaint) = complaints.recv().await {
        let (namespace, event) = event(
            &complaint,
            &node,
            &Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        );
        if let Err(error) = create(&client, &namespace, &event).await {
            health.add(Counter::KubernetesEventsDropped, 1);
            tracing::warn!("cannot tell the API server of a wrong annotation: {error}");
        }
        sleep(PAUSE).await;
    }
}

async fn create(client: &Client, namespace: &str, event: &Value) -> Result<(), String> {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(event.to_string().into_bytes())
        .map_err(|error| error.to_string())?;
    match timeout(ANSWER, client.request::<Value>(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// The Event of a complaint, and the namespace that it belongs to.
fn event(complaint: &Complaint, node: &str, now: &str) -> (String, Value) {
    let Complaint {
        namespace,
        name,
        uid,
        mistake,
    } = complaint;
    let (event_namespace, regarding) = match mistake.bearer {
        Bearer::Pod => {
            let regarding =
                json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid});
            (namespace.as_str(), regarding)
        }
        Bearer::Namespace => {
            let regarding = json!({"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": uid});
            (NO_NAMESPACE, regarding)
        }
    };
    let said = format!("{uid}/{}={}", mistake.key, mistake.value);
    let id = Uuid::new_v5(&EVENTS, said.as_bytes()).simple();
    let mut note = mistake.to_string();
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE));
    }
    let instance: String = format!("spanwire-{node}").chars().take(128).collect();
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": format!("spanwire.{id}"), "namespace": event_namespace},
        "eventTime": now,
        "reportingController": "spanwire.dev/agent",
        "reportingInstance": instance,
        "action": "ReadAnnotation",
        "reason": "InvalidAnnotation",
        "type": "Warning",
        "regarding": regarding,
        "note": note,
    });
    (event_namespace.to_owned(), event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::annotation::Mistake;

    fn complaint(bearer: Bearer, value: &str) -> Complaint {
        Complaint {
            namespace: "shop".into(),
            name: "cart".into(),
            uid: "u1".into(),
            mistake: Mistake {
                bearer,
                key: "spanwire.dev/instrument".into(),
                value: value.into(),
                expected: "\"true\" or \"false\"",
                instead: "it is not watched",
            },
        }
    }

    #[test]
    fn an_event_is_on_the_object_and_its_name_follows_from_what_it_says() {
        let (namespace, one) = event(
            &complaint(Bearer::Pod, "yes"),
            "n1",
            "2026-01-01T00:00:00.000000Z",
        );
        assert_eq!(namespace, "shop");
        assert_eq!(one["regarding"]["kind"], "Pod");
        assert_eq!(one["regarding"]["uid"], "u1");
        assert_eq!(
            one["note"],
            "annotation spanwire.dev/instrument is \"yes\", expected \"true\" or \"false\": it is not watched"
        );
        let (_, again) = event(
            &complaint(Bearer::Pod, "yes"),
            "n2",
            "2026-01-02T00:00:00.000000Z",
        );
        assert_eq!(one["metadata"]["name"], again["metadata"]["name"]);
        let (_, other) = event(&complaint(Bearer::Pod, "no"), "n1", "2026-01-01T00:00:00.000000Z");
        assert_ne!(one["metadata"]["name"], other["metadata"]["name"]);
        let (namespace, of_namespace) = event(&complaint(Bearer::Namespace, "yes"), "n1", "");
        assert_eq!(
            (namespace.as_str(), &of_namespace["regarding"]["namespace"]),
            ("default", &Value::Null)
        );
    }
}
