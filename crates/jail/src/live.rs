//! Mounts of a container that runs: adding and removing them from inside its namespaces.
//!
//! Owns the way of the process that goes there. It never executes anything, is no process of the container's PID
//! namespace, and trusts the container's paths as little as those of an image: its processes may rename and link while
//! this one works. Sources of binds were opened on the host before.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};

use hull_sys::clone::{self, flags};
use hull_sys::fs::{PROC_MAGIC, SYSFS_MAGIC, magic_of};
use hull_sys::mount::{self, Change};

use crate::error::{Context as _, Error, Result};
use crate::mounts::Mounter;
use crate::plan::{MountPlan, Plan};
use crate::process::HostProc;
use crate::root::{Root, kind_of};
use crate::sync::{Ask, Sync};

/// What is to be done.
#[derive(Debug)]
pub enum Order<'a> {
    /// Make all mounts of the plan, or none. Each bind has its source here, by index.
    Add(&'a Plan, Vec<Option<OwnedFd>>),
    /// Unmount what is at these paths, cleaned of "." and "..".
    Remove(&'a [PathBuf]),
}

/// A visit to a container's mount namespace.
#[derive(Debug)]
pub struct Live<'a> {
    /// What for.
    pub order: Order<'a>,
    /// This end of the socket to the parent, which hears [`Ask::Ready`] or [`Ask::Failed`].
    pub sync: Sync,
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    /// CLONE_NEW* of the namespaces that differ from hull's.
    pub namespaces: u64,
    /// Whether an engine runs what is in the container, which must see no procfs.
    pub engine: bool,
}

/// Opens the source of a bind for [`Order::Add`], cut off from the host as the container's own mounts are.
///
/// # Errors
/// Those of open_tree(2); EPERM for an ordinary user.
pub fn open_source(plan: &Plan, mount: &MountPlan, idmaps: &[OwnedFd]) -> Result<OwnedFd> {
    let tree = crate::mounts::source_for(mount, idmaps)?;
    let propagation = plan.isolation();
    let change = Change { propagation: propagation & !libc::MS_REC, recursive: propagation & libc::MS_REC != 0, ..Change::default() };
    mount::set_attributes(tree.as_fd(), change).what(|| format!("source \"{}\": cannot set its propagation", mount.source))?;
    Ok(tree)
}

impl Live<'_> {
    /// Does what is ordered. Never returns.
    pub fn run(mut self) -> ! {
        let said = match self.enter().and_then(|(root, proc)| self.obey(root, &proc)) {
            Ok(()) => Ask::Ready,
            Err(e) => Ask::Failed(e.to_string()),
        };
        let _ = self.sync.ask(&said);
        clone::exit_now(0)
    }

    fn enter(&self) -> Result<(Root, HostProc)> {
        let sources: &[Option<OwnedFd>] = if let Order::Add(_, sources) = &self.order { sources } else { &[] };
        let kept = sources.iter().flatten().map(AsRawFd::as_raw_fd);
        let kept = kept.chain([self.sync.as_fd().as_raw_fd(), self.target.as_raw_fd()]);
        // SAFETY: this process is a copy of its parent and never returns from run().
        unsafe { hull_sys::fs::close_all_but(3, &mut kept.collect::<Vec<_>>()) }
            .what(|| "cannot close inherited descriptors")?;
        hull_sys::signal::reset();
        hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
        crate::stage::hide()?;
        let proc = HostProc::open()?;
        // The namespaces that file systems are made for; the PID namespace would take another process.
        let wanted = flags::NEWUSER | flags::NEWNS | flags::NEWNET | flags::NEWIPC;
        clone::setns(self.target, self.namespaces & wanted).what(|| "cannot join the container's namespaces")?;
        if self.namespaces & flags::NEWUSER != 0 {
            crate::stage::become_root(false)?;
        }
        hull_sys::prctl::umask(0);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).what(|| "cannot open the container's root")?;
        Ok((Root::new(root), proc))
    }

    fn obey(&mut self, mut root: Root, proc: &HostProc) -> Result<()> {
        let (plan, sources) = match &mut self.order {
            Order::Add(plan, sources) => (*plan, std::mem::take(sources)),
            Order::Remove(paths) => return paths.iter().try_for_each(|path| unmount(&root, path)),
        };
        let mut mounter = Mounter::new(plan, &mut root, &self.sync, &[]);
        mounter.opened = sources;
        let mut made = 0;
        let done = (0..plan.mounts.len()).try_for_each(|index| mounter.mount(index).inspect(|()| made += 1));
        let done = done.and_then(|()| mounter.finish().map(drop));
        let done = done.and_then(|()| if self.engine { crate::protect::no_procfs(Path::new("/"), proc) } else { Ok(()) });
        let Err(e) = done else { return Ok(()) };
        for mount in plan.mounts[..made].iter().rev() {
            // What failed is the cause to be heard of, not what came of it.
            let _ = unmount(&root, &mount.target);
        }
        Err(e)
    }
}

/// Unmounts what is on top at `path`. No link is followed: a container could lead to a mount that hides something
/// from it.
fn unmount(root: &Root, path: &Path) -> Result<()> {
    let doing = || format!("cannot unmount \"{}\"", path.display());
    let refuse = |why: &str| Err(Error::new(format!("{}: {why}", doing())));
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return refuse("it is the container's root");
    };
    let open = |path: &Path| {
        root.open_plain(path).map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => Error::new(format!("{}: it is reached through a symbolic link", doing())),
            _ => Error::of(e, &doing()),
        })
    };
    let parent = open(parent)?;
    let target = crate::root::open_child(parent.as_fd(), name).what(doing)?;
    for fd in [&parent, &target] {
        if matches!(magic_of(fd).what(doing)?, PROC_MAGIC | SYSFS_MAGIC) {
            return refuse("what hides parts of procfs and sysfs stays");
        }
    }
    if !is_mount_root(&target).what(doing)? {
        return refuse("it is no mount point");
    }
    // A directory is left by the descriptor, so that it is the one just examined.
    if kind_of(&target).what(doing)? == FileType::Directory {
        rustix::process::fchdir(&target).what(doing)?;
        return mount::unmount(c".", libc::MNT_DETACH).what(doing);
    }
    rustix::process::fchdir(&parent).what(doing)?;
    let name = std::ffi::CString::new(name.as_encoded_bytes()).map_err(|_| Error::new(doing()))?;
    mount::unmount(&name, libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW).what(doing)
}

/// Whether a descriptor refers to the root of a mount.
pub(crate) fn is_mount_root(fd: impl AsFd) -> std::io::Result<bool> {
    /// STATX_ATTR_MOUNT_ROOT, Linux 5.8.
    const MOUNT_ROOT: u64 = 0x2000;
    let st = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(st.stx_attributes.bits() & MOUNT_ROOT != 0)
}
