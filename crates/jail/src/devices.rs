//! Device nodes and the usual links of /dev.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context as _, Error, Result};
use crate::plan::DevicePlan;
use crate::root::{Root, Want, open_child};

/// Makes the nodes. In a user namespace mknod is denied, so the host's node is bound instead.
pub(crate) fn make(root: &Root, devices: &[DevicePlan], bind: bool) -> Result<()> {
    for device in devices {
        let doing = || format!("cannot make the device \"{}\"", device.path.display());
        let made = if bind && device.kind != libc::S_IFIFO { bind_node(root, device) } else { make_node(root, device) };
        made.map_err(|e| e.during(&doing()))?;
    }
    links(root)
}

fn make_node(root: &Root, device: &DevicePlan) -> Result<()> {
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
        Err(Errno::PERM) if kind != FileType::Fifo => return bind_node(root, device),
        Err(e) => return Err(e).what(|| "mknod"),
    }
    if device.owner != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(device.owner.0), rustix::fs::Gid::from_raw(device.owner.1));
        rustix::fs::chownat(&dir, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).what(|| "its owner")?;
    }
    Ok(())
}

/// Binds the host's device of that path after making sure that it is that device.
fn bind_node(root: &Root, device: &DevicePlan) -> Result<()> {
    let path = CString::new(device.path.as_os_str().as_bytes()).map_err(|_| Error::new("path has a NUL byte"))?;
    let tree = hull_sys::mount::open_tree_clone(rustix::fs::CWD, &path, false, false).what(|| "the host's device")?;
    let st = rustix::fs::statat(&tree, "", AtFlags::EMPTY_PATH).what(|| "the host's device")?;
    let number = rustix::fs::makedev(device.number.0, device.number.1);
    if FileType::from_raw_mode(st.st_mode) != FileType::from_raw_mode(device.kind) || st.st_rdev != number {
        return Err(Error::new(format!("the host's file is not the device {}:{}", device.number.0, device.number.1)));
    }
    let target = root.target(&device.path, Want::File, false).what(|| "target")?;
    crate::mounts::attach(&tree, &target, &device.path)
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
