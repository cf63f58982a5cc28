//! Kubernetes for real: one node with API server, scheduler, controllers, kubelet, containerd and kube-proxy, in a network and a
//! mount namespace of their own, which nothing outlives.

pub mod bazaar;
mod certificates;
mod control;
pub(crate) mod flags;
mod ground;
pub mod image;
mod node;
mod programs;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::child::{self, Child};
use crate::dns::NameServer;
use crate::wait;
use control::Control;
use ground::Ground;
pub(crate) use ground::hierarchies;
use image::Image;
use node::Node;
pub use programs::{helm, kubernetes};

/// The node's address. Whatever a test listens on is reached there by pods.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// The domain of services.
const DOMAIN: &str = ".svc.cluster.local";

/// The node's name.
pub const NODE: &str = "node-1";

/// A cluster that runs until it is dropped, or the test is killed.
#[derive(Debug)]
pub struct Cluster {
    node: Node,
    control: Control,
    names: NameServer,
    // Last: it takes away what the others stand on.
    ground: Ground,
}

impl Cluster {
    /// Starts one that has these images. The calling thread is in the cluster's network from then on, and so is all that it starts.
    ///
    /// # Errors
    /// A part is missing, or does not start.
    pub fn start(images: &[Image]) -> Result<Self> {
        let ground = Ground::lay()?;
        ground.enter_network()?;
        let names = NameServer::serve(ADDRESS)?;
        names.add(
            &format!("kubernetes.default{DOMAIN}"),
            Ipv4Addr::new(10, 96, 0, 1),
        );
        certificates::make(&ground)?;
        let node = Node::containers(&ground)?;
        let control = Control::start(&ground)?;
        node.import(&ground, images)?;
        let mut cluster = Self {
            node,
            control,
            names,
            ground,
        };
        cluster.control.ready(&cluster.ground)?;
        cluster.node.join(&cluster.ground)?;
        cluster.wait_for(&["node", NODE], "condition=Ready")?;
        cluster.account("default")?;
        Ok(cluster)
    }

