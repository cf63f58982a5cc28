//! What a process's control groups say: the container it is in, the systemd service it belongs to.
//!
//! Paths come from cgroups(7) v1, v2 or both; of nested containers the innermost counts.

/// Services whose job it is to start other things: what they start is not them.
const LAUNCHERS: &[&str] = &[
    "anacron",
    "atd",
    "containerd",
    "cri-o",
    "crio",
    "cron",
    "crond",
    "docker",
    "emergency",
    "k3s",
    "kubelet",
    "nomad",
    "podman",
    "rc-local",
    "rescue",
    "runit",
    "ssh",
    "sshd",
    "supervisor",
    "supervisord",
];

/// What container runtimes put before the id in a group's name.
const PREFIXES: &[&str] = &[
    "docker-",
    "cri-containerd-",
    "crio-",
    "libpod-",
    "libpod-payload-",
    "containerd-",
    "nerdctl-",
];

/// The id of the container that has these groups: 64 hexadecimal digits, as Docker, containerd, CRI-O and Podman make.
pub(super) fn container_id(paths: &[String]) -> Option<&str> {
    paths
        .iter()
        .find_map(|path| path.rsplit('/').find_map(id_of_segment))
}

fn id_of_segment(segment: &str) -> Option<&str> {
    let name = segment
        .strip_suffix(".scope")
        .or(segment.strip_suffix(".slice"))
        .unwrap_or(segment);
    // containerd under systemd's driver without systemd: `SLICE:cri-containerd:ID`.
    let name = name.rsplit(':').next().unwrap_or(name);
    let name = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix).filter(|id| is_id(id)))
        .unwrap_or(name);
    is_id(name).then_some(name)
}

fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What runs the container that has these groups, where it has put its name into that of the group, in the words of
/// `container.runtime.name`.
pub(super) fn engine(paths: &[String]) -> Option<&'static str> {
    const NAMES: &[(&str, &str)] = &[
        ("docker", "docker"),
        ("libpod", "podman"),
        ("cri-containerd", "containerd"),
        ("containerd", "containerd"),
        ("nerdctl", "containerd"),
        ("crio", "cri-o"),
    ];
    let path = paths
        .iter()
        .find(|path| path.rsplit('/').any(|segment| id_of_segment(segment).is_some()))?;
    let mut segments = path
        .rsplit('/')
        .skip_while(|segment| id_of_segment(segment).is_none());
    let (own, parent) = (segments.next()?, segments.next());
    let id = id_of_segment(own)?;
    let before = own.split(id).next().unwrap_or_default();
    let named = |text: &str| {
        NAMES
            .iter()
            .find(|(begin, _)| text.starts_with(begin))
            .map(|(_, name)| *name)
    };
    // `SLICE:cri-containerd:ID`
    let part = before.trim_end_matches(':').rsplit(':').next().unwrap_or(before);
    named(part).or_else(|| (parent == Some("docker")).then_some("docker"))
}

/// UID of the pod whose kubelet made one of the groups, written as the API server does: the outermost, since a pod may have a
/// kubelet in it. The group is `podUID` under the driver `cgroupfs`, and under systemd's `…-podUID.slice`, where `_` stands for
/// `-`. Of a pod that the kubelet read from a file, the UID is 32 digits without either.
pub(super) fn pod_uid(paths: &[String]) -> Option<String> {
    paths
        .iter()
        .find_map(|path| path.split('/').find_map(uid_of_segment))
}

fn uid_of_segment(segment: &str) -> Option<String> {
    let name = segment.split(':').next()?;
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (before, uid) = name.rsplit_once("pod")?;
    let is_group = before.is_empty() || before.ends_with('-');
    let uid = uid.replace('_', "-");
    (is_group && is_uid(&uid)).then_some(uid)
}

/// RFC 9562, section 4, in lower case; or a hash of 128 bits.
fn is_uid(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match text.len() {
        32 => text.bytes().all(is_digit),
        36 => text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_digit(byte),
        }),
        _ => false,
    }
}

/// Names of groups that may be a container's bare id, innermost first; whether one is, its runtime has to say.
pub(super) fn segments(paths: &[String]) -> impl Iterator<Item = &str> {
    paths
        .iter()
        .flat_map(|path| path.rsplit('/'))
        .filter(|segment| !segment.is_empty() && !segment.starts_with('.'))
}

/// The innermost systemd service, without `.service`. Sessions and scopes are none, and what a launcher started is not
/// the launcher: there, `executable` (a file name) has to begin like the service.
pub(super) fn unit(paths: &[String], executable: &str) -> Option<String> {
    let named = |path: &String| {
        path.rsplit('/').find_map(|segment| {
            let unit = unescaped(segment.strip_suffix(".service")?);
            let plain = unit.split('@').next().unwrap_or(&unit);
            let launcher =
                LAUNCHERS.contains(&plain) || unit.starts_with("pm2-") || unit.starts_with("actions.runner.");
            let session = unit.starts_with("user@") || unit.contains("getty@");
            let itself = executable.starts_with(plain) && !plain.is_empty();
            (!session && !unit.is_empty() && (!launcher || itself)).then_some(unit)
        })
    };
    paths.iter().find_map(named)
}

