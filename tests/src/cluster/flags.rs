//! Arguments that etcd and the API server are started with wherever tests start them.

use std::path::Path;

/// etcd's, with its data in `folder`, at these URLs for clients and for peers.
pub(crate) fn etcd(folder: &Path, client: &str, peer: &str) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=error".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]
}

/// The API server's: its files are in `folder`, as is who there is (`tokens.csv`).
pub(crate) fn api(folder: &Path, etcd: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers={etcd}"),
        format!("--cert-dir={}", file("certificates")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        format!("--service-account-key-file={}", file("accounts.key")),
        format!("--token-auth-file={}", file("tokens.csv")),
    ]
}
