//! `hull features`: what this build supports, in the shape of features.md 1.3.

use hull_spec::NamespaceKind;
use serde_json::{Value, json};

pub(crate) fn document() -> Value {
    let mut namespaces: Vec<_> = NamespaceKind::ALL.iter().map(|k| k.as_str()).collect();
    namespaces.sort_unstable();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": hull_spec::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": hull_spec::mountopts::known(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": hull_jail::caps::NAMES.as_slice(),
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": hull_seccomp::actions(),
                "operators": hull_seccomp::operators(),
                "archs": hull_seccomp::archs(),
                "knownFlags": hull_seccomp::flags(),
                "supportedFlags": supported_flags(),
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {
                "modes": ["MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "dev.hull.version": env!("CARGO_PKG_VERSION"),
            "dev.hull.isolations": hull_guest::installed().collect::<Vec<_>>().join(","),
        },
        "potentiallyUnsafeConfigAnnotations": ["dev.hull.", "module.wasm.image/variant", "run.oci."],
    })
}

/// Of the flags that hull knows, those that the running kernel does.
fn supported_flags() -> Vec<&'static str> {
    const BITS: [(&str, u64); 4] = [
        ("SECCOMP_FILTER_FLAG_TSYNC", 1),
        ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
        ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
    ];
    let known = hull_sys::seccomp::known_flags(BITS.iter().map(|(_, bit)| bit).sum());
    let mut flags = hull_seccomp::flags();
    flags.retain(|name| BITS.iter().any(|(n, bit)| n == name && known & bit != 0));
    flags
}
