//! Which processes are watched, and why.

mod selection;

use super::Glance;
use super::annotation::Wishes;
use crate::config::value::PortRange;
use crate::config::{RuleSet, Watch};
use crate::propagation;
use globset::GlobMatcher;
use selection::Selection;
use std::fmt::{self, Display};
use std::sync::Arc;

/// The shortest beginning of a container's id that counts as one.
const MIN_ID: usize = 4;

/// What the configuration wants to be watched.
#[derive(Clone, Debug)]
pub struct Filter {
    own: u32,
    flat: Flat,
    include: Vec<(Selection, Option<Arc<Own>>)>,
    exclude: Vec<Selection>,
    asks: Asks,
    /// In a cluster: whether pods are watched of which no annotation says so.
    in_cluster: Option<bool>,
}

/// `watch.pid`, `watch.exe` and `watch.container`: one selector, whose containers are not patterns.
#[derive(Clone, Debug)]
struct Flat {
    pids: Vec<u32>,
    executables: Vec<(GlobMatcher, bool)>,
    containers: Vec<String>,
}

/// What has to be known of a process to decide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asks {
    /// Its container, and its pod.
    pub container: bool,
    /// Its joined arguments.
    pub command_line: bool,
    /// The units of systemd that it is in.
    pub units: bool,
    /// Which of these ports it listens on.
    pub ports: Arc<[PortRange]>,
}

impl Asks {
    /// All there is.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            container: true,
            command_line: true,
            units: true,
            ports: Arc::new([PortRange {
                first: 1,
                last: u16::MAX,
            }]),
        }
    }
}

/// What holds for the processes of one selection alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// `service.name`.
    pub service_name: Option<String>,
    /// Which part of the traces that begin there is kept, from 0 to 1.
    pub sample: Option<f64>,
    /// Into what contexts are put, as bits of [`spanwire_ebpf::propagate`].
    pub propagate: Option<u32>,
    /// What is taken out of its spans.
    pub redaction: Option<RuleSet>,
}

/// Whether a process is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Why, or why not.
    pub why: Why,
    /// What holds for it alone.
    pub own: Option<Arc<Own>>,
}

impl Decision {
    /// Whether it is watched.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        matches!(
            self.why,
            Why::Everything | Why::Flat(_) | Why::Included(_) | Why::Annotated | Why::ByDefault
        )
    }
}

/// Why a process is watched, or is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing selects, so that all are.
    Everything,
    /// The keys that select it together.
    Flat(Vec<&'static str>),
    /// The selector at this place of `watch.include`, from 0.
    Included(usize),
    /// An annotation of its pod, or of that one's namespace.
    Annotated,
    /// It is in a pod of which nobody says anything, and such are watched.
    ByDefault,
    /// Not: it is spanwire.
    Own,
    /// Not: an annotation of its pod, or of that one's namespace.
    NotByAnnotation,
    /// Not: nothing is known yet of the pod that it is in.
    UnknownPod,
    /// Not yet: the container that it is in may be one to exclude.
    UnknownContainer,
    /// Not: no selector fits.
    NotAskedFor,
    /// Not: the selector at this place of `watch.exclude`, from 0.
    Excluded(usize),
}

impl Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => formatter.write_str("all is watched that nothing excludes"),
            Self::Flat(keys) => formatter.write_str(&keys.join(", ")),
            Self::Included(place) => write!(formatter, "watch.include[{place}]"),
            Self::Annotated => formatter.write_str("annotation spanwire.dev/instrument"),
            Self::ByDefault => formatter.write_str("kubernetes.watch_by_default"),
            Self::Own => formatter.write_str("own process"),
            Self::UnknownPod => formatter.write_str("its pod is not known yet"),
            Self::UnknownContainer => formatter.write_str("its container is being asked for"),
            Self::NotByAnnotation => formatter.write_str("not by annotation spanwire.dev/instrument"),
            Self::NotAskedFor => formatter.write_str("not asked for"),
            Self::Excluded(place) => write!(formatter, "excluded by watch.exclude[{place}]"),
        }
    }
}

