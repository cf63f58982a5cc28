//! Processes made and real.

use super::super::fake::{FakeProc, FakeProcess, Folder};
use super::super::{Host, Runtime, attributes};
use super::*;
use crate::span::Value;
use std::fs::File;
use std::process::{Child, Command, Stdio};

const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

fn with_container() -> Asks {
    Asks {
        container: true,
        ..Asks::default()
    }
}

#[test]
fn all_that_is_known_of_a_process() {
    let fake = FakeProc::new();
    fake.file(
        "/etc/passwd",
        "root:x:0:0::/root:/bin/sh\nshop:x:1001:1001::/home/shop:/bin/sh\n",
    );
    fake.file("/srv/blog/app.py", "");
    fake.file(
        &format!("/var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/web"}"#,
    );
    fake.add(&FakeProcess {
        comm: "a (b) c",
        executable: "/usr/bin/python3.11 (deleted)",
        arguments: &["python3", "app.py"],
        environment: &[
            "A=1",
            "OTEL_SERVICE_NAME=shop",
            "OTEL_RESOURCE_ATTRIBUTES=service.version=7",
        ],
        directory: "/srv/blog",
        cgroup: &format!("4:memory:/\n1:name=systemd:/docker/{ID}\n0::/system.slice/shop.service\n"),
        uid: 1001,
        ..FakeProcess::default()
    });
    let proc = Proc::at(fake.path());
    let identity = proc.identity(100).unwrap();
    let expect = Identity {
        pid: 100,
        parent: 1,
        start: 5000,
        comm: "a (b) c".into(),
        executable: Some("/usr/bin/python3.11".into()),
        owner: Some("shop".into()),
        runtime: Some(Runtime::new("cpython", None)),
        container: Some(Container {
            id: ID.into(),
            name: Some("web".into()),
            service: None,
            runtime: Some("docker".into()),
            ..Container::default()
        }),
        pod: None,
        unit: Some("shop".into()),
        name: Some("app".into()),
        sdk: Loaded::default(),
        declared: Declared {
            service_name: Some("shop".into()),
            attributes: vec![("service.version".into(), "7".into())],
        },
    };
    assert_eq!(identity, expect);
    assert_eq!(identity.executable_name(), "python3.11");
    let glance = |container: Option<Container>| Glance {
        pid: 100,
        executable: expect.executable.clone(),
        name: "python3.11".into(),
        container,
        is_container_awaited: false,
        pod: None,
        is_in_pod: false,
        command_line: None,
        units: Vec::new(),
        ports: Vec::new(),
    };
    assert_eq!(proc.glance(100, &Asks::default()), Some(glance(None)));
    assert_eq!(
        proc.glance(100, &with_container()),
        Some(glance(expect.container.clone()))
    );
}

#[test]
fn what_is_missing_is_left_out() {
    let fake = FakeProc::new();
    fake.add(&FakeProcess {
        uid: 4711,
        ..FakeProcess::default()
    });
    let proc = Proc::at(fake.path());
    let identity = proc.identity(100).unwrap();
    assert_eq!(
        (
            identity.owner,
            identity.container,
            identity.unit,
            identity.runtime
        ),
        (None, None, None, None)
    );
    assert_eq!(identity.name.as_deref(), Some("server"));
    for name in ["exe", "cwd", "root", "environ", "cmdline", "cgroup", "status"] {
        std::fs::remove_file(fake.path().join("100").join(name)).unwrap();
    }
    let bare = proc.identity(100).unwrap();
    assert_eq!(
        (bare.executable_name(), bare.executable.is_none()),
        ("server", true)
    );
    let glance = Glance {
        pid: 100,
        executable: None,
        name: "server".into(),
        container: None,
        is_container_awaited: false,
        pod: None,
        is_in_pod: false,
        command_line: None,
        units: Vec::new(),
        ports: Vec::new(),
    };
    assert_eq!(proc.glance(100, &with_container()), Some(glance));
    assert_eq!(proc.glance(200, &with_container()), None);
    std::fs::remove_file(fake.path().join("100/stat")).unwrap();
    assert_eq!(proc.identity(100), Err(Unreadable::Gone { pid: 100, comm: None }));
    assert_eq!(proc.identity(200), Err(Unreadable::Gone { pid: 200, comm: None }));
    assert!(proc.has(100) && !proc.has(200));
    assert_eq!(
        proc.pids()
            .into_iter()
            .filter(|pid| *pid >= 100)
            .collect::<Vec<_>>(),
        [100]
    );
}

