//! What engines answer, in the words of Docker's Engine API (`ContainerInspect`, `ImageInspect`), as far as it is of use. Podman
//! gives the same.

use super::client::{Failure, printable};
use crate::process::Container;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Bytes of a container's labels that are kept, names and values together.
const LABELS: usize = 16 * 1024;
/// Longest other text that is kept, in bytes; names of images have 255 at most.
const TEXT: usize = 1_024;
/// Tags and digests of an image that are kept, of each.
const NAMES: usize = 32;

/// A container that an engine knows.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) container: Container,
    /// Labels, texts and names that there was no room for.
    pub(super) cut: u64,
    /// Why its image is not known.
    pub(super) missing: Option<Failure>,
}

/// An image that an engine knows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    #[serde(deserialize_with = "nothing")]
    repo_tags: Vec<String>,
    #[serde(deserialize_with = "nothing")]
    repo_digests: Vec<String>,
}

/// `null` is what Go makes of a list or map that is not there.
fn nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The container `id` out of the answer of an engine that says that it is `server`.
pub(super) fn container(id: &str, body: &[u8], server: Option<&str>) -> Result<Inspected, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        id: String,
        #[serde(default, deserialize_with = "nothing")]
        name: String,
        /// The image's id.
        #[serde(default, deserialize_with = "nothing")]
        image: String,
        #[serde(default, deserialize_with = "nothing")]
        config: Config,
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Config {
        #[serde(deserialize_with = "nothing")]
        image: String,
        #[serde(deserialize_with = "nothing")]
        labels: BTreeMap<String, String>,
    }

    let answer: Answer = parsed(body)?;
    if answer.id != id {
        let other = printable(&answer.id);
        return Err(Failure::Strange(format!(
            "it is about another container, {other}"
        )));
    }
    let mut room = Room::default();
    let name = room.text(answer.name.trim_start_matches('/'));
    let image = room.text(&answer.config.image);
    let image_id = room.text(&image_id(&answer.image));
    let labels = room.labels(answer.config.labels);
    let (runtime, runtime_version) = runtime(server);
    let container = Container {
        id: id.to_owned(),
        name,
        image,
        image_id,
        runtime,
        runtime_version,
        ..Container::default()
    };
    Ok(Inspected {
        container: container.labelled(labels),
        cut: room.cut,
        missing: None,
    })
}

/// An image.
pub(super) fn image(body: &[u8]) -> Result<Image, Failure> {
    parsed(body)
}

/// Names of containers by id, out of a list of them. One may have several, of which others than its own have a slash within.
pub(super) fn names(body: &[u8]) -> Result<Vec<(String, Vec<String>)>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        id: String,
        #[serde(default, deserialize_with = "nothing")]
        names: Vec<String>,
    }

    let listed: Vec<Listed> = parsed(body)?;
    let own = |name: &String| name.trim_start_matches('/').to_owned();
    let named = listed
        .into_iter()
        .map(|it| (it.id, it.names.iter().map(own).collect()));
    Ok(named.collect())
}

