//! Kernels out of Debian's packages.

use super::{Kernel, Wanted};
use crate::apt::Apt;
use crate::machine::Machine;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// After this, a newer one of the same line is looked for.
const FRESH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A kernel that can be booted.
pub(super) struct Image {
    /// Such as `6.1.0-40-cloud-amd64`.
    pub(super) version: String,
    pub(super) path: PathBuf,
    /// What it runs on.
    pub(super) machine: Machine,
    /// Hook sets that must load there, with commas between.
    pub(super) must: &'static str,
    /// Whether all is run there.
    pub(super) whole: bool,
}

/// One image a line, from `cache` or fetched into it.
pub(super) fn images(kernels: &[Wanted], cache: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for Wanted { kernel, whole } in kernels {
        let folder = cache.join(kernel.name());
        let old = cached(&folder);
        let image = match &old {
            Some((path, age)) if *age < FRESH => Ok(Some(path.clone())),
            _ => fetch(kernel, cache, &folder),
        };
        let path = match (image, old) {
            (Ok(Some(path)), _) => path,
            (Ok(None), None) if !kernel.kept => {
                println!(
                    "  {}x: Debian no longer has it in {}; not tested",
                    kernel.line, kernel.suite
                );
                continue;
            }
            (Ok(None), None) => bail!("{}x: no package in {}", kernel.line, kernel.suite),
            (Ok(None), Some((path, _))) => path,
            (Err(error), Some((path, _))) => {
                println!("  {}x: keeping the one at hand, since {error:#}", kernel.line);
                path
            }
            (Err(error), None) => return Err(error.context(format!("fetching a kernel {}x", kernel.line))),
        };
        let version = path.file_name().unwrap_or_default().to_string_lossy();
        let version = version.trim_start_matches("vmlinuz-").to_owned();
        images.push(Image {
            version,
            path,
            machine: kernel.machine,
            must: kernel.must,
            whole: *whole,
        });
    }
    Ok(images)
}

/// The image in `folder` and its age.
fn cached(folder: &Path) -> Option<(PathBuf, Duration)> {
    let images = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let path = images
        .filter(|path| path.to_string_lossy().contains("vmlinuz-"))
        .max()?;
    let fetched = fs::metadata(folder.join("fetched")).ok()?.modified().ok()?;
    Some((
        path,
        SystemTime::now().duration_since(fetched).unwrap_or_default(),
    ))
}

/// Downloads the newest of the line and keeps its image alone; `None` when there is none.
fn fetch(kernel: &Kernel, cache: &Path, folder: &Path) -> Result<Option<PathBuf>> {
    println!(
        "  fetching the newest kernel {}x of {}, for {}",
        kernel.line,
        kernel.suite,
        kernel.machine.name()
    );
    let machine = kernel.machine;
    let state = match machine {
        Machine::X86 => kernel.suite.to_owned(),
        Machine::Arm => format!("{}-{}", kernel.suite, machine.debian()),
    };
    let apt = Apt::suite(&cache.join("apt").join(state), machine, kernel.suite)?;
    let names = apt.names(&format!("cloud-{}$", machine.debian()))?;
    let Some((version, packages)) = newest(&names, kernel.line) else {
        return Ok(None);
    };
    let download = cache.join("download");
    for package in packages {
        let file = apt.download(&package, &download)?;
        let image = extract(&file, &version)?;
        fs::remove_dir_all(&download)?;
        if let Some(image) = image {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
            let path = folder.join(format!("vmlinuz-{version}"));
            fs::write(&path, image).with_context(|| format!("writing {}", path.display()))?;
            fs::write(folder.join("fetched"), "")?;
            return Ok(Some(path));
        }
    }
    bail!("no package of {version} holds an image")
}

/// The image in a package, in the old place or, from 7.0 on, the new one; `None` when it has none.
fn extract(package: &Path, version: &str) -> Result<Option<Vec<u8>>> {
    let mut contents = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let archive = contents.stdout.take().context("no output of dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.args([
        "-x",
        "-O",
        &format!("./boot/vmlinuz-{version}"),
        &format!("./usr/lib/modules/{version}/vmlinuz"),
    ]);
    // It calls one of the two missing, and that is as it should be.
    let image = tar
        .stdin(archive)
        .stderr(Stdio::null())
        .output()
        .context("starting tar")?;
    let whole = contents.wait()?.success();
    Ok((whole && !image.stdout.is_empty()).then_some(image.stdout))
}

/// The highest version among `names` that begins with `line`, and its packages that may hold the image.
fn newest(names: &[String], line: &str) -> Option<(String, Vec<String>)> {
    let version = |name: &str| {
        let version = name
            .strip_prefix("linux-binary-")
            .or_else(|| name.strip_prefix("linux-image-"))?;
        version.starts_with(line).then(|| version.to_owned())
    };
    let newest = names
        .iter()
        .filter_map(|name| version(name))
        .max_by_key(|version| numbers(version))?;
    let packages = ["linux-binary-", "linux-image-"].map(|prefix| format!("{prefix}{newest}"));
    let packages = packages
        .into_iter()
        .filter(|package| names.contains(package))
        .collect();
    Some((newest, packages))
}

/// 6, 1, 0, 40 of `6.1.0-40-cloud-amd64`.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_line_is_found_by_number() {
        let names = [
            "linux-image-6.18.9+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-7.2.6+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-image-cloud-amd64",
        ];
        let names = names.map(str::to_owned);
        let check = |line: &str, version: &str, first: &str| {
            let (newest, packages) = newest(&names, line).unwrap_or_default();
            assert_eq!(
                (newest.as_str(), packages.first().map(String::as_str)),
                (version, Some(first))
            );
        };
        check(
            "6.18.",
            "6.18.15+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
        );
        check(
            "7.",
            "7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
        );
        assert!(newest(&names, "5.10.").is_none());
    }
}
