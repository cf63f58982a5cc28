//! Debian packages of any machine and suite, by apt with sources and state of our own: the machine's stay as they are.

use crate::machine::Machine;
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt on a folder of its own.
pub(crate) struct Apt {
    configuration: PathBuf,
}

impl Apt {
    /// With the packages of a machine from one of Debian's suites, whatever this machine has its own from.
    pub(crate) fn suite(folder: &Path, machine: Machine, suite: &str) -> Result<Self> {
        let source = Source {
            address: mirror()?,
            suite: suite.to_owned(),
        };
        Self::new(folder, machine, &[source])
    }

    /// With the packages of a machine from where this machine has its own Debian from.
    pub(crate) fn beside_this(folder: &Path, machine: Machine) -> Result<Self> {
        Self::new(folder, machine, &sources()?)
    }

    fn new(folder: &Path, machine: Machine, from: &[Source]) -> Result<Self> {
        for inner in ["state/lists/partial", "cache/archives/partial"] {
            let inner = folder.join(inner);
            fs::create_dir_all(&inner).with_context(|| format!("making {}", inner.display()))?;
        }
        let sources = folder.join("sources.list");
        let lines = from.iter().map(|Source { address, suite }| {
            format!(
                "deb [arch={} signed-by={KEYRING}] {address} {suite} main\n",
                machine.debian()
            )
        });
        fs::write(&sources, lines.collect::<String>())?;
        let configuration = folder.join("apt.conf");
        let (folder, machine) = (folder.display(), machine.debian());
        let text = format!(
            "Dir::State \"{folder}/state\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{folder}/cache\";\n\
             Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             APT::Architecture \"{machine}\";\nAPT::Architectures \"{machine}\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n",
            sources.display()
        );
        fs::write(&configuration, text)?;
        let apt = Self { configuration };
        shell::run_silently(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }

    /// Names of packages that match a regular expression.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = shell::output(
            self.command("apt-cache")
                .args(["search", "--names-only", pattern]),
        )?;
        Ok(found
            .lines()
            .filter_map(|line| Some(line.split_once(" - ")?.0.to_owned()))
            .collect())
    }

    /// Downloads a package, or one with `=VERSION`, into a folder that has nothing else afterwards.
    pub(crate) fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        shell::run(
            self.command("apt-get")
                .current_dir(folder)
                .args(["-qq", "download", package]),
        )?;
        let files: Vec<_> = fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        match files.as_slice() {
            [file] => Ok(file.clone()),
            files => bail!("apt-get download {package} left {} files", files.len()),
        }
    }
}

/// A place with packages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    address: String,
    suite: String,
}

/// Where this machine has its Debian from, security updates included.
fn sources() -> Result<Vec<Source>> {
    let format = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
    let mut targets = Command::new("apt-get");
    let known = shell::output(targets.args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let sources = debians(&known);
    if sources.is_empty() {
        bail!(
            "apt knows no Debian mirror here (other distributions: run this part on Debian, or in its container)"
        );
    }
    Ok(sources)
}

/// Debian's own of what apt knows, a line each: origin, address, suite and component.
fn debians(known: &str) -> Vec<Source> {
    let source = |line: &str| {
        let mut fields = line.strip_prefix("Debian|")?.split('|');
        let (address, suite, component) = (fields.next()?, fields.next()?, fields.next()?);
        (component == "main").then(|| Source {
            address: address.to_owned(),
            suite: suite.to_owned(),
        })
    };
    known.lines().filter_map(source).collect()
}

/// The place of them that has the other suites, too.
fn mirror() -> Result<String> {
    let sources = sources()?;
    let main = sources.iter().find(|source| !source.suite.ends_with("-security"));
    Ok(main
        .context("apt knows security updates of Debian alone")?
        .address
        .clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_main_is_taken_of_what_apt_knows() {
        let known = "Debian|http://mirror/debian/|bookworm|main\nDebian|http://mirror/debian/|bookworm|contrib\n\
                     Node Source|https://other/|nodistro|main\nDebian|http://mirror/security/|bookworm-security|main\n";
        let source = |address: &str, suite: &str| Source {
            address: address.to_owned(),
            suite: suite.to_owned(),
        };
        assert_eq!(
            debians(known),
            [
                source("http://mirror/debian/", "bookworm"),
                source("http://mirror/security/", "bookworm-security")
            ]
        );
    }
}
