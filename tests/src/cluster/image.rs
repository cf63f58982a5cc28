//! Images of containers: files of this machine, and nothing else.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

/// An image from scratch.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    files: Vec<(PathBuf, PathBuf)>,
    links: Vec<(PathBuf, PathBuf)>,
    user: String,
}

impl Image {
    /// One called `name`, with its tag, that executes `entrypoint`.
    #[must_use]
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
            files: Vec::new(),
            links: Vec::new(),
            user: String::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file, or a folder with all that is in it.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), source.into()));
        self
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, path: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        self.links.push((path.into(), to.into()));
        self
    }

    /// Who its process is: `user:group`, in numbers.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// A program at `path`, with the libraries that it is linked with.
    ///
    /// # Errors
    /// It is no program.
    pub fn program(mut self, path: impl Into<PathBuf>, source: &Path) -> Result<Self> {
        for library in libraries(source)? {
            if self.files.iter().all(|(path, _)| path != &library) {
                self = self.file(&library, &library);
            }
        }
        Ok(self.file(path, source))
    }

    /// Writes it into `folder` as `docker save` does, and gives the file.
    ///
    /// # Errors
    /// A file is missing, or there is no room.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let work = tempfile::tempdir_in(folder)?;
        let root = work.path().join("root");
        for path in ["tmp", "proc", "sys", "dev", "etc", "run"] {
            std::fs::create_dir_all(root.join(path))?;
        }
        std::fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777))?;
        for (path, source) in &self.files {
            let path = within(&root, path)?;
            // By `cp`: a folder keeps its links, owners and modes.
            run(Command::new("cp").args(["-RHp", "--"]).arg(source).arg(path))?;
        }
        for (path, to) in &self.links {
            symlink(to, within(&root, path)?)?;
        }
        let archive = work.path().join("image");
        std::fs::create_dir(&archive)?;
        let layer = archive.join("layer.tar");
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "-C"])
            .arg(&root)
            .arg("-cf")
            .arg(&layer)
            .arg(".");
        run(&mut tar)?;
        let output = Command::new("sha256sum").arg(&layer).output()?;
        let text = String::from_utf8(output.stdout)?;
        let digest = text.split(' ').next().context("a digest")?;
        let configuration = json!({
            "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "User": self.user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        std::fs::write(archive.join("config.json"), configuration.to_string())?;
        let manifest = json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        std::fs::write(archive.join("manifest.json"), manifest.to_string())?;
        let file = folder.join(format!("{}.tar", self.name.replace(['/', ':'], "_")));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&archive).arg("-cf").arg(&file);
        run(tar.args(["manifest.json", "config.json", "layer.tar"]))?;
        Ok(file)
    }
}

/// Where `path` of an image is, its folder being there.
fn within(root: &Path, path: &Path) -> Result<PathBuf> {
    let path = root.join(path.strip_prefix("/").unwrap_or(path));
    std::fs::create_dir_all(path.parent().context("a file")?)?;
    Ok(path)
}

/// The libraries of a program, by the paths under which it looks for them; none of one that is linked statically.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8(output.stdout)?;
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    let all = words.map(|word| PathBuf::from(word.trim_end_matches(':')));
    all.filter(|path| path != program)
        .map(|path| {
            // Libraries are often links to others; the program asks for the link's name.
            ensure!(path.exists(), "no {}", path.display());
            Ok(path)
        })
        .collect()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {message}");
    Ok(())
}
