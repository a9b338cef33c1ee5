//! clone3(2), setns(2), unshare(2): making processes and moving them between namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::check;

/// Flags of clone3(2), setns(2) and unshare(2).
pub mod flags {
    /// New mount namespace.
    pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
    /// New cgroup namespace.
    pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// New UTS namespace.
    pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
    /// New IPC namespace.
    pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
    /// New user namespace.
    pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
    /// New PID namespace.
    pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
    /// New network namespace.
    pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
    /// New time namespace (clone3 and unshare only; the bit is a signal number in clone(2)).
    pub const NEWTIME: u64 = 0x80;
    /// The caller's parent becomes the child's parent.
    pub const PARENT: u64 = libc::CLONE_PARENT as u64;
    /// Put the child into the cgroup of a descriptor (Linux 5.7, cgroup v2).
    pub const INTO_CGROUP: u64 = 0x2_0000_0000;
    /// Return a pidfd of the child.
    pub const PIDFD: u64 = libc::CLONE_PIDFD as u64;
}

/// struct clone_args of clone3(2).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of [`clone3`] returned.
#[derive(Debug)]
pub enum Side {
    /// The caller, with the child.
    Parent(Child),
    /// The new process.
    Child,
}

/// A process made by [`clone3`].
#[derive(Debug)]
pub struct Child {
    /// Process id in the caller's PID namespace.
    pub pid: i32,
    /// Refers to that very process, whatever becomes of the number.
    pub pidfd: OwnedFd,
}

/// Forks by clone3(2): the child has a copy of the caller's memory and returns from this call too.
///
/// `cgroup` puts the child into a v2 cgroup in the same step, which avoids the write lock that a later move would
/// take. The child's exit is reported by SIGCHLD.
///
/// # Safety
/// The caller has one thread only. With more, the child could find a lock of the allocator held for ever.
///
/// # Errors
/// Those of clone3(2): EPERM without CAP_SYS_ADMIN, ENOSPC at a namespace limit, EBUSY, EOPNOTSUPP for the cgroup.
pub unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | flags::PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        // With CLONE_PARENT the kernel takes the caller's own exit signal and refuses another (Linux 5.10).
        exit_signal: if flags & flags::PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= flags::INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: args is a valid clone_args of the size given and outlives the call; no stack is passed, so the child
    // continues on a copy of this one, as after fork. That the copy is consistent is the caller's promise.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Side::Parent(Child { pid: pid as i32, pidfd }))
}

/// Joins the namespaces in `flags` of what `fd` names: a namespace file, or a process by pidfd (Linux 5.8).
///
/// # Errors
/// Those of setns(2).
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), flags as libc::c_int) }).map(drop)
}

/// Leaves the shared namespaces in `flags` for new ones.
///
/// # Errors
/// Those of unshare(2).
pub fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: no memory is passed; CLONE_FILES and CLONE_VM are not among the flags above, so no Rust object
    // changes its meaning.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
}

/// How many threads this process has: whether [`clone3`] may be called.
///
/// # Errors
/// Where /proc is not mounted.
pub fn thread_count() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    // Each thread is a directory there, so the link count is their number and two.
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Ends the process at once, running no destructor and no exit handler: the child's only way out but exec.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: no memory is passed and nothing runs after it.
    unsafe { libc::_exit(code) }
}
