//! The container's root before it is entered: a descriptor, and paths resolved strictly below it.
//!
//! The root file system is hostile. No path in it is ever handed to the kernel but through openat2 with
//! RESOLVE_IN_ROOT, and what is made is made in a directory that was opened that way.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A symbolic link chain longer than the kernel would follow.
const MAX_LINKS: usize = 40;

/// The root of a container, or of any tree that is not trusted.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// What a mount target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Directory,
    File,
}

impl Root {
    pub(crate) fn new(fd: OwnedFd) -> Root {
        Root(fd)
    }

    /// Opens `path` inside the root, following its links as if the root were "/".
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_with(path, flags, ResolveFlags::empty())
    }

    fn open_with(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        /// Who renames without end is not to hold hull up for ever.
        const PATIENCE: usize = 100_000;
        for _ in 0..PATIENCE {
            // EAGAIN: something was renamed on the way and the kernel can't vouch for the result.
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens a mount target, making what is missing of it. `strict` follows no link at all.
    pub(crate) fn target(&self, path: &Path, want: Want, strict: bool) -> io::Result<OwnedFd> {
        let more = if strict { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
        let found = match self.open_with(path, OFlags::PATH, more) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => self.make(path, want, strict)?,
            other => other?,
        };
        let is_directory = kind_of(&found)? == FileType::Directory;
        match want {
            Want::Directory if !is_directory => Err(Errno::NOTDIR.into()),
            Want::File if is_directory => Err(Errno::ISDIR.into()),
            _ => Ok(found),
        }
    }

    /// Makes the directory `path` and those above it.
    pub(crate) fn make_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.target(path, Want::Directory, false)
    }

    /// The directory that holds the last component of `path`, made if missing, and that component.
    pub(crate) fn parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        Ok((self.make_directory(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    /// Walks component by component, reading links by hand so that a dangling one is completed inside the root.
    fn make(&self, path: &Path, want: Want, strict: bool) -> io::Result<OwnedFd> {
        let mut todo: VecDeque<OsString> = normal_components(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            let parent = self.open(&done, OFlags::PATH | OFlags::DIRECTORY)?;
            match open_child(parent.as_fd(), &name) {
                Ok(fd) if kind_of(&fd)? == FileType::Symlink => {
                    links += 1;
                    if strict || links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let link = rustix::fs::readlinkat(&fd, "", Vec::new())?;
                    let link = Path::new(OsStr::from_bytes(link.as_bytes())).to_path_buf();
                    if link.is_absolute() {
                        done = PathBuf::new();
                    }
                    for part in normal_components(&link).into_iter().rev() {
                        todo.push_front(part);
                    }
                    continue;
                }
                Ok(_) => {}
                Err(Errno::NOENT) if todo.is_empty() && want == Want::File => make_file(parent.as_fd(), &name)?,
                Err(Errno::NOENT) => match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                },
                Err(e) => return Err(e.into()),
            }
            done = next;
        }
        self.open(&done, OFlags::PATH | OFlags::NOFOLLOW)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What kind of file a descriptor refers to.
pub(crate) fn kind_of(fd: impl AsFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?.st_mode))
}

/// Opens one name in a directory without following it.
pub(crate) fn open_child(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn make_file(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o755)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn normal_components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (PathBuf, Root) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hull-root-{}-{n}", std::process::id()));
        std::fs::create_dir_all(dir.join("root/real")).unwrap();
        let fd = std::fs::File::open(dir.join("root")).unwrap();
        (dir, Root::new(fd.into()))
    }

    #[test]
    fn parent_components_stop_at_the_root() {
        let (dir, root) = tree();
        root.make_directory(Path::new("/../../../escaped/deep")).unwrap();
        assert!(dir.join("root/escaped/deep").is_dir());
        assert!(!dir.join("escaped").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn absolute_and_dangling_links_stay_inside() {
        let (dir, root) = tree();
        std::os::unix::fs::symlink("/real", dir.join("root/link")).unwrap();
        std::os::unix::fs::symlink("/../../gone/away", dir.join("root/dangling")).unwrap();
        root.make_directory(Path::new("/link/a")).unwrap();
        root.target(Path::new("/dangling/file"), Want::File, false).unwrap();
        assert!(dir.join("root/real/a").is_dir());
        assert!(dir.join("root/gone/away/file").is_file());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn strict_refuses_links_and_loops_end() {
        let (dir, root) = tree();
        std::os::unix::fs::symlink("/real", dir.join("root/proc")).unwrap();
        std::os::unix::fs::symlink("loop", dir.join("root/loop")).unwrap();
        assert!(root.target(Path::new("/proc"), Want::Directory, true).is_err());
        assert!(root.make_directory(Path::new("/loop/x")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_where_a_directory_is_due_is_an_error() {
        let (dir, root) = tree();
        std::fs::write(dir.join("root/f"), "").unwrap();
        let e = root.make_directory(Path::new("/f")).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENOTDIR));
        assert!(root.make_directory(Path::new("/f/below")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
