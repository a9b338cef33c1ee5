//! prctl(2) and personality(2): switches of the calling process.

use std::io;

use crate::check;

/// prctl(2) with integer arguments.
pub(crate) fn call(option: i32, a: u64, b: u64, c: u64) -> io::Result<()> {
    // SAFETY: every option used in this crate takes integers only.
    check(unsafe { libc::prctl(option, a, b, c, 0) }.into()).map(drop)
}

/// Keeps permitted capabilities across a change of user id, until exec.
///
/// # Errors
/// EPERM where securebits lock it.
pub fn keep_caps(on: bool) -> io::Result<()> {
    call(libc::PR_SET_KEEPCAPS, on.into(), 0, 0)
}

/// Whether others of the same user may trace this process and open its /proc files.
///
/// # Errors
/// None.
pub fn set_dumpable(on: bool) -> io::Result<()> {
    call(libc::PR_SET_DUMPABLE, on.into(), 0, 0)
}

/// No exec gives more privileges from now on.
///
/// # Errors
/// None.
pub fn no_new_privs() -> io::Result<()> {
    call(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0)
}

/// The signal this process gets when its parent's thread dies; 0 for none.
///
/// # Errors
/// EINVAL for a bad number.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    call(libc::PR_SET_PDEATHSIG, signal as u64, 0, 0)
}

/// Orphaned descendants become this process's children.
///
/// # Errors
/// None.
pub fn set_child_subreaper(on: bool) -> io::Result<()> {
    call(libc::PR_SET_CHILD_SUBREAPER, on.into(), 0, 0)
}

/// Sets the execution domain (personality(2)): 0 is Linux, 8 is 32-bit Linux.
///
/// # Errors
/// EINVAL.
pub fn personality(domain: u64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// Sets the file mode creation mask; never fails.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no memory is passed.
    unsafe { libc::umask(mask) }
}
