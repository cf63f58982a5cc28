//! Who is asking: user, capabilities, limits, namespaces.

use super::Context;
use super::finding::{AS_ROOT, Outcome};
use crate::instance;
use crate::kernel::bpf::{Failure, Map, MapType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::capabilities;
use std::fs;
use std::os::linux::fs::MetadataExt as _;

/// Capabilities that spanwire has a use for, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    NetAdmin = 12,
    SysPtrace = 19,
    SysAdmin = 21,
    SysResource = 24,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    #[cfg(test)]
    const ALL: [Self; 6] = [
        Self::Bpf,
        Self::Perfmon,
        Self::NetAdmin,
        Self::SysPtrace,
        Self::SysResource,
        Self::SysAdmin,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// The effective privileges of the thread that asks.
pub(super) struct Privileges {
    /// Bit mask by capability number.
    effective: u64,
    host_user_namespace: bool,
}

/// Inode numbers of the first namespaces (`include/linux/proc_ns.h`); they have been these since 3.8.
const HOST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

fn namespace(kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/ns/{kind}"))
        .ok()
        .map(|namespace| namespace.st_ino())
}

impl Privileges {
    pub(super) fn read() -> Self {
        // capget(2) of oneself fails only where a sandbox refuses it: then the attempts will tell.
        let effective = capabilities(None).map_or(0, |sets| sets.effective.bits());
        let host = namespace("user").is_none_or(|inode| inode == HOST_USER_NAMESPACE);
        Self {
            effective,
            host_user_namespace: host,
        }
    }

    /// Whether the kernel lets this process do what `capability` is for. CAP_SYS_ADMIN is what CAP_BPF and
    /// CAP_PERFMON were split from (5.8), and still stands for both.
    fn has(&self, capability: Capability) -> bool {
        let mask = match capability {
            Capability::Bpf | Capability::Perfmon => {
                1 << capability as u64 | 1 << Capability::SysAdmin as u64
            }
            _ => 1 << capability as u64,
        };
        self.host_user_namespace && self.effective & mask != 0
    }

    /// Why those capabilities are not there; `None` if they are.
    pub(super) fn lack(&self, capabilities: &[Capability]) -> Option<String> {
        let missing: Vec<&str> = capabilities
            .iter()
            .filter(|&&one| !self.has(one))
            .map(|one| one.name())
            .collect();
        if missing.is_empty() {
            return None;
        }
        let names = missing.join(" and ");
        Some(if self.host_user_namespace {
            format!(
                "{names} {} missing",
                if missing.len() == 1 { "is" } else { "are" }
            )
        } else {
            format!("it needs {names} on the host, and this is a user namespace of its own")
        })
    }
}

/// One line a capability.
pub(super) fn capability(context: &Context, capability: Capability) -> Outcome {
    let purpose = match capability {
        Capability::Bpf => "loads programs and makes maps",
        Capability::Perfmon => "lets programs trace and read kernel memory",
        Capability::NetAdmin => "attaches programs to cgroups and sockets",
        Capability::SysPtrace => "reads the environment and descriptors of processes of other users",
        Capability::SysResource => "raises the limit of locked memory (kernels before 5.11)",
        Capability::SysAdmin => "shows other people's BPF programs, and stands for CAP_BPF and CAP_PERFMON",
    };
    match context.privileges.lack(&[capability]) {
        None => Outcome::works(purpose),
        Some(why) => Outcome::fails(format!("{why}; it {purpose}")),
    }
}

/// The limit of locked memory, which kernels before 5.11 count maps and programs against: raised, as `run` does it,
/// until dropped.
pub(super) struct LockedMemory {
    before: Rlimit,
    raised: rustix::io::Result<()>,
}

impl LockedMemory {
    pub(super) fn raise() -> Self {
        let before = getrlimit(Resource::Memlock);
        Self {
            before,
            raised: setrlimit(
                Resource::Memlock,
                Rlimit {
                    current: None,
                    maximum: None,
                },
            ),
        }
    }
}

impl Drop for LockedMemory {
    fn drop(&mut self) {
        if self.raised.is_ok() {
            // Lowering a limit needs no privilege.
            let _ = setrlimit(Resource::Memlock, self.before);
        }
    }
}

/// Where the limit cannot be raised, a map above it tells whether that matters.
pub(super) fn locked_memory(context: &Context) -> Outcome {
    let LockedMemory { before, raised } = &context.locked_memory;
    let Some(limit) = before.current else {
        return Outcome::works("unlimited");
    };
    let limit_is = format!("the limit is {} KiB", limit >> 10);
    let Err(refused) = raised else {
        return Outcome::works(format!("{limit_is} and can be raised"));
    };
    if let Some(why) = context.privileges.lack(&[Capability::Bpf]) {
        return Outcome::unknown(format!("{limit_is}; no map can be made to try it: {why}")).remedy(AS_ROOT);
    }
    const LARGEST: u64 = 256 << 20;
    let above = (limit + 1).next_power_of_two();
    if above > LARGEST {
        return Outcome::works(format!("{limit_is}, which is enough"));
    }
    match Map::create(MapType::RingBuffer, 0, 0, above as u32) {
        Ok(_) => Outcome::works(format!(
            "{limit_is}, but this kernel does not count maps against it"
        )),
        Err(Failure {
            errno: libc::EPERM, ..
        }) => Outcome::fails(format!(
            "{limit_is}, maps count against it, and raising it: {refused}"
        )),
        Err(failure) => Outcome::unknown(format!("{limit_is}; {failure}")),
    }
}

/// Whether this spanwire could make itself the only one on the host; another that runs now is no matter.
pub(super) fn lock(_: &Context) -> Outcome {
    match instance::probe() {
        Ok(path) => Outcome::works(format!("{} can be written", path.display())),
        Err(error) => Outcome::fails(error.to_string()),
    }
}

/// Whether process ids as the kernel half sees them are those of our own /proc.
pub(super) fn pid_namespace(_: &Context) -> Outcome {
    match namespace("pid") {
        Some(HOST_PID_NAMESPACE) => Outcome::works("the host's"),
        Some(inode) => Outcome::fails(format!("this process is in a pid namespace of its own ({inode})")),
        None => Outcome::unknown("/proc/self/ns/pid cannot be read; is /proc mounted?"),
    }
}

#[cfg(test)]
impl Context {
    /// A context of a process with those capabilities, on a host without BTF.
    pub(super) fn with_capabilities(effective: u64) -> Self {
        Self {
            btf: crate::kernel::btf::Btf::parse(Vec::new()),
            privileges: Privileges {
                effective,
                host_user_namespace: true,
            },
            locked_memory: LockedMemory {
                before: getrlimit(Resource::Memlock),
                raised: Err(rustix::io::Errno::PERM),
            },
            sockhash: std::cell::OnceCell::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon_only() {
        let admin = Privileges {
            effective: 1 << 21,
            host_user_namespace: true,
        };
        let has = Capability::ALL.map(|capability| admin.has(capability));
        assert_eq!(has, [true, true, false, false, false, true]);
    }

    #[test]
    fn capabilities_in_a_user_namespace_count_for_nothing() {
        let inside = Privileges {
            effective: u64::MAX,
            host_user_namespace: false,
        };
        assert!(
            inside
                .lack(&[Capability::Bpf])
                .is_some_and(|why| why.contains("user namespace"))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = Privileges {
            effective: 0,
            host_user_namespace: true,
        };
        let why = none.lack(&[Capability::Bpf, Capability::NetAdmin]).unwrap();
        assert!(why.contains("CAP_BPF and CAP_NET_ADMIN"), "{why}");
    }
}
