//! Which processes are watched.

use super::Glance;
use super::annotation::Wishes;
use crate::config::Watch;
use globset::GlobMatcher;

/// The shortest beginning of a container's id that counts as one.
const MIN_ID: usize = 4;

/// What the configuration wants to be watched: a process that fits one of the values of each kind that is given.
#[derive(Clone, Debug)]
pub struct Filter {
    own: u32,
    pids: Vec<u32>,
    executables: Vec<(GlobMatcher, bool)>,
    containers: Vec<String>,
    /// In a cluster: whether pods are watched of which no annotation says so.
    in_cluster: Option<bool>,
}

impl Filter {
    /// The filter that `watch` describes. `own` is spanwire's own process, which is never watched: each export would be
    /// a span to export.
    #[must_use]
    pub fn new(watch: &Watch, own: u32) -> Self {
        Self {
            own,
            pids: watch.pids.clone(),
            executables: watch
                .executables
                .iter()
                .map(crate::config::value::Pattern::matcher)
                .collect(),
            containers: watch.containers.clone(),
            in_cluster: None,
        }
    }

    /// In a cluster, annotations of pods decide. Of pods without, and of what runs in none, those are watched that the
    /// configuration names; where it names nobody, pods `by_default`.
    #[must_use]
    pub fn in_cluster(self, by_default: bool) -> Self {
        Self {
            in_cluster: Some(by_default),
            ..self
        }
    }

    /// Whether the process is watched. Ports are the kernel half's to look at: connections have
    /// them, not processes.
    #[must_use]
    pub fn wants(&self, process: &Glance) -> bool {
        let instrument = process.pod.as_deref().and_then(|pod| Wishes::of(pod).instrument);
        process.pid != self.own
            && match (self.in_cluster, instrument) {
                (Some(_), Some(instrument)) => instrument,
                (Some(by_default), None) if !self.names_any() => by_default && process.pod.is_some(),
                _ => self.fits(process),
            }
    }

    fn fits(&self, process: &Glance) -> bool {
        (self.pids.is_empty() || self.pids.contains(&process.pid))
            && (self.executables.is_empty() || self.executables.iter().any(|it| fits_executable(it, process)))
            && (self.containers.is_empty() || self.containers.iter().any(|it| fits_container(it, process)))
    }

    /// Whether a container must be known to decide.
    #[must_use]
    pub fn asks_for_container(&self) -> bool {
        !self.containers.is_empty()
    }

    /// Whether it takes a [`Glance`] to decide: without, every process but our own is watched.
    #[must_use]
    pub fn is_selective(&self) -> bool {
        self.in_cluster.is_some() || self.names_any()
    }

    fn names_any(&self) -> bool {
        !(self.pids.is_empty() && self.executables.is_empty() && self.containers.is_empty())
    }
}

fn fits_executable((glob, whole_path): &(GlobMatcher, bool), process: &Glance) -> bool {
    match (&process.executable, whole_path) {
        (Some(path), true) => glob.is_match(path),
        (None, true) => false,
        (_, false) => glob.is_match(&process.name),
    }
}

