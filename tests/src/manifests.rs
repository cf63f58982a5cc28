//! What is shipped for Kubernetes (`deploy/kubernetes`): a chart, and plain manifests that are made of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use crate::child::{self, Child};
use crate::cluster::{helm, kubernetes};

/// The namespace that the plain manifests are for.
pub const NAMESPACE: &str = "spanwire";

/// What the plain manifests differ in from the chart's defaults: kustomize makes the namespace, and has a way of its own to make pods
/// anew.
const PLAIN: &str = "namespace.create=true,restartOnConfigChange=false";

/// A file of `deploy/kubernetes`.
#[must_use]
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/kubernetes")
        .join(name)
}

/// Names of the overlays.
///
/// # Errors
/// The folder cannot be read.
pub fn overlays() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shipped("overlays"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// `helm ARGUMENTS`.
///
/// # Errors
/// It fails; the message is what it says.
pub fn run_helm(arguments: &[&str]) -> Result<String> {
    let program = helm()?;
    let mut command = child::command(program.to_str().context("path in UTF-8")?);
    let lines = Child::spawn({
        command.args(arguments);
        command
    })?;
    Ok(lines.succeed()?.join("\n"))
}

/// What the chart renders as plain manifests, with the values of an overlay and others, as `--set-json` takes them.
///
/// # Errors
/// It renders nothing, or a value is wrong.
pub fn rendered(overlay: Option<&str>, values: &[&str]) -> Result<String> {
    let chart = shipped("chart");
    let file = overlay.map(|name| shipped(&format!("overlays/{name}/values.yaml")));
    let mut arguments = vec![
        "template",
        NAMESPACE,
        chart.to_str().context("path in UTF-8")?,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.36.3",
        "--set",
        PLAIN,
    ];
    if let Some(file) = &file {
        arguments.extend(["--values", file.to_str().context("path in UTF-8")?]);
    }
    for value in values {
        arguments.extend(["--set-json", value]);
    }
    Ok(run_helm(&arguments)? + "\n")
}

/// What `kubectl apply --kustomize` would apply: `base`, or `overlays/NAME`.
///
/// # Errors
/// kustomize refuses it.
pub fn built(folder: &str) -> Result<String> {
    let program = kubernetes("kubectl")?;
    let mut command = child::command(program.to_str().context("path in UTF-8")?);
    command.arg("kustomize").arg(shipped(folder));
    Ok(Child::spawn(command)?.succeed()?.join("\n"))
}

/// The parts of a rendered chart, by the template that each is from.
///
/// # Errors
/// It is none.
pub fn by_template(rendered: &str) -> Result<BTreeMap<String, String>> {
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    for document in rendered.split("---\n").filter(|part| !part.trim().is_empty()) {
        let (first, rest) = document.split_once('\n').context("a document")?;
        let source = first
            .strip_prefix("# Source: ")
            .context("the name of its template")?;
        let name = source.rsplit('/').next().unwrap_or(source);
        let part = parts.entry(name.to_owned()).or_default();
        if !part.is_empty() {
            *part += "---\n";
        }
        *part += rest.trim_end();
        *part += "\n";
    }
    Ok(parts)
}

/// The objects of a stream of manifests, by kind and name.
///
/// # Errors
/// They are no manifests, or one comes twice.
pub fn objects(manifests: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for document in serde_yaml_ng::Deserializer::from_str(manifests) {
        let object = Value::deserialize(document)?;
        if object.is_null() {
            continue;
        }
        let text = |path| object.pointer(path).and_then(Value::as_str);
        let kind = text("/kind").context("a kind")?;
        let name = text("/metadata/name").context("a name")?;
        let name = format!("{kind} {name}");
        ensure!(
            all.insert(name.clone(), object).is_none(),
            "{name} is there twice"
        );
    }
    Ok(all)
}
