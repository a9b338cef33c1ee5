//! Files handed out so that nobody can write to them: by a descriptor on a read-only mount of their own, or a copy.
//!
//! A descriptor opened for reading is no protection by itself: who has it can open the file again, by /proc, with all
//! the rights that the file's mode gives (CVE-2019-5736).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::mount::{Change, attr, open_tree_clone, set_attributes};

/// All seals: neither contents nor size nor these can be changed.
pub const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// The file of `path` on a read-only mount that is attached nowhere. The descriptor is one of O_PATH, to execute.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn view(path: &CStr) -> io::Result<OwnedFd> {
    let tree = open_tree_clone(rustix::fs::CWD, path, false, false)?;
    // The original may lie where nothing is to be executed, such as /run.
    set_attributes(tree.as_fd(), Change { set: attr::RDONLY, clear: attr::NOEXEC, ..Change::default() })?;
    Ok(tree)
}

/// A copy in memory that nobody can change and that can be executed, named `name` for whoever looks. For a process with
/// one thread, as [`data`] is.
///
/// # Errors
/// ENOMEM and the like; EFBIG where RLIMIT_FSIZE is below its size.
pub fn copy(name: &CStr, from: impl io::Read) -> io::Result<OwnedFd> {
    // Where vm.memfd_noexec is 1, only a file made for it can be executed.
    copy_as(name, MemfdFlags::EXEC, from)
}

/// The like of [`copy`] for what is no program.
///
/// # Errors
/// As [`copy`].
pub fn data(name: &CStr, from: impl io::Read) -> io::Result<OwnedFd> {
    copy_as(name, MemfdFlags::NOEXEC_SEAL, from)
}

/// Whether nobody can change what `file` holds: neither its contents nor its size.
///
/// # Errors
/// EINVAL for what can't be sealed.
pub fn is_sealed(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_get_seals(file)?.contains(SEALS))
}

fn copy_as(name: &CStr, kind: MemfdFlags, mut from: impl io::Read) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 there are no kinds.
    let memory = match rustix::fs::memfd_create(name, flags | kind) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(memory);
    // RLIMIT_FSIZE is an error to whoever asked, and not the end of the process.
    let quiet = crate::signal::Ignored::file_size();
    io::copy(&mut from, &mut file)?;
    drop(quiet);
    io::Seek::rewind(&mut file)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// The file that `file` refers to, for others to read, map and execute who must not change it: a view where the caller
/// may mount, else a copy named `name`.
///
/// # Errors
/// Those of open(2); ENOENT without /proc.
pub fn read_only(name: &CStr, file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    match view(&path) {
        Ok(tree) => {
            let again = format!("/proc/self/fd/{}", tree.as_raw_fd());
            Ok(rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
        }
        Err(_) => copy(name, File::from(file.try_clone_to_owned()?)),
    }
}
