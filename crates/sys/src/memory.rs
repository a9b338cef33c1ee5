//! A file's contents in memory, to be read and executed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// Maps all of a file, to be read, until the process ends. Its pages are shared with whoever maps it too.
///
/// # Errors
/// Those of mmap(2); EINVAL for an empty file.
pub fn map(file: BorrowedFd<'_>) -> io::Result<NonNull<[u8]>> {
    let length = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: a new mapping, of which nobody knows yet.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).map(|start| NonNull::slice_from_raw_parts(start, length)).ok_or(io::ErrorKind::InvalidInput.into())
}

/// Lets a part of memory be executed, or no longer; never written.
///
/// # Errors
/// Those of mprotect(2): EINVAL where it does not begin with a page, ENOMEM where nothing is mapped.
///
/// # Safety
/// Nothing else writes to that memory; code there that is no longer to be executed is not running.
pub unsafe fn set_executable(start: *const u8, length: usize, executable: bool) -> io::Result<()> {
    let protection = if executable { libc::PROT_READ | libc::PROT_EXEC } else { libc::PROT_READ };
    // SAFETY: the caller's.
    crate::check(unsafe { libc::mprotect(start.cast_mut().cast(), length, protection) }.into()).map(drop)
}
