//! The container's mounts, in the order of config.json.
//!
//! Every mount is made detached and then attached to a descriptor of its target; no path of the container is walked
//! between check and use (CVE-2021-30465, CVE-2024-45310).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use hull_sys::mount::{self, Change, Context, attr};

use crate::error::{Context as _, Error, Result};
use crate::label::{Labelled, is_label};
use crate::plan::{MountPlan, Plan};
use crate::process::HostProc;
use crate::protect::Places;
use crate::root::{Root, Want, kind_of};
use crate::sync::{Ask, Sync};

/// fsconfig(2) takes values shorter than this; longer ones need mount(2).
pub(crate) const LONGEST_VALUE: usize = 256;

/// The directory that mount(2) is given.
const PLACE: &str = "mount";

/// Makes all mounts.
pub(crate) struct Mounter<'a> {
    pub(crate) plan: &'a Plan,
    /// The root; a mount at "/" takes its place.
    pub(crate) root: &'a mut Root,
    pub(crate) sync: &'a Sync,
    /// User namespaces that carry the mappings of id-mapped mounts.
    pub(crate) idmaps: &'a [OwnedFd],
    /// Mounts to be made read-only when all is in place: later mounts may need directories in them.
    late_readonly: Vec<OwnedFd>,
    /// Mounts of procfs and sysfs, by target.
    kernel: Vec<(PathBuf, Root)>,
}