impl Filter {
    /// The filter that `watch` describes. `own` is spanwire's own process, which is never watched: each export would be
    /// a span to export.
    #[must_use]
    pub fn new(watch: &Watch, own: u32) -> Self {
        let include = watch.include.iter().map(|include| {
            let own = Own {
                service_name: include.service_name.as_ref().map(|name| name.as_str().to_owned()),
                sample: include.sample.map(crate::config::sampling::Ratio::number),
                propagate: include.propagate.as_deref().map(propagation::bits),
                redaction: include.redaction,
            };
            let says_nothing = own.service_name.is_none()
                && own.sample.is_none()
                && own.propagate.is_none()
                && own.redaction.is_none();
            (
                Selection::new(&include.selector()),
                (!says_nothing).then(|| Arc::new(own)),
            )
        });
        let include: Vec<_> = include.collect();
        let exclude: Vec<_> = watch
            .exclude
            .iter()
            .map(|it| Selection::new(&it.selector()))
            .collect();
        let flat = Flat {
            pids: watch.pids.clone(),
            executables: watch
                .executables
                .iter()
                .map(crate::config::value::Pattern::matcher)
                .collect(),
            containers: watch.containers.clone(),
        };
        let all = || include.iter().map(|(selection, _)| selection).chain(&exclude);
        let asks = Asks {
            container: !flat.containers.is_empty() || all().any(Selection::asks_for_container),
            command_line: all().any(Selection::asks_for_command_line),
            units: all().any(Selection::asks_for_units),
            ports: all().flat_map(Selection::ports).copied().collect(),
        };
        Self {
            own,
            flat,
            include,
            exclude,
            asks,
            in_cluster: None,
        }
    }

    /// In a cluster, annotations of pods decide. Of pods without, and of what runs in none, those are watched that the
    /// configuration names; where it names nobody, pods `by_default`. What it excludes is not watched.
    #[must_use]
    pub fn in_cluster(self, by_default: bool) -> Self {
        Self {
            in_cluster: Some(by_default),
            ..self
        }
    }

    /// Whether the process is watched. `watch.port` is the kernel half's to look at: connections have those ports, not
    /// processes.
    #[must_use]
    pub fn decide(&self, process: &Glance) -> Decision {
        let because = |why| Decision { why, own: None };
        if process.pid == self.own {
            return because(Why::Own);
        }
        if let Some(place) = self.exclude.iter().position(|selection| selection.fits(process)) {
            return because(Why::Excluded(place));
        }
        // Rather late than what nobody wants to be watched.
        if process.is_container_awaited && self.exclude.iter().any(Selection::asks_for_engine) {
            return because(Why::UnknownContainer);
        }
        let mut places = self.include.iter().enumerate();
        let included = places.find(|(_, (selection, _))| selection.fits(process));
        if let Some(by_default) = self.in_cluster {
            let instrument = process.pod.as_deref().and_then(|pod| Wishes::of(pod).instrument);
            let why = match instrument {
                Some(true) => Some(Why::Annotated),
                Some(false) => Some(Why::NotByAnnotation),
                None if process.is_in_pod && process.pod.is_none() => Some(Why::UnknownPod),
                None if self.names_any() => None,
                None if by_default && process.pod.is_some() => Some(Why::ByDefault),
                None => Some(Why::NotAskedFor),
            };
            if let Some(why) = why {
                let own = included.and_then(|(_, (_, own))| own.clone());
                return Decision { why, own };
            }
        }
        if self.flat.selects() && self.flat.fits(process) {
            return because(Why::Flat(self.flat.keys()));
        }
        if let Some((place, (_, own))) = included {
            return Decision {
                why: Why::Included(place),
                own: own.clone(),
            };
        }
        match self.names_any() {
            true => because(Why::NotAskedFor),
            false => because(Why::Everything),
        }
    }

    /// What has to be known to decide.
    #[must_use]
    pub const fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Whether it takes a [`Glance`] to decide: without, every process but our own is watched.
    #[must_use]
    pub fn is_selective(&self) -> bool {
        self.in_cluster.is_some() || self.names_any() || !self.exclude.is_empty()
    }

    fn names_any(&self) -> bool {
        self.flat.selects() || !self.include.is_empty()
    }

    /// Whether single processes are named, whose children are watched while they run the same program.
    #[must_use]
    pub fn names_processes(&self) -> bool {
        !self.flat.pids.is_empty()
    }
}

impl Flat {
    fn selects(&self) -> bool {
        !(self.pids.is_empty() && self.executables.is_empty() && self.containers.is_empty())
    }

    fn fits(&self, process: &Glance) -> bool {
        (self.pids.is_empty() || self.pids.contains(&process.pid))
            && (self.executables.is_empty() || selection::fits_executable(&self.executables, process))
            && (self.containers.is_empty() || self.containers.iter().any(|it| fits_container(it, process)))
    }

    fn keys(&self) -> Vec<&'static str> {
        let keys = [
            ("watch.pid", self.pids.is_empty()),
            ("watch.exe", self.executables.is_empty()),
            ("watch.container", self.containers.is_empty()),
        ];
        let given = keys.into_iter().filter(|(_, is_empty)| !is_empty);
        given.map(|(key, _)| key).collect()
    }
}

fn fits_container(wanted: &str, process: &Glance) -> bool {
    process
        .container
        .as_ref()
        .is_some_and(|container| container.name.as_deref() == Some(wanted) || begins(&container.id, wanted))
}

/// Whether a container's id is, or begins like, what was given for it.
fn begins(id: &str, wanted: &str) -> bool {
    id == wanted || (wanted.len() >= MIN_ID && id.starts_with(wanted))
}

#[cfg(test)]
mod tests;
