//! Debian packages: what is installed, what can be, and installing it without starting any service.

use super::Done;
use super::needs::{Need, advice};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::collections::HashSet;
use std::process::Command;

/// Another apt may be at work, and it may take its time.
const LOCK: &str = "DPkg::Lock::Timeout=400";

/// Debian starts a service as soon as it is installed, unless this file says no: we want the programs only.
/// An administrator's own file is left alone.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
DEBIAN_FRONTEND=noninteractive apt-get -q -y -o "$1" -o Dpkg::Use-Pty=0 install --no-install-recommends $2
"#;

/// Installs those of `needs` that are missing; `purpose` is what they are for.
pub(crate) fn ensure_needs(needs: &'static [Need], purpose: &str) -> Result<Done> {
    let wanted: Vec<_> = needs
        .iter()
        .filter(|need| need.program.is_none_or(|it| shell::find(it).is_none()))
        .collect();
    let packages: Vec<_> = wanted.iter().map(|need| need.package).collect();
    ensure(&packages, purpose)
}

/// As [`ensure_needs`], by package name.
pub(crate) fn ensure(packages: &[&str], purpose: &str) -> Result<Done> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(Done::Nothing);
    }
    println!("setup: installing Debian packages: {purpose}");
    install_names(&missing)?;
    Ok(Done::Installed)
}

/// Whether the package lists know all of `packages`; reads the lists anew when they do not.
pub(crate) fn offers(packages: &[&str]) -> Result<bool> {
    if shell::find("apt-get").is_none() {
        return Ok(false);
    }
    if have_candidates(packages) {
        return Ok(true);
    }
    update()?;
    Ok(have_candidates(packages))
}

/// Whether all of `packages` are installed.
pub(crate) fn has(packages: &[&str]) -> bool {
    missing(packages).is_ok_and(|missing| missing.is_empty())
}

/// Whether the package lists, as they are, know all of `packages`.
pub(crate) fn have_candidates(packages: &[&str]) -> bool {
    packages.iter().all(|package| has_candidate(package))
}

/// The packages of `needs`.
pub(crate) fn names(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().map(|need| need.package).collect()
}

/// Installs `needs`.
pub(crate) fn install(needs: &[Need]) -> Result<()> {
    install_names(&names(needs))
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    if shell::find("dpkg-query").is_none() {
        bail!(
            "these Debian packages, or what your distribution calls them, are needed: {}",
            packages.join(" ")
        );
    }
    // It ends with a status of 1 when it does not know one of them, and prints the others.
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f", "${db:Status-Abbrev}${Package}\\n"])
        .args(packages);
    let answer = query
        .output()
        .with_context(|| format!("starting `{}`", shell::line(&query)))?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    let installed = installed(&answer);
    Ok(packages
        .iter()
        .copied()
        .filter(|package| !installed.contains(package))
        .collect())
}

/// The packages that dpkg-query calls installed: lines such as `ii nginx`, where `rc` means removed.
fn installed(answer: &str) -> HashSet<&str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("ii "))
        .map(str::trim)
        .collect()
}

fn has_candidate(package: &str) -> bool {
    let policy = shell::output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy.lines().any(|line| {
        line.trim()
            .strip_prefix("Candidate:")
            .is_some_and(|version| version.trim() != "(none)")
    })
}

fn install_names(packages: &[&str]) -> Result<()> {
    if shell::find("apt-get").is_none() {
        bail!(advice("there is no apt-get here", None));
    }
    if !have_candidates(packages) {
        update()?;
    }
    let install = || {
        println!("  # apt-get install {}", packages.join(" "));
        let mut command = shell::as_root("sh")?;
        shell::run_silently(command.args(["-c", INSTALL, "sh", LOCK, &packages.join(" ")]))
    };
    install().or_else(|first| {
        // Old lists name versions that the mirror no longer has.
        println!("setup: that failed ({first:#}); once more with new package lists");
        update()?;
        install()
    })
}

/// Reads the package lists anew.
pub(crate) fn update() -> Result<()> {
    println!("setup: reading Debian's package lists");
    let mut command = shell::as_root("apt-get")?;
    shell::run(command.args(["-q", "-o", LOCK, "update"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_and_half_installed_packages_are_missing() {
        let answer = "ii nginx\nrc redis-server\niF curl\nii cpio\n";
        assert_eq!(installed(answer), HashSet::from(["nginx", "cpio"]));
    }

    #[test]
    fn a_package_that_is_not_there_is_missing() -> Result<()> {
        if shell::find("dpkg-query").is_none() {
            return Ok(());
        }
        assert_eq!(
            missing(&["dpkg", "no-such-package-as-this"])?,
            ["no-such-package-as-this"]
        );
        Ok(())
    }
}
