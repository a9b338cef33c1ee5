//! Reading and writing the files of one cgroup directory.
//!
//! One open, one write, one close: the kernel takes each write(2) as a whole command. Never creates a file.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read as sys_read, retry_on_intr, write as sys_write};

/// Writes `value` to the file `name` in `dir` in one write(2).
pub(crate) fn write(dir: &Path, name: &str, value: &str) -> io::Result<()> {
    write_each(dir, name, [value])
}

/// Opens the file once and writes each value in a write(2) of its own.
pub(crate) fn write_each<V: AsRef<str>>(dir: &Path, name: &str, values: impl IntoIterator<Item = V>) -> io::Result<()> {
    // O_TRUNC means nothing to the kernel's cgroup files; a plain file holds the last value and no rest of an older.
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = retry_on_intr(|| openat(CWD, dir.join(name), flags, Mode::empty()))?;
    for value in values {
        let value = value.as_ref().as_bytes();
        if retry_on_intr(|| sys_write(&fd, value))? != value.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// The whole text of the file `name` in `dir`.
pub(crate) fn read(dir: &Path, name: &str) -> io::Result<String> {
    read_path(&dir.join(name))
}

/// The whole text of a file of the kernel's.
pub(crate) fn read_path(path: &Path) -> io::Result<String> {
    let fd = retry_on_intr(|| openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()))?;
    let mut text = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        match retry_on_intr(|| sys_read(&fd, &mut chunk))? {
            0 => break,
            n => text.extend_from_slice(&chunk[..n]),
        }
    }
    String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The value of a `key value` line.
pub(crate) fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map(str::trim)
}

/// Whether an error says that the file, the directory or the controller isn't there.
pub(crate) fn is_missing(e: &io::Error) -> bool {
    matches!(Errno::from_io_error(e), Some(Errno::NOENT | Errno::NODEV | Errno::NOTDIR))
}

/// Whether an error says that this user may not.
pub(crate) fn is_denied(e: &io::Error) -> bool {
    matches!(Errno::from_io_error(e), Some(Errno::PERM | Errno::ACCESS | Errno::ROFS))
}
