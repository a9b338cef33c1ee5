//! Asks the kernel what it has, by calls that cannot change anything.
//!
//! Most pass an argument that the kernel refuses after it has seen that it knows the call. What the answers mean for
//! containers is decided by the caller.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::check;
use crate::clone::{self, Child, Side, exit_now, flags};
use crate::mount::Context;
use crate::pidfd::{self, Ended};

/// A descriptor number that is never open.
const NO_FD: libc::c_int = libc::c_int::MAX;

/// `Ok` where the call failed in the way of a kernel that knows it. To be asked right after the call, whose error
/// number the next one would overwrite.
fn known(ret: libc::c_long, expected: &[i32]) -> io::Result<()> {
    match check(ret) {
        Err(e) if e.raw_os_error().is_some_and(|errno| expected.contains(&errno)) => Ok(()),
        other => other.map(drop),
    }
}

/// clone3(2), Linux 5.3.
///
/// # Errors
/// ENOSYS or EPERM where it is absent, or a system call filter forbids it.
pub fn clone3() -> io::Result<()> {
    // SAFETY: the structure's size of 0 is refused before the null pointer is read.
    known(unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0) }, &[libc::EINVAL])
}

/// clone3(2) straight into a cgroup, Linux 5.7.
///
/// # Errors
/// EINVAL or E2BIG on an older kernel; else as [`clone3`].
pub fn clone_into_cgroup() -> io::Result<()> {
    // struct clone_args in its version 2; the last field is the cgroup's descriptor, the fifth the exit signal.
    let mut args = [0u64; 11];
    args[0] = flags::INTO_CGROUP;
    args[4] = libc::SIGCHLD as u64;
    args[10] = NO_FD as u64;
    // SAFETY: args is a clone_args of the size given. The descriptor is not open, so no process is made.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    if ret == 0 {
        exit_now(0);
    }
    known(ret, &[libc::EBADF])
}

/// openat2(2), Linux 5.6.
///
/// # Errors
/// As [`clone3`].
pub fn openat2() -> io::Result<()> {
    // SAFETY: the structure's size of 0 is refused before either pointer is read.
    let ret = unsafe { libc::syscall(libc::SYS_openat2, NO_FD, c"".as_ptr(), std::ptr::null::<u8>(), 0) };
    known(ret, &[libc::EINVAL])
}

/// pidfd_open(2), Linux 5.3, and pidfd_getfd(2), Linux 5.6.
///
/// # Errors
/// As [`clone3`].
pub fn pidfd() -> io::Result<()> {
    // SAFETY: no memory is passed; a process id of 0 is refused.
    known(unsafe { libc::syscall(libc::SYS_pidfd_open, 0, 0) }, &[libc::EINVAL])?;
    // SAFETY: no memory is passed; a closed descriptor is refused.
    known(unsafe { libc::syscall(libc::SYS_pidfd_getfd, NO_FD, 0, 0) }, &[libc::EBADF])
}

/// fsopen(2), fsmount(2), open_tree(2) and move_mount(2), Linux 5.2. Where the caller may not mount, the kernel says
/// so before all else, which tells that it knows the call.
///
/// # Errors
/// ENOSYS where they are absent.
pub fn mount_api() -> io::Result<()> {
    let expected = [libc::EINVAL, libc::EPERM];
    // SAFETY: unknown flags and closed descriptors are refused; the only path is empty and static.
    unsafe {
        let empty = c"".as_ptr();
        known(libc::syscall(libc::SYS_fsopen, empty, -1), &expected)?;
        known(libc::syscall(libc::SYS_fsmount, NO_FD, -1, 0), &expected)?;
        known(libc::syscall(libc::SYS_open_tree, NO_FD, empty, -1), &expected)?;
        known(libc::syscall(libc::SYS_move_mount, NO_FD, empty, NO_FD, empty, -1), &expected)
    }
}

/// mount_setattr(2), Linux 5.12.
///
/// # Errors
/// As [`clone3`].
pub fn mount_setattr() -> io::Result<()> {
    // SAFETY: the structure's size of 0 is refused before either pointer is read.
    let ret = unsafe { libc::syscall(libc::SYS_mount_setattr, NO_FD, c"".as_ptr(), 0, std::ptr::null::<u8>(), 0) };
    known(ret, &[libc::EINVAL])
}

