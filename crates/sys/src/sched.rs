//! Scheduling: policy, CPUs, I/O priority, NUMA memory, resource limits.

use std::io;

use crate::check;

/// struct sched_attr of sched_setattr(2).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct SchedAttr {
    /// Size of the structure; filled in by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99.
    pub priority: u32,
    /// ns.
    pub runtime: u64,
    /// ns.
    pub deadline: u64,
    /// ns.
    pub period: u64,
}

impl SchedAttr {
    /// Whether a child of a process with this scheduling has it too.
    pub fn is_inherited(&self) -> bool {
        const RESET_ON_FORK: u64 = 1;
        self.policy != libc::SCHED_DEADLINE as u32 && self.flags & RESET_ON_FORK == 0
    }
}

/// Sets the calling thread's scheduling.
///
/// # Errors
/// EINVAL, EPERM, EBUSY (deadline not admitted).
pub fn set_scheduler(mut attr: SchedAttr) -> io::Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: attr is a sched_attr of the size it states and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attr, 0) }).map(drop)
}

/// Sets the calling process's I/O priority: class 1 real time, 2 best effort, 3 idle; level 0 to 7.
///
/// # Errors
/// EINVAL, EPERM.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << 13 | level) }).map(drop)
}

/// Binds a process (0: the caller) to CPUs, given as a bit mask of 64-bit words.
///
/// # Errors
/// EINVAL where none of them exists or the cpuset has none.
pub fn set_affinity(pid: i32, mask: &[u64]) -> io::Result<()> {
    // SAFETY: the pointer and length describe the slice.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) };
    check(ret).map(drop)
}

/// The CPUs that the caller may run on, as a bit mask.
///
/// # Errors
/// EINVAL on a kernel for more than 8192 CPUs.
pub fn affinity() -> io::Result<Vec<u64>> {
    let mut mask = vec![0u64; 128];
    // SAFETY: the pointer and length describe the vector's memory.
    let ret = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, 8 * mask.len(), mask.as_mut_ptr()) };
    check(ret).map(|_| mask)
}

/// Sets the NUMA policy: mode with its flags, and nodes as a bit mask.
///
/// # Errors
/// EINVAL, ENOSYS.
pub fn set_mempolicy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    // The kernel reads maxnode - 1 bits.
    let (ptr, max) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), nodes.len() * 64 + 1) };
    // SAFETY: the pointer is null or describes the slice of max - 1 bits.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, ptr, max) }).map(drop)
}

/// Sets a resource limit of a process (0: the caller).
///
/// # Errors
/// EPERM for a hard limit that would rise without CAP_SYS_RESOURCE; EINVAL for soft above hard.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit outlives the call; the old limit is not asked for.
    let ret = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<u8>()) };
    check(ret).map(drop)
}

/// The caller's resource limit, soft and hard.
///
/// # Errors
/// EINVAL for a bad number.
pub fn get_rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit outlives the call; no new limit is given.
    let ret = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<u8>(), &raw mut limit) };
    check(ret)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}
