//! Mounts of a container that runs: the way of the process that adds and removes them.
//!
//! It goes to the container's user and mount namespace and to no other, executes nothing, and reads and writes nothing
//! there: it looks names up one by one, following no link, makes what is missing of a destination, and attaches and
//! detaches mounts by descriptor. The container's processes may rename, link and hang it while it works; the parent's
//! patience has an end.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use hull_sys::clone::{self, flags};
use hull_sys::creds::CapSets;
use hull_sys::fs::{CGROUP2_MAGIC, PROC_MAGIC, SYSFS_MAGIC, magic_of};
use hull_sys::mount::{self, Change};
use hull_sys::mountinfo;

use crate::caps::{DAC_READ_SEARCH, SYS_ADMIN};
use crate::error::{Context as _, Error, Result};
use crate::label::Labelled;
use crate::plan::{MountPlan, Plan};
use crate::process::HostProc;
use crate::root::{kind_of, open_child};
use crate::sync::{Ask, Sync};

/// What is to be done.
#[derive(Debug)]
pub enum Order<'a> {
    /// Make all mounts of the plan, or none.
    Add(&'a Plan),
    /// Detach these, one after the other.
    Remove(&'a [Doomed]),
}

/// What is to be detached.
#[derive(Debug)]
pub struct Doomed {
    /// Where it was added.
    pub path: PathBuf,
    /// Its number; more than one where several were added there, of which the last is meant.
    pub numbers: Vec<u64>,
    /// Whether it is to go since what it was mounted on goes: then it may be gone already.
    pub along: bool,
}

/// A visit to a container's mounts.
#[derive(Debug)]
pub struct Live<'a> {
    /// What for.
    pub order: Order<'a>,
    /// This end of the socket to the parent, which hears [`Ask::Mount`] before each change and [`Ask::Ready`] or
    /// [`Ask::Failed`] at the end.
    pub sync: Sync,
    /// The container's user namespace, where it is not hull's.
    pub user_ns: Option<OwnedFd>,
    /// Its mount namespace.
    pub mount_ns: OwnedFd,
}

/// The longest value that the kernel takes for an option of a file system.
pub const LONGEST_OPTION: usize = crate::mounts::LONGEST_VALUE - 1;

impl Live<'_> {
    /// Does what is ordered. Never returns.
    pub fn run(self) -> ! {
        let said = match self.visit() {
            Ok(()) => Ask::Ready,
            Err(e) => Ask::Failed(e.to_string()),
        };
        let _ = self.sync.ask(&said);
        clone::exit_now(0)
    }

    fn visit(&self) -> Result<()> {
        let kept = [self.sync.as_fd().as_raw_fd(), self.mount_ns.as_raw_fd()];
        let kept = kept.into_iter().chain(self.user_ns.iter().map(AsRawFd::as_raw_fd));
        // Standard input and output are the caller's, and not needed either.
        // SAFETY: this process is a copy of its parent and never returns from run().
        unsafe { hull_sys::fs::close_all_but(0, &mut kept.collect::<Vec<_>>()) }
            .what(|| "cannot close inherited descriptors")?;
        hull_sys::signal::reset();
        hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
        crate::stage::hide()?;
        let own = HostProc::open()?.open_file("self", OFlags::PATH | OFlags::DIRECTORY)?;
        let joining = || "cannot join the container's namespaces";
        if let Some(user) = &self.user_ns {
            clone::setns(user.as_fd(), flags::NEWUSER).what(joining)?;
            // Sources are bound from a copy of the host's mounts that the container's user namespace owns: there the
            // kernel locks their flags and what is mounted below them, as with the mounts of config.json.
            clone::unshare(flags::NEWNS).what(|| "cannot make a mount namespace")?;
        }
        let sources = match &self.order {
            Order::Add(plan) => self.sources(plan)?,
            Order::Remove(_) => Vec::new(),
        };
        clone::setns(self.mount_ns.as_fd(), flags::NEWNS).what(joining)?;
        self.give_up_rights()?;
        let root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", root, Mode::empty()).what(|| "cannot open the container's root")?;
        let place = Place { root, own, sync: &self.sync };
        match &self.order {
            Order::Add(plan) => place.add_all(plan, sources),
            Order::Remove(list) => place.remove_all(list),
        }
    }

    /// The sources of binds, cut off from the host and with the attributes they are to have.
    fn sources(&self, plan: &Plan) -> Result<Vec<Option<OwnedFd>>> {
        let open = |(index, m): (usize, &MountPlan)| {
            if !m.options.bind {
                return Ok(None);
            }
            let tree = crate::mounts::source(plan, index, &[], &self.sync)?;
            let private = Change { propagation: libc::MS_PRIVATE, recursive: true, ..Change::default() };
            mount::set_attributes(tree.as_fd(), private).what(|| "cannot make it private")?;
            crate::mounts::change_bind(plan, tree.as_fd(), m).map(|()| Some(tree))
        };
        let each = plan.mounts.iter().enumerate();
        each.map(|(index, m)| open((index, m)).map_err(|e| e.during(&format!("mounts[{index}]")))).collect()
    }

    /// Leaves no right but to mount and to find, and no identity but root's of the container.
    fn give_up_rights(&self) -> Result<()> {
        if self.user_ns.is_some() {
            crate::stage::become_root(false)?;
            // Otherwise it would be the host's root still, to whom directories of the host's root belong.
            let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
            if !user.is_root() || group.as_raw() != 0 {
                return Err(Error::new("the container's user namespace has no user and group 0"));
            }
        }
        let kept = 1 << SYS_ADMIN | 1 << DAC_READ_SEARCH;
        let kept = hull_sys::creds::capget().what(|| "capget")?.permitted & kept;
        let sets = CapSets { effective: kept, permitted: kept, inheritable: 0 };
        hull_sys::creds::capset(sets).what(|| "cannot give up capabilities")?;
        crate::stage::hide()?;
        hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
        hull_sys::prctl::umask(0);
        Ok(())
    }
}

