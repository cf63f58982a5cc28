//! What foreign servers are made of: programs that are built once into the cache, keys, and settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::child::{self, Child};
use crate::port;
use crate::workload::{built, file};

/// nats-server, of the Go module in `foreign/go`.
pub(super) fn nats() -> Result<PathBuf> {
    go("nats-server", "github.com/nats-io/nats-server/v2")
}

/// The program `ferret` of the same module. Of the databases in which FerretDB can keep its documents, one will do.
pub(super) fn ferret() -> Result<PathBuf> {
    go("ferret", "./ferret")
}

fn go(name: &str, package: &str) -> Result<PathBuf> {
    let sources = ["go/go.mod", "go/go.sum", "go/ferret/main.go"];
    let sources = sources.map(|name| file(&format!("foreign/{name}")));
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
    built(name, &sources, |output| {
        let mut command = Command::new("go");
        command.args(["build", "-buildvcs=false", "-tags", "ferretdb_no_sqlite", "-o"]);
        command.arg(output).arg(package);
        command.current_dir(sources[0].parent().unwrap_or(Path::new("/")));
        command
    })
}

/// A Java that starts quickly, with what `mvn GOALS` makes of the Maven project `NAME` with these `sources`.
pub(crate) fn java(name: &str, sources: &[&str], goals: &[&str]) -> Result<Command> {
    let sources = sources
        .iter()
        .map(|source| file(&format!("foreign/{name}/{source}")));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let folder = built(name, &sources, |output| {
        let mut command = Command::new("mvn");
        command.args(["-q", "-B", "-ntp", "-f"]).arg(&sources[0]);
        command.arg(format!("-Doutput={}", output.display()));
        command.args(goals);
        command
    })?;
    let mut command = child::command("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp"]);
    command.arg(format!("{0}/classes:{0}/dependency/*", folder.display()));
    Ok(command)
}

/// The program `Echo` of `foreign/dubbo`.
pub(super) fn dubbo() -> Result<Command> {
    let goals = ["compile", "dependency:copy-dependencies"];
    let mut command = java("dubbo", &["pom.xml", "Echo.java"], &goals)?;
    // This Dubbo makes classes in a way that Java has come to forbid.
    command.args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "Echo"]);
    Ok(command)
}

/// A broker that is its own controller, in `folder`.
pub(super) fn kafka(address: SocketAddr, folder: &Path) -> Result<Command> {
    let controller = port::free()?;
    let settings = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         num.partitions=1\n",
        folder.join("data").display()
    );
    let file = folder.join("server.properties");
    std::fs::write(&file, settings)?;
    let java = || java("kafka", &["pom.xml"], &["dependency:copy-dependencies"]);
    let mut format = java()?;
    format.args([
        "kafka.tools.StorageTool",
        "format",
        "-t",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "-c",
    ]);
    format.arg(&file);
    Child::spawn(format)?.succeed()?;
    let mut command = java()?;
    command.arg("kafka.Kafka").arg(file);
    Ok(command)
}

/// A key and a certificate that it signed itself, in `folder`.
pub(super) fn certificate(folder: &Path) -> Result<()> {
    let mut command = child::command("openssl");
    command.current_dir(folder);
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    command.args([
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-keyout",
        "key.pem",
        "-out",
        "certificate.pem",
    ]);
    Child::spawn(command)?.succeed()?;
    Ok(())
}

/// OpenSSH's server with keys of its own in `folder`: its own, and that of whoever may log in.
pub(super) fn sshd(address: SocketAddr, folder: &Path) -> Result<Command> {
    let at = |name: &str| folder.join(name).display().to_string();
    for key in ["host", "key"] {
        let mut command = child::command("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]);
        Child::spawn(command)?.succeed()?;
    }
    let settings = format!(
        "Port {}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\n\
         StrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin yes\n",
        address.port(),
        address.ip(),
        at("host"),
        at("key.pub")
    );
    std::fs::write(folder.join("config"), settings)?;
    // The system's start-up makes it, where there is one.
    std::fs::create_dir_all("/run/sshd")?;
    // It insists on its whole path, by which it executes itself.
    let mut command = child::command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", &at("config")]);
    Ok(command)
}
