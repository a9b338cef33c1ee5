//! Who a process is: ids, groups, capabilities.
//!
//! The raw system calls are used, not the C library's wrappers, which would try to signal other threads.

use std::io;

use crate::check;

/// Sets the supplementary groups to exactly these.
///
/// # Errors
/// EPERM without CAP_SETGID or where the user namespace denies setgroups; EINVAL for an unmapped id.
pub fn setgroups(gids: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and length describe the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }).map(drop)
}

/// Sets real, effective and saved group id.
///
/// # Errors
/// EPERM; EINVAL for an unmapped id.
pub fn setgid(gid: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets real, effective and saved user id.
///
/// # Errors
/// EPERM; EINVAL for an unmapped id; EAGAIN at RLIMIT_NPROC.
pub fn setuid(uid: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Three capability sets as bit masks, bit n for capability n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSets {
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept across exec of files with inheritable capabilities.
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// The calling thread's sets (capget(2)).
///
/// # Errors
/// None in practice.
pub fn capget() -> io::Result<CapSets> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 writes two CapData, which data holds.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |f: fn(&CapData) -> u32| u64::from(f(&data[0])) | u64::from(f(&data[1])) << 32;
    Ok(CapSets { effective: join(|d| d.effective), permitted: join(|d| d.permitted), inheritable: join(|d| d.inheritable) })
}

/// Sets the calling thread's sets (capset(2)).
///
/// # Errors
/// EPERM for a set that would grow beyond what is allowed.
pub fn capset(sets: CapSets) -> io::Result<()> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let half = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two CapData, which data holds.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Drops one capability from the bounding set.
///
/// # Errors
/// EPERM without CAP_SETPCAP; EINVAL for a number the kernel does not know.
pub fn drop_bounding(cap: u32) -> io::Result<()> {
    crate::prctl::call(libc::PR_CAPBSET_DROP, cap.into(), 0, 0)
}

/// Whether the bounding set has it; `None` where the kernel does not know the number.
pub fn has_bounding(cap: u32) -> Option<bool> {
    // SAFETY: no memory is passed.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(cap), 0, 0, 0) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Raises one ambient capability; it must be permitted and inheritable.
///
/// # Errors
/// EPERM where it is not.
pub fn raise_ambient(cap: u32) -> io::Result<()> {
    crate::prctl::call(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, cap.into(), 0)
}

/// Empties the ambient set.
///
/// # Errors
/// None on Linux 4.3 and later.
pub fn clear_ambient() -> io::Result<()> {
    crate::prctl::call(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0, 0)
}