/// The container, from within its namespaces.
struct Place<'a> {
    root: OwnedFd,
    /// This process's directory in the host's procfs.
    own: OwnedFd,
    sync: &'a Sync,
}

impl Place<'_> {
    fn add_all(&self, plan: &Plan, sources: Vec<Option<OwnedFd>>) -> Result<()> {
        let mut made = Vec::new();
        for (index, (m, source)) in plan.mounts.iter().zip(sources).enumerate() {
            match self.add(plan, index, m, source) {
                Ok(tree) => made.push(tree),
                Err(e) => {
                    // What failed is the cause to be heard of, not what came of it.
                    made.iter().rev().for_each(|tree| drop(self.detach(tree)));
                    return Err(e.during(&format!("mounts[{index}].destination: \"{}\"", m.target.display())));
                }
            }
        }
        Ok(())
    }

    fn add(&self, plan: &Plan, index: usize, m: &MountPlan, source: Option<OwnedFd>) -> Result<OwnedFd> {
        let is_file = match &source {
            Some(tree) => kind_of(tree).what(|| "source")? != FileType::Directory,
            None => false,
        };
        let (target, made) = self.find(&m.target, Some(is_file))?;
        let tree = match source {
            Some(tree) => tree,
            None => tmpfs(plan, m, &target, made)?,
        };
        self.refuse_shared(&target)?;
        self.announce(index, &tree)?;
        mount::move_mount(tree.as_fd(), target.as_fd()).what(|| "cannot attach")?;
        Ok(tree)
    }

    fn remove_all(&self, list: &[Doomed]) -> Result<()> {
        for (index, doomed) in list.iter().enumerate() {
            let found = match self.search(doomed) {
                Err(_) if doomed.along => continue,
                other => other,
            };
            let removed = found.and_then(|found| self.announce(index, &found).and_then(|()| self.detach(&found)));
            removed.map_err(|e| e.during(&format!("cannot remove \"{}\"", doomed.path.display())))?;
        }
        Ok(())
    }

    /// Finds a mount where it was added, or wherever it is by now: a container that renames a directory above it is not
    /// to keep it so.
    fn search(&self, doomed: &Doomed) -> Result<OwnedFd> {
        /// How often what is renamed meanwhile is looked for anew.
        const PATIENCE: usize = 20;
        let at = |path: &Path| {
            let found = self.find(path, None)?.0;
            match doomed.numbers.contains(&mount::unique_number(&found).what(|| "statx")?) {
                true => Ok(found),
                false => Err(Error::new("what is mounted there is not what was added there")),
            }
        };
        let there = at(&doomed.path);
        for _ in 0..if there.is_err() { PATIENCE } else { 0 } {
            if let Some(found) = self.table()?.iter().rev().find_map(|m| at(&m.point).ok()) {
                return Ok(found);
            }
        }
        there
    }

    /// Finds a path, name by name, following no link; what is missing is made where it is told what it is to be, and
    /// then the second result is whether it was.
    fn find(&self, path: &Path, is_file: Option<bool>) -> Result<(OwnedFd, bool)> {
        let mut at = rustix::io::dup(&self.root).what(|| "dup")?;
        let mut names = path.components().filter_map(|c| if let Component::Normal(name) = c { Some(name) } else { None }).peekable();
        let mut made = false;
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let shown = || format!("\"{}\"", name.display());
            refuse_kernels(&at)?;
            let found = match (open_child(at.as_fd(), name), is_file) {
                (Err(Errno::NOENT), Some(is_file)) => {
                    made = true;
                    let mode = Mode::from_raw_mode(0o755);
                    let done = match last && is_file {
                        true => rustix::fs::mknodat(&at, name, FileType::RegularFile, mode, 0),
                        false => rustix::fs::mkdirat(&at, name, mode),
                    };
                    match done {
                        Ok(()) | Err(Errno::EXIST) => open_child(at.as_fd(), name),
                        Err(e) => return Err(e).what(|| format!("cannot make {}", shown())),
                    }
                }
                (found, _) => found,
            };
            at = found.what(shown)?;
            let kind = kind_of(&at).what(shown)?;
            if kind == FileType::Symlink {
                return Err(Error::new(format!("{} is a symbolic link, and none is followed", shown())));
            }
            let is_dir = kind == FileType::Directory;
            match is_file {
                _ if !last && !is_dir => return Err(Error::of(Errno::NOTDIR, shown())),
                Some(true) if last && is_dir => return Err(Error::of(Errno::ISDIR, shown())),
                Some(false) if last && !is_dir => return Err(Error::of(Errno::NOTDIR, shown())),
                _ => {}
            }
        }
        refuse_kernels(&at)?;
        Ok((at, made))
    }

    /// What is mounted on a mount that is shared appears wherever else that is.
    fn refuse_shared(&self, target: &OwnedFd) -> Result<()> {
        let number = mount::number(target).what(|| "cannot tell mounts apart")?;
        match self.table()?.iter().find(|m| m.id == number) {
            Some(m) if !m.shared => Ok(()),
            Some(_) => Err(Error::new("it is on a mount that is shared with others, where the new one would appear too")),
            None => Err(Error::new("it is on a mount that is not the container's")),
        }
    }

    fn table(&self) -> Result<Vec<mountinfo::Mount>> {
        let doing = || "cannot read the table of mounts";
        let table = rustix::fs::openat(&self.own, "mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(doing)?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(table), &mut text).what(doing)?;
        Ok(mountinfo::parse(&text))
    }

    /// Has the parent put a mount on record before it changes.
    fn announce(&self, index: usize, mount: &OwnedFd) -> Result<()> {
        let number = mount::unique_number(mount).what(|| "cannot tell mounts apart")?;
        self.sync.ask(&Ask::Mount(index, number))?;
        self.sync.answer()?.map(drop).ok_or_else(|| Error::new("the runtime is gone"))
    }

    /// Detaches the very mount that a descriptor is the root of. The kernel takes a path for it alone: this one leads
    /// through the host's procfs to the descriptor, and through nothing of the container's.
    fn detach(&self, mount: &OwnedFd) -> Result<()> {
        let doing = || "cannot detach it";
        rustix::process::fchdir(&self.own).what(doing)?;
        let path = CString::new(format!("fd/{}", mount.as_raw_fd())).map_err(|_| Error::new(doing()))?;
        mount::unmount(&path, libc::MNT_DETACH).what(doing)
    }
}

