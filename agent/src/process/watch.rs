//! Which processes are watched.

use super::Glance;
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
        }
    }

    /// Whether the process is watched. Ports are the kernel half's to look at: connections have
    /// them, not processes.
    #[must_use]
    pub fn wants(&self, process: &Glance) -> bool {
        process.pid != self.own
            && (self.pids.is_empty() || self.pids.contains(&process.pid))
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
    use super::super::Container;
    use super::*;

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
