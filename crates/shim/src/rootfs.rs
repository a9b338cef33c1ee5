//! The root file system that containerd hands over as a list of mounts, for the shim to make at the bundle's `rootfs`.

use std::ffi::CString;
use std::path::{Path, PathBuf};

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

/// What the kernel takes of a file system's options: a page, with its end (mount(2)).
const LONGEST: usize = 4095;

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
    let mut text = data.join(",");
    if text.len() > LONGEST
        && let Some((dir, shorter)) = shortened(&data)
    {
        // A worker's own directory.
        rustix::process::chdir(&dir).map_err(|e| e.to_string())?;
        text = shorter;
    }
    let data = CString::new(text).map_err(|_| "an option has a NUL byte")?;
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

/// Options with the layers of an overlay as seen from the directory that they have in common, and that directory: those of
/// an image with some fifty layers are too long otherwise.
fn shortened(options: &[&str]) -> Option<(PathBuf, String)> {
    const LAYERS: &str = "lowerdir=";
    let layers: Vec<_> = options.iter().find_map(|o| o.strip_prefix(LAYERS))?.split(':').collect();
    // A backslash would hide a colon that is part of a name.
    if layers.iter().any(|layer| !layer.starts_with('/') || layer.contains('\\')) {
        return None;
    }
    let mut dir = Path::new(layers[0]).parent()?;
    while !layers.iter().all(|layer| Path::new(layer).starts_with(dir)) {
        dir = dir.parent()?;
    }
    let below = layers.iter().map(|layer| Path::new(layer).strip_prefix(dir).ok()?.to_str().filter(|l| !l.is_empty()));
    let layers = below.collect::<Option<Vec<_>>>()?.join(":");
    let with = options.iter().map(|o| if o.starts_with(LAYERS) { format!("{LAYERS}{layers}") } else { (*o).to_owned() });
    Some((dir.to_owned(), with.collect::<Vec<_>>().join(",")))
}

/// Takes all mounts at `target` away.
pub(crate) fn remove(target: &Path) {
    // One that another keeps busy goes when that one does.
    while unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_seen_from_what_they_have_in_common() {
        let of = |options: &[&str]| shortened(options).map(|(dir, text)| (dir.display().to_string(), text));
        let is = |dir: &str, text: &str| Some((dir.to_owned(), text.to_owned()));
        assert_eq!(of(&["index=off", "upperdir=/s/9/fs", "lowerdir=/s/12/fs:/s/1/fs"]), is("/s", "index=off,upperdir=/s/9/fs,lowerdir=12/fs:1/fs"));
        assert_eq!(of(&["lowerdir=/a/fs:/b/fs"]), is("/", "lowerdir=a/fs:b/fs"));
        assert_eq!(of(&["lowerdir=/a/fs"]), is("/a", "lowerdir=fs"));
        // One below the other.
        assert_eq!(of(&["lowerdir=/a:/a/b"]), is("/", "lowerdir=a:a/b"));
        for none in [&["upperdir=/u"][..], &["lowerdir=a:/b"], &["lowerdir=/a\\:b:/c"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