    /// `kubectl ARGUMENTS`, as an administrator.
    ///
    /// # Errors
    /// It is not there.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Command> {
        kubectl(&self.ground, arguments)
    }

    /// What `kubectl ARGUMENTS` writes.
    ///
    /// # Errors
    /// It fails.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let lines = Child::spawn(self.kubectl(arguments)?)?.succeed_within(wait::START)?;
        Ok(lines.join("\n"))
    }

    /// An object, or a list of them.
    ///
    /// # Errors
    /// There is none.
    pub fn object(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "--output=json"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.ask(&all)?)?)
    }

    /// `kubectl ARGUMENTS --filename=-` with `manifests` to read, and what it writes.
    ///
    /// # Errors
    /// It fails; the message is what it says.
    pub fn give(&self, arguments: &[&str], manifests: &str) -> Result<String> {
        let mut command = self.kubectl(arguments)?;
        command.arg("--filename=-");
        let output = child::fed(&mut command, manifests)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }

    /// `kubectl apply` of `manifests`, checked in full by the API server.
    ///
    /// # Errors
    /// It refuses them.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.give(
            &["apply", "--server-side", "--force-conflicts", "--validate=strict"],
            manifests,
        )
        .map(drop)
    }

    /// `kubectl wait OBJECT --for=STATE`; an object that is not there yet is waited for as well.
    ///
    /// # Errors
    /// It does not come to that in time; the message has what there is.
    pub fn wait_for(&self, object: &[&str], state: &str) -> Result<()> {
        let state = format!("--for={state}");
        let mut last = String::new();
        let done = wait::within(wait::START, &format!("{state} {object:?}"), || {
            let mut arguments = vec!["wait", &*state, "--timeout=5s"];
            arguments.extend(object);
            match self.ask(&arguments) {
                Ok(_) => Ok(Some(())),
                Err(error) => {
                    last = format!("{error:#}");
                    Ok(None)
                }
            }
        });
        done.with_context(|| {
            let pods = self
                .ask(&["describe", "pods", "--all-namespaces"])
                .unwrap_or_default();
            format!("{last}\n{pods}")
        })
    }

    /// Waits until all pods of a workload, such as `daemonset/spanwire`, are there as it is described now, and ready.
    ///
    /// # Errors
    /// They are not in time; the message has what there is.
    pub fn rolled_out(&self, namespace: &str, workload: &str) -> Result<()> {
        let namespace = format!("--namespace={namespace}");
        self.ask(&["rollout", "status", workload, &namespace, "--timeout=110s"])
            .map(drop)
            .with_context(|| {
                let pods = self.ask(&["describe", "pods", &namespace]).unwrap_or_default();
                let logs = self
                    .ask(&["logs", workload, &namespace, "--tail=60"])
                    .unwrap_or_else(|error| format!("{error:#}"));
                format!("{pods}\n{logs}")
            })
    }

    /// Makes a namespace, with what it has to have before a pod can be made in it.
    ///
    /// # Errors
    /// It is not made.
    pub fn namespace(&self, name: &str) -> Result<()> {
        self.ask(&["create", "namespace", name])?;
        self.account(name)
    }

    /// Pods are refused until their account is there.
    fn account(&self, namespace: &str) -> Result<()> {
        let namespace = format!("--namespace={namespace}");
        self.wait_for(&[&namespace, "serviceaccount/default"], "create")
    }

    /// What a process in the container of a pod says, in the container's own namespaces.
    ///
    /// # Errors
    /// It fails.
    pub fn execute(&self, namespace: &str, pod: &str, program: &[&str]) -> Result<String> {
        let namespace = format!("--namespace={namespace}");
        let mut arguments = vec!["exec", &*namespace, pod, "--"];
        arguments.extend(program);
        self.ask(&arguments)
    }

    /// Ends the API server as a crash would, and starts it again; comes back once it answers.
    ///
    /// # Errors
    /// It does not come back.
    pub fn restart_api(&mut self) -> Result<()> {
        self.control.stop_api()?;
        self.control.start_api(&self.ground)?;
        self.control.ready(&self.ground)
    }

    /// Ends the API server, until [`Self::return_api`].
    ///
    /// # Errors
    /// It was gone.
    pub fn take_api_away(&mut self) -> Result<()> {
        self.control.stop_api()
    }

    /// Starts it again.
    ///
    /// # Errors
    /// It does not come back.
    pub fn return_api(&mut self) -> Result<()> {
        self.control.start_api(&self.ground)?;
        self.control.ready(&self.ground)
    }

    /// The address that a name such as `front.shop` has for pods.
    ///
    /// # Errors
    /// It is none.
    pub fn is_called(&self, service: &str, address: Ipv4Addr) -> Result<()> {
        ensure!(
            service.split('.').count() == 2,
            "{service} is no service.namespace"
        );
        self.names.add(&format!("{service}{DOMAIN}"), address);
        Ok(())
    }

    /// What is left of a part's words, for a message.
    #[must_use]
    pub fn logs(&mut self) -> String {
        format!("{}\n{}", self.control.logs(), self.node.logs())
    }

    /// The folder with the cluster's files, outside of its mount namespace.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.ground.folder().to_owned()
    }
}

fn kubectl(ground: &Ground, arguments: &[&str]) -> Result<Command> {
    let program = kubernetes("kubectl")?;
    let mut command = child::command(program.to_str().context("path in UTF-8")?);
    command.env("KUBECONFIG", ground.folder().join("admin.yaml"));
    // Its cache of what there is, by server: the next cluster's server has the same address.
    command.env("KUBECACHEDIR", ground.folder().join("kubectl"));
    command.args(arguments);
    Ok(command)
}

/// The value at `path`, such as `/metadata/uid`, as text.
///
/// # Errors
/// There is none.
pub fn text<'a>(object: &'a Value, path: &str) -> Result<&'a str> {
    let value = object.pointer(path).and_then(Value::as_str);
    value.with_context(|| format!("no {path} in {object}"))
}

/// The items of a list.
///
/// # Errors
/// It is none.
pub fn items(list: &Value) -> Result<&[Value]> {
    let items = list["items"].as_array().context("a list")?;
    ensure!(items.iter().all(Value::is_object), "a list of objects: {list}");
    Ok(items)
}
