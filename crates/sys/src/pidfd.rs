//! Processes by descriptor (Linux 5.3 to 5.6): signals and waits that can't hit a recycled number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::{check, retry};

/// Opens a process by number.
///
/// # Errors
/// ESRCH where there is none.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The process id behind a pidfd, as this process's PID namespace has it. No word of another process is needed for it.
///
/// # Errors
/// ESRCH where it has ended and was reaped, or is not in this namespace.
pub fn number(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    // Since Linux 5.3; from 6.13 on PIDFD_GET_INFO tells the same.
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// Sends a signal.
///
/// # Errors
/// ESRCH where the process is gone; EPERM; EINVAL for a bad signal.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the siginfo pointer is null, which the call allows.
    let ret = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
    };
    check(ret).map(drop)
}

/// Copies a descriptor out of another process (pidfd_getfd(2)).
///
/// # Errors
/// EBADF where that process has no such number; EPERM without the right to trace it.
pub fn get_fd(pidfd: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Writes one byte into another process's memory (process_vm_writev(2)).
///
/// # Errors
/// EPERM without the right to trace it; EFAULT for an address that is not mapped and writable there.
pub fn poke(pid: i32, address: u64, byte: u8) -> io::Result<()> {
    let local = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: 1 };
    // SAFETY: local describes one byte that outlives the call; remote is looked at in the other process only.
    check(unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) } as libc::c_long).map(drop)
}

/// Waits until the process has ended or the time is over; true where it has. Works for processes of others too.
///
/// # Errors
/// Those of poll(2).
pub fn wait_end(pidfd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = limit.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: d.subsec_nanos().into() });
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    Ok(retry(|| Ok(poll(&mut fds, timeout.as_ref())?))? > 0)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By exit, with this status.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Ended {
    /// The status in a shell's manner: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Ended::Code(c) => c,
            Ended::Signal(s) => 128 + s,
        }
    }
}

/// Reaps a child, waiting for its end.
///
/// # Errors
/// ECHILD where it is not a child of the caller.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Ended> {
    wait(pidfd, libc::WEXITED).and_then(|ended| ended.ok_or_else(|| io::Error::from_raw_os_error(libc::ECHILD)))
}

/// How a child ended, which stays to be reaped; `None` while it lives.
///
/// # Errors
/// ECHILD where it is not a child of the caller.
pub fn peek(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    wait(pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

fn wait(pidfd: BorrowedFd<'_>, options: i32) -> io::Result<Option<Ended>> {
    // SAFETY: siginfo_t is plain data for which zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    retry(|| {
        let (id, options) = (pidfd.as_raw_fd() as libc::id_t, options | libc::__WALL);
        // SAFETY: info outlives the call; P_PIDFD takes the descriptor's number.
        check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) }.into())
    })?;
    // SAFETY: waitid filled in the SIGCHLD form of the structure, or left it as it was.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let ended = if info.si_code == libc::CLD_EXITED { Ended::Code(status) } else { Ended::Signal(status) };
    Ok((pid != 0).then_some(ended))
}

/// Reaps whatever child has ended, without waiting; its process id and how it ended, or `None` when there is none.
pub fn reap_any() -> Option<(i32, Ended)> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    let ended = if libc::WIFSIGNALED(status) { Ended::Signal(libc::WTERMSIG(status)) } else { Ended::Code(libc::WEXITSTATUS(status)) };
    (pid > 0).then_some((pid, ended))
}
