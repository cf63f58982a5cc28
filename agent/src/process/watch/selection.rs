//! A selector of the configuration, compiled.

use super::begins;
use crate::config::naming::TextPattern;
use crate::config::selector::{Kubernetes, Selector};
use crate::config::value::{Pattern, PortRange};
use crate::process::{Container, Glance, Pod};
use globset::GlobMatcher;
use std::collections::BTreeMap;

/// Fits what has one value of each list that is not empty, and all labels.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    executables: Vec<(GlobMatcher, bool)>,
    command_lines: Vec<GlobMatcher>,
    ports: Vec<PortRange>,
    units: Vec<GlobMatcher>,
    /// The pattern, and the text of it, which may be the beginning of an id.
    containers: Vec<(GlobMatcher, String)>,
    images: Vec<GlobMatcher>,
    container_labels: Labels,
    kubernetes: Option<Kube>,
}

/// What each label, or annotation, has to be.
type Labels = Vec<(String, GlobMatcher)>;

#[derive(Clone, Debug)]
struct Kube {
    namespaces: Vec<GlobMatcher>,
    labels: Labels,
    annotations: Labels,
    owners: Vec<GlobMatcher>,
    pods: Vec<GlobMatcher>,
    containers: Vec<GlobMatcher>,
}

impl Selection {
    pub(super) fn new(selector: &Selector) -> Self {
        Self {
            executables: selector.executables.iter().map(Pattern::matcher).collect(),
            command_lines: compiled(&selector.command_lines),
            ports: selector.ports.clone(),
            units: compiled(&selector.units),
            containers: selector
                .containers
                .iter()
                .map(|pattern| (pattern.glob().compile_matcher(), pattern.to_string()))
                .collect(),
            images: compiled(&selector.images),
            container_labels: labels(&selector.container_labels),
            kubernetes: (!selector.kubernetes.is_empty()).then(|| Kube::new(&selector.kubernetes)),
        }
    }

    pub(super) fn asks_for_container(&self) -> bool {
        self.asks_for_engine() || self.kubernetes.is_some()
    }

    /// Whether it takes what an engine says of a container.
    pub(super) const fn asks_for_engine(&self) -> bool {
        !(self.containers.is_empty() && self.images.is_empty() && self.container_labels.is_empty())
    }

    pub(super) const fn asks_for_command_line(&self) -> bool {
        !self.command_lines.is_empty()
    }

    pub(super) const fn asks_for_units(&self) -> bool {
        !self.units.is_empty()
    }

    pub(super) fn ports(&self) -> &[PortRange] {
        &self.ports
    }

    pub(super) fn fits(&self, process: &Glance) -> bool {
        let container = process.container.as_ref();
        (self.executables.is_empty() || fits_executable(&self.executables, process))
            && (self.ports.is_empty() || process.ports.iter().any(|port| self.has_port(*port)))
            && fits(&self.command_lines, &[process.command_line.as_deref()])
            && (self.units.is_empty() || process.units.iter().any(|unit| fits_unit(&self.units, unit)))
            && (self.containers.is_empty() || container.is_some_and(|it| self.fits_container(it)))
            && (self.images.is_empty() || container.is_some_and(|it| self.fits_image(it)))
            && (self.container_labels.is_empty()
                || container.is_some_and(|it| fit_labels(&self.container_labels, &it.labels)))
            && self.kubernetes.as_ref().is_none_or(|wanted| wanted.fits(process))
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports
            .iter()
            .any(|range| (range.first..=range.last).contains(&port))
    }

    fn fits_container(&self, container: &Container) -> bool {
        let name = container.name.as_deref();
        let mut patterns = self.containers.iter();
        patterns
            .any(|(glob, text)| name.is_some_and(|name| glob.is_match(name)) || begins(&container.id, text))
    }

    /// `registry:5000/shop/cart:1.2@sha256:...` is that, `registry:5000/shop/cart:1.2`, `registry:5000/shop/cart`, `cart:1.2`
    /// and `cart`.
    fn fits_image(&self, container: &Container) -> bool {
        let Some(full) = container.image.as_deref() else {
            return false;
        };
        let tagged = full.split_once('@').map_or(full, |(tagged, _)| tagged);
        let last = tagged.rsplit('/').next().unwrap_or(tagged);
        let bare = last.split_once(':').map_or(last, |(bare, _)| bare);
        let name = &tagged[..tagged.len() - (last.len() - bare.len())];
        fits(&self.images, &[full, tagged, name, last, bare].map(Some))
    }
}

impl Kube {
    fn new(wanted: &Kubernetes) -> Self {
        Self {
            namespaces: compiled(&wanted.namespaces),
            labels: labels(&wanted.labels),
            annotations: labels(&wanted.annotations),
            owners: compiled(&wanted.owners),
            pods: compiled(&wanted.pods),
            containers: compiled(&wanted.containers),
        }
    }

    fn fits(&self, process: &Glance) -> bool {
        let Some(pod) = process.pod.as_deref() else {
            return false;
        };
        fits(&self.namespaces, &[Some(&pod.namespace.name)])
            && fits(&self.pods, &[Some(&pod.name)])
            && fit_labels(&self.labels, &pod.labels)
            && fit_labels(&self.annotations, &pod.annotations)
            && (self.owners.is_empty()
                || pod.owners.iter().any(|owner| {
                    fits(
                        &self.owners,
                        &[Some(&owner.name), Some(&format!("{}/{}", owner.kind, owner.name))],
                    )
                }))
            && (self.containers.is_empty() || fits(&self.containers, &[container_name(process, pod)]))
    }
}

/// The name that the container of a process has in its pod's specification.
fn container_name<'a>(process: &'a Glance, pod: &'a Pod) -> Option<&'a str> {
    let container = process.container.as_ref()?;
    let name = container.name.as_deref();
    pod.container(&container.id, name)
        .map(|it| it.name.as_str())
        .or(name)
}

fn compiled(patterns: &[TextPattern]) -> Vec<GlobMatcher> {
    patterns
        .iter()
        .map(|pattern| pattern.glob().compile_matcher())
        .collect()
}

fn labels(patterns: &BTreeMap<String, TextPattern>) -> Labels {
    let compiled = patterns
        .iter()
        .map(|(key, pattern)| (key.clone(), pattern.glob().compile_matcher()));
    compiled.collect()
}

/// Whether one of the patterns fits one of the texts. Where there is none, all fits, even what has no text.
fn fits(patterns: &[GlobMatcher], texts: &[Option<&str>]) -> bool {
    let fits = |glob: &GlobMatcher| texts.iter().flatten().any(|text| glob.is_match(text));
    patterns.is_empty() || patterns.iter().any(fits)
}

fn fit_labels(wanted: &Labels, labels: &BTreeMap<String, String>) -> bool {
    let fits =
        |(key, glob): &(String, GlobMatcher)| labels.get(key).is_some_and(|value| glob.is_match(value));
    wanted.iter().all(fits)
}

/// A service is known without its suffix as well.
fn fits_unit(patterns: &[GlobMatcher], unit: &str) -> bool {
    fits(patterns, &[Some(unit), unit.strip_suffix(".service")])
}

pub(super) fn fits_executable(patterns: &[(GlobMatcher, bool)], process: &Glance) -> bool {
    patterns
        .iter()
        .any(|(glob, whole_path)| match (&process.executable, whole_path) {
            (Some(path), true) => glob.is_match(path),
            (None, true) => false,
            (_, false) => glob.is_match(&process.name),
        })
}
