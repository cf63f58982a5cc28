//! An API server of Kubernetes with its etcd and nothing else: objects are what a test writes, containers are control groups.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::cluster::{flags, kubernetes};
use crate::{http, port, wait};

/// The node's name.
pub const NODE: &str = "node-1";

/// Who may do everything, and who may do what spanwire needs: file, token, name, group.
const USERS: [[&str; 4]; 2] = [
    ["admin", "administrator", "admin", "system:masters"],
    [
        "spanwire",
        "agent",
        "system:serviceaccount:spanwire:spanwire",
        "system:serviceaccounts",
    ],
];

/// A running API server. Cluster addresses are in 127.96.0.0/16, so that they need no translation.
#[derive(Debug)]
pub struct ApiServer {
    // In this order: it would wait for etcd.
    api: Child,
    _etcd: Child,
    folder: TempDir,
    ports: [u16; 3],
}

impl ApiServer {
    /// Starts one.
    ///
    /// # Errors
    /// A part is missing, or does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = [port::free()?, port::free()?, port::free()?];
        let mut tokens = String::new();
        for [file, token, name, group] in USERS {
            tokens.push_str(&format!("{token},{name},{name},{group}\n"));
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{"name": "it", "cluster": {
                    "server": format!("https://127.0.0.1:{}", ports[0]), "insecure-skip-tls-verify": true,
                }}],
                "users": [{"name": "it", "user": {"token": token}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            });
            fs::write(folder.path().join(format!("{file}.yaml")), config.to_string())?;
        }
        fs::write(folder.path().join("tokens.csv"), tokens)?;
        let mut key = child::command("openssl");
        key.args(["genrsa", "-out"])
            .arg(folder.path().join("accounts.key"));
        Child::spawn(key)?.succeed()?;
        let mut etcd = child::command("etcd");
        let [client, peer] = [ports[1], ports[2]].map(|port| format!("http://127.0.0.1:{port}"));
        etcd.args(flags::etcd(folder.path(), &client, &peer));
        let etcd = Child::spawn(etcd)?;
        let mut server = Self {
            api: api(folder.path(), ports)?,
            _etcd: etcd,
            folder,
            ports,
        };
        server.ready()?;
        // What it may do is what is shipped, and no more.
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/base");
        for file in ["namespace.yaml", "access.yaml"] {
            server.apply(&fs::read_to_string(shipped.join(file))?)?;
        }
        Ok(server)
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.api.signal(Signal::KILL)?;
        self.api.wait()?;
        meanwhile(self)?;
        self.api = api(self.folder.path(), self.ports)?;
        self.ready()
    }

    /// Has etcd forget all versions but the newest, which is younger than what anybody was told of: of `/v3/kv`, as
    /// etcd's gateway has it.
    ///
    /// # Errors
    /// It refuses.
    pub fn compact(&self) -> Result<()> {
        let ask = |path: &str, body: &Value| -> Result<Value> {
            let address = SocketAddr::from(([127, 0, 0, 1], self.ports[1]));
            let host = address.to_string();
            let answer = http::connect(address)?.call("POST", path, &host, body.to_string().as_bytes())?;
            ensure!(answer.status() == 200, "{path}: {answer:?}");
            Ok(serde_json::from_str(&answer.text())?)
        };
        let mut revision = String::new();
        for _ in 0..100 {
            // "key" and "value".
            let put = ask("/v3/kv/put", &json!({"key": "a2V5", "value": "dmFsdWU="}))?;
            revision = put["header"]["revision"]
                .as_str()
                .context("a revision")?
                .to_owned();
        }
        ask(
            "/v3/kv/compaction",
            &json!({"revision": revision, "physical": true}),
        )
        .map(drop)
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    /// The configuration of a client that may do what spanwire needs.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("spanwire.yaml")
    }

    /// That of one that may do everything.
    #[must_use]
    pub fn administrator(&self) -> PathBuf {
        self.folder.path().join("admin.yaml")
    }

    fn ready(&mut self) -> Result<()> {
        wait::within(wait::START, "the API server", || {
            self.api.ensure_running()?;
            Ok(self.ask(&["get", "--raw=/readyz"], "").ok())
        })
        .map(drop)
    }

    /// What `kubectl ARGUMENTS` writes, with `input` to read.
    ///
    /// # Errors
    /// It fails.
    pub fn ask(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = child::command(kubernetes("kubectl")?.to_str().context("path in UTF-8")?);
        command.arg("--kubeconfig").arg(self.administrator());
        // As in a cluster: its cache is not to stay in root's home, by port.
        command.env("KUBECACHEDIR", self.folder.path().join("kubectl"));
        let output = child::fed(command.args(arguments), input)?;
        if !output.status.success() {
            bail!(
                "kubectl {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// `kubectl apply`.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.ask(&["apply", "--validate=strict", "--filename=-"], manifests)
            .map(drop)
    }

    /// `kubectl annotate --overwrite OBJECT ANNOTATIONS`.
    ///
    /// # Errors
    /// It is refused.
    pub fn annotate(&self, object: &[&str], annotations: &[&str]) -> Result<()> {
        self.ask(&[&["annotate", "--overwrite"], object, annotations].concat(), "")
            .map(drop)
    }

    /// Makes an object, and returns its UID.
    ///
    /// # Errors
    /// It is refused.
    pub fn make(&self, object: &Value) -> Result<String> {
        let made = self.ask(
            &["create", "--filename=-", "--output=jsonpath={.metadata.uid}"],
            &object.to_string(),
        )?;
        ensure!(!made.is_empty(), "no UID of {object}");
        Ok(made)
    }
}

fn api(folder: &Path, [api, etcd, _]: [u16; 3]) -> Result<Child> {
    let mut command = child::command(kubernetes("kube-apiserver")?.to_str().context("path in UTF-8")?);
    command.args(flags::api(folder, &format!("http://127.0.0.1:{etcd}")));
    command.arg(format!("--secure-port={api}"));
    command.args([
        "--bind-address=127.0.0.1",
        "--service-cluster-ip-range=127.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        // Nobody makes accounts.
        "--disable-admission-plugins=ServiceAccount",
    ]);
    Child::spawn(command)
}

/// A pod whose container is a control group, as the kubelet and a runtime under cgroupfs's driver make them.
#[derive(Debug)]
pub struct FakePod {
    name: String,
    namespace: String,
    container: String,
    group: PathBuf,
}

impl FakePod {
    /// Makes the pod's object, owned by what `owner` says, and the groups.
    ///
    /// # Errors
    /// The API server refuses, or the kernel.
    pub fn make(server: &ApiServer, namespace: &str, name: &str, owner: Option<Value>) -> Result<Self> {
        let owners: Vec<Value> = owner.into_iter().collect();
        let uid = server.make(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners},
            "spec": {"nodeName": NODE, "containers": [{"name": "web", "image": "registry.test/shop/web:1.2"}]},
        }))?;
        let hierarchies = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = hierarchies
            .into_iter()
            .find(|path| path.join("cgroup.procs").exists());
        let container = uid.replace('-', "").repeat(2);
        let group = root
            .context("no control groups of version 2")?
            .join(format!("kubepods/pod{uid}"))
            .join(&container);
        fs::create_dir_all(&group)?;
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            container,
            group,
        })
    }

    /// The kubelet's word that it runs, at an address of its own.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn runs(&self, server: &ApiServer, address: &str) -> Result<()> {
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "containerStatuses": [{
                "name": "web", "image": "web", "ready": true, "restartCount": 2,
                "imageID": "registry.test/shop/web@sha256:0f", "containerID": format!("containerd://{}", self.container),
            }],
        }})
        .to_string();
        let Self { name, namespace, .. } = self;
        let patch = [
            "patch",
            "pod",
            name,
            "-n",
            namespace,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &status,
        ];
        server.ask(&patch, "").map(drop)
    }

    /// A command that runs in its container.
    #[must_use]
    pub fn command(&self, program: &str) -> std::process::Command {
        let mut command = child::command("sh");
        command.args(["-ec", r#"echo $$ >"$0"; exec "$@""#]);
        command.arg(self.group.join("cgroup.procs")).arg(program);
        command
    }
}

impl Drop for FakePod {
    fn drop(&mut self) {
        // Its processes may take a moment to be gone.
        let _ = wait::until("an empty control group", || {
            Ok(fs::remove_dir(&self.group).is_ok().then_some(()))
        });
        // The pod's, and `kubepods`, which stays as long as there is another pod in it.
        for above in self.group.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(above);
        }
    }
}
