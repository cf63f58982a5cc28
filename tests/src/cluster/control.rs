//! etcd, API server, controllers and scheduler.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::ground::{Ground, at};
use super::{ADDRESS, flags, kubectl, kubernetes};
use crate::child::Child;
use crate::wait;

/// Processes of the control plane. The API server is to end before etcd: it would wait for it.
#[derive(Debug)]
pub(super) struct Control {
    controllers: Child,
    scheduler: Child,
    api: Child,
    etcd: Child,
}

impl Control {
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        let mut etcd = ground.command(Path::new("etcd"));
        let [of_clients, of_peers] = [2379, 2380].map(|port| format!("http://{}", at(port)));
        etcd.args(flags::etcd(ground.folder(), &of_clients, &of_peers));
        let etcd = Child::spawn(etcd)?;
        let api = api(ground)?;
        Ok(Self {
            controllers: client(
                ground,
                "kube-controller-manager",
                &[
                    &format!("--root-ca-file={}", ground.folder().join("ca.crt").display()),
                    &format!(
                        "--service-account-private-key-file={}",
                        ground.folder().join("accounts.key").display()
                    ),
                    // Pods of a node that is gone are of no interest, but deletions should be quick.
                    "--concurrent-namespace-syncs=10",
                    // By default a folder of the host's, which is made.
                    "--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
                ],
            )?,
            scheduler: client(ground, "kube-scheduler", &[])?,
            api,
            etcd,
        })
    }

    /// Waits until the API server is ready to serve.
    pub(super) fn ready(&mut self, ground: &Ground) -> Result<()> {
        let mut last = String::new();
        wait::within(wait::START, "the API server", || {
            self.etcd.ensure_running()?;
            self.api.ensure_running()?;
            match Child::spawn(kubectl(ground, &["get", "--raw=/readyz"])?)?.succeed() {
                Ok(_) => return Ok(Some(())),
                Err(error) => last = format!("{error:#}"),
            }
            std::thread::sleep(Duration::from_millis(100));
            Ok(None)
        })
        .with_context(|| last.clone())
    }

    pub(super) fn stop_api(&mut self) -> Result<()> {
        self.api.signal(Signal::KILL)?;
        if self.api.wait()?.success() {
            bail!("the API server ended by itself");
        }
        Ok(())
    }

    pub(super) fn start_api(&mut self, ground: &Ground) -> Result<()> {
        self.api = api(ground)?;
        Ok(())
    }

    pub(super) fn logs(&self) -> String {
        let parts = [
            ("etcd", &self.etcd),
            ("kube-apiserver", &self.api),
            ("kube-controller-manager", &self.controllers),
            ("kube-scheduler", &self.scheduler),
        ];
        super::node::last_words(&parts)
    }
}

fn api(ground: &Ground) -> Result<Child> {
    let mut command = ground.command(&kubernetes("kube-apiserver")?);
    let file = |name: &str| ground.folder().join(name).display().to_string();
    command.args(flags::api(ground.folder(), &format!("http://{}", at(2379))));
    command.args([
        format!("--advertise-address={ADDRESS}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
    ]);
    command.args([
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
    ]);
    Child::spawn(command)
}

fn client(ground: &Ground, program: &str, flags: &[&str]) -> Result<Child> {
    let mut command = ground.command(&kubernetes(program)?);
    let admin = ground.folder().join("admin.yaml");
    command.arg(format!("--kubeconfig={}", admin.display()));
    command
        .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
        .args(flags);
    Child::spawn(command)
}
