//! Kernel parameters: only those of a namespace of the container's may be set, as any other would change the host.

use super::{Result, entry, refuse, refuse_value};
use crate::config::{Linux, NamespaceKind, Spec};

/// Parameters of an IPC namespace, besides those below fs/mqueue.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// A parameter's file below /proc/sys. As for sysctl(8), the first separator decides which one it is: with ".", a "/"
/// is a dot of a name, so `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` are the same.
pub fn path(key: &str) -> String {
    if key.find(['.', '/']).is_some_and(|i| key.as_bytes()[i] == b'/') {
        return key.to_owned();
    }
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(swap).collect()
}

pub(super) fn check(spec: &Spec, linux: &Linux) -> Result {
    for (key, value) in &linux.sysctl {
        let field = || entry("linux.sysctl", key);
        let path = path(key);
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse(field(), "is no name of a kernel parameter");
        }
        let (needs, problem) = if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
            (NamespaceKind::Ipc, format!("sysctl \"{key}\" is not allowed in the hosts ipc namespace"))
        } else if path.starts_with("net/") {
            (NamespaceKind::Network, format!("sysctl \"{key}\" not allowed in host network namespace"))
        } else if path == "kernel/domainname" {
            if !spec.domainname.is_empty() && spec.domainname != *value {
                let problem = format!("sysctl \"{key}\" conflicts with the OCI \"domainname\" field");
                return refuse_value(field(), value, problem);
            }
            (NamespaceKind::Uts, format!("sysctl \"{key}\" is not in a separate kernel namespace"))
        } else if path == "kernel/hostname" {
            let problem = format!("sysctl \"{key}\" is not allowed as it conflicts with the OCI \"hostname\" field");
            return refuse_value(field(), value, problem);
        } else if path.starts_with("user/") {
            (NamespaceKind::User, format!("setting ucounts without a user namespace not allowed: {key}"))
        } else {
            return refuse_value(field(), value, format!("sysctl \"{key}\" is not in a separate kernel namespace"));
        };
        // The runtime's own namespace, joined by path, is the host's. Other names for it only the host can tell.
        let own = |path: &str| matches!(path.strip_prefix("/proc/"), Some("self/ns/net" | "thread-self/ns/net"));
        match linux.namespace(needs) {
            Some(ns) if !ns.path.as_ref().and_then(|p| p.to_str()).is_some_and(own) => {}
            _ => return refuse_value(field(), value, problem),
        }
    }
    Ok(())
}
