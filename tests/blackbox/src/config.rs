//! The configuration that every case starts from: what `spec` writes, without a terminal.

use serde_json::{Value, json};

/// The default configuration.
pub(crate) fn default() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "blackbox",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// Short ways to change a configuration.
pub(crate) trait Edit {
    /// Appends a mount.
    fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]);
    /// Removes every mount at or below `destination`.
    fn unmount(&mut self, destination: &str);
    /// Adds a namespace, by path if one is given, in place of one of the same type.
    fn join(&mut self, kind: &str, path: Option<&str>);
    /// Removes a namespace.
    fn leave(&mut self, kind: &str);
    /// Sets the five capability sets: bounding, effective, permitted, inheritable, ambient.
    fn caps(&mut self, sets: [&[&str]; 5]);
    /// A new user namespace which maps 0..1000 to 100000...
    fn userns(&mut self);
}

impl Edit for Value {
    fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) {
        let mut mount = json!({ "destination": destination, "source": source, "options": options });
        if !kind.is_empty() {
            mount["type"] = json!(kind);
        }
        self["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    fn unmount(&mut self, destination: &str) {
        let below = format!("{destination}/");
        self["mounts"].as_array_mut().expect("mounts").retain(|m| {
            let d = m["destination"].as_str().unwrap_or_default();
            d != destination && !d.starts_with(&below)
        });
    }

    fn join(&mut self, kind: &str, path: Option<&str>) {
        self.leave(kind);
        let mut entry = json!({ "type": kind });
        if let Some(path) = path {
            entry["path"] = json!(path);
        }
        self["linux"]["namespaces"].as_array_mut().expect("namespaces").push(entry);
    }

    fn leave(&mut self, kind: &str) {
        self["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|n| n["type"] != kind);
    }

    fn caps(&mut self, sets: [&[&str]; 5]) {
        let [bounding, effective, permitted, inheritable, ambient] = sets;
        self["process"]["capabilities"] = json!({ "bounding": bounding, "effective": effective,
            "permitted": permitted, "inheritable": inheritable, "ambient": ambient });
    }

    fn userns(&mut self) {
        self.join("user", None);
        self["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
        self["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    }
}