impl<'a> Mounter<'a> {
    pub(crate) fn new(plan: &'a Plan, root: &'a mut Root, sync: &'a Sync, idmaps: &'a [OwnedFd]) -> Mounter<'a> {
        Mounter { plan, root, sync, idmaps, late_readonly: Vec::new(), kernel: Vec::new() }
    }

    pub(crate) fn mount_all(&mut self) -> Result<()> {
        (0..self.plan.mounts.len()).try_for_each(|index| self.mount(index))
    }

    /// Makes one.
    fn mount(&mut self, index: usize) -> Result<()> {
        let m = &self.plan.mounts[index];
        let doing = || {
            let what = if m.options.bind { &m.source } else { &m.kind };
            format!("error mounting \"{what}\" to rootfs at \"{}\"", m.target.display())
        };
        if m.target == Path::new("/") && (!self.plan.has_mount_ns() || m.kind.starts_with("cgroup")) {
            return Err(Error::new(format!("{}: a mount on the root itself would hide the container", doing())));
        }
        self.kernel.retain(|(at, _)| !at.starts_with(&m.target));
        let made = if m.options.bind {
            self.bind(index, m)
        } else if m.kind == "cgroup" || m.kind == "cgroup2" {
            crate::cgroupfs::mount(self, m)
        } else {
            self.filesystem(m)
        };
        made.map_err(|e| e.during(&doing()))
    }

    /// Makes read-only what had to stay writable while mounts were made, and says where paths are to be protected.
    pub(crate) fn finish(mut self) -> Result<Places<'a>> {
        for fd in self.late_readonly.drain(..) {
            let change = Change { set: attr::RDONLY, ..Change::default() };
            mount::set_attributes(fd.as_fd(), change).what(|| "cannot make a mount read-only")?;
        }
        Ok(Places { root: self.root, kernel: self.kernel })
    }

    /// What was mounted at "/" is the root from now on.
    fn adopt(&mut self, m: &MountPlan, tree: &OwnedFd) -> Result<()> {
        if m.target == Path::new("/") {
            *self.root = Root::new(tree.try_clone().what(|| "dup")?);
        }
        Ok(())
    }

    fn remember_kernel(&mut self, m: &MountPlan, tree: OwnedFd) {
        use hull_sys::fs::{PROC_MAGIC, SYSFS_MAGIC};
        if hull_sys::fs::magic_of(&tree).is_ok_and(|magic| magic == PROC_MAGIC || magic == SYSFS_MAGIC) {
            self.kernel.push((m.target.clone(), Root::new(tree)));
        }
    }

    fn bind(&mut self, index: usize, m: &MountPlan) -> Result<()> {
        if m.options.copy_symlink && self.copy_symlink(m)? {
            return Ok(());
        }
        let tree = source(self.plan, index, self.idmaps, self.sync)?;
        if m.target == Path::new("/proc") && hull_sys::fs::magic_of(&tree).ok() != Some(hull_sys::fs::PROC_MAGIC) {
            return Err(Error::new(format!("\"{}\" is not a procfs, and only a procfs may be at /proc", m.source)));
        }
        let want = if kind_of(&tree).what(|| "source")? == FileType::Directory { Want::Directory } else { Want::File };
        let target = match m.options.dest_nofollow && !strict(m) {
            true => self.target_nofollow(&m.target, want)?,
            false => self.target(&m.target, want, strict(m))?,
        };
        change_bind(self.plan, tree.as_fd(), m)?;
        mount::move_mount(tree.as_fd(), target.as_fd()).what(|| "cannot attach")?;
        self.propagate(tree.as_fd(), m)?;
        self.adopt(m, &tree)?;
        if want == Want::Directory && (m.target.starts_with("/proc") || m.target.starts_with("/sys")) {
            self.remember_kernel(m, tree);
        }
        Ok(())
    }

    fn copy_symlink(&self, m: &MountPlan) -> Result<bool> {
        let Ok(link) = rustix::fs::readlink(m.source.as_str(), Vec::new()) else { return Ok(false) };
        let (parent, name) = self.root.parent(&m.target).what(|| "target")?;
        rustix::fs::symlinkat(&link, &parent, name).what(|| "cannot copy the symbolic link")?;
        Ok(true)
    }

    /// The target of a bind with `dest-nofollow`: a link that stands there is itself mounted over.
    fn target_nofollow(&self, path: &Path, want: Want) -> Result<OwnedFd> {
        let (parent, name) = self.root.parent(path).what(|| "target")?;
        self.refuse_inside_proc(path, &parent)?;
        match crate::root::open_child(parent.as_fd(), &name) {
            Err(Errno::NOENT) => self.target(path, want, false),
            other => other.what(|| "target"),
        }
    }

    fn target(&self, path: &Path, want: Want, strict: bool) -> Result<OwnedFd> {
        let target = self.root.target(path, want, strict).map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) if strict => Error::new(format!(
                "\"{}\" is reached through a symbolic link: this must be mounted on ordinary directory",
                path.display()
            )),
            _ => Error::of(e, "target"),
        })?;
        self.refuse_inside_proc(path, &target)?;
        Ok(target)
    }

    /// A link may lead into /proc where the text of the destination did not.
    fn refuse_inside_proc(&self, path: &Path, target: &OwnedFd) -> Result<()> {
        let is_proc = hull_sys::fs::magic_of(target).ok() == Some(hull_sys::fs::PROC_MAGIC);
        if is_proc && !path.starts_with("/proc") {
            return Err(Error::new("the target is inside a procfs"));
        }
        Ok(())
    }

    /// Propagation, in the order of the options.
    pub(crate) fn propagate(&self, tree: BorrowedFd<'_>, m: &MountPlan) -> Result<()> {
        for (flag, recursive) in &m.options.propagation {
            let change = Change { propagation: *flag, recursive: *recursive, ..Change::default() };
            mount::set_attributes(tree, change).what(|| "cannot set the propagation")?;
        }
        Ok(())
    }

    fn filesystem(&mut self, m: &MountPlan) -> Result<()> {
        let existed = self.root.open(&m.target, OFlags::PATH).is_ok();
        let target = self.target(&m.target, Want::Directory, strict(m))?;
        let mut data = m.options.data.clone();
        let tmpfs = m.kind == "tmpfs";
        if tmpfs && existed && !data.iter().any(|(k, _)| k == "mode") {
            // What is mounted over an existing directory keeps its permissions, as with runc.
            let mode = rustix::fs::statat(&target, "", AtFlags::EMPTY_PATH).what(|| "target")?.st_mode & 0o7777;
            data.push(("mode".into(), Some(format!("{mode:o}"))));
        }
        let label = Labelled::of(self.plan.mount_label.as_ref(), m);
        let late = (tmpfs || matches!(label, Labelled::Root(_))) && m.options.attr_set & attr::RDONLY != 0;
        let attributes = if late { m.options.attr_set & !attr::RDONLY } else { m.options.attr_set };
        let long = data.iter().any(|(_, v)| v.as_ref().is_some_and(|v| v.len() >= LONGEST_VALUE));
        let made = match long {
            true => self.classic(m, &data, attributes, label),
            false => create(m, &data, attributes, label),
        };
        let tree = match made {
            Ok(tree) => tree,
            Err(e) if m.kind == "sysfs" && e.errno() == Some(libc::EPERM) => host_sysfs(attributes)?,
            Err(e) => return Err(e),
        };
        if let Labelled::Root(label) = label {
            label.set_on_root(&tree)?;
        }
        if m.options.tmpcopyup && existed {
            copy_up(&target, &tree)?;
        }
        if let Some(idmap) = m.idmap {
            set_idmap(tree.as_fd(), m, self.idmaps[idmap].as_fd())?;
        }
        mount::move_mount(tree.as_fd(), target.as_fd()).what(|| "cannot attach")?;
        change_below(self.plan, tree.as_fd(), m)?;
        self.propagate(tree.as_fd(), m)?;
        self.adopt(m, &tree)?;
        if late {
            self.late_readonly.push(tree);
        } else if m.kind == "proc" || m.kind == "sysfs" {
            self.remember_kernel(m, tree);
        }
        Ok(())
    }

    /// As [`create`] by mount(2), for options longer than fsconfig(2) takes (overlays of many layers). That
    /// call wants a place for the mount at once: it is in a file system that nobody else has, shown for as long as this
    /// takes, so that no name of the container's is looked up to find the mount again. It is shown in procfs, where it
    /// hides nothing that the options may name: layers may well be below the target.
    fn classic(&self, m: &MountPlan, data: &[(String, Option<String>)], attributes: u64, label: Labelled<'_>) -> Result<OwnedFd> {
        let mut data = data.to_vec();
        if let Labelled::Option(label) = label {
            data.push(label.pair());
        }
        let doing = || "cannot make a place for the mount";
        let over = HostProc::open()?.open_file("tty", OFlags::PATH | OFlags::DIRECTORY)?;
        let context = Context::open(c"tmpfs").what(doing)?;
        context.set(c"mode", c"0700").what(doing)?;
        let scratch = context.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC).what(doing)?;
        rustix::fs::mkdirat(&scratch, PLACE, Mode::RWXU).what(doing)?;
        let place = crate::root::open_child(scratch.as_fd(), PLACE.as_ref()).what(doing)?;
        mount::move_mount(scratch.as_fd(), over.as_fd()).what(doing)?;
        let made = self.mount_at(m, &place, &data, attributes, &scratch);
        let gone = mount::unmount(&c_string(&fd_path(&scratch))?, libc::MNT_DETACH);
        made.and_then(|tree| gone.what(|| "cannot unmount the place of the mount").map(|()| tree))
    }

    fn mount_at(
        &self,
        m: &MountPlan,
        place: &OwnedFd,
        data: &[(String, Option<String>)],
        attributes: u64,
        scratch: &OwnedFd,
    ) -> Result<OwnedFd> {
        let private = Change { propagation: libc::MS_PRIVATE, ..Change::default() };
        mount::set_attributes(scratch.as_fd(), private).what(|| "cannot make the place of the mount private")?;
        let text = |(key, value): &(String, Option<String>)| match value {
            // The commas of a label are its own.
            Some(value) if is_label(key) => format!("{key}=\"{value}\""),
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        };
        let text: Vec<String> = data.iter().map(text).collect();
        let (source, kind, data) = (c_string(&m.source)?, c_string(&m.kind)?, c_string(&text.join(","))?);
        let known = libc::MS_SYNCHRONOUS | libc::MS_DIRSYNC | libc::MS_MANDLOCK | libc::MS_LAZYTIME;
        let (at, flags) = (c_string(&fd_path(place))?, m.options.ms_set & known);
        mount::mount_classic(Some(&source), &at, Some(&kind), flags, Some(&data)).what(|| "mount")?;
        let tree = mount::open_tree_clone(scratch.as_fd(), &c_string(PLACE)?, false, true);
        let tree = tree.what(|| "cannot open the mount")?;
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd).what(|| "cannot examine the mount").map(|st| st.st_dev);
        if device(&tree)? == device(scratch)? {
            return Err(Error::new("the mount is elsewhere: \"/proc\" is not what it should be"));
        }
        change(self.plan, tree.as_fd(), attributes, 0, false)?;
        Ok(tree)
    }

    /// A target for the parts of a mount of type "cgroup".
    pub(crate) fn directory(&self, path: &Path, m: &MountPlan) -> Result<OwnedFd> {
        self.target(path, Want::Directory, strict(m))
    }

    pub(crate) fn remember_readonly(&mut self, tree: OwnedFd) {
        self.late_readonly.push(tree);
    }
}