/// What the kernel shows of itself is no place for mounts, nor for new directories, which would make control groups.
fn refuse_kernels(fd: &OwnedFd) -> Result<()> {
    /// CGROUP_SUPER_MAGIC.
    const CGROUP_MAGIC: i64 = 0x27_e0eb;
    match magic_of(fd).what(|| "statfs")? {
        PROC_MAGIC => Err(Error::new("it is inside a procfs")),
        SYSFS_MAGIC => Err(Error::new("it is inside a sysfs")),
        CGROUP_MAGIC | CGROUP2_MAGIC => Err(Error::new("it is inside a file system of control groups")),
        _ => Ok(()),
    }
}

fn tmpfs(plan: &Plan, m: &MountPlan, target: &OwnedFd, made: bool) -> Result<OwnedFd> {
    let mut data = m.options.data.clone();
    if !made && !data.iter().any(|(k, _)| k == "mode") {
        // What is mounted over an existing directory keeps its permissions, as with runc.
        let mode = rustix::fs::statat(target, "", AtFlags::EMPTY_PATH).what(|| "target")?.st_mode & 0o7777;
        data.push(("mode".into(), Some(format!("{mode:o}"))));
    }
    let tree = crate::mounts::create(m, &data, m.options.attr_set, Labelled::of(plan.mount_label.as_ref(), m))?;
    crate::mounts::change_below(plan, tree.as_fd(), m)?;
    let private = Change { propagation: libc::MS_PRIVATE, ..Change::default() };
    mount::set_attributes(tree.as_fd(), private).what(|| "cannot make it private").map(|()| tree)
}