#[test]
fn broken_files_are_no_process() {
    let fake = FakeProc::new();
    fake.add(&FakeProcess::default());
    for stat in ["", "100", "100 (x", "100 (x) S", "100 (x) S 1 2 3"] {
        std::fs::write(fake.path().join("100/stat"), stat).unwrap();
        assert!(Proc::at(fake.path()).identity(100).is_err(), "{stat}");
    }
}

/// A program of a test's own that says when it runs; ended with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line.trim(), "ready", "{command:?}");
        Self(child)
    }

    fn identity(&self) -> Identity {
        Proc::host().identity(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_python() {
    let folder = Folder::new();
    folder.write(
        "billing.py",
        "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n",
    );
    let mut command = Command::new("python3");
    command
        .current_dir(folder.path(""))
        .args(["-u", "billing.py", "--token", "hunter2"]);
    let running = Running::start(
        command
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.version=3")
            .env_remove("OTEL_SERVICE_NAME"),
    );
    let identity = running.identity();
    assert_eq!(
        (identity.pid, identity.parent),
        (running.0.id(), std::process::id())
    );
    assert!(identity.executable_name().starts_with("python3"), "{identity:?}");
    assert_eq!(identity.name.as_deref(), Some("billing"));
    assert_eq!(
        identity.declared.attributes,
        [("service.version".to_owned(), "3".to_owned())]
    );
    assert_eq!(
        identity.runtime.as_ref().map(|runtime| runtime.name),
        Some("cpython")
    );
    let version = Command::new("python3")
        .args(["-c", "import platform; print(platform.python_version())"])
        .output();
    let version = String::from_utf8(version.unwrap().stdout).unwrap();
    if let Some(found) = identity.runtime.and_then(|runtime| runtime.version) {
        assert_eq!(found, version.trim());
    }
    let start = Process::new(i32::try_from(identity.pid).unwrap())
        .unwrap()
        .stat()
        .unwrap()
        .starttime;
    assert_eq!(identity.start, start);
}

#[test]
fn a_real_node() {
    let folder = Folder::new();
    folder.write("package.json", r#"{"name":"cart"}"#);
    folder.write("src/index.js", "console.log('ready'); process.stdin.resume();\n");
    let mut command = Command::new("node");
    let running = Running::start(command.current_dir(folder.path("src")).arg("index.js"));
    let identity = running.identity();
    assert_eq!(
        (identity.executable_name(), identity.name.as_deref()),
        ("node", Some("cart"))
    );
    assert_eq!(identity.runtime.map(|runtime| runtime.name), Some("nodejs"));
}

#[test]
fn a_real_shell_in_a_real_user_s_name() {
    let folder = Folder::new();
    folder.write("nightly.sh", "echo ready\nread line\n");
    let running = Running::start(Command::new("/bin/sh").arg(folder.path("nightly.sh")));
    let identity = running.identity();
    assert_eq!(identity.name.as_deref(), Some("nightly"));
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    assert_eq!(
        identity.owner.as_deref(),
        String::from_utf8(user).unwrap().lines().next()
    );
}

#[test]
fn secrets_of_command_line_and_environment_stay_there() {
    let folder = Folder::new();
    folder.write(
        "app.py",
        "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n",
    );
    let mut command = Command::new("python3");
    command.current_dir(folder.path("")).args([
        "app.py",
        "--password",
        "hunter2-argument",
        "token=hunter2-pair",
    ]);
    command
        .env("API_KEY", "hunter2-variable")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "key=hunter2-header");
    let running = Running::start(&mut command);
    let identity = running.identity();
    let attributes = attributes(&identity, &Host::read(&Proc::host()), &[]);
    let all = format!("{identity:?} {attributes:?}");
    assert!(!all.contains("hunter2"), "{all}");
    let name = attributes
        .iter()
        .find(|attribute| attribute.key == "service.name")
        .map(|attribute| &attribute.value);
    assert!(matches!(name, Some(Value::Text(_))), "{all}");
}

#[test]
fn secrets_that_stand_where_a_script_could_stay_there_too() {
    let fake = FakeProc::new();
    let lines: [(&str, &[&str]); 9] = [
        ("python3.11", &["python3", "--odd-option", "hunter2"]),
        ("python3.11", &["python3", "-c", "login('hunter2')"]),
        (
            "python3.11",
            &["gunicorn", "-m", "gunicorn", "--env", "KEY:hunter2"],
        ),
        ("node", &["node", "--title", "hunter2", "--odd", "hunter2"]),
        ("java", &["java", "-Dpassword=hunter2", "-cp", "hunter2"]),
        ("bash", &["bash", "-c", "curl -u me:hunter2 http://x"]),
        ("beam.smp", &["beam.smp", "-setcookie", "hunter2"]),
        ("server", &["server hunter2: password=hunter2"]),
        ("python3.11", &["worker --password hunter2"]),
    ];
    for (number, (executable, arguments)) in (100..).zip(lines) {
        let executable = &format!("/usr/bin/{executable}");
        let environment = &["TOKEN=hunter2", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=key=hunter2"];
        fake.add(&FakeProcess {
            pid: number,
            executable,
            arguments,
            environment,
            ..FakeProcess::default()
        });
        let identity = Proc::at(fake.path()).identity(number).unwrap();
        let all = format!(
            "{identity:?} {:?}",
            attributes(&identity, &Host::read(&Proc::at(fake.path())), &[])
        );
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn a_real_go_program_says_its_version() {
    let Ok(output) = Command::new("go").args(["env", "GOVERSION", "GOROOT"]).output() else {
        eprintln!("skipped: there is no Go here");
        return;
    };
    let output = String::from_utf8(output.stdout).unwrap();
    let (version, root) = output.trim().split_once('\n').unwrap();
    let file = File::open(Path::new(root).join("bin/go")).unwrap();
    assert_eq!(super::super::elf::go_version(file).as_deref(), Some(version));
}

/// A server whose first thread is over (`pthread_exit` in `main`) serves on.
#[test]
fn a_process_whose_first_thread_has_ended_is_known_as_before() {
    let script = "
import ctypes, socket, threading, time
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen()
threading.Thread(target=lambda: time.sleep(1000)).start()
print('ready', flush=True)
ctypes.CDLL(None).pthread_exit(None)
";
    let child = Running::start(
        Command::new("python3")
            .args(["-c", script])
            .env("OTEL_SERVICE_NAME", "shop"),
    );
    let pid = child.0.id();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !stat().contains(") Z ") {
        std::thread::yield_now();
    }
    let proc = Proc::host();
    let glance = proc.glance(pid, &Asks::everything()).unwrap();
    assert!(glance.name.starts_with("python3"), "{glance:?}");
    assert!(glance.command_line.as_ref().unwrap().contains("pthread_exit"));
    assert_eq!(glance.ports.len(), 1, "{glance:?}");
    let identity = proc.identity(pid).unwrap();
    assert_eq!(identity.pid, pid);
    assert_eq!(identity.executable, glance.executable);
    assert_eq!(identity.declared.service_name.as_deref(), Some("shop"));
    assert!(proc.executable(pid).is_some());
    drop(child);
    assert!(proc.glance(pid, &Asks::default()).is_none());
}