/// /proc and /sys are never reached through a link of the image (CVE-2019-19921, CVE-2023-28642, CVE-2025-54867).
fn strict(m: &MountPlan) -> bool {
    m.target.starts_with("/proc") || m.target.starts_with("/sys") && m.kind == "sysfs"
}

/// The tree to bind, detached. In a user namespace the source may lie where this process can't go: then the
/// parent opens it, in this mount namespace so that earlier mounts are seen.
pub(crate) fn source(plan: &Plan, index: usize, idmaps: &[OwnedFd], sync: &Sync) -> Result<OwnedFd> {
    let m = &plan.mounts[index];
    let path = CString::new(m.source.as_bytes()).map_err(|_| Error::new("source: has a NUL byte"))?;
    if !(plan.in_userns && m.idmap.is_some()) {
        match open_source(&path, m) {
            Err(e) if plan.in_userns && matches!(e.raw_os_error(), Some(libc::EACCES | libc::EINVAL)) => {}
            Err(e) => return Err(e).what(|| format!("source \"{}\"", m.source)),
            Ok(tree) => {
                if let Some(idmap) = m.idmap {
                    set_idmap(tree.as_fd(), m, idmaps[idmap].as_fd())?;
                }
                return Ok(tree);
            }
        }
    }
    sync.ask(&Ask::Source(index))?;
    let mut fds = sync.answer()?.ok_or_else(|| Error::new("the runtime is gone"))?;
    fds.pop().ok_or_else(|| Error::new("the runtime sent no mount"))
}

