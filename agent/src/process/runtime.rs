//! Language runtimes: which one a process has, and its version where a file beside it says so.
//! Semantic conventions: resource/process, "Process runtimes".

use super::elf;
use super::root::Root;
use std::fs::File;
use std::path::Path;

/// What is read beside an executable is short.
pub(super) const MAX_TEXT: usize = 64 << 10;

/// A language runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `process.runtime.name`, in the words of the conventions.
    pub name: &'static str,
    /// `process.runtime.version`, where it is known in full.
    pub version: Option<String>,
}

/// Kinds of executables, by the way their command line names what they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Python,
    PyPy,
    Node,
    Java,
    Ruby,
    Perl,
    Php,
    DotNet,
    Erlang,
    Shell,
    /// One executable of many commands: the first argument is the name.
    MultiCall,
    /// It is what it runs.
    Native,
}

impl Family {
    /// By the file name of an executable, with or without its version (`python3.11`).
    pub(super) fn of(executable: &str) -> Self {
        match executable.trim_end_matches(|end: char| end.is_ascii_digit() || matches!(end, '.' | '-')) {
            "python" => Self::Python,
            "pypy" => Self::PyPy,
            "node" | "nodejs" | "bun" | "deno" => Self::Node,
            "java" => Self::Java,
            "ruby" | "jruby" | "truffleruby" => Self::Ruby,
            "perl" => Self::Perl,
            "php" => Self::Php,
            "dotnet" => Self::DotNet,
            "beam.smp" | "beam" => Self::Erlang,
            "sh" | "bash" | "dash" | "zsh" | "ksh" | "fish" => Self::Shell,
            "busybox" | "toybox" | "coreutils" => Self::MultiCall,
            _ => Self::Native,
        }
    }
}

/// The runtime of a process. `open` opens its executable.
pub(super) fn describe(
    family: Family,
    executable: Option<&Path>,
    root: Option<&Root>,
    open: impl FnOnce() -> Option<File>,
) -> Option<Runtime> {
    let file_name = executable
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // PREFIX/bin/EXECUTABLE
    let prefix = executable.and_then(Path::parent).and_then(Path::parent);
    let text = |path: &str| root?.text(&prefix?.join(path), MAX_TEXT);
    let (name, version) = match family {
        Family::Python => {
            let header = text(&format!("include/{file_name}/patchlevel.h"));
            ("cpython", header.and_then(|header| python_version(&header)))
        }
        Family::PyPy => ("pypy", None),
        Family::Node if file_name.starts_with("node") => (
            "nodejs",
            text("include/node/node_version.h").and_then(|header| node_version(&header)),
        ),
        Family::Java => {
            let release = text("release").or_else(|| text("../release"));
            return Some(java(&release.unwrap_or_default()));
        }
        Family::Ruby if file_name.starts_with("ruby") => ("ruby", None),
        Family::DotNet => (".NET", None),
        Family::Erlang => ("BEAM", None),
        Family::Native => (
            "go",
            elf::go_version(open()?)
                .map(Some)?
                .filter(|version| !version.is_empty()),
        ),
        _ => return None,
    };
    Some(Runtime { name, version })
}

/// `#define PY_VERSION "3.11.2"`, where the headers are installed.
fn python_version(header: &str) -> Option<String> {
    let line = header
        .lines()
        .find_map(|line| line.strip_prefix("#define PY_VERSION"))?;
    line.split('"').nth(1).map(str::to_owned)
}

fn node_version(header: &str) -> Option<String> {
    let part = |name: &str| {
        let line = header
            .lines()
            .find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name))?;
        line.trim().parse::<u32>().ok()
    };
    Some(format!(
        "{}.{}.{}",
        part("NODE_MAJOR_VERSION ")?,
        part("NODE_MINOR_VERSION ")?,
        part("NODE_PATCH_VERSION ")?
    ))
}

/// `release`, the file that every JDK has beside `bin`: lines of `NAME="VALUE"`.
pub(super) fn java(release: &str) -> Runtime {
    let value = |name: &str| {
        let line = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
    };
    let commercial = value("BUILD_TYPE").as_deref() == Some("commercial");
    let name = if commercial {
        "Java(TM) SE Runtime Environment"
    } else {
        "OpenJDK Runtime Environment"
    };
    Runtime {
        name,
        version: value("JAVA_RUNTIME_VERSION"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Folder;
    use super::*;

    #[test]
    fn families() {
        for (name, family) in [
            ("python3.11", Family::Python),
            ("python", Family::Python),
            ("pypy3.10", Family::PyPy),
            ("node", Family::Node),
            ("nodejs", Family::Node),
            ("ruby3.1", Family::Ruby),
            ("php8.2", Family::Php),
            ("php-fpm8.2", Family::Native),
            ("beam.smp", Family::Erlang),
            ("nginx", Family::Native),
            ("busybox", Family::MultiCall),
            ("", Family::Native),
            ("7.4", Family::Native),
        ] {
            assert_eq!(Family::of(name), family, "{name}");
        }
    }

    #[test]
    fn versions_from_what_lies_beside() {
        let folder = Folder::new();
        folder.write(
            "usr/include/python3.11/patchlevel.h",
            "#define PY_MAJOR_VERSION 3\n#define PY_VERSION      \"3.11.2\"\n",
        );
        folder.write(
            "usr/include/node/node_version.h",
            "#define NODE_MAJOR_VERSION 20\n#define NODE_MINOR_VERSION 11\n#define NODE_PATCH_VERSION 1\n",
        );
        folder.write(
            "jdk/release",
            "IMPLEMENTOR=\"Debian\"\nJAVA_RUNTIME_VERSION=\"17.0.13+11-Debian-2deb12u1\"\n",
        );
        folder.write("jdk/jre/bin/java", "");
        let root = Root::new(File::open(folder.path("")).unwrap());
        let check = |executable: &str, expect: Option<(&'static str, Option<&str>)>| {
            let family = Family::of(executable.rsplit('/').next().unwrap());
            let found = describe(family, Some(Path::new(executable)), Some(&root), || None);
            let expect = expect.map(|(name, version)| Runtime {
                name,
                version: version.map(str::to_owned),
            });
            assert_eq!(found, expect, "{executable}");
        };
        check("/usr/bin/python3.11", Some(("cpython", Some("3.11.2"))));
        check("/usr/bin/python3.9", Some(("cpython", None)));
        check("/usr/bin/node", Some(("nodejs", Some("20.11.1"))));
        check(
            "/jdk/bin/java",
            Some(("OpenJDK Runtime Environment", Some("17.0.13+11-Debian-2deb12u1"))),
        );
        check(
            "/jdk/jre/bin/java",
            Some(("OpenJDK Runtime Environment", Some("17.0.13+11-Debian-2deb12u1"))),
        );
        check("/usr/bin/bash", None);
        check("/usr/bin/bun", None);
        check("/usr/sbin/nginx", None);
        let oracle = java("BUILD_TYPE=\"commercial\"\nJAVA_RUNTIME_VERSION=\"17+35\"\n");
        assert_eq!(
            oracle,
            Runtime {
                name: "Java(TM) SE Runtime Environment",
                version: Some("17+35".into())
            }
        );
    }
}
