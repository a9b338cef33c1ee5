//! execveat(2) and what must be laid out before it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A list of C strings and the null-ended pointer array that exec wants, made before the jail closes.
#[derive(Debug)]
pub struct Strings {
    // Owns what the pointers point at; a CString's buffer does not move when the vector does.
    _owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Strings {
    /// Takes the strings over.
    pub fn new(owned: Vec<CString>) -> Strings {
        let mut pointers: Vec<_> = owned.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Strings { _owned: owned, pointers }
    }
}

/// Replaces the process by the program at `path` (below `dir` where it is relative). Returns only on failure.
pub fn execveat(dir: Option<BorrowedFd<'_>>, path: &CStr, args: &Strings, env: &Strings) -> io::Error {
    let dirfd = dir.map_or(libc::AT_FDCWD, |d| d.as_raw_fd());
    let flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: path is a C string; both arrays end in null and their strings live as long as the arrays.
    unsafe {
        libc::syscall(libc::SYS_execveat, dirfd, path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr(), flags)
    };
    io::Error::last_os_error()
}
