//! The root file system that containerd hands over as a list of mounts, for the shim to make at the bundle's `rootfs`.

use std::ffi::CString;
use std::path::Path;

use containerd_shim_protos::types::mount::Mount;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// What an option of a mount means to mount(2): flags to set or to clear.
const OPTIONS: &[(&str, bool, MountFlags)] = &[
    ("ro", true, MountFlags::RDONLY), ("rw", false, MountFlags::RDONLY),
    ("nosuid", true, MountFlags::NOSUID), ("suid", false, MountFlags::NOSUID),
    ("nodev", true, MountFlags::NODEV), ("dev", false, MountFlags::NODEV),
    ("noexec", true, MountFlags::NOEXEC), ("exec", false, MountFlags::NOEXEC),
    ("sync", true, MountFlags::SYNCHRONOUS), ("async", false, MountFlags::SYNCHRONOUS),
    ("dirsync", true, MountFlags::DIRSYNC),
    ("noatime", true, MountFlags::NOATIME), ("atime", false, MountFlags::NOATIME),
    ("nodiratime", true, MountFlags::NODIRATIME), ("diratime", false, MountFlags::NODIRATIME),
    ("relatime", true, MountFlags::RELATIME), ("norelatime", false, MountFlags::RELATIME),
    ("strictatime", true, MountFlags::STRICTATIME), ("nostrictatime", false, MountFlags::STRICTATIME),
    ("bind", true, MountFlags::BIND), ("rbind", true, MountFlags::BIND.union(MountFlags::REC)),
];

/// Makes the mounts at `target`, one above the other.
///
/// # Errors
/// With the mount that can't be made.
pub(crate) fn make(mounts: &[Mount], target: &Path) -> Result<(), String> {
    for mount in mounts {
        one(mount, target).map_err(|e| {
            let options = mount.options.join(",");
            format!("cannot mount \"{}\" ({}, {options}) at \"{}\": {e}", mount.source, mount.type_, target.display())
        })?;
    }
    Ok(())
}

fn one(wanted: &Mount, target: &Path) -> Result<(), String> {
    let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
    for option in &wanted.options {
        match OPTIONS.iter().find(|(name, ..)| name == option) {
            Some((_, true, flag)) => flags |= *flag,
            Some((_, false, flag)) => flags &= !*flag,
            None => data.push(option.as_str()),
        }
    }
    if data.contains(&"loop") {
        return Err("the option \"loop\" is not supported".into());
    }
    // containerd's marks for itself.
    data.retain(|option| !option.starts_with("X-containerd."));
    if !wanted.target.is_empty() {
        return Err(format!("the target \"{}\": must be none", wanted.target));
    }
    let data = CString::new(data.join(",")).map_err(|_| "an option has a NUL byte")?;
    /// What the kernel takes of them: a page, with its end (mount(2)).
    const LONGEST: usize = 4095;
    if data.as_bytes().len() > LONGEST {
        return Err(format!("its options take {} bytes, and the kernel takes {}", data.as_bytes().len(), LONGEST));
    }
    let kind = if flags.contains(MountFlags::BIND) { "none" } else { &wanted.type_ };
    let made = mount(wanted.source.as_str(), target, kind, flags, Some(data.as_c_str()));
    made.map_err(|e| e.to_string())?;
    // A bind takes the rest in a second step.
    let rest = flags - MountFlags::BIND - MountFlags::REC;
    if flags.contains(MountFlags::BIND) && !rest.is_empty() {
        mount_remount(target, MountFlags::BIND | rest, c"").map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Takes all mounts at `target` away.
pub(crate) fn remove(target: &Path) {
    // One that another keeps busy goes when that one does.
    while unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).is_ok() {}
}
