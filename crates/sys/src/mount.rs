//! The mount API by descriptor (Linux 5.2 to 5.12), and the few old calls that it does not replace.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// `MOUNT_ATTR_*` of mount_setattr(2) and fsmount(2).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-ID and file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No device files.
    pub const NODEV: u64 = 0x4;
    /// No execution.
    pub const NOEXEC: u64 = 0x8;
    /// The field of access time modes; 0 is relatime.
    pub const ATIME: u64 = 0x70;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Always access times.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Map ids by a user namespace.
    pub const IDMAP: u64 = 0x10_0000;
    /// Follow no symbolic links.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// struct mount_attr of mount_setattr(2).
#[repr(C)]
#[derive(Default, Debug, Clone, Copy)]
pub(crate) struct MountAttr {
    pub(crate) attr_set: u64,
    pub(crate) attr_clr: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

pub(crate) const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

fn fd_from(ret: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(ret as i32) }
}

/// A file system being set up: fsopen(2), then options, then [`Context::mount`].
#[derive(Debug)]
pub struct Context(OwnedFd);

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

impl Context {
    /// Begins a mount of a type such as "tmpfs".
    ///
    /// # Errors
    /// ENODEV where the kernel does not know the type; EPERM.
    pub fn open(kind: &CStr) -> io::Result<Context> {
        // SAFETY: kind is a C string that outlives the call; 1 is FSOPEN_CLOEXEC.
        check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) }).map(|r| Context(fd_from(r)))
    }

    fn config(&self, cmd: u32, key: Option<&CStr>, value: Option<&CStr>) -> io::Result<()> {
        let ptr = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are null or C strings that outlive the call.
        let ret = unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), cmd, ptr(key), ptr(value), 0) };
        check(ret).map(drop)
    }

    /// Sets `key=value`. The kernel takes values below 256 bytes.
    ///
    /// # Errors
    /// EINVAL for an option the file system does not know; [`Context::messages`] says more.
    pub fn set(&self, key: &CStr, value: &CStr) -> io::Result<()> {
        self.config(FSCONFIG_SET_STRING, Some(key), Some(value))
    }

    /// Sets an option without value.
    ///
    /// # Errors
    /// As [`Context::set`].
    pub fn set_flag(&self, key: &CStr) -> io::Result<()> {
        self.config(FSCONFIG_SET_FLAG, Some(key), None)
    }

    /// Makes the file system and returns its mount, attached nowhere yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn mount(&self, attributes: u64) -> io::Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: no memory is passed; 1 is FSMOUNT_CLOEXEC.
        let ret = unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), 1, attributes as libc::c_uint) };
        check(ret).map(fd_from)
    }

    /// What the kernel said of the options, such as "tmpfs: Bad value for 'size'"; empty when it said nothing.
    pub fn messages(&self) -> String {
        let mut text = String::new();
        let mut line = [0u8; 512];
        while let Ok(n) = rustix::io::read(&self.0, &mut line) {
            if n == 0 {
                break;
            }
            let said = String::from_utf8_lossy(&line[..n]);
            if !text.is_empty() {
                text.push_str("; ");
            }
            // A message begins with its kind: "e " error, "w " warning, "i " information.
            text.push_str(said.trim_end().get(2..).unwrap_or(""));
        }
        text
    }
}

/// A detached copy of the mount tree at `path` below `dir` (bind mount, first half).
///
/// # Errors
/// Those of open_tree(2): EINVAL for what may not be copied, such as a mount with locked children.
pub fn open_tree_clone(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, nofollow: bool) -> io::Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    if nofollow {
        flags |= libc::AT_SYMLINK_NOFOLLOW as u32;
    }
    if path.is_empty() {
        flags |= AT_EMPTY_PATH;
    }
    // SAFETY: path is a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) }).map(fd_from)
}

/// Attaches the detached mount `mount` on top of what `target` refers to. No path is walked.
///
/// # Errors
/// Those of move_mount(2): ENOTDIR between file and directory, EINVAL for a foreign mount namespace.
pub fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    // SAFETY: both paths are empty C strings with static life.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    check(ret).map(drop)
}

/// What [`set_attributes`] changes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Change<'a> {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// 0, or one of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`.
    pub propagation: u64,
    /// User namespace of an id-mapped mount.
    pub userns: Option<BorrowedFd<'a>>,
    /// The mounts below too.
    pub recursive: bool,
}

/// Changes attributes of the mount whose root `mount` refers to (mount_setattr(2), Linux 5.12).
///
/// # Errors
/// EPERM for a flag locked by the owner of another user namespace; EINVAL where `mount` is no mount's root.
pub fn set_attributes(mount: BorrowedFd<'_>, change: Change<'_>) -> io::Result<()> {
    let mut attr = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    if let Some(ns) = change.userns {
        attr.attr_set |= attr::IDMAP;
        attr.userns_fd = ns.as_raw_fd() as u64;
    }
    let flags = AT_EMPTY_PATH | if change.recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: attr is a valid mount_attr of the size given and outlives the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw mut attr,
            size_of::<MountAttr>(),
        )
    };
    check(ret).map(drop)
}

/// The kernel's number of the mount that `fd` is on, as /proc/self/mountinfo has it (statx(2), Linux 5.8). It may become
/// another's once the mount is gone.
///
/// # Errors
/// ENOSYS on an older kernel.
pub fn number(fd: impl AsFd) -> io::Result<u64> {
    mount_number(fd, rustix::fs::StatxFlags::MNT_ID)
}

/// A number of it that no other mount ever has; before Linux 6.8 the same as [`number`].
///
/// # Errors
/// ENOSYS before Linux 5.8.
pub fn unique_number(fd: impl AsFd) -> io::Result<u64> {
    /// STATX_MNT_ID_UNIQUE.
    const UNIQUE: u32 = 0x4000;
    let fd = fd.as_fd();
    mount_number(fd, rustix::fs::StatxFlags::from_bits_retain(UNIQUE)).or_else(|_| number(fd))
}

fn mount_number(fd: impl AsFd, what: rustix::fs::StatxFlags) -> io::Result<u64> {
    let st = rustix::fs::statx(fd, "", rustix::fs::AtFlags::EMPTY_PATH, what)?;
    match st.stx_mask & what.bits() {
        0 => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        _ => Ok(st.stx_mnt_id),
    }
}

/// mount(2), for what the mount API can't say: propagation of "/", remounts of a superblock, long data strings.
///
/// # Errors
/// Those of mount(2).
pub fn mount_classic(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> io::Result<()> {
    let ptr = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: each pointer is null or a C string that outlives the call.
    let ret = unsafe { libc::mount(ptr(source), target.as_ptr(), ptr(kind), flags, ptr(data).cast()) };
    check(ret.into()).map(drop)
}

/// umount2(2).
///
/// # Errors
/// Those of umount2(2).
pub fn unmount(target: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: target is a C string that outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), flags) }.into()).map(drop)
}

/// Makes the working directory the root and stacks the old root on it; unmount "." to be rid of that.
///
/// # Errors
/// EINVAL where the working directory is no mount or the old root is the initial ramfs.
pub fn pivot_root_here() -> io::Result<()> {
    // SAFETY: both paths are C strings with static life.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// Flags that statvfs(3) reports for the mount of a descriptor (`ST_*`, equal to `MS_*` where hull uses them).
///
/// # Errors
/// Those of fstatfs(2).
pub fn flags_of(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstatvfs(fd)?.f_flag.bits())
}