fn fits_container(wanted: &str, process: &Glance) -> bool {
    process.container.as_ref().is_some_and(|container| {
        container.name.as_deref() == Some(wanted)
            || container.id == wanted
            || (wanted.len() >= MIN_ID && container.id.starts_with(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::super::annotation::INSTRUMENT;
    use super::super::{Container, Pod};
    use super::*;
    use std::sync::Arc;

    fn process(pid: u32, executable: Option<&str>, container: Option<(&str, Option<&str>)>) -> Glance {
        let name = executable.and_then(|path| path.rsplit('/').next());
        Glance {
            pid,
            executable: executable.map(Into::into),
            name: name.unwrap_or("short").into(),
            container: container.map(|(id, name)| Container {
                id: id.into(),
                name: name.map(Into::into),
                service: None,
            }),
            pod: None,
        }
    }

    fn filter(pids: &[u32], executables: &[&str], containers: &[&str]) -> Filter {
        let watch = Watch {
            pids: pids.to_vec(),
            executables: executables
                .iter()
                .map(|pattern| pattern.parse().unwrap())
                .collect(),
            ports: vec![],
            containers: containers.iter().map(|&name| name.to_owned()).collect(),
        };
        Filter::new(&watch, 99)
    }

    #[test]
    fn everything_but_spanwire_itself() {
        let all = filter(&[], &[], &[]);
        assert!(!all.is_selective());
        assert!(all.wants(&process(5, None, None)));
        assert!(!all.wants(&process(99, None, None)));
        assert!(!filter(&[99], &[], &[]).wants(&process(99, None, None)));
    }

    #[test]
    fn in_a_cluster_annotations_decide_and_then_whoever_is_named() {
        let pod = |annotation: Option<&str>| {
            let annotations = annotation.map(|value| (INSTRUMENT.to_owned(), value.to_owned()));
            Some(Arc::new(Pod {
                annotations: annotations.into_iter().collect(),
                ..Pod::default()
            }))
        };
        let check = |filter: &Filter, pod: Option<Arc<Pod>>, expect: bool| {
            let process = Glance {
                pod,
                ..process(5, Some("/usr/sbin/nginx"), None)
            };
            assert_eq!(filter.wants(&process), expect, "{filter:?} {process:?}");
        };
        let off = filter(&[], &[], &[]).in_cluster(false);
        assert!(off.is_selective());
        check(&off, None, false);
        check(&off, pod(None), false);
        check(&off, pod(Some("true")), true);
        check(&off, pod(Some("false")), false);
        let on = filter(&[], &[], &[]).in_cluster(true);
        check(&on, None, false);
        check(&on, pod(None), true);
        check(&on, pod(Some("false")), false);
        check(&on, pod(Some("yes")), false);
        let named = filter(&[], &["nginx"], &[]).in_cluster(false);
        check(&named, None, true);
        check(&named, pod(None), true);
        check(&named, pod(Some("false")), false);
        let others = filter(&[], &["node"], &[]).in_cluster(true);
        check(&others, pod(None), false);
        check(&others, pod(Some("true")), true);
        // Without a cluster an annotation is nothing.
        check(&filter(&[], &[], &[]), pod(Some("false")), true);
        assert!(
            !filter(&[5], &[], &[])
                .in_cluster(true)
                .wants(&process(99, None, None))
        );
    }

    #[test]
    fn one_of_each_kind_has_to_fit() {
        let some = filter(&[5, 6], &["nginx", "/opt/*/server"], &[]);
        assert!(some.is_selective());
        assert!(some.wants(&process(5, Some("/usr/sbin/nginx"), None)));
        assert!(some.wants(&process(6, Some("/opt/shop/server"), None)));
        assert!(!some.wants(&process(7, Some("/usr/sbin/nginx"), None)));
        assert!(!some.wants(&process(5, Some("/usr/bin/node"), None)));
        assert!(!some.wants(&process(5, Some("/opt/a/b/server"), None)));
    }

    #[test]
    fn without_a_path_the_short_name_is_matched() {
        assert!(filter(&[], &["sho*"], &[]).wants(&process(5, None, None)));
        assert!(!filter(&[], &["/**"], &[]).wants(&process(5, None, None)));
    }

    #[test]
    fn containers_by_name_or_beginning_of_the_id() {
        let check = |wanted: &str, fits: bool| {
            let web = process(5, None, Some(("abc123def456", Some("web"))));
            assert_eq!(filter(&[], &[], &[wanted]).wants(&web), fits, "{wanted}");
        };
        check("web", true);
        check("we", false);
        check("abc1", true);
        check("abc", false);
        check("abc123def456", true);
        check("bc123", false);
        assert!(!filter(&[], &[], &["web"]).wants(&process(5, None, None)));
        assert!(filter(&[], &[], &["a"]).wants(&process(5, None, Some(("a", None)))));
    }
}