/// Gives a detached bind the attributes that its options ask for.
pub(crate) fn change_bind(plan: &Plan, tree: BorrowedFd<'_>, m: &MountPlan) -> Result<()> {
    let o = &m.options;
    if crate::bindflags::asked(o) {
        crate::bindflags::apply(tree, o, plan.in_userns)?;
    }
    change_below(plan, tree, m)
}

/// Changes the attributes of a mount and those below it, as its options ask.
pub(crate) fn change_below(plan: &Plan, tree: BorrowedFd<'_>, m: &MountPlan) -> Result<()> {
    match (m.options.rec_set, m.options.rec_clr) {
        (0, 0) => Ok(()),
        (set, clear) => change(plan, tree, set, clear, true),
    }
}

fn change(plan: &Plan, tree: BorrowedFd<'_>, set: u64, clear: u64, recursive: bool) -> Result<()> {
    // The access time is a field, not a bit: to set it is to clear it first.
    let clear = if set & attr::ATIME != 0 { clear | attr::ATIME } else { clear };
    let change = Change { set, clear, recursive, ..Change::default() };
    mount::set_attributes(tree, change).what(|| {
        if plan.in_userns {
            "cannot change mount flags (flags that another user namespace set can't be cleared)"
        } else {
            "cannot change mount flags"
        }
    })
}

/// Makes a file system, attached nowhere yet.
pub(crate) fn create(m: &MountPlan, data: &[(String, Option<String>)], attributes: u64, label: Labelled<'_>) -> Result<OwnedFd> {
    let kind = c_string(&m.kind)?;
    let context = Context::open(&kind).what(|| "cannot set up this type of file system")?;
    let said = |option: &str| format!("option \"{option}\"");
    if !m.source.is_empty() {
        context.set(c"source", &c_string(&m.source)?).what(|| said("source"))?;
    }
    for (key, value) in data {
        let done = match value {
            Some(v) => context.set(&c_string(key)?, &c_string(v)?),
            None => context.set_flag(&c_string(key)?),
        };
        done.what(|| match context.messages() {
            text if text.is_empty() => said(key),
            text => format!("{} ({text})", said(key)),
        })?;
    }
    if let Labelled::Option(label) = label {
        label.set(&context)?;
    }
    for flag in &m.options.superblock {
        context.set_flag(&c_string(flag)?).what(|| said(flag))?;
    }
    context.mount(attributes).what(|| match context.messages() {
        text if text.is_empty() => "cannot create the mount".to_owned(),
        text => format!("cannot create the mount ({text})"),
    })
}