/// All units of systemd that have these groups, innermost first: services, scopes and slices, with what they end with.
pub(super) fn units(paths: &[String]) -> Vec<String> {
    let is_unit = |segment: &&str| {
        [".service", ".scope", ".slice"]
            .iter()
            .any(|end| segment.ends_with(end))
    };
    let mut units = Vec::new();
    for segment in paths.iter().flat_map(|path| path.rsplit('/')).filter(is_unit) {
        let unit = unescaped(segment);
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    units
}

/// systemd.unit(5), "String escaping for inclusion in unit names": `\x2d` is `-`.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        match rest
            .get(at + 2..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 4..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn check_id(path: &str, expect: Option<&str>) {
        let path = path.replace("ID", ID).replace("OTHER", OTHER);
        assert_eq!(container_id(std::slice::from_ref(&path)), expect, "{path}");
    }

    #[test]
    fn containers_of_all_engines() {
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            "/kubepods/burstable/pod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a/ID",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod3f0c.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod3f0c.slice/crio-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-pod3f0c.slice:cri-containerd:ID",
            "/machine.slice/libpod-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/system.slice/web.service/libpod-payload-ID",
            "/ecs/3f0c2a8e/ID",
            "/../cri-containerd-ID.scope",
            "/docker/OTHER/docker/ID/init.scope",
        ] {
            check_id(path, Some(ID));
        }
        for path in [
            "/",
            "/init.scope",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/kubepods-pod3f0c.slice/crio-conmon-ID.scope",
            "/process_api/91696ab3f20873059a7c572b5110b001",
            "/system.slice/nginx.service",
        ] {
            check_id(path, None);
        }
    }

    #[test]
    fn any_hierarchy_will_do() {
        let paths = ["/", "/init.scope", &format!("/docker/{ID}")].map(str::to_owned);
        assert_eq!(container_id(&paths), Some(ID));
    }

    #[test]
    fn pods_under_both_drivers() {
        let check = |path: &str, expect: Option<&str>| {
            assert_eq!(
                pod_uid(&["/".to_owned(), path.to_owned()]).as_deref(),
                expect,
                "{path}"
            );
        };
        let uid = Some("3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a");
        check(
            "/kubepods/burstable/pod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a/ID",
            uid,
        );
        check("/kubepods/pod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a", uid);
        check("/../../pod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a/ID", uid);
        let slice = "kubepods-besteffort-pod3f0c2a8e_7f5b_4a57_9f57_3a8c3d6f1b2a.slice";
        check(
            &format!("/kubepods.slice/kubepods-besteffort.slice/{slice}/cri-containerd-ID.scope"),
            uid,
        );
        check(&format!("/kubelet.slice/kubelet-{slice}/crio-ID.scope"), uid);
        check(
            &format!("/system.slice/containerd.service/{slice}:cri-containerd:ID"),
            uid,
        );
        check(
            "/kubepods/pod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a/ID/kubepods/pod00000000-0000-4000-8000-000000000000/ID",
            uid,
        );
        check(
            "/kubepods/burstable/podf7bb7e8c5b1b4a57aa573a8c3d6f1b2a/ID",
            Some("f7bb7e8c5b1b4a57aa573a8c3d6f1b2a"),
        );
        for path in [
            "/",
            "/kubepods/burstable",
            "/kubepods/podinfo/ID",
            "/machine.slice/libpod-8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a.scope",
            "/kubepods/tripod3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a",
            "/kubepods/pod3F0C2A8E-7F5B-4A57-9F57-3A8C3D6F1B2A",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn all_units_that_a_process_is_in() {
        let paths = [
            "/user.slice/user-1000.slice/user@1000.service/app.slice/my\\x2dshop.service/workers".to_owned(),
            "/user.slice".to_owned(),
        ];
        let expect = [
            "my-shop.service",
            "app.slice",
            "user@1000.service",
            "user-1000.slice",
            "user.slice",
        ];
        assert_eq!(units(&paths), expect);
        assert_eq!(
            units(&["/".to_owned(), format!("/docker/{ID}")]),
            Vec::<String>::new()
        );
    }

    fn check_unit(path: &str, executable: &str, expect: Option<&str>) {
        assert_eq!(
            unit(&[path.to_owned()], executable).as_deref(),
            expect,
            "{path} {executable}"
        );
    }

    #[test]
    fn services_but_not_sessions_and_launchers() {
        check_unit("/system.slice/nginx.service", "nginx", Some("nginx"));
        check_unit(
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            "postgres",
            Some("postgresql@15-main"),
        );
        check_unit("/system.slice/my\\x2dshop.service", "python3", Some("my-shop"));
        check_unit("/system.slice/a\\xzz\\x.service", "a", Some("a\\xzz\\x"));
        check_unit(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/blog.service",
            "python3",
            Some("blog"),
        );
        check_unit("/system.slice/blog.service/workers", "python3", Some("blog"));
        check_unit("/user.slice/user-1000.slice/session-3.scope", "python3", None);
        check_unit(
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "systemd",
            None,
        );
        check_unit(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-code.scope",
            "code",
            None,
        );
        check_unit("/system.slice/ssh.service", "python3", None);
        check_unit("/system.slice/ssh.service", "sshd", Some("ssh"));
        check_unit("/system.slice/cron.service", "curl", None);
        check_unit("/system.slice/pm2-root.service", "node", None);
        check_unit(
            "/system.slice/docker-registry.service",
            "registry",
            Some("docker-registry"),
        );
        check_unit("/system.slice/docker.service", "dockerd", Some("docker"));
        check_unit(
            "/system.slice/containerd.service/kubepods-pod3f0c.slice:cri-containerd:0",
            "node",
            None,
        );
        check_unit("/system.slice/serial-getty@ttyS0.service", "bash", None);
        check_unit("/", "python3", None);
        check_unit("/system.slice/.service", "python3", None);
    }
}
