//! System calls that rustix lacks or wraps too loosely for a jail: clone3, the mount API, pidfds, capabilities,
//! seccomp, scheduling, terminals, bpf.
//!
//! Owns every `unsafe` block of the core. Holds no policy: each function is one system call (or the few that
//! make one step), takes plain values and returns the kernel's own error.

pub mod bpf;
pub mod clone;
pub mod creds;
#[cfg(target_arch = "x86_64")]
pub mod early;
pub mod entry;
pub mod errno;
pub mod exec;
pub mod fs;
pub mod key;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod net;
pub mod pidfd;
pub mod probe;
pub mod prctl;
pub mod sched;
pub mod sealed;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tty;

use std::io;

/// Turns the return value of a system call into a result.
fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Repeats a system call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
