//! The document of `hull features` (features.md, features-linux.md 1.3).
//!
//! Says what this build can do, whatever the host can. What other crates know of themselves is given by the caller.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::check::names::{HOOKS, MEMORY_FLAGS, MEMORY_MODES};
use crate::config::NamespaceKind;

/// What the caller knows of the rest of hull.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Capabilities by name.
    pub capabilities: Vec<&'static str>,
    /// The seccomp compiler's part.
    pub seccomp: Seccomp,
    /// About this build, by key.
    pub annotations: BTreeMap<String, String>,
}

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    mount_options: Vec<String>,
    linux: Linux,
    annotations: BTreeMap<String, String>,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

/// The seccomp compiler's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// Whether filters can be had at all.
    pub enabled: bool,
    /// What a filter can do with a system call.
    pub actions: Vec<&'static str>,
    /// How arguments can be compared.
    pub operators: Vec<&'static str>,
    /// Architectures whose system calls are known.
    pub archs: Vec<&'static str>,
    /// Flags of seccomp(2) that are read.
    pub known_flags: Vec<&'static str>,
    /// Those that the running kernel knows too.
    pub supported_flags: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

impl Features {
    /// The document of this build.
    pub fn new(parts: Parts) -> Features {
        let sorted = |mut list: Vec<&'static str>| {
            list.sort_unstable();
            list
        };
        Features {
            oci_version_min: "1.0.0",
            oci_version_max: crate::VERSION,
            hooks: HOOKS.to_vec(),
            mount_options: crate::mountopts::known(),
            linux: Linux {
                namespaces: sorted(NamespaceKind::ALL.iter().map(|k| k.as_str()).collect()),
                capabilities: parts.capabilities,
                cgroup: Cgroup { v1: true, v2: true, systemd: false, systemd_user: false, rdma: true },
                seccomp: parts.seccomp,
                apparmor: Enabled { enabled: true },
                selinux: Enabled { enabled: true },
                intel_rdt: IntelRdt { enabled: false, schemata: false, monitoring: false },
                memory_policy: MemoryPolicy { modes: sorted(MEMORY_MODES.to_vec()), flags: MEMORY_FLAGS.to_vec() },
                mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
                net_devices: Enabled { enabled: true },
            },
            annotations: parts.annotations,
            potentially_unsafe_config_annotations: crate::annotations::potentially_unsafe().collect(),
        }
    }
}
