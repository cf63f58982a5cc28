//! Language runtimes: which one a process has, and its version where a file beside it says so.
//! Semantic conventions: resource/process, "Process runtimes", which has a rule for each.

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
    /// `process.runtime.description`, where the conventions have one for this runtime, and it is known to the letter.
    pub description: Option<String>,
}

/// Runtimes whose description is in what belongs to them.
const DESCRIBED: [&str; 6] = [COMMERCIAL, OPEN_JDK, ".NET", ".NET Core", "BEAM", "ruby"];

const COMMERCIAL: &str = "Java(TM) SE Runtime Environment";
const OPEN_JDK: &str = "OpenJDK Runtime Environment";

impl Runtime {
    pub(super) const fn new(name: &'static str, version: Option<String>) -> Self {
        Self {
            name,
            version,
            description: None,
        }
    }

    /// Whether nothing more of it is to be found by looking longer.
    pub(super) fn is_complete(&self) -> bool {
        self.version.is_some() && (self.description.is_some() || !DESCRIBED.contains(&self.name))
    }

    /// One of which constant data says this.
    pub(super) fn told(name: &'static str, text: Option<String>) -> Self {
        match (name, text) {
            ("cpython", Some(text)) => Self::new(name, Some(implementation_version(&text))),
            ("ruby", Some(text)) => ruby(text),
            (_, text) => Self::new(name, text),
        }
    }
}

/// `sys.implementation.version` joined by dots, of `PY_VERSION`: `3.13.0rc1+` is `3.13.0.candidate.1`.
fn implementation_version(text: &str) -> String {
    let text = text.trim_end_matches('+');
    for (short, level) in [("rc", "candidate"), ("a", "alpha"), ("b", "beta")] {
        if let Some((version, serial)) = text.split_once(short) {
            return format!("{version}.{level}.{serial}");
        }
    }
    text.to_owned()
}

/// `RUBY_DESCRIPTION` has `RUBY_VERSION` in it. What options such as `--yjit` put into it is not known; from 3.4 on there is
/// something of that in it without any.
fn ruby(description: String) -> Runtime {
    let version = description.split(' ').nth(1).unwrap_or_default();
    let version = version.split('p').next().unwrap_or_default().to_owned();
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let is_whole = (numbers.next(), numbers.next()) < (Some(3), Some(4));
    Runtime {
        name: "ruby",
        version: Some(version),
        description: is_whole.then_some(description),
    }
}

/// The runtime of .NET in a folder `VERSION`. `Environment.Version` has no label of a preview, `FrameworkDescription` has.
pub(super) fn dot_net(folder: Option<String>) -> Runtime {
    let major = |version: &str| version.split('.').next()?.parse::<u32>().ok();
    let name = match folder.as_deref().and_then(major) {
        Some(..5) => ".NET Core",
        _ => ".NET",
    };
    let version = folder.as_deref().and_then(|folder| folder.split('-').next());
    Runtime {
        name,
        version: version.map(str::to_owned),
        // Before .NET Core 3 it gives another number.
        description: folder
            .filter(|folder| major(folder).is_some_and(|major| major >= 3))
            .map(|folder| format!("{name} {folder}")),
    }
}

/// Erlang's, by the release of OTP and the version of its runtime system.
pub(super) fn beam(otp: Option<&str>, erts: Option<&str>) -> Runtime {
    let description = otp
        .zip(erts)
        .map(|(otp, erts)| format!("Erlang/OTP {otp} erts-{erts}"));
    Runtime {
        name: "BEAM",
        version: erts.map(str::to_owned),
        description,
    }
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
    Some(Runtime::new(name, version))
}

/// `#define PY_VERSION "3.11.2"`, where the headers are installed.
fn python_version(header: &str) -> Option<String> {
    let line = header
        .lines()
        .find_map(|line| line.strip_prefix("#define PY_VERSION"))?;
    line.split('"').nth(1).map(implementation_version)
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
    let commercial = of_release(release, "BUILD_TYPE").as_deref() == Some("commercial");
    let name = if commercial { COMMERCIAL } else { OPEN_JDK };
    Runtime::new(name, of_release(release, "JAVA_RUNTIME_VERSION"))
}

