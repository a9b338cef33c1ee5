//! The part of bpf(2) that a device filter on a cgroup needs: load, attach, replace, detach, look up.
//!
//! Knows nothing of devices: a program is a list of 64-bit instructions. Never raises RLIMIT_MEMLOCK, which kernels
//! since 5.11 don't charge for programs.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const PROG_QUERY: i32 = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;
/// The kernel lets no more than this many programs be attached to one cgroup.
const MOST_ATTACHED: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// One bpf(2) call on an attribute that lives until it returns.
fn bpf<T>(command: i32, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is one of the structures above, each laid out as its part of the kernel's `union bpf_attr`, and
    // its true size is passed; pointers inside it are to memory that the callers below keep alive over the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) })
}

/// Loads a program for device access of cgroups.
///
/// # Errors
/// EPERM without the right to load; EINVAL or EACCES where the kernel's verifier refuses the program.
pub fn load_device_filter(instructions: &[u64], license: &CStr) -> io::Result<OwnedFd> {
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    // The verifier gives up with EAGAIN when a signal arrives.
    for _ in 0..4 {
        match bpf(PROG_LOAD, &mut attr) {
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
            other => return other.map(owned),
        }
    }
    bpf(PROG_LOAD, &mut attr).map(owned)
}

/// Attaches a device filter to a cgroup v2 directory beside those that others attached, or in the place of `replace`.
///
/// # Errors
/// EPERM without the right; EINVAL for `replace` on kernels before 5.6; ENOENT where `replace` isn't attached.
pub fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches one device filter from a cgroup v2 directory.
///
/// # Errors
/// ENOENT where it isn't attached; EPERM.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut attr).map(drop)
}

/// The ids of the device filters attached to this very cgroup v2 directory, not to its ancestors.
///
/// # Errors
/// EPERM without the right to ask.
pub fn device_filters(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; MOST_ATTACHED];
    let mut attr = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST_ATTACHED as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// Opens a loaded program by id.
///
/// # Errors
/// ENOENT where it is gone; EPERM.
pub fn open_program(id: u32) -> io::Result<OwnedFd> {
    bpf(PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() }).map(owned)
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for the caller, close-on-exec as all of bpf(2)'s.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
