//! A shop in a namespace of the cluster: HTTP, gRPC and PostgreSQL, each in a pod of its own, and spanwire's own image.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Cluster;
use super::image::Image;
use crate::agent::binary;
use crate::child::Child;
use crate::http;
use crate::service::postgres;
use crate::workload;

/// The image of the shop's two services.
const SHOP: &str = "spanwire.test/bazaar:1";

/// That of its database.
const DATABASE: &str = "spanwire.test/postgres:15";

/// The image that the shipped manifests name, made of the spanwire under test.
///
/// # Errors
/// There is no spanwire.
pub fn spanwire(folder: &Path) -> Result<Image> {
    let program = folder.join("spanwire");
    // Its own debugging information is most of its size.
    let status = Command::new("strip")
        .arg("-g")
        .arg("-o")
        .arg(&program)
        .arg(binary()?)
        .status()?;
    ensure!(status.success(), "strip (package binutils): {status}");
    let name = concat!("ghcr.io/spanwire/spanwire:", env!("CARGO_PKG_VERSION"));
    Image::new(name, &["/usr/bin/spanwire"]).program("/usr/bin/spanwire", &program)
}

/// The images of a shop.
///
/// # Errors
/// There is no Go, or no PostgreSQL.
pub fn images(folder: &Path) -> Result<[Image; 2]> {
    let shop = Image::new(SHOP, &["/bazaar"]).file("/bazaar", workload::go_alone("bazaar")?);
    let data = folder.join("data");
    std::fs::create_dir(&data)?;
    let [uid, gid] = postgres::ids()?;
    chown(&data, Some(uid), Some(gid))?;
    let mut initdb = postgres::program("initdb");
    initdb.arg("-D").arg(&data);
    initdb.args([
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
        "--locale=C",
        "--wal-segsize=1",
    ]);
    Child::spawn(initdb)?.succeed()?;
    std::fs::write(data.join("pg_hba.conf"), "host all all all trust\n")?;
    let passwd = folder.join("passwd");
    std::fs::write(&passwd, format!("postgres:x:{uid}:{gid}::/:/\n"))?;
    let mut database = Image::new(DATABASE, &["/usr/lib/postgresql/15/bin/postgres", "-D", "/data"])
        .program(
            "/usr/lib/postgresql/15/bin/postgres",
            Path::new("/usr/lib/postgresql/15/bin/postgres"),
        )?
        .file("/usr/share/postgresql/15", "/usr/share/postgresql/15")
        .file("/usr/share/zoneinfo", "/usr/share/zoneinfo")
        .file("/data", &data)
        .file("/etc/passwd", &passwd)
        .user(&format!("{uid}:{gid}"));
    for library in ["dict_snowball.so", "plpgsql.so"] {
        let path = Path::new("/usr/lib/postgresql/15/lib").join(library);
        database = database.file(&path, &path);
    }
    Ok([shop, database])
}

/// A shop that is open.
#[derive(Clone, Debug)]
pub struct Bazaar {
    /// Its namespace.
    pub namespace: String,
    /// The cluster's address for its front.
    pub front: SocketAddr,
}

impl Bazaar {
    /// Opens one in a namespace that is there, the cluster's `number`th, and waits until all of its pods are ready.
    ///
    /// # Errors
    /// They do not get so.
    pub fn open(cluster: &Cluster, namespace: &str, number: u8) -> Result<Self> {
        for (name, last) in [("front", 1), ("stock", 2), ("database", 3)] {
            cluster.is_called(
                &format!("{name}.{namespace}"),
                Ipv4Addr::new(10, 96, number, last),
            )?;
        }
        let file = workload::file("kubernetes/bazaar.yaml")?;
        let manifests = std::fs::read_to_string(&file)?;
        let manifests = manifests
            .replace("NAMESPACE", namespace)
            .replace("10.96.N.", &format!("10.96.{number}."));
        cluster.apply(&manifests)?;
        let shop = Self {
            namespace: namespace.to_owned(),
            front: (Ipv4Addr::new(10, 96, number, 1), 80).into(),
        };
        shop.is_open(cluster)?;
        Ok(shop)
    }

    /// An order, and whether the front answers it with what the database said.
    ///
    /// # Errors
    /// It does not.
    pub fn order(&self, id: &str) -> Result<()> {
        let answer = http::connect(self.front)?.call("GET", &format!("/order/{id}"), "front", b"")?;
        let (status, text) = (answer.status(), answer.text());
        ensure!(
            status == 200 && text == format!("{id} is left"),
            "{id}: {status} {text}"
        );
        Ok(())
    }

    /// Waits until all of its pods are ready.
    ///
    /// # Errors
    /// They do not get so.
    pub fn is_open(&self, cluster: &Cluster) -> Result<()> {
        for workload in ["statefulset/database", "deployment/stock", "deployment/front"] {
            cluster
                .rolled_out(&self.namespace, workload)
                .context("a shop that is open")?;
        }
        Ok(())
    }
}
