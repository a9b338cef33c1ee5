//! Mounts of config.json as the child is to make them.

use std::path::{Path, PathBuf};

use hull_spec::mountopts::{self, MountOptions};
use hull_spec::{Linux, Mount, NamespaceKind};

use super::{IdMap, MountPlan, UserMaps, named};
use crate::error::{Error, Result};

/// Resolves "." and ".." in the text alone and makes the path absolute.
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

pub(super) fn mount_plan(
    index: usize,
    mount: &Mount,
    linux: &Linux,
    rootfs: &Path,
    idmaps: &mut Vec<IdMap>,
) -> Result<MountPlan> {
    let options = mountopts::parse(&mount.options, &mount.kind)
        .map_err(|e| Error::new(format!("mounts[{index}].options: {e}")))?;
    let target = clean(&mount.destination);
    // Some callers name the place on the host, which runc has always understood.
    let target = match target.strip_prefix(rootfs) {
        Ok(inside) if rootfs != Path::new("/") && !rootfs.as_os_str().is_empty() => Path::new("/").join(inside),
        _ => target,
    };
    check_proc_target(index, &target, mount, &options)?;
    let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    let idmap = if own {
        idmaps.push(IdMap::New(UserMaps { uids: mount.uid_mappings.clone(), gids: mount.gid_mappings.clone() }));
        Some(idmaps.len() - 1)
    } else if options.idmap || options.ridmap {
        let joined = linux.namespace(NamespaceKind::User).and_then(|n| n.path.clone());
        idmaps.push(match joined.filter(|p| !p.as_os_str().is_empty()) {
            Some(path) => IdMap::Joined(path),
            None => IdMap::New(UserMaps { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone() }),
        });
        Some(idmaps.len() - 1)
    } else {
        None
    };
    let kind = if options.bind { String::new() } else { mount.kind.clone() };
    if kind.is_empty() && !options.bind {
        return Err(Error::new(format!("mounts[{index}].type: must be given, or options must have bind or rbind")));
    }
    Ok(MountPlan { target, kind, source: mount.source.clone(), options, idmap })
}

/// Files that may be mounted inside /proc: those that container managers fake, such as lxcfs.
const PROC_TARGETS: [&str; 11] = [
    "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled", "net/dev",
];

fn check_proc_target(index: usize, target: &Path, mount: &Mount, options: &MountOptions) -> Result<()> {
    let Ok(inside) = target.strip_prefix("/proc") else { return Ok(()) };
    if inside.as_os_str().is_empty() {
        // Whatever stands at /proc must be a procfs, or labels would be written to a fake (CVE-2019-16884).
        return if mount.kind == "proc" || options.bind {
            Ok(())
        } else {
            Err(Error::new(format!(
                "mounts[{index}]: type \"{}\" at \"/proc\": only a mount of type \"proc\" or a bind of one may be there",
                mount.kind
            )))
        };
    }
    if PROC_TARGETS.iter().any(|p| inside == Path::new(p)) {
        return Ok(());
    }
    Err(Error::new(format!(
        "mounts[{index}].destination: \"{}\" cannot be mounted because it is inside /proc",
        mount.destination.display()
    )))
}

pub(super) fn propagation(name: &str) -> Result<u64> {
    let rec = libc::MS_REC;
    const NAMES: [(&str, u64); 9] = [
        ("", 0), ("private", libc::MS_PRIVATE), ("slave", libc::MS_SLAVE), ("shared", libc::MS_SHARED),
        ("unbindable", libc::MS_UNBINDABLE), ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
        ("rslave", libc::MS_SLAVE | libc::MS_REC), ("rshared", libc::MS_SHARED | libc::MS_REC),
        ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
    ];
    // The whole tree takes the propagation, whether or not the name says so: peers read "private" as recursive.
    named("linux.rootfsPropagation", &NAMES, name).map(|p| if p == 0 { 0 } else { p | rec })
}
