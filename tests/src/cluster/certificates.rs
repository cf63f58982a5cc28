//! Keys, certificates and configurations of clients, as a cluster's set-up makes them.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::ground::Ground;
use super::{ADDRESS, NODE};
use crate::child::{self, Child};

/// A CA, the server's certificate, and the key by which tokens of service accounts are signed.
const MAKE: &str = r#"
cd "$0"
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
key ca.key
key server.key
key accounts.key
openssl req -x509 -new -key ca.key -subj /CN=tests -days 2 -out ca.crt
openssl req -new -key server.key -subj /CN=kube-apiserver -out server.csr
echo "subjectAltName=IP:$1,IP:10.96.0.1,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local" >names
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt
"#;

/// Who there is: file, token, name, group.
const USERS: [[&str; 4]; 2] = [
    ["admin.yaml", "administrator", "admin", "system:masters"],
    ["kubelet.yaml", "node", "system:node:node-1", "system:nodes"],
];

pub(super) fn make(ground: &Ground) -> Result<()> {
    let folder = ground.folder();
    let mut openssl = child::command("sh");
    openssl.args(["-ec", MAKE]).arg(folder).arg(ADDRESS.to_string());
    Child::spawn(openssl)?.succeed()?;
    debug_assert!(USERS[1][2].ends_with(NODE));
    let mut tokens = String::new();
    for [file, token, name, group] in USERS {
        tokens += &format!("{token},{name},{name},{group}\n");
        client(folder, file, token)?;
    }
    Ok(std::fs::write(folder.join("tokens.csv"), tokens)?)
}

fn client(folder: &Path, file: &str, token: &str) -> Result<()> {
    let configuration = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://{ADDRESS}:6443"),
            "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "current-context": "it",
    });
    Ok(std::fs::write(folder.join(file), configuration.to_string())?)
}
