//! The Debian package that `cargo xtask package` makes, named by `SPANWIRE_DEB`: what is in it, and a real dpkg that installs,
//! upgrades, removes and purges it, on overlays of this machine's folders that are gone afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

fn package() -> Result<PathBuf> {
    let path = std::env::var_os("SPANWIRE_DEB").context("SPANWIRE_DEB: cargo xtask test packages sets it")?;
    Ok(std::path::absolute(path)?)
}

/// A field of the control file; empty where there is none.
fn deb_field(name: &str) -> Result<String> {
    deb("--field", &[name])
}

/// What dpkg-deb says of the package when it is asked to `act`, with `arguments` behind it.
fn deb(act: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("dpkg-deb")
        .arg(act)
        .arg(package()?)
        .args(arguments)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn it_has_a_static_binary_and_what_belongs_to_it() -> Result<()> {
    let contents = deb("--contents", &[])?;
    let files: BTreeSet<(&str, &str, &str)> = contents
        .lines()
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some((
                *words.first()?,
                *words.get(1)?,
                words.get(5)?.trim_start_matches('.'),
            ))
        })
        .collect();
    ensure!(
        files
            .iter()
            .all(|(_, owner, _)| matches!(*owner, "root/root" | "0/0")),
        "{contents}"
    );
    let names: BTreeSet<&str> = files.iter().map(|(_, _, name)| *name).collect();
    for name in [
        "/usr/bin/spanwire",
        "/etc/spanwire/spanwire.yaml",
        "/etc/default/spanwire",
        "/usr/lib/systemd/system/spanwire.service",
        "/usr/share/bash-completion/completions/spanwire",
        "/usr/share/doc/spanwire/copyright",
        "/usr/share/man/man1/spanwire.1.gz",
        "/usr/share/man/man1/spanwire-run.1.gz",
        "/usr/share/man/man1/spanwire-services.1.gz",
    ] {
        let there = names.contains(name) || names.contains(name.trim_start_matches("/usr"));
        ensure!(there, "no {name} in {contents}");
    }
    let writable = files.iter().filter(|(mode, ..)| mode[5..].contains('w'));
    ensure!(writable.count() == 0, "{contents}");
    for (name, value) in [("Package", "spanwire"), ("Section", "net")] {
        ensure!(deb_field(name)?.trim() == value, "{name}");
    }
    let needed = deb_field("Depends")?;
    ensure!(
        needed.trim().is_empty(),
        "a static binary needs nothing, and not {needed}"
    );
    Ok(())
}

/// `script` on overlays, with the package as `$1` and a folder of our own as `$0`.
fn on_overlays(script: &str) -> Result<Output> {
    const PREPARE: &str = r#"
        set -e
        # In memory: what holds the folder may itself be an overlay, which cannot be another's upper one.
        mount -t tmpfs none "$0"
        for place in usr etc var; do
            mkdir -p "$0/$place/up" "$0/$place/work"
            mount -t overlay -o "lowerdir=/$place,upperdir=$0/$place/up,workdir=$0/$place/work" overlay "/$place"
        done
        mount -t tmpfs -o mode=755 none /run
        # What systemd's scripts would be called with, and whether they are.
        mkdir -p /run/systemd/system /run/calls
        for name in systemctl deb-systemd-invoke; do
            printf '#!/bin/sh\necho %s "$@" >>/run/calls/all\nexit 0\n' $name >/run/calls/$name
            chmod 755 /run/calls/$name
            mount --bind /run/calls/$name /usr/bin/$name
        done
        touch /run/calls/all
        export DEBIAN_FRONTEND=noninteractive
    "#;
    let own = tempfile::tempdir()?;
    Ok(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("{PREPARE}\n{script}"))
        .arg(own.path())
        .arg(package()?)
        .output()?)
}

fn succeed(script: &str) -> Result<String> {
    let output = on_overlays(script)?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}\n{text}");
    Ok(text)
}

#[test]
fn installed_it_runs_and_is_configured_and_nothing_is_started() -> Result<()> {
    let said = succeed(
        r#"
        dpkg --install "$1"
        spanwire --version
        spanwire config check /etc/spanwire/spanwire.yaml
        man --warnings -l /usr/share/man/man1/spanwire.1.gz >/dev/null
        echo "links: $(find /etc/systemd/system -name 'spanwire*')"
        ! grep -E 'start spanwire|enable spanwire|--now' /run/calls/all
    "#,
    )?;
    ensure!(said.contains("/etc/spanwire/spanwire.yaml: ok"), "{said}");
    ensure!(said.contains("links: \n"), "it was enabled: {said}");
    Ok(())
}

#[test]
fn an_upgrade_keeps_what_the_administrator_wrote_and_restarts_what_runs() -> Result<()> {
    succeed(
        r#"
        dpkg --install "$1"
        echo '# mine' >>/etc/spanwire/spanwire.yaml
        mkdir -p /var/lib/spanwire/spool
        : >/run/calls/all
        dpkg --install "$1" </dev/null
        grep -q '# mine' /etc/spanwire/spanwire.yaml
        test -d /var/lib/spanwire/spool
        cat /run/calls/all
        grep -q 'restart spanwire.service' /run/calls/all
    "#,
    )?;
    Ok(())
}

#[test]
fn removed_it_leaves_configuration_and_purged_it_leaves_nothing_also_twice() -> Result<()> {
    succeed(
        r#"
        find /usr /etc /var/lib/systemd -xdev | sort >/run/before
        dpkg --install "$1"
        mkdir -p /var/lib/spanwire/spool /var/log/spanwire
        dpkg --remove spanwire
        test ! -e /usr/bin/spanwire
        test -e /etc/spanwire/spanwire.yaml
        test -d /var/lib/spanwire/spool
        grep -q 'stop spanwire.service' /run/calls/all
        dpkg --purge spanwire
        test ! -e /var/lib/spanwire -a ! -e /var/log/spanwire
        dpkg --purge spanwire
        find /usr /etc /var/lib/systemd -xdev | sort >/run/after
        diff /run/before /run/after
    "#,
    )?;
    Ok(())
}
