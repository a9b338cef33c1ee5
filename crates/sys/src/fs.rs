//! Files: the checks that a descriptor is what it should be, and close_range.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::check;

/// File system magic of procfs (`PROC_SUPER_MAGIC`).
pub const PROC_MAGIC: i64 = 0x9fa0;
/// File system magic of sysfs (`SYSFS_MAGIC`).
pub const SYSFS_MAGIC: i64 = 0x6265_6572;
/// File system magic of cgroup v2 (`CGROUP2_SUPER_MAGIC`).
pub const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The magic number of the file system that `fd` is on.
///
/// # Errors
/// Those of fstatfs(2).
pub fn magic_of(fd: impl AsFd) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type)
}

/// Whether `fd` is a character device of that number.
///
/// # Errors
/// Those of fstat(2).
pub fn is_char_device(fd: impl AsFd, major: u32, minor: u32) -> io::Result<bool> {
    let st = rustix::fs::fstat(fd)?;
    Ok(rustix::fs::FileType::from_raw_mode(st.st_mode) == rustix::fs::FileType::CharacterDevice
        && st.st_rdev == rustix::fs::makedev(major, minor))
}

/// Marks every descriptor from `first` on to be closed by exec (close_range(2), Linux 5.11).
///
/// # Errors
/// ENOSYS or EINVAL on an older kernel.
pub fn cloexec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: no memory is passed, and no descriptor is closed: each stays valid for its owner until exec.
    check(unsafe { libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Whether `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD touches no memory and a closed number is an error, not undefined.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Whether `fd` is open and passes to a program that is executed, as what this one inherited does.
pub fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: as in is_open().
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Those of the `count` descriptors from 3 up that this process inherited and is to pass on. Its own among them, under
/// numbers that were free, are not.
pub fn passed(count: u32) -> impl Iterator<Item = RawFd> {
    (3..3 + count as RawFd).filter(|fd| is_inherited(*fd))
}

/// Makes `target` refer to what `source` refers to, kept across exec (dup2(2)); the same number is left open.
///
/// The caller says that `target` is not a number owned by some other Rust object: 0 to 2, or one that was
/// inherited for the workload.
///
/// # Errors
/// Those of dup2(2).
pub fn dup_to(source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    if source.as_raw_fd() == target {
        // SAFETY: sets a flag on a descriptor that the caller borrowed.
        return check(unsafe { libc::fcntl(target, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: no memory is passed; what becomes of the number is the caller's promise.
    check(unsafe { libc::dup2(source.as_raw_fd(), target) }.into()).map(drop)
}

/// Lets `fd` stay open across exec.
///
/// # Errors
/// EBADF where it is not open.
pub fn keep_across_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: sets a descriptor flag; touches no memory.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// A descriptor inherited under a number, borrowed for the life of the process.
///
/// # Safety
/// `fd` is open and nobody closes it while the result is in use.
pub unsafe fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the caller's promise.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Closes every descriptor from `first` on but those in `keep` (close_range(2), Linux 5.9).
///
/// # Safety
/// No object that owns one of the closed descriptors is used or dropped afterwards: for a process that is a fresh
/// copy of another and never returns to its caller.
///
/// # Errors
/// ENOSYS on an older kernel.
pub unsafe fn close_all_but(first: RawFd, keep: &mut [RawFd]) -> io::Result<()> {
    let close = |from: u32, to: u32| {
        if from > to {
            return Ok(());
        }
        // SAFETY: no memory is passed; the descriptors are nobody's by the caller's promise.
        check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) }).map(drop)
    };
    keep.sort_unstable();
    let mut next = first as u32;
    for fd in keep.iter().map(|fd| *fd as u32).filter(|fd| *fd >= first as u32) {
        close(next, fd.saturating_sub(1))?;
        next = fd + 1;
    }
    close(next, u32::MAX)
}