/// Opens what a bind mount shows.
///
/// # Errors
/// Those of open_tree(2).
pub(crate) fn open_source(path: &CString, m: &MountPlan) -> std::io::Result<OwnedFd> {
    mount::open_tree_clone(rustix::fs::CWD, path, m.options.rbind, m.options.src_nofollow)
}

/// Maps the ids of a detached mount.
pub(crate) fn set_idmap(tree: BorrowedFd<'_>, m: &MountPlan, userns: BorrowedFd<'_>) -> Result<()> {
    let change = Change { userns: Some(userns), recursive: m.options.ridmap, ..Change::default() };
    mount::set_attributes(tree, change).what(|| "cannot map the mount's ids (the file system may not support it)")
}

fn fd_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("\"{text}\" has a NUL byte")))
}

/// A user namespace that does not own the network namespace can't make a sysfs; the host's is shown instead.
fn host_sysfs(attributes: u64) -> Result<OwnedFd> {
    let tree = mount::open_tree_clone(rustix::fs::CWD, c"/sys", true, false).what(|| "cannot bind the host's /sys")?;
    let change = Change { set: attributes, ..Change::default() };
    mount::set_attributes(tree.as_fd(), change).what(|| "cannot change mount flags of the host's /sys")?;
    Ok(tree)
}

/// Copies what the image has at the target into the new tmpfs (`tmpcopyup`), links as links.
fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, ".", flags, Mode::empty()).what(|| "tmpcopyup")?;
    let to = rustix::fs::openat(to, ".", flags, Mode::empty()).what(|| "tmpcopyup")?;
    copy_tree(&from, &to, 0).map_err(|e| e.during("tmpcopyup"))
}

/// Deeper than any sane image; ends a recursion that a hostile one could drive.
const DEEPEST: usize = 128;

fn copy_tree(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::new(format!("directories nest deeper than {DEEPEST}")));
    }
    let dir = rustix::fs::Dir::read_from(from).what(|| "cannot read a directory")?;
    for entry in dir {
        let entry = entry.what(|| "cannot read a directory")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let shown = || format!("\"{}\"", name.to_string_lossy());
        let st = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).what(shown)?;
        let mode = Mode::from_raw_mode(st.st_mode & 0o7777);
        match FileType::from_raw_mode(st.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, mode).what(shown)?;
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let a = rustix::fs::openat(from, name, flags, Mode::empty()).what(shown)?;
                let b = rustix::fs::openat(to, name, flags, Mode::empty()).what(shown)?;
                copy_tree(&a, &b, depth + 1)?;
            }
            FileType::RegularFile => {
                // Whoever shares the root file system may have put something else there by now.
                let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let a = rustix::fs::openat(from, name, flags, Mode::empty()).what(shown)?;
                let now = rustix::fs::fstat(&a).what(shown)?;
                if (now.st_dev, now.st_ino, now.st_mode) != (st.st_dev, st.st_ino, st.st_mode) {
                    return Err(Error::new(format!("{}: it was exchanged for another file", shown())));
                }
                let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let b = rustix::fs::openat(to, name, create, mode).what(shown)?;
                std::io::copy(&mut std::fs::File::from(a), &mut std::fs::File::from(b)).what(shown)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new()).what(shown)?;
                rustix::fs::symlinkat(&link, to, name).what(shown)?;
            }
            kind => rustix::fs::mknodat(to, name, kind, mode, st.st_rdev).what(shown)?,
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(st.st_uid), rustix::fs::Gid::from_raw(st.st_gid));
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).what(shown)?;
    }
    Ok(())
}

/// Attaches a bind of a trusted host file or directory.
pub(crate) fn attach(tree: &OwnedFd, target: &OwnedFd, path: &Path) -> Result<()> {
    mount::move_mount(tree.as_fd(), target.as_fd())
        .what(|| format!("cannot mount over \"{}\"", String::from_utf8_lossy(path.as_os_str().as_bytes())))
}

/// See [`crate::source_for`].
pub(crate) fn source_for(m: &MountPlan, idmaps: &[OwnedFd]) -> Result<OwnedFd> {
    let tree = open_source(&c_string(&m.source)?, m).what(|| format!("source \"{}\"", m.source))?;
    if let Some(map) = m.idmap.and_then(|i| idmaps.get(i)) {
        set_idmap(tree.as_fd(), m, map.as_fd())?;
    }
    Ok(tree)
}