/// The same, with what HotSpot says of itself: `NAME (VERSION) for linux-MACHINE JRE (VERSION OF THE RUNTIME)`, name and version
/// being those of the virtual machine. Who made that is in the file alone.
pub(super) fn java_with(release: &str, machine: Option<&str>) -> Runtime {
    let told = java(release);
    let Some((name, rest)) = machine.and_then(|text| text.split_once(" (")) else {
        return told;
    };
    let within = |text: &str| text.split_once(')').map(|(version, _)| version.to_owned());
    let version = rest.split_once(" JRE (").and_then(|(_, rest)| within(rest));
    let description = of_release(release, "IMPLEMENTOR")
        .zip(within(rest))
        .map(|(vendor, version)| format!("{vendor} {name} {version}"));
    Runtime {
        version: told.version.or(version),
        description,
        ..told
    }
}

fn of_release(release: &str, name: &str) -> Option<String> {
    let line = release
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
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
            let expect = expect.map(|(name, version)| Runtime::new(name, version.map(str::to_owned)));
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
        let expect = Runtime::new("Java(TM) SE Runtime Environment", Some("17+35".into()));
        assert_eq!(oracle, expect);
    }

    /// Name, version and description.
    type Told = (&'static str, Option<&'static str>, Option<&'static str>);

    fn check(found: Runtime, expect: Told) {
        let (name, version, description) = expect;
        let expect = (name, version.map(str::to_owned), description.map(str::to_owned));
        assert_eq!((found.name, found.version, found.description), expect);
    }

    /// The examples are those of the conventions, where they have some.
    #[test]
    fn runtimes_are_described_as_the_conventions_have_it() {
        let temurin = "IMPLEMENTOR=\"AdoptOpenJDK\"\nJAVA_VERSION=\"11.0.8\"\n";
        let machine = |name: &str, version: &str| {
            format!("{name} ({version}) for linux-amd64 JRE ({version}), built on Jul 15 2020 by \"x\"")
        };
        let hotspot = machine("OpenJDK 64-Bit Server VM", "11.0.8+10");
        check(
            java_with(temurin, Some(&hotspot)),
            (
                OPEN_JDK,
                Some("11.0.8+10"),
                Some("AdoptOpenJDK OpenJDK 64-Bit Server VM 11.0.8+10"),
            ),
        );
        check(java_with(temurin, None), (OPEN_JDK, None, None));
        check(java_with("", Some(&hotspot)), (OPEN_JDK, Some("11.0.8+10"), None));
        check(
            java_with(
                "",
                Some("OpenJDK 64-Bit Server VM (25.402-b06) for linux-amd64 JRE (1.8.0_402-b06)"),
            ),
            (OPEN_JDK, Some("1.8.0_402-b06"), None),
        );
        check(java_with(temurin, Some("nonsense")), (OPEN_JDK, None, None));
        check(
            dot_net(Some("7.0.14".into())),
            (".NET", Some("7.0.14"), Some(".NET 7.0.14")),
        );
        check(
            dot_net(Some("9.0.0-preview.1.24080.9".into())),
            (".NET", Some("9.0.0"), Some(".NET 9.0.0-preview.1.24080.9")),
        );
        check(
            dot_net(Some("3.1.32".into())),
            (".NET Core", Some("3.1.32"), Some(".NET Core 3.1.32")),
        );
        check(
            dot_net(Some("2.1.30".into())),
            (".NET Core", Some("2.1.30"), None),
        );
        check(dot_net(None), (".NET", None, None));
        check(
            beam(Some("23"), Some("11.1")),
            ("BEAM", Some("11.1"), Some("Erlang/OTP 23 erts-11.1")),
        );
        check(beam(None, Some("11.1")), ("BEAM", Some("11.1"), None));
        let ruby = "ruby 2.7.1p83 (2020-03-31 revision a0c7c23c9c) [x86_64-darwin19]";
        check(
            Runtime::told("ruby", Some(ruby.into())),
            ("ruby", Some("2.7.1"), Some(ruby)),
        );
        check(
            Runtime::told(
                "ruby",
                Some("ruby 3.4.1 (2024-12-25 revision 48d4efcb85) [x86_64-linux]".into()),
            ),
            ("ruby", Some("3.4.1"), None),
        );
        for (text, version) in [
            ("3.8.6", "3.8.6"),
            ("3.12.1+", "3.12.1"),
            ("3.13.0rc1+", "3.13.0.candidate.1"),
            ("3.14.0a2", "3.14.0.alpha.2"),
            ("3.14.0b4", "3.14.0.beta.4"),
        ] {
            check(
                Runtime::told("cpython", Some(text.into())),
                ("cpython", Some(version), None),
            );
        }
        check(
            Runtime::told("nodejs", Some("14.15.4".into())),
            ("nodejs", Some("14.15.4"), None),
        );
    }
}