/// What an engine says of an error.
pub(super) fn complaint(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Complaint {
        message: String,
    }
    let complaint: Complaint = serde_json::from_slice(body).ok()?;
    Some(complaint.message)
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    // The error may quote what is said; a label may be a secret.
    serde_json::from_slice(body).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "JSON of another shape",
            _ => "not JSON",
        };
        Failure::Strange(format!(
            "{kind} (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

/// Docker writes `sha256:...`, and Podman leaves the algorithm out in some of its versions.
fn image_id(id: &str) -> String {
    match id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => format!("sha256:{id}"),
        false => id.to_owned(),
    }
}

/// `Docker/27.3.1 (linux)`, `Libpod/4.3.1 (linux)`.
fn runtime(server: Option<&str>) -> (Option<String>, Option<String>) {
    let Some((name, rest)) = server.and_then(|server| server.split_once('/')) else {
        return (None, None);
    };
    let name = match name {
        "Docker" => "docker",
        "Libpod" => "podman",
        _ => return (None, None),
    };
    let version = rest.split_whitespace().next().filter(|it| it.len() <= TEXT);
    (Some(name.to_owned()), version.map(str::to_owned))
}

impl Inspected {
    /// The image that is to be asked for, as it is written in a path.
    pub(super) fn image_to_ask(&self) -> Option<&str> {
        let id = self.container.image_id.as_deref()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b':';
        (id.starts_with("sha256:") && id.bytes().all(is_plain)).then_some(id)
    }

    /// Adds what its image says.
    pub(super) fn add(&mut self, image: Image) {
        let mut room = Room::default();
        self.container.image_tags = room.names(image.repo_tags);
        self.container.image_digests = room.names(image.repo_digests);
        self.cut += room.cut;
    }
}

/// Counts what is left out.
#[derive(Debug, Default)]
struct Room {
    cut: u64,
}

impl Room {
    fn text(&mut self, text: &str) -> Option<String> {
        if text.len() > TEXT {
            self.cut += 1;
            return None;
        }
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    fn names(&mut self, names: Vec<String>) -> Vec<String> {
        let mut kept = Vec::new();
        for name in names {
            // What an image without a name has in old versions.
            if name.starts_with("<none>") {
                continue;
            }
            match kept.len() < NAMES {
                true => kept.extend(self.text(&name)),
                false => self.cut += 1,
            }
        }
        kept
    }

    /// Short ones first: what selects and names is short.
    fn labels(&mut self, labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let size = |label: &(String, String)| label.0.len() + label.1.len();
        let mut labels: Vec<(String, String)> = labels.into_iter().collect();
        labels.sort_by_key(size);
        let mut left = LABELS;
        labels.retain(|label| match left.checked_sub(size(label)) {
            Some(rest) => {
                left = rest;
                true
            }
            None => {
                self.cut += 1;
                false
            }
        });
        labels.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

    fn told(body: &str, server: Option<&str>) -> Inspected {
        container(ID, body.replace("ID", ID).as_bytes(), server).unwrap()
    }

    #[test]
    fn a_container_is_told_by_docker_and_by_podman() {
        let mut inspected = told(
            r#"{"Id":"ID","Name":"/shop-web-1","Image":"sha256:ab","State":{"Pid":7},"Config":{"Image":"shop/web:1.2",
                "Env":["PASSWORD=x"],"Labels":{"team":"blue","com.docker.compose.service":"web",
                "com.docker.compose.project":"shop"}}}"#,
            Some("Docker/27.3.1 (linux)"),
        );
        assert_eq!(inspected.image_to_ask(), Some("sha256:ab"));
        let image = image(
            br#"{"RepoTags":["shop/web:1.2","shop/web:latest"],"RepoDigests":["shop/web@sha256:cd"],"Config":{}}"#,
        );
        inspected.add(image.unwrap());
        let labels = [
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
            ("team", "blue"),
        ];
        let expect = Container {
            id: ID.into(),
            name: Some("shop-web-1".into()),
            service: Some("web".into()),
            project: Some("shop".into()),
            image: Some("shop/web:1.2".into()),
            image_id: Some("sha256:ab".into()),
            image_tags: vec!["shop/web:1.2".into(), "shop/web:latest".into()],
            image_digests: vec!["shop/web@sha256:cd".into()],
            runtime: Some("docker".into()),
            runtime_version: Some("27.3.1".into()),
            labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
        };
        assert_eq!((inspected.container, inspected.cut), (expect, 0));
        let hash = "ab".repeat(32);
        let podman = told(
            &format!(r#"{{"Id":"ID","Name":"web","Image":"{hash}","Config":{{"Labels":null}}}}"#),
            Some("Libpod/4.3.1 (linux)"),
        );
        assert_eq!(podman.image_to_ask(), Some(&*format!("sha256:{hash}")));
        assert_eq!(podman.container.name.as_deref(), Some("web"));
        assert_eq!(podman.container.runtime.as_deref(), Some("podman"));
        let null = told(
            r#"{"Id":"ID","Name":null,"Image":null,"Config":null}"#,
            Some("nginx"),
        );
        let bare = Container {
            id: ID.into(),
            ..Container::default()
        };
        assert_eq!(null.container, bare);
        assert_eq!(null.image_to_ask(), None);
    }

    #[test]
    fn what_is_about_another_container_or_no_answer_is_none_and_is_not_quoted() {
        for (body, expect) in [
            ("", "not JSON (line 1, column 0)"),
            ("<html>", "not JSON (line 1, column 1)"),
            (r#"{"Id":"ID""#, "not JSON"),
            (r#"{"Id":["secret"]}"#, "JSON of another shape"),
            (
                r#"{"Id":"ID","Config":{"Labels":{"secret":1}}}"#,
                "JSON of another shape",
            ),
            (r#"[{"Id":"ID"}]"#, "JSON of another shape"),
            (
                r#"{"Id":"00\u001b[31m"}"#,
                "it is about another container, 00[31m",
            ),
            (r#"{"Name":"/web"}"#, "JSON of another shape"),
        ] {
            let failure = container(ID, body.replace("ID", ID).as_bytes(), None).unwrap_err();
            let said = failure.to_string();
            assert!(said.contains(expect) && !said.contains("secret"), "{said}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(container(ID, deep.as_bytes(), None).is_err());
    }

    #[test]
    fn what_is_kept_of_labels_and_names_has_an_end_and_what_is_left_out_is_counted() {
        let long = "x".repeat(LABELS);
        let body = format!(
            r#"{{"Id":"ID","Name":"/{long}","Config":{{"Image":"web","Labels":{{"a":"{long}","team":"blue"}}}}}}"#
        );
        let inspected = told(&body, None);
        assert_eq!(inspected.cut, 2);
        assert_eq!(inspected.container.name, None);
        assert_eq!(
            inspected.container.labels.into_iter().collect::<Vec<_>>(),
            [("team".into(), "blue".into())]
        );
        let names: Vec<String> = (0..100).map(|tag| format!("web:{tag}")).collect();
        let mut inspected = told(r#"{"Id":"ID"}"#, None);
        inspected.add(Image {
            repo_tags: names,
            repo_digests: vec!["<none>@<none>".into(), long],
        });
        assert_eq!(inspected.container.image_tags.len(), NAMES);
        assert!(inspected.container.image_digests.is_empty());
        assert_eq!(inspected.cut, 100 - NAMES as u64 + 1);
    }

    #[test]
    fn only_a_hash_is_put_into_a_path() {
        for image in [
            "../containers/x/start",
            "sha256:ab/../..",
            "sha256:ab?x=y",
            "web",
            "sha256:ab\\r\\nHost: x",
        ] {
            let inspected = told(&format!(r#"{{"Id":"ID","Image":"{image}"}}"#), None);
            assert_eq!(inspected.image_to_ask(), None, "{image}");
        }
    }
}
