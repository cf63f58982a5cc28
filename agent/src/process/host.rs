//! The host, as all resources of it say. Semantic conventions: resource/host, resource/os.

use super::Proc;
use std::path::Path;

/// What is known of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `host.name`: what `hostname` says.
    pub name: Option<String>,
    /// `host.id`: the machine id, see machine-id(5).
    pub id: Option<String>,
    /// `host.arch`, in the words of the conventions.
    pub arch: &'static str,
    /// Id of this boot; start times of processes count from it.
    pub boot: Option<String>,
}

impl Host {
    /// Reads it, through the root of the first process where we are in a container.
    #[must_use]
    pub fn read(proc: &Proc) -> Self {
        let root = proc.root();
        let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
            .into_iter()
            .find_map(|path| {
                let text = root.as_ref()?.text(Path::new(path), 64)?;
                // An image that was not booted yet says `uninitialized`.
                Some(text.trim().to_owned())
                    .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
            });
        Self {
            name: proc.setting("kernel/hostname"),
            id,
            arch: arch(),
            boot: proc.setting("kernel/random/boot_id"),
        }
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        "powerpc" => "ppc32",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeProc;
    use super::*;

    #[test]
    fn a_made_host_and_this_one() {
        let fake = FakeProc::new();
        let host = Host::read(&Proc::at(fake.path()));
        assert_eq!(host.name.as_deref(), Some("box"));
        assert_eq!(host.id.as_deref(), Some("3d1219c7c4c5404aaa1f6d2a48adfda4"));
        assert_eq!(host.boot.as_deref(), Some("6fd2ad6e-2b67-4ab4-b2c9-8a9f2c2b8a10"));
        fake.file("/etc/machine-id", "uninitialized\n");
        assert_eq!(Host::read(&Proc::at(fake.path())).id, None);

        let real = Host::read(&Proc::host());
        assert_eq!(
            real.name.as_deref(),
            rustix::system::uname().nodename().to_str().ok()
        );
        assert_eq!(real.boot.map(|id| id.len()), Some(36));
    }
}
