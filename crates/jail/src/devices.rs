//! Device nodes and the usual links of /dev.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use hull_sys::mount;

use crate::error::{Context as _, Error, Result};
use crate::label::MountLabel;
use crate::plan::{DevicePlan, UserMaps};
use crate::root::{Root, Want, kind_of, open_child};
use crate::sync::{Ask, Sync};

/// Makes the nodes. In a user namespace mknod is denied, so the host's node is bound instead, or one that the parent
/// makes.
pub(crate) fn make(root: &Root, devices: &[DevicePlan], bind: bool, sync: &Sync) -> Result<()> {
    refuse_link(root)?;
    for (index, device) in devices.iter().enumerate() {
        let doing = || format!("cannot make the device \"{}\"", device.path.display());
        let bound = || bind_node(root, index, device, sync);
        let made = if bind && device.kind != libc::S_IFIFO { bound() } else { make_node(root, device, bound) };
        made.map_err(|e| e.during(&doing()))?;
    }
    links(root)
}

/// An image whose /dev is a link was made to mislead. Nothing would leave the root, but what is made would not be
/// where the container's programs are told to look for it (CVE-2026-47766).
fn refuse_link(root: &Root) -> Result<()> {
    match open_child(root.as_fd(), "dev".as_ref()) {
        Ok(dev) if kind_of(&dev).what(|| "cannot examine \"/dev\" of the container")? == FileType::Symlink => {
            Err(Error::new("\"/dev\" of the container is a symbolic link"))
        }
        _ => Ok(()),
    }
}

fn make_node(root: &Root, device: &DevicePlan, bound: impl Fn() -> Result<()>) -> Result<()> {
    let (dir, name) = root.parent(&device.path).what(|| "its directory")?;
    let kind = FileType::from_raw_mode(device.kind);
    let number = rustix::fs::makedev(device.number.0, device.number.1);
    match rustix::fs::mknodat(&dir, &name, kind, Mode::from_raw_mode(device.mode), number) {
        Ok(()) => {}
        // Some image's /dev, or a device listed twice by an engine: as good, if it is that very device.
        Err(Errno::EXIST) => {
            let st = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).what(|| "existing file")?;
            let same = FileType::from_raw_mode(st.st_mode) == kind && (kind == FileType::Fifo || st.st_rdev == number);
            return if same { Ok(()) } else { Err(Error::new("something else stands there")) };
        }
        Err(Errno::PERM) if kind != FileType::Fifo => return bound(),
        Err(e) => return Err(e).what(|| "mknod"),
    }
    if device.owner != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(device.owner.0), rustix::fs::Gid::from_raw(device.owner.1));
        rustix::fs::chownat(&dir, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).what(|| "its owner")?;
    }
    Ok(())
}

/// Binds the host's device of that path or, where there is none, one that the parent makes.
fn bind_node(root: &Root, index: usize, device: &DevicePlan, sync: &Sync) -> Result<()> {
    let tree = match host_node(device)? {
        Some(tree) => tree,
        None => {
            sync.ask(&Ask::Device(index))?;
            let mut fds = sync.answer()?.ok_or_else(|| Error::new("the runtime is gone"))?;
            fds.pop().ok_or_else(|| Error::new("the runtime sent no device"))?
        }
    };
    let target = root.target(&device.path, Want::File, false).what(|| "target")?;
    crate::mounts::attach(&tree, &target, &device.path)
}

/// The host's file of that path, if it is that device.
fn host_node(device: &DevicePlan) -> Result<Option<OwnedFd>> {
    let path = CString::new(device.path.as_os_str().as_bytes()).map_err(|_| Error::new("path has a NUL byte"))?;
    let tree = match mount::open_tree_clone(rustix::fs::CWD, &path, false, false) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        other => other.what(|| "the host's device")?,
    };
    let st = rustix::fs::statat(&tree, "", AtFlags::EMPTY_PATH).what(|| "the host's device")?;
    let number = rustix::fs::makedev(device.number.0, device.number.1);
    let same = FileType::from_raw_mode(st.st_mode) == FileType::from_raw_mode(device.kind) && st.st_rdev == number;
    Ok(same.then_some(tree))
}

