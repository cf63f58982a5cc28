//! Processes: who sends and receives, by what name a person knows them, and which of them are watched.
//!
//! All is read from procfs, once in a process's life and once more after each exec. Command lines and environments
//! hold secrets: of arguments, only what names the service is kept, and of the environment, only what its owner
//! declared for telemetry (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`).

pub mod annotation;
mod cgroup;
mod container;
mod containers;
mod declared;
mod elf;
mod execution;
#[cfg(test)]
mod fake;
mod go;
mod haproxy;
mod host;
mod language;
mod listening;
mod name;
mod node;
mod peers;
mod pod;
mod pods;
mod probe;
mod proc;
mod propagation;
mod python;
mod resource;
mod root;
mod runtime;
mod runtimes;
mod sdk;
mod seen;
mod table;
mod unit;
pub mod watch;

pub use container::Container;
pub use containers::{Answer, Containers};
pub use declared::Declared;
pub use execution::{Execution, unfollowed};
pub use host::Host;
pub use language::Languages;
pub use peers::{Peer, Peers};
pub use pod::{Namespace, Owner, Pod, PodContainer};
pub use pods::Pods;
pub use probe::{FileId, Place, Probe, Probed};
pub use proc::{Glance, Proc, Unreadable};
pub use propagation::Policy;
pub use resource::{attributes, service_of};
pub use runtime::Runtime;
pub use runtimes::Runtimes;
pub use sdk::{Loaded, Rules as SdkRules};
pub use seen::Seen;
pub use table::Table;

use crate::span::{OwnRules, Resource};
use std::path::PathBuf;
use std::sync::Arc;

/// The resource of what a capture file holds: nobody's. `shared` are attributes that all resources get.
#[must_use]
pub fn of_capture(shared: &[(String, String)]) -> Resource {
    Resource {
        own: OwnRules::default(),
        pid: 0,
        attributes: resource::of_capture(shared),
    }
}

/// What is known of one process, from one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Process id on the host (the kernel's `tgid`).
    pub pid: u32,
    /// Process id of its parent.
    pub parent: u32,
    /// When it started, in clock ticks since the host's boot. With `pid`, this is unique until the next boot.
    pub start: u64,
    /// The kernel's short name of it: at most 15 bytes, and the process may change it.
    pub comm: String,
    /// Its executable, in its own mount namespace; `None` where we may not look.
    pub executable: Option<PathBuf>,
    /// The user whose rights it has, by the names of its own root; `None` where that has no name for it.
    pub owner: Option<String>,
    /// Its language runtime.
    pub runtime: Option<Runtime>,
    /// The container it is in.
    pub container: Option<Container>,
    /// The pod of Kubernetes it is in, where that is known.
    pub pod: Option<Arc<Pod>>,
    /// The systemd service it belongs to, without `.service`.
    pub unit: Option<String>,
    /// The name that its command line suggests.
    pub name: Option<String>,
    /// What its owner declared for telemetry.
    pub declared: Declared,
    /// What its start says of an SDK in it.
    pub sdk: Loaded,
}

impl Identity {
    /// File name of the executable; the kernel's short name where that is not known.
    #[must_use]
    pub fn executable_name(&self) -> &str {
        let name = self
            .executable
            .as_deref()
            .and_then(|path| path.file_name())
            .and_then(|name| name.to_str());
        name.unwrap_or(&self.comm)
    }
}
