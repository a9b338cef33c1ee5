//! Loading a system call filter (seccomp(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::check;

/// One instruction of classic BPF, as struct sock_filter.
pub type Instruction = libc::sock_filter;

/// Installs a filter on the calling thread. With `SECCOMP_FILTER_FLAG_NEW_LISTENER` in `flags`, returns the
/// descriptor on which notifications arrive.
///
/// # Errors
/// EACCES without no_new_privs or CAP_SYS_ADMIN; EINVAL for a bad program or an unknown flag.
pub fn load(program: &[Instruction], flags: u64) -> io::Result<Option<OwnedFd>> {
    let prog = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: prog describes the slice, which the kernel copies and does not change.
    let ret = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const prog)
    })?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with that flag the return value is a new descriptor.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as i32) }))
}

/// Whether a descriptor is a seccomp listener.
pub fn is_listener(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    const SECCOMP_IOCTL_NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
    let id: u64 = 0;
    // SAFETY: the request reads eight bytes.
    let ret = unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&fd), SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    // No notification has the id 0: a listener says ENOENT, anything else does not know the request.
    ret < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT)
}

/// Which of the filter flags in `candidates` this kernel knows.
pub fn known_flags(candidates: u64) -> u64 {
    (0..64).map(|bit| 1u64 << bit).filter(|flag| candidates & flag != 0).filter(|flag| {
        // With a null program a known flag fails by EFAULT, an unknown one by EINVAL.
        let extra = if *flag == 1 << 5 { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
        // SAFETY: a null program is what makes the call fail before it changes anything.
        let ret = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flag | extra, std::ptr::null::<u8>())
        };
        ret < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
    }).sum()
}
