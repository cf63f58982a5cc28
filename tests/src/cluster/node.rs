//! containerd, kubelet and kube-proxy.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::ground::Ground;
use super::image::Image;
use super::{ADDRESS, NODE, kubernetes};
use crate::child::Child;
use crate::wait;

/// Where containerd listens, within the cluster's mount namespace.
const SOCKET: &str = "/run/containerd.sock";

/// The image that holds a pod's namespaces.
const PAUSE: &str = "spanwire.test/pause:1";

/// What runs containers.
#[derive(Debug)]
pub(super) struct Node {
    kubelet: Option<Child>,
    proxy: Option<Child>,
    containerd: Child,
}

impl Node {
    /// Starts containerd alone.
    pub(super) fn containers(ground: &Ground) -> Result<Self> {
        let network = ground.folder().join("network");
        std::fs::create_dir(&network)?;
        // Routed and not bridged: an answer by way of a bridge would not be translated back.
        let pods = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/addresses",
                    "subnet": "10.79.0.0/24",
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        std::fs::write(network.join("pods.conflist"), pods.to_string())?;
        let configuration = ground.folder().join("containerd.toml");
        std::fs::write(&configuration, containerd(&network))?;
        let mut command = ground.command(Path::new("containerd"));
        command.arg("--config").arg(configuration);
        Ok(Self {
            kubelet: None,
            proxy: None,
            containerd: Child::spawn(command)?,
        })
    }

    /// Gives it images, beside that which each pod needs.
    pub(super) fn import(&self, ground: &Ground, images: &[Image]) -> Result<()> {
        let pause = Image::new(PAUSE, &["/pause"]).file("/pause", kubernetes("pause")?);
        for image in images.iter().chain([&pause]) {
            let archive = image.write(ground.folder())?;
            wait::until("containerd", || {
                let mut ctr = ground.command(Path::new("ctr"));
                ctr.args(["--address", SOCKET, "--namespace", "k8s.io", "version"]);
                Ok(Child::spawn(ctr)?.succeed().ok())
            })?;
            let mut ctr = ground.command(Path::new("ctr"));
            ctr.args(["--address", SOCKET, "--namespace", "k8s.io", "images", "import"]);
            ctr.arg(&archive);
            Child::spawn(ctr)?
                .succeed_within(wait::START)
                .with_context(|| format!("import of {}", image.name()))?;
            std::fs::remove_file(archive)?;
        }
        Ok(())
    }

    /// Starts the rest, once there is an API server.
    pub(super) fn join(&mut self, ground: &Ground) -> Result<()> {
        let folder = ground.folder();
        let configuration = folder.join("kubelet-configuration.json");
        std::fs::write(&configuration, kubelet(ground.group()))?;
        let mut kubelet = ground.command(&kubernetes("kubelet")?);
        kubelet.arg("--config").arg(configuration);
        kubelet.arg("--kubeconfig").arg(folder.join("kubelet.yaml"));
        kubelet.arg(format!("--hostname-override={NODE}"));
        kubelet.arg(format!("--node-ip={ADDRESS}"));
        self.kubelet = Some(Child::spawn(kubelet)?);
        let configuration = folder.join("proxy-configuration.json");
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": NODE,
            "bindAddress": ADDRESS,
            "clientConnection": {"kubeconfig": folder.join("admin.yaml")},
            // Settings of the whole host, which are not ours to change.
            "conntrack": {"maxPerCore": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        });
        std::fs::write(&configuration, settings.to_string())?;
        let mut proxy = ground.command(&kubernetes("kube-proxy")?);
        proxy.arg("--config").arg(configuration);
        self.proxy = Some(Child::spawn(proxy)?);
        Ok(())
    }

    pub(super) fn logs(&self) -> String {
        let parts = [
            ("containerd", Some(&self.containerd)),
            ("kubelet", self.kubelet.as_ref()),
            ("kube-proxy", self.proxy.as_ref()),
        ];
        let parts = parts.map(|(name, child)| child.map(|child| (name, child)));
        last_words(&parts.into_iter().flatten().collect::<Vec<_>>())
    }
}

/// The last lines of each.
pub(super) fn last_words(parts: &[(&str, &Child)]) -> String {
    let mut text = String::new();
    for (name, child) in parts {
        let lines = child.stderr.all();
        let from = lines.len().saturating_sub(40);
        text += &format!("== {name}\n{}\n", lines[from..].join("\n"));
    }
    text
}

fn containerd(network: &Path) -> String {
    let network = network.display();
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{network}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}

fn kubelet(group: &str) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{group}"),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": ["pods"],
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        // By default a folder of the host's, which is made.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // The host's disk is no concern of the cluster's.
        "evictionHard": {"memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "localStorageCapacityIsolation": false,
        "syncFrequency": "10s",
    })
    .to_string()
}
