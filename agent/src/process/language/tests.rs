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
        let expect = expect.map(|(name, version)| Runtime {
            name,
            version: version.map(str::to_owned),
        });
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
        b"\x00ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]",
        Some("3.1.2"),
    );
    check(&PHP, b"X-Powered-By: PHP/8.2.29", Some("8.2.29"));
    check(
        &RUSTC,
        b"GCC\x00rustc version 1.97.0-nightly (0123)\x00",
        Some("1.97.0-nightly"),
    );
}
