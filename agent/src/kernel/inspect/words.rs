//! Errors of the kernel, in words.

use super::Context;
use super::finding::{AS_ROOT, Outcome};
use super::privileges::Capability;
use crate::kernel::bpf::Failure;

/// `ENOTSUPP`: the kernel's own, which should not reach user space, but does.
const ENOTSUPP: i32 = 524;

impl Context {
    /// What a refusal by the kernel means for a thing that needs `capabilities`.
    pub(super) fn refused(&self, failure: &Failure, capabilities: &[Capability]) -> Outcome {
        let permission = matches!(failure.errno, libc::EPERM | libc::EACCES) && failure.log.is_empty();
        if permission && let Some(why) = self.privileges.lack(capabilities) {
            return Outcome::unknown(format!("not permitted: {why}")).remedy(AS_ROOT);
        }
        let unknown_helper = ["unknown func", "invalid func", "cannot use helper"];
        let because = match failure.errno {
            _ if unknown_helper.iter().any(|said| failure.log.contains(said)) => {
                "this kernel has no such helper, or not for this"
            }
            libc::EPERM | libc::EACCES if failure.log.is_empty() => {
                "refused although the privileges are there: a policy of this kernel or a security module"
            }
            libc::EPERM | libc::EACCES => "refused by the verifier",
            libc::EINVAL if !failure.log.is_empty() => "refused by the verifier",
            libc::EINVAL => "this kernel does not know it",
            libc::ENOENT => "there is none of that name in this kernel",
            libc::ENODEV => "not built into this kernel",
            libc::EOPNOTSUPP | ENOTSUPP => "not supported by this kernel on this machine",
            libc::ENOSYS => "this kernel was built without it, or a sandbox hides it",
            libc::ENOMEM => "not enough memory, or over a limit of it",
            libc::EBUSY => "in use by something else",
            libc::E2BIG => "this kernel is too old for it",
            libc::ENOSPC => "no room left",
            _ => "refused",
        };
        let (step, name) = (failure.step, name(failure.errno));
        let mut detail = format!("{because} ({step}: {name})");
        if !failure.log.is_empty() {
            detail = format!("{detail}: {}", failure.log);
        }
        Outcome::fails(detail)
    }
}

fn name(errno: i32) -> String {
    if errno == ENOTSUPP {
        return String::from("ENOTSUPP");
    }
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENODEV, "ENODEV"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EBUSY, "EBUSY"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOSPC, "ENOSPC"),
    ];
    let found = known.iter().find(|(number, _)| *number == errno);
    found.map_or_else(|| format!("error {errno}"), |(_, name)| String::from(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::inspect::finding::Status;

    fn refused(errno: i32, log: &str, effective: u64) -> Outcome {
        let context = Context::with_capabilities(effective);
        let failure = Failure {
            step: "loading a program",
            errno,
            log: log.to_owned(),
        };
        context.refused(&failure, &[Capability::Bpf])
    }

    #[test]
    fn a_lack_of_privileges_is_no_verdict_on_the_kernel() {
        let outcome = refused(libc::EPERM, "", 0);
        assert_eq!(outcome.status, Status::Unknown);
        assert!(outcome.detail.contains("CAP_BPF"), "{}", outcome.detail);
        assert_eq!(outcome.remedy.as_deref(), Some(AS_ROOT));
    }

    #[test]
    fn with_the_privileges_a_refusal_is_the_kernels() {
        for (errno, log) in [
            (libc::EPERM, ""),
            (libc::EINVAL, "unknown func bpf_loop#181"),
            (7777, ""),
        ] {
            let outcome = refused(errno, log, 1 << 21);
            assert_eq!(outcome.status, Status::Fails, "{errno}");
            assert!(outcome.detail.contains(log));
        }
        assert!(refused(ENOTSUPP, "", 1 << 21).detail.contains("ENOTSUPP"));
    }
}
