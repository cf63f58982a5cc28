use super::*;
use std::process::{Child, Command, Stdio};

/// Ended with the test.
struct Running(Child);

impl Running {
    /// A program that waits for its input to end. `None` where it is not installed.
    fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().ok().map(Self)
    }

    /// What is found, once it is what is looked for; an interpreter loads its libraries after its start.
    fn language(&self, expect: &str) -> Runtime {
        let mut found = None;
        for _ in 0..200 {
            let proc = Proc::host();
            found = proc
                .identity(self.0.id())
                .ok()
                .and_then(|it| Languages::default().of(&proc, &it));
            if found
                .as_ref()
                .is_some_and(|it| it.name == expect && it.version.is_some())
            {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        found.expect("a language")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The version that is found is the one that the program tells of itself.
fn check(program: &str, waits: &[&str], version: &[&str], name: &str) {
    let Some(running) = Running::start(program, waits) else {
        eprintln!("{program} is not installed");
        return;
    };
    let found = running.language(name);
    let told = said(program, version);
    assert_eq!(found.name, name, "{program}");
    let version = found.version.expect("a version");
    assert!(told.contains(&version), "{program}: {version} {told}");
}

#[test]
fn interpreters_that_are_installed_tell_their_version_by_their_files() {
    check(
        "/usr/bin/python3.11",
        &["-c", "input()"],
        &["--version"],
        "cpython",
    );
    check(
        "/usr/bin/node",
        &["-e", "process.stdin.resume()"],
        &["--version"],
        "nodejs",
    );
    check("/usr/bin/ruby3.1", &["-e", "gets"], &["--version"], "ruby");
    check("/usr/bin/php8.2", &["-r", "fgets(STDIN);"], &["--version"], "php");
}

/// The runtime that a process would have that runs this program with this file in its memory, as this host has them.
fn of_files(executable: &Path, file: Option<&Path>) -> Runtime {
    let root = Proc::host().root_of(std::process::id()).unwrap();
    let program = Program {
        executable: executable.to_owned(),
        files: file.into_iter().map(Path::to_owned).collect(),
        root: Some(&root),
    };
    let open = || File::open(executable).ok();
    Languages::default()
        .interpreter(&program, &open)
        .expect("a runtime")
}

#[test]
fn machines_of_java_that_are_installed_are_described_as_they_describe_themselves() {
    let homes = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    for home in homes.map(|entry| entry.path()) {
        let java = home.join("bin/java");
        if home.is_symlink() || !java.exists() {
            continue;
        }
        let told = said(java.to_str().unwrap(), &["-XshowSettings:properties", "-version"]);
        let property = |name: &str| {
            let mut lines = told.lines();
            let value = lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = "));
            value.unwrap_or_else(|| panic!("{name} in {told}")).to_owned()
        };
        let description = ["java.vm.vendor", "java.vm.name", "java.vm.version"].map(property);
        let library = home.join("lib/server/libjvm.so");
        let found = of_files(&java, Some(&library));
        assert_eq!(found.name, property("java.runtime.name"));
        assert_eq!(found.version, Some(property("java.runtime.version")));
        assert_eq!(found.description, Some(description.join(" ")));
        assert!(found.is_complete());
    }
}

#[test]
fn erlang_and_ruby_that_are_installed_are_described_as_they_describe_themselves() {
    let ask = "io:format(\"~s ~s\", [erlang:system_info(otp_release), erlang:system_info(version)]), halt().";
    for folder in std::fs::read_dir("/usr/lib/erlang")
        .into_iter()
        .flatten()
        .flatten()
    {
        let machine = folder.path().join("bin/beam.smp");
        if !machine.exists() {
            continue;
        }
        let told = said("erl", &["-noinput", "-eval", ask]);
        let (otp, erts) = told.split_once(' ').expect("two of them");
        let expect = Runtime {
            name: "BEAM",
            version: Some(erts.to_owned()),
            description: Some(format!("Erlang/OTP {otp} erts-{erts}")),
        };
        assert_eq!(of_files(&machine, None), expect);
    }
    if let Some(running) = Running::start("/usr/bin/ruby3.1", &["-e", "gets"]) {
        let found = running.language("ruby");
        let told = said(
            "/usr/bin/ruby3.1",
            &["-e", "print RUBY_VERSION, '/', RUBY_DESCRIPTION"],
        );
        let (version, description) = told.split_once('/').expect("two of them");
        assert_eq!(found.version.as_deref(), Some(version));
        assert_eq!(found.description.as_deref(), Some(description));
    }
}

#[test]
fn python_under_another_name_is_python() {
    let folder = super::super::fake::Folder::new();
    folder.write("worker", "");
    let worker = folder.path("worker");
    if std::fs::copy("/usr/bin/python3.11", &worker).is_err() {
        return;
    }
    let running = Running::start(worker.to_str().unwrap(), &["-c", "input()"]).unwrap();
    let found = running.language("cpython");
    let told = said("/usr/bin/python3.11", &["--version"]);
    assert!(told.contains(&found.version.expect("a version")), "{told}");
}

#[test]
fn this_test_is_written_in_rust() {
    let proc = Proc::host();
    let identity = proc.identity(std::process::id()).unwrap();
    let found = Languages::default().of(&proc, &identity).unwrap();
    assert_eq!(found.name, "rust");
    let compiler = said("rustc", &["--version"]);
    let version = found.version.unwrap();
    assert!(
        compiler.is_empty() || version.starts_with(|first: char| first.is_ascii_digit()),
        "{version}"
    );
}

#[test]
fn runtimes_that_cannot_be_had_here_by_files_as_they_would_be_in_memory() {
    let check = |executable: &str, files: &[&str], expect: Option<(&'static str, Option<&str>)>| {
        let program = Program {
            executable: executable.into(),
            files: files.iter().map(PathBuf::from).collect(),
            root: None,
        };
        let found = Languages::default().interpreter(&program, &|| None);
        let found = found.map(|runtime| (runtime.name, runtime.version));
        let expect = expect.map(|(name, version)| (name, version.map(str::to_owned)));
        assert_eq!(found, expect, "{executable} {files:?}");
    };
    let shared = "/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.11";
    check(
        "/usr/share/dotnet/dotnet",
        &[&format!("{shared}/libcoreclr.so")],
        Some((".NET", Some("8.0.11"))),
    );
    check("/app/Shop", &["/app/libcoreclr.so"], Some((".NET", None)));
    check(
        "/usr/lib/erlang/erts-13.1.5/bin/beam.smp",
        &[],
        Some(("BEAM", Some("13.1.5"))),
    );
    check("/opt/beam.smp", &[], Some(("BEAM", None)));
    check(
        "/usr/sbin/uwsgi",
        &["/usr/lib/libpython3.11.so.1.0"],
        Some(("cpython", None)),
    );
    check(
        "/usr/sbin/apache2",
        &["/usr/lib/apache2/modules/libphp8.2.so"],
        Some(("php", None)),
    );
    check("/usr/sbin/nginx", &["/usr/lib/x86_64-linux-gnu/libc.so.6"], None);
    check("/x", &["/data/libpython.txt"], None);
}

#[test]
fn versions_as_constant_data_has_them() {
    let check = |pattern: &Regex, data: &[u8], expect: Option<&str>| {
        let found = pattern
            .captures(data)
            .map(|found| String::from_utf8_lossy(&found[1]).into_owned());
        assert_eq!(found.as_deref(), expect, "{}", String::from_utf8_lossy(data));
    };
    check(&PYTHON, b"x\x001.2.13\x003.11.2\x00", Some("3.11.2"));
    check(&PYTHON, b"\x003.13.0rc1+\x00", Some("3.13.0rc1+"));
    check(&PYTHON, b"\x003.40.1\x00", None);
    check(
        &NODE,
        b"https://nodejs.org/download/release/v20.20.2/node-v20.20.2.tar.gz",
        Some("20.20.2"),
    );
    check(
        &RUBY,
        b"\x00ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) +YJIT [x86_64-linux-gnu]\0\
          ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]\0",
        Some("ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]"),
    );
    check(
        &OTP,
        b"Erlang/OTP 25 compiler\nErlang/OTP 25%s [erts-13.1.5] [source]",
        Some("25"),
    );
    check(
        &OTP,
        b"Erlang/OTP 27 [RELEASE CANDIDATE 1]%s [erts-15.0]",
        Some("27"),
    );
    check(
        &HOTSPOT,
        b"\0OpenJDK 64-Bit Server VM\0OpenJDK 64-Bit Server VM (17.0.15+6-Debian) for linux-amd64 JRE (17.0.15+6-Debian), built",
        Some("OpenJDK 64-Bit Server VM (17.0.15+6-Debian) for linux-amd64 JRE (17.0.15+6-Debian)"),
    );
    check(&PHP, b"X-Powered-By: PHP/8.2.29", Some("8.2.29"));
    check(
        &RUSTC,
        b"GCC\x00rustc version 1.97.0-nightly (0123)\x00",
        Some("1.97.0-nightly"),
    );
}
