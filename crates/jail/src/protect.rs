//! Masked and read-only paths, and what must not be there at all.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use hull_sys::mount::{self, Change, Context, attr};

use crate::error::{Context as _, Error, Result};
use crate::label::MountLabel;
use crate::process::HostProc;
use crate::root::{Root, kind_of};

/// Where the paths to protect are looked up.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    /// The container's root.
    pub(crate) root: &'a Root,
    /// Its mounts of procfs and sysfs, by target. A path below one is looked up in that mount: whoever shares the
    /// root file system may have put another directory at the target by now (CVE-2019-19921).
    pub(crate) kernel: Vec<(PathBuf, Root)>,
}

/// Hides paths: a file behind the null device, a directory behind an empty read-only tmpfs.
pub(crate) fn mask(places: &Places<'_>, paths: &[PathBuf], label: Option<&MountLabel>) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let null = crate::devices::null()?;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = existing(places, path)? else { continue };
        let doing = || format!("cannot mask \"{}\"", path.display());
        let tree = if kind_of(&target).what(doing)? == FileType::Directory {
            // One tmpfs serves all: it is empty and stays so.
            let source = match &empty {
                Some(e) => e,
                None => empty.insert(empty_directory(label)?),
            };
            match mount::open_tree_clone(source.as_fd(), c"", false, true) {
                Ok(tree) => tree,
                Err(_) => empty_directory(label).map_err(|e| e.during(&doing()))?,
            }
        } else {
            mount::open_tree_clone(null.as_fd(), c"", false, true).what(doing)?
        };
        crate::mounts::attach(&tree, &target, path).map_err(|e| e.during(&doing()))?;
        if empty.is_none() || kind_of(&tree).what(doing)? != FileType::Directory {
            continue;
        }
        // From now on clone what is attached: before Linux 6.15 a detached mount can't be cloned.
        empty = Some(tree);
    }
    Ok(())
}

fn empty_directory(label: Option<&MountLabel>) -> Result<OwnedFd> {
    let doing = || "cannot set up an empty tmpfs";
    let context = Context::open(c"tmpfs").what(doing)?;
    context.set(c"mode", c"755").what(doing)?;
    // Room for the root directory alone.
    context.set(c"nr_inodes", c"1").what(doing)?;
    context.set(c"size", c"4k").what(doing)?;
    label.map_or(Ok(()), |l| l.set(&context))?;
    context.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC).what(doing)
}

/// Refuses a procfs at or below `root`, as seen by this process. Through one, a module could write to the memory of the
/// engine that runs it (/proc/self/mem), which is no system call that a filter could tell from others.
pub(crate) fn no_procfs(root: &Path, proc: &HostProc) -> Result<()> {
    let mut text = Vec::new();
    let table = proc.open_file("thread-self/mountinfo", OFlags::RDONLY)?;
    File::from(table).read_to_end(&mut text).what(|| "cannot read the table of mounts")?;
    let table = hull_sys::mountinfo::parse(&text);
    match table.iter().filter(|m| m.kind == "proc").find_map(|m| m.point.strip_prefix(root).ok()) {
        Some(at) => Err(Error::new(format!(
            "mounts: there is a procfs at \"/{}\", through which a module could change the engine that runs it",
            at.display()
        ))),
        None => Ok(()),
    }
}

/// Makes paths read-only by a bind of each onto itself.
pub(crate) fn read_only(places: &Places<'_>, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let Some(target) = existing(places, path)? else { continue };
        let doing = || format!("cannot make \"{}\" read-only", path.display());
        let tree = mount::open_tree_clone(target.as_fd(), c"", true, true).what(doing)?;
        mount::set_attributes(tree.as_fd(), Change { set: attr::RDONLY, ..Change::default() }).what(doing)?;
        crate::mounts::attach(&tree, &target, path)?;
    }
    Ok(())
}

/// What is not there needs no protection.
fn existing(places: &Places<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    let below = places.kernel.iter().rev().find_map(|(at, mount)| Some((mount, path.strip_prefix(at).ok()?)));
    let (root, inner) = below.unwrap_or((places.root, path));
    match root.open(inner, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES)) => Ok(None),
        Err(e) => Err(e).what(|| format!("cannot open \"{}\"", path.display())),
    }
}