/// See [`crate::device_for`].
pub(crate) fn detached(device: &DevicePlan, maps: Option<&UserMaps>, label: Option<&MountLabel>) -> Result<OwnedFd> {
    const NAME: &str = "node";
    let doing = || format!("the host has no device {}:{} there, and none can be made", device.number.0, device.number.1);
    let context = mount::Context::open(c"tmpfs").what(doing)?;
    label.map_or(Ok(()), |l| l.set(&context))?;
    let dir = context.mount(mount::attr::NOSUID | mount::attr::NOEXEC).what(doing)?;
    let number = rustix::fs::makedev(device.number.0, device.number.1);
    let mode = Mode::from_raw_mode(device.mode);
    rustix::fs::mknodat(&dir, NAME, FileType::from_raw_mode(device.kind), mode, number).what(doing)?;
    // Whatever the caller's mask.
    rustix::fs::chmodat(&dir, NAME, mode, AtFlags::empty()).what(doing)?;
    let owner = |map: fn(&UserMaps) -> &[hull_spec::IdMapping], id: u32| maps.and_then(|m| host_id(map(m), id));
    let uid = owner(|m| &m.uids, device.owner.0).map(rustix::fs::Uid::from_raw);
    let gid = owner(|m| &m.gids, device.owner.1).map(rustix::fs::Gid::from_raw);
    rustix::fs::chownat(&dir, NAME, uid, gid, AtFlags::SYMLINK_NOFOLLOW).what(doing)?;
    mount::open_tree_clone(dir.as_fd(), c"node", false, true).what(doing)
}

fn host_id(map: &[hull_spec::IdMapping], id: u32) -> Option<u32> {
    let of = |m: &hull_spec::IdMapping| id.checked_sub(m.container_id).filter(|n| *n < m.size).map(|n| (m.host_id, n));
    map.iter().find_map(of).and_then(|(first, n)| first.checked_add(n))
}

fn links(root: &Root) -> Result<()> {
    const LINKS: [(&str, &str); 4] = [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    let dev = root.make_directory(Path::new("/dev")).what(|| "cannot open \"/dev\" of the container")?;
    let link = |to: &str, name: &str| match rustix::fs::symlinkat(to, &dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e).what(|| format!("cannot make the link \"/dev/{name}\"")),
    };
    for (to, name) in LINKS {
        link(to, name)?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        link("/proc/kcore", "core")?;
    }
    // The container's own devpts, whatever the image brought.
    match rustix::fs::unlinkat(&dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e).what(|| "cannot replace \"/dev/ptmx\""),
    }
    link("pts/ptmx", "ptmx")
}

/// The host's /dev/null, proven to be it (CVE-2025-31133, CVE-2026-88265).
pub(crate) fn null() -> Result<OwnedFd> {
    let fd = rustix::fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .what(|| "cannot open \"/dev/null\"")?;
    if hull_sys::fs::is_char_device(&fd, 1, 3).what(|| "cannot examine \"/dev/null\"")? {
        Ok(fd)
    } else {
        Err(Error::new("\"/dev/null\" of the host is not the null device (1:3)"))
    }
}

/// Opens the container's null device in place of the host's on the standard descriptors, so that no mount of the
/// host stays in use; leaves them alone where the container's is not the real one.
pub(crate) fn reopen_null(root: &Root) {
    let Ok(dev) = root.open(Path::new("/dev"), OFlags::PATH | OFlags::DIRECTORY) else { return };
    let Ok(path) = open_child(dev.as_fd(), "null".as_ref()) else { return };
    if !hull_sys::fs::is_char_device(&path, 1, 3).unwrap_or(false) {
        return;
    }
    let Ok(own) = rustix::fs::openat(&dev, "null", OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) else {
        return;
    };
    if !hull_sys::fs::is_char_device(&own, 1, 3).unwrap_or(false) {
        return;
    }
    for fd in 0..3 {
        if !hull_sys::fs::is_open(fd) {
            continue;
        }
        // SAFETY: the number is open, and only this loop changes what it refers to.
        let std = unsafe { hull_sys::fs::borrow(fd) };
        if hull_sys::fs::is_char_device(std, 1, 3).unwrap_or(false) {
            // Failure leaves the host's null device there, which works as well.
            let _ = hull_sys::fs::dup_to(own.as_fd(), fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_on_the_host() {
        let map = [hull_spec::IdMapping { container_id: 10, host_id: u32::MAX - 2, size: 100 }];
        assert_eq!(host_id(&map, 9), None);
        assert_eq!(host_id(&map, 11), Some(u32::MAX - 1));
        assert_eq!(host_id(&map, 13), None, "there is no such id");
        assert_eq!(host_id(&map, 110), None);
    }
}
