//! The image, by buildah: no engine has to run, and nobody has to be root.

use crate::machine::Machine;
use crate::{shell, workspace};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where distributions have the certificates of authorities in one file.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Builds it, and leaves it as an archive in `folder`.
pub(super) fn make(machine: Machine, binary: &Path, folder: &Path) -> Result<PathBuf> {
    let context = folder.join("image");
    if context.exists() {
        fs::remove_dir_all(&context)?;
    }
    fs::create_dir_all(&context)?;
    let deploy = workspace::root().join("deploy/container");
    let certificates = CERTIFICATES.iter().map(Path::new).find(|path| path.exists());
    let certificates =
        certificates.context("no certificates of authorities here (package ca-certificates)")?;
    for (from, to) in [
        (binary, "spanwire"),
        (certificates, "ca-certificates.crt"),
        (&deploy.join("nsswitch.conf"), "nsswitch.conf"),
    ] {
        fs::copy(from, context.join(to)).with_context(|| format!("copying {}", from.display()))?;
    }
    let store = context.join("store");
    let storage = |mut command: Command| {
        command.args(["--storage-driver", "vfs", "--root"]).arg(&store);
        command.arg("--runroot").arg(context.join("run"));
        command
    };
    let mut build = storage(Command::new("buildah"));
    build.args([
        "build",
        "--isolation",
        "chroot",
        "--arch",
        machine.debian(),
        "--timestamp",
        "0",
        "--tag",
        "localhost/spanwire:latest",
    ]);
    build.args(["--build-arg", concat!("VERSION=", env!("CARGO_PKG_VERSION"))]);
    build.arg("--ignorefile").arg(deploy.join("ignore"));
    build.arg("--file").arg(deploy.join("Containerfile"));
    shell::run(build.arg(&context))?;
    let archive = folder.join(if machine.is_this() {
        "spanwire.oci.tar".to_owned()
    } else {
        format!("spanwire-{}.oci.tar", machine.name())
    });
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    let mut push = storage(Command::new("buildah"));
    push.args(["push", "--quiet", "localhost/spanwire:latest"]);
    let to = format!("oci-archive:{}:localhost/spanwire:latest", archive.display());
    shell::run(push.arg(to))?;
    fs::remove_dir_all(&context)?;
    Ok(archive)
}
