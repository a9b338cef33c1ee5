//! Terminals: pseudo-terminal pairs, sizes, modes, control.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Opens the other end of a pty by its master, following no path (TIOCGPTPEER, Linux 4.13).
///
/// # Errors
/// EIO where the pty is locked; ENOTTY.
pub fn peer_of(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes an integer.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the kernel just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Unlocks the other end of a pty.
///
/// # Errors
/// ENOTTY where `master` is none.
pub fn unlock(master: BorrowedFd<'_>) -> io::Result<()> {
    let zero: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const zero) }.into()).map(drop)
}

/// The number of a pty: n of /dev/pts/n.
///
/// # Errors
/// ENOTTY where `master` is none.
pub fn number_of(master: BorrowedFd<'_>) -> io::Result<u32> {
    let mut n: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut n) }.into())?;
    Ok(n)
}

/// Begins a session and makes `tty` its controlling terminal.
///
/// # Errors
/// EPERM where the caller leads a process group already.
pub fn take_control(tty: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Sets the size in characters.
///
/// # Errors
/// ENOTTY.
pub fn set_size(tty: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(tty, size)?)
}

/// Stops the terminal from turning a newline into carriage return and newline, as engines expect of a container's.
///
/// # Errors
/// ENOTTY.
pub fn clear_onlcr(tty: impl AsFd) -> io::Result<()> {
    use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};
    let mut mode = tcgetattr(&tty)?;
    mode.output_modes.remove(OutputModes::ONLCR);
    Ok(tcsetattr(&tty, OptionalActions::Now, &mode)?)
}
