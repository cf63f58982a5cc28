//! What is needed, for what, and where it comes from: one table a purpose.

/// A Debian package, and the program whose presence makes it superfluous.
pub(crate) struct Need {
    /// Package name in Debian.
    pub(crate) package: &'static str,
    /// A program that the package is installed for; however it came here, it will do.
    pub(crate) program: Option<&'static str>,
}

const fn package(package: &'static str) -> Need {
    Need {
        package,
        program: None,
    }
}

const fn program(program: &'static str, package: &'static str) -> Need {
    Need {
        package,
        program: Some(program),
    }
}

/// Debian's recent Rust (it follows Firefox and Chromium) with the source of its library.
pub(crate) const DEBIAN_RUST: &[Need] = &[
    package("rustc-web"),
    package("cargo-web"),
    package("rust-web-src"),
];

/// The same compiler's clippy.
pub(crate) const KERNEL_OBJECT_LINTS: &[Need] = &[package("rust-web-clippy")];

/// To build bpf-linker, beside LLVM's own packages.
pub(crate) const LINKER: &[Need] = &[
    program("g++", "g++"),
    package("zlib1g-dev"),
    package("libzstd-dev"),
    package("libxml2-dev"),
];

/// What tests start or call.
pub(crate) const TESTS: &[Need] = &[
    // House rules: rustup brings it with each compiler, Debian apart from it.
    program("cargo-fmt", "rustfmt-web"),
    // Live tests: servers and clients.
    program("nginx", "nginx"),
    program("haproxy", "haproxy"),
    program("bpftool", "bpftool"),
    program("redis-server", "redis-server"),
    program("node", "nodejs"),
    program("npm", "npm"),
    package("postgresql-15"),
    program("rabbitmq-server", "rabbitmq-server"),
    program("pgbouncer", "pgbouncer"),
    program("memcached", "memcached"),
    program("mariadbd", "mariadb-server"),
    program("mariadb", "mariadb-client"),
    program("sshd", "openssh-server"),
    program("nghttp", "nghttp2-client"),
    program("mvn", "maven"),
    package("default-jdk-headless"),
    program("go", "golang-go"),
    program("ruby", "ruby"),
    program("php", "php-cli"),
    program("gcc", "gcc"),
    program("curl", "curl"),
    program("openssl", "openssl"),
    program("runc", "runc"),
    program("podman", "podman"),
    // Network namespaces, and translation of addresses between them.
    program("ip", "iproute2"),
    program("nft", "nftables"),
    // What scrapes metrics, and checks them.
    program("promtool", "prometheus"),
    // Captures, and what others make of them.
    program("tcpdump", "tcpdump"),
    program("tshark", "tshark"),
    package("python3-venv"),
    package("libc6-dev"),
    // Lower privileges.
    program("setpriv", "util-linux"),
    // The unit, judged and run.
    program("systemd-analyze", "systemd"),
    // Kernels under qemu.
    program("qemu-system-x86_64", "qemu-system-x86"),
    package("seabios"),
    program("qemu-system-aarch64", "qemu-system-arm"),
    program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    package("libc6-dev-arm64-cross"),
    package("busybox-static"),
    program("cpio", "cpio"),
    program("dpkg-deb", "dpkg"),
    // Debian's keys: they sign the suites that the kernels come from.
    package("debian-archive-keyring"),
];

/// What makes programs for aarch64.
pub(crate) const FOR_AARCH64: &[Need] = &[
    program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    package("libc6-dev-arm64-cross"),
];

/// What makes programs for x86-64.
pub(crate) const FOR_X86_64: &[Need] = &[
    program("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
    package("libc6-dev-amd64-cross"),
];

/// What runs a cluster of one node, beside Kubernetes itself.
pub(crate) const KUBERNETES: &[Need] = &[
    program("etcd", "etcd-server"),
    program("containerd", "containerd"),
    program("runc", "runc"),
    package("containernetworking-plugins"),
    program("iptables", "iptables"),
    program("conntrack", "conntrack"),
    program("strip", "binutils"),
];

/// What packages and images are made and tried with.
pub(crate) const PACKAGES: &[Need] = &[
    program("buildah", "buildah"),
    program("podman", "podman"),
    program("runc", "runc"),
    program("dpkg-deb", "dpkg"),
    program("man", "man-db"),
    // Replaced in the package's tests, which takes that it is there.
    program("systemctl", "systemd"),
    package("ca-certificates"),
];

/// What the demo's shop is made of. No service of the system's is started.
pub(crate) const DEMO: &[Need] = &[
    program("node", "nodejs"),
    program("npm", "npm"),
    program("go", "golang-go"),
    package("python3-venv"),
    package("postgresql-15"),
    program("rabbitmq-server", "rabbitmq-server"),
    // Ends what is started when the demo is killed.
    program("setpriv", "util-linux"),
];

/// What the bench starts.
pub(crate) const BENCH: &[Need] = &[
    program("nginx", "nginx"),
    program("wrk", "wrk"),
    program("bpftool", "bpftool"),
];

/// Python packages of the live tests' workloads, pinned.
pub(crate) const PYTHON: &[&str] = &[
    "requests==2.32.5",
    "gunicorn==23.0.0",
    "flask==3.1.3",
    "aiohttp==3.14.5",
    "fastapi==0.165.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "hypercorn==0.18.0",
    "httpx==0.28.1",
    "grpcio==1.85.1",
    "psycopg2-binary==2.9.13",
    "psycopg[binary]==3.3.9",
    "asyncpg==0.32.0",
    "pika==1.4.4",
    "aio-pika==10.2.1",
    "kafka-python==3.0.12",
    "nats-py==2.16.0",
    "pymongo==4.20.0",
    "thrift==0.25.0",
    "opentelemetry-distro==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-flask==0.66b1",
    "opentelemetry-instrumentation-requests==0.66b1",
];

/// What to install by hand, after `why` set-up cannot.
pub(crate) fn advice(why: &str, llvm: Option<u32>) -> String {
    let llvm = llvm.map_or("N".to_owned(), |major| major.to_string());
    format!(
        "{why}; install by hand:\n\
         \x20 1. rustup (https://rustup.rs), then: rustup toolchain install nightly --profile minimal --component rust-src\n\
         \x20 2. LLVM {llvm} with headers and static libraries, N being the number behind `LLVM version` in\n\
         \x20    `rustup run nightly rustc -vV` (Debian and Ubuntu: llvm-{llvm}-dev and libpolly-{llvm}-dev, of\n\
         \x20    https://apt.llvm.org where the distribution has none; Fedora: llvm-devel, Arch: llvm,\n\
         \x20    Alpine: llvm{llvm}-dev, macOS has no BPF)\n\
         \x20 3. LLVM_PREFIX=$(llvm-config --prefix) cargo install bpf-linker --version {} --no-default-features --features llvm-{llvm}\n\
         and run this again",
        super::linker::VERSION
    )
}
