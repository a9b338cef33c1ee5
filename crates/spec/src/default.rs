//! The config.json that `hull spec` writes, and the pretty form that it is written in.

use serde::Serialize;

use crate::config::{
    Capabilities, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process, Resources, Rlimit, Root, Spec,
};

/// Mounts of the example: destination, type, source, options.
const MOUNTS: [(&str, &str, &str, &str); 7] = [
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
];

/// Paths of procfs and sysfs that tell of the host or reach into it.
pub const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

/// Paths of procfs that change the host when written.
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn mount(destination: &str, kind: &str, source: &str, options: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.split(',').filter(|o| !o.is_empty()).map(String::from).collect(),
        ..Mount::default()
    }
}

impl Spec {
    /// An example to start from: a shell in a read-only root. `user` makes it fit for an ordinary user of that user
    /// and group id; `cgroup_namespace` adds what cgroup v2 hosts want.
    pub fn example(user: Option<(u32, u32)>, cgroup_namespace: bool) -> Spec {
        let caps = strings(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        let mut kinds = vec![
            NamespaceKind::Pid,
            NamespaceKind::Network,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
            NamespaceKind::Mount,
        ];
        if cgroup_namespace {
            kinds.push(NamespaceKind::Cgroup);
        }
        let mut mounts: Vec<Mount> = MOUNTS.iter().map(|(d, k, s, o)| mount(d, k, s, o)).collect();
        let mut linux = Linux {
            masked_paths: strings(&MASKED),
            readonly_paths: strings(&READONLY),
            resources: Some(Resources {
                devices: vec![crate::config::DeviceRule { access: "rwm".into(), ..Default::default() }],
                ..Resources::default()
            }),
            ..Linux::default()
        };
        if let Some((uid, gid)) = user {
            kinds.retain(|k| *k != NamespaceKind::Network);
            kinds.push(NamespaceKind::User);
            linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
            linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
            // Nothing may be set by a user without delegation.
            linux.resources = None;
            for m in &mut mounts {
                if m.destination.as_os_str() == "/sys" {
                    // The host's network namespace is kept, so its sysfs can't be mounted anew.
                    *m = mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro");
                }
                m.options.retain(|o| !o.starts_with("gid=") && !o.starts_with("uid="));
            }
        }
        linux.namespaces = kinds.into_iter().map(|kind| Namespace { kind, path: None }).collect();
        Spec {
            oci_version: crate::VERSION.into(),
            process: Some(Process {
                terminal: true,
                args: strings(&["sh"]),
                env: strings(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
                cwd: "/".into(),
                capabilities: Some(Capabilities {
                    bounding: caps.clone(),
                    effective: caps.clone(),
                    permitted: caps,
                    ..Capabilities::default()
                }),
                rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
                no_new_privileges: true,
                ..Process::default()
            }),
            root: Some(Root { path: "rootfs".into(), readonly: true }),
            hostname: "hull".into(),
            mounts,
            linux: Some(linux),
            ..Spec::default()
        }
    }
}

/// JSON indented by tabs, as peers write config.json, with a line feed at the end.
///
/// # Errors
/// For a value that JSON has no form for.
pub fn to_pretty(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, form))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckHost;

    #[test]
    fn examples_pass_the_checks_and_survive_writing() {
        for user in [None, Some((1000, 1000))] {
            let spec = Spec::example(user, true);
            let host = CheckHost { rootless: user.is_some(), for_start: true };
            assert_eq!(spec.check(&host), Ok(vec![]));
            let text = to_pretty(&spec).unwrap();
            assert_eq!(Spec::from_slice(&text).unwrap(), spec);
        }
    }

    #[test]
    fn what_go_always_writes_is_written() {
        let text = String::from_utf8(to_pretty(&Spec::example(None, false)).unwrap()).unwrap();
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,\n"));
        for part in [
            "\"user\": {\n\t\t\t\"uid\": 0,\n\t\t\t\"gid\": 0\n\t\t},",
            "{\n\t\t\t\t\t\"allow\": false,\n\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }
}
