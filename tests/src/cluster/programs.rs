//! The programs of Kubernetes, and Helm, built from their modules.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::workload::{built, file};

/// A program of Kubernetes, such as `kubelet`, or `pause`, that which keeps a pod's namespaces. All are built together: some ten
/// minutes, the first time.
///
/// # Errors
/// There is no Go or C compiler, or no module proxy.
pub fn kubernetes(program: &str) -> Result<PathBuf> {
    let sources = ["kubernetes/go.mod", "kubernetes/go.sum"].map(file);
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
    let folder = built("kubernetes", &sources, |output| {
        let mut command = Command::new("sh");
        command.args([
            "-ec",
            "version=k8s.io/component-base/version; mkdir $0; \
             go build -trimpath -ldflags \"-s -w -X $version.gitMajor=1 -X $version.gitMinor=36 -X $version.gitVersion=v1.36.3\" \
             -o $0/ k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
             k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-proxy \
             k8s.io/kubernetes/cmd/kubectl; \
             gcc -Os -static -o $0/pause \"$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c\"",
        ]);
        command.arg(output);
        in_module(&mut command, &sources[0]);
        command
    })?;
    Ok(folder.join(program))
}

/// Helm.
///
/// # Errors
/// There is no Go, or no module proxy.
pub fn helm() -> Result<PathBuf> {
    let sources = ["helm/go.mod", "helm/go.sum"].map(file);
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
    built("helm", &sources, |output| {
        let mut command = Command::new("go");
        command.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]);
        command.arg(output).arg("helm.sh/helm/v3/cmd/helm");
        in_module(&mut command, &sources[0]);
        command
    })
}

fn in_module(command: &mut Command, module: &Path) {
    command.env("GOFLAGS", "-buildvcs=false");
    command.current_dir(module.parent().unwrap_or(Path::new("/")));
}
