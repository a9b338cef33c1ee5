//! What is measured: the bundle, the floor's program, and the view of control groups.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::{Value, json};

use crate::Result;

/// Enters a mount namespace of this program's own, with memory at `scratch`: /run, where runtimes keep their state,
/// is memory too, and a disk's moods would only blur the figures.
pub(crate) fn own_mounts(scratch: &Path) -> Result {
    // SAFETY: unshares the mount namespace only, in a process with one thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    fs::create_dir_all(scratch)?;
    Ok(rustix::mount::mount("tmpfs", scratch, "tmpfs", MountFlags::empty(), None)?)
}

/// Shows this process and its children a cgroup v2 tree alone, as most hosts have it by now.
pub(crate) fn pure_v2() -> Result {
    let cgroups = "/sys/fs/cgroup";
    let mut below: Vec<String> = fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter_map(|l| l.split(' ').nth(4).map(String::from))
        .filter(|p| p == cgroups || p.starts_with("/sys/fs/cgroup/"))
        .collect();
    below.reverse();
    for point in below {
        rustix::mount::unmount(point, UnmountFlags::DETACH)?;
    }
    Ok(rustix::mount::mount("none", cgroups, "cgroup2", MountFlags::empty(), None)?)
}

/// A busybox root file system.
pub(crate) fn rootfs(scratch: &Path) -> Result<PathBuf> {
    let root = scratch.join("rootfs");
    if root.exists() {
        return Ok(root);
    }
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|p| p.exists());
    fs::copy(busybox.ok_or("no busybox: install the package busybox-static")?, root.join("bin/busybox"))?;
    for applet in ["sh", "true", "sleep", "cat"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    Ok(root)
}

/// A bundle with the configuration that `runc spec` writes, without a terminal, for `args`.
pub(crate) fn bundle(scratch: &Path, name: &str, args: &[&str]) -> Result<PathBuf> {
    let dir = scratch.join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("config.json"), config(&rootfs(scratch)?, args).to_string())?;
    Ok(dir)
}

/// The like for a module, under an annotation that runtimes with an engine know.
pub(crate) fn module(scratch: &Path, name: &str, args: &[&str]) -> Result<PathBuf> {
    let dir = scratch.join(name);
    fs::create_dir_all(&dir)?;
    let mut config = config(&rootfs(scratch)?, args);
    config["annotations"] = json!({ "run.oci.handler": "wasm", "module.wasm.image/variant": "compat" });
    fs::write(dir.join("config.json"), config.to_string())?;
    Ok(dir)
}

fn config(rootfs: &Path, args: &[&str]) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        json!({ "destination": destination, "type": kind, "source": source, "options": options })
    };
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let namespaces: Vec<Value> =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": rootfs, "readonly": true },
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", "proc", ""),
            mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Compiles the floor's program.
pub(crate) fn floor(scratch: &Path) -> Result<PathBuf> {
    let (source, program) = (scratch.join("floor.c"), scratch.join("floor"));
    fs::write(&source, include_str!("../floor.c"))?;
    let status = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status()?;
    if status.success() { Ok(program) } else { Err("gcc failed to compile the floor's program".into()) }
}