/// Id-mapped mounts, Linux 5.12. Needs CAP_SYS_ADMIN.
///
/// # Errors
/// EINVAL on an older kernel, EPERM without the capability.
pub fn idmapped_mounts() -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    // struct mount_attr: set, clear, propagation, user namespace.
    let attr = [MOUNT_ATTR_IDMAP, 0, 0, NO_FD as u64];
    // SAFETY: attr is a mount_attr of the size given. Neither descriptor is open, so no mount is changed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            NO_FD,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    known(ret, &[libc::EBADF])
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11.
///
/// # Errors
/// EINVAL on an older kernel; else as [`clone3`].
pub fn close_range() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: the range holds one number that is never open.
    check(unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// bpf(2).
///
/// # Errors
/// As [`clone3`].
pub fn bpf() -> io::Result<()> {
    // SAFETY: an unknown command is refused, and the structure's size is 0.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, -1, std::ptr::null::<u8>(), 0) };
    known(ret, &[libc::EINVAL, libc::EPERM])
}

/// keyctl(2).
///
/// # Errors
/// As [`clone3`].
pub fn keyctl() -> io::Result<()> {
    // SAFETY: an unknown command is refused.
    known(unsafe { libc::syscall(libc::SYS_keyctl, -1, 0, 0, 0, 0) }, &[libc::EOPNOTSUPP])
}

/// Whether filters may answer with an action such as SECCOMP_RET_ERRNO, Linux 4.14.
///
/// # Errors
/// EOPNOTSUPP for an unknown action; EINVAL where the kernel has no filters.
pub fn seccomp_action(action: u32) -> io::Result<()> {
    // SAFETY: action outlives the call, which reads it only.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    check(ret).map(drop)
}

/// The version of Landlock that the kernel has, Linux 5.13.
///
/// # Errors
/// ENOSYS where it is not built in, EOPNOTSUPP where it is switched off.
pub fn landlock() -> io::Result<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag no memory is read and nothing is made.
    let ret = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, LANDLOCK_CREATE_RULESET_VERSION)
    };
    check(ret).map(|version| version as u32)
}

/// The version of the KVM interface behind an open /dev/kvm; 12 since 2007.
///
/// # Errors
/// ENOTTY where it is something else.
pub fn kvm_version(kvm: impl AsFd) -> io::Result<i32> {
    const KVM_GET_API_VERSION: libc::c_ulong = 0xae00;
    // SAFETY: this request takes no pointer.
    check(unsafe { libc::ioctl(kvm.as_fd().as_raw_fd(), KVM_GET_API_VERSION as _, 0) }.into()).map(|v| v as i32)
}

/// What a process in new namespaces was allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    /// Change mounts of its own mount namespace.
    pub mounts: bool,
    /// Mount procfs, which needs a PID namespace of its own and a /proc that nothing is mounted over.
    pub procfs: bool,
    /// Mount overlayfs; asked only if so told, since the question can load a kernel module.
    pub overlay: bool,
}

/// Makes a process in the new namespaces of `flags` (of which NEWNS and NEWPID belong to every sensible answer),
/// sees what it may do, and ends it.
///
/// # Errors
/// Those of clone3(2): EPERM, or ENOSPC where the user may have no more namespaces.
pub fn namespaces(flags: u64, ask_overlay: bool) -> io::Result<Inside> {
    // SAFETY: the child makes system calls only. It takes no lock and no memory, so it does not matter if this
    // process has more threads.
    match unsafe { clone::clone3(flags, None) }? {
        Side::Child => {
            // SAFETY: the strings are static or null, as this form of the call allows.
            let private = unsafe {
                let flags = libc::MS_REC | libc::MS_PRIVATE;
                libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
            };
            let procfs = Context::open(c"proc").and_then(|context| context.mount(0)).is_ok();
            let overlay = ask_overlay && Context::open(c"overlay").is_ok();
            exit_now(i32::from(private == 0) | i32::from(procfs) << 1 | i32::from(overlay) << 2)
        }
        Side::Parent(child) => inside(&child),
    }
}

fn inside(child: &Child) -> io::Result<Inside> {
    let pidfd: BorrowedFd<'_> = child.pidfd.as_fd();
    match pidfd::reap(pidfd)? {
        Ended::Code(bits) => Ok(Inside { mounts: bits & 1 != 0, procfs: bits & 2 != 0, overlay: bits & 4 != 0 }),
        // A system call filter may end a process for a call.
        Ended::Signal(_) => Ok(Inside { mounts: false, procfs: false, overlay: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_call_is_told_from_a_refused_one() {
        // No system call has this number.
        // SAFETY: it is refused.
        let ret = unsafe { libc::syscall(100_000) };
        assert_eq!(known(ret, &[libc::EINVAL]).unwrap_err().raw_os_error(), Some(libc::ENOSYS));
    }

    #[test]
    fn seccomp_actions_are_told_apart() {
        assert!(seccomp_action(libc::SECCOMP_RET_ERRNO).is_ok());
        assert_eq!(seccomp_action(0x0012_0000).unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
    }

    #[test]
    fn questions_change_nothing() {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = descriptors();
        let answers = [
            clone3(),
            clone_into_cgroup(),
            openat2(),
            pidfd(),
            mount_api(),
            mount_setattr(),
            idmapped_mounts(),
            close_range(),
            bpf(),
            keyctl(),
        ];
        // Linux 5.12 and later know all of them; what else may come is a refusal.
        let refusals = [None, Some(libc::EPERM), Some(libc::ENOSYS)];
        for (n, answer) in answers.iter().enumerate() {
            let errno = answer.as_ref().err().map(|e| e.raw_os_error().unwrap_or(0));
            assert!(refusals.contains(&errno), "question {n}: {answer:?}");
        }
        assert_eq!(descriptors(), before);
        assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    }
}
