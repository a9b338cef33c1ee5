//! The host's own tree as a container's root, with every write kept in memory (`hull do`).
//!
//! Each directory of the host's root becomes an overlay of its own, and so does each mount below it, put on top: an
//! overlay's lower layer does not cross into other mounts. An ordinary user may not look beneath mounts that cover
//! others, nor can its overlay copy a directory of a user that it doesn't know: there a directory that contains mounts
//! is descended into, and its own files are bound read-only. So is a directory that the kernel won't overlay. The
//! kernel's own file systems, such as procfs, are left out.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hull_sys::mount::{self, Change, Context, attr};

use crate::error::{Context as _, Error, Result};
use crate::sync::{Ask, Sync};

/// File systems that show or change what the host does, and not files.
const VIEWS: [&str; 9] =
    ["proc", "sysfs", "cgroup", "cgroup2", "bpf", "debugfs", "tracefs", "securityfs", "configfs"];

/// What `hull do` shows of the host.
#[derive(Debug)]
pub struct HostOverlay {
    /// The tree shown: "/" or the `--rootfs` directory.
    pub base: PathBuf,
    /// An existing, empty directory of the host; covered by a tmpfs in the container's mount namespace only.
    pub scratch: PathBuf,
    /// Directories that the container gets empty, such as "/proc", "/sys", "/dev", "/run".
    pub fresh: Vec<PathBuf>,
}

struct Builder<'a> {
    spec: &'a HostOverlay,
    sync: &'a Sync,
    few: bool,
    /// Mount points below the base, which an overlay would not show, and whether a view of the kernel is there.
    mounts: BTreeMap<PathBuf, bool>,
    layers: usize,
}

/// Builds the tree and returns its root, attached in the caller's mount namespace.
/// Tells through `sync` of what can't be shown. `few` means that the caller has few of the host's users, not all.
pub(crate) fn build(spec: &HostOverlay, sync: &Sync, few: bool) -> Result<OwnedFd> {
    let scratch = c_path(&spec.scratch)?;
    let context = Context::open(c"tmpfs").what(|| "cannot set up a tmpfs for writes")?;
    context.set(c"mode", c"755").what(|| "cannot set up a tmpfs for writes")?;
    let memory = context.mount(attr::NODEV).what(|| "cannot set up a tmpfs for writes")?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let target = rustix::fs::open(scratch.as_c_str(), flags, rustix::fs::Mode::empty())
        .what(|| format!("cannot open \"{}\"", spec.scratch.display()))?;
    mount::move_mount(memory.as_fd(), target.as_fd()).what(|| "cannot attach the tmpfs for writes")?;
    let mut builder = Builder { spec, sync, few, mounts: mounts_below(&spec.base)?, layers: 0 };
    let root = spec.scratch.join("root");
    make_directory(&root)?;
    copy_mode(&spec.base, &root);
    // The root must be a mount of its own to be pivoted into.
    let tree = mount::open_tree_clone(rustix::fs::CWD, &c_path(&root)?, true, true).what(|| "cannot clone the root")?;
    let target = rustix::fs::open(&root, flags, rustix::fs::Mode::empty()).what(|| "cannot open the root")?;
    mount::move_mount(tree.as_fd(), target.as_fd()).what(|| "cannot attach the root")?;
    builder.fill(&spec.base, &root)?;
    Ok(tree)
}

impl Builder<'_> {
    /// Shows what is in a directory, one by one.
    fn fill(&mut self, host: &Path, inside: &Path) -> Result<()> {
        let entries = std::fs::read_dir(host).what(|| format!("cannot read \"{}\"", host.display()))?;
        for entry in entries {
            let entry = entry.what(|| format!("cannot read \"{}\"", host.display()))?;
            let (from, to) = (entry.path(), inside.join(entry.file_name()));
            let kind = entry.file_type().what(|| format!("cannot examine \"{}\"", from.display()))?;
            let shown = from.strip_prefix(&self.spec.base).map(|p| Path::new("/").join(p)).unwrap_or_default();
            if from == self.spec.scratch {
                continue;
            }
            if self.spec.fresh.contains(&shown) {
                make_directory(&to)?;
            } else if kind.is_symlink() {
                let link = std::fs::read_link(&from).what(|| format!("cannot read \"{}\"", from.display()))?;
                std::os::unix::fs::symlink(link, &to).what(|| format!("cannot make \"{}\"", to.display()))?;
            } else if kind.is_dir() {
                make_directory(&to)?;
                copy_mode(&from, &to);
                let result = self.directory(&from, &to);
                self.tell(result)?;
            } else if kind.is_file() {
                std::fs::File::create(&to).what(|| format!("cannot make \"{}\"", to.display()))?;
                let result = bind_read_only(&from, &to);
                self.tell(result)?;
            }
        }
        Ok(())
    }

    /// Shows a directory at one that is there already.
    fn directory(&mut self, from: &Path, to: &Path) -> Result<()> {
        if self.mounts.get(from) == Some(&true) {
            return Ok(());
        }
        let below: Vec<PathBuf> = self.mounts.keys().filter(|m| *m != from && m.starts_with(from)).cloned().collect();
        if self.few && !below.is_empty() {
            return self.fill(from, to);
        }
        match self.layer(from, to) {
            Ok(()) => self.put_on_top(from, to, &below),
            Err(_) if below.is_empty() => bind_read_only(from, to),
            Err(_) => self.fill(from, to),
        }
    }

    /// Shows what is mounted below a directory on top of that directory's own layer.
    fn put_on_top(&mut self, from: &Path, to: &Path, points: &[PathBuf]) -> Result<()> {
        let mut last: Option<&PathBuf> = None;
        for point in points {
            // What is mounted below another mount is that one's to show.
            if last.is_some_and(|last| point.starts_with(last)) {
                continue;
            }
            last = Some(point);
            let Ok(rest) = point.strip_prefix(from) else { continue };
            let target = to.join(rest);
            // One that another mount covers can't be found, nor need it be.
            let Ok(kind) = std::fs::symlink_metadata(point) else { continue };
            let result = match () {
                () if *point == self.spec.scratch || std::fs::symlink_metadata(&target).is_err() => Ok(()),
                () if kind.is_dir() => self.directory(point, &target),
                () if kind.is_file() => bind_read_only(point, &target),
                () => Ok(()),
            };
            self.tell(result)?;
        }
        Ok(())
    }

    /// Tells of what can't be shown; what the user may not read stays empty without a word.
    fn tell(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(e) if e.errno() != Some(libc::EACCES) => self.sync.ask(&Ask::Warning(e.to_string())),
            _ => Ok(()),
        }
    }

    fn layer(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.layers += 1;
        let (upper, work) =
            (self.spec.scratch.join(format!("u{}", self.layers)), self.spec.scratch.join(format!("w{}", self.layers)));
        make_directory(&upper)?;
        make_directory(&work)?;
        copy_mode(from, &upper);
        let doing = || format!("cannot overlay \"{}\"", from.display());
        let context = Context::open(c"overlay").what(doing)?;
        // Colons and commas separate layers and options in the kernel's syntax.
        let lower = from.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
        let text = |s: &str| CString::new(s).map_err(|_| Error::new("a path has a NUL byte"));
        context.set(c"lowerdir", &text(&lower)?).what(doing)?;
        context.set(c"upperdir", &c_path(&upper)?).what(doing)?;
        context.set(c"workdir", &c_path(&work)?).what(doing)?;
        // Without this an ordinary user's overlay would need attributes that only root may set.
        let _ = context.set_flag(c"userxattr");
        let tree = context.mount(attr::NODEV).what(doing)?;
        attach(&tree, to)
    }
}

fn bind_read_only(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("cannot show \"{}\"", from.display());
    let tree = mount::open_tree_clone(rustix::fs::CWD, &c_path(from)?, true, true).what(doing)?;
    let change = Change { set: attr::RDONLY | attr::NODEV, recursive: true, ..Change::default() };
    mount::set_attributes(tree.as_fd(), change).what(doing)?;
    attach(&tree, to)
}

fn attach(tree: &OwnedFd, to: &Path) -> Result<()> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let target = rustix::fs::open(to, flags, rustix::fs::Mode::empty()).what(|| format!("cannot open \"{}\"", to.display()))?;
    crate::mounts::attach(tree, &target, to)
}

fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o755).create(path).what(|| format!("cannot make \"{}\"", path.display()))
}

/// Gives a new directory the owner and permissions of the one it stands for, as far as the user may.
fn copy_mode(from: &Path, to: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = std::fs::metadata(from) else { return };
    let _ = std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid()));
    let _ = std::fs::set_permissions(to, meta.permissions());
}

/// Of mounts at one point the last counts.
fn mounts_below(base: &Path) -> Result<BTreeMap<PathBuf, bool>> {
    let mounts = hull_sys::mountinfo::own().what(|| "cannot read \"/proc/self/mountinfo\"")?;
    let below = mounts.into_iter().filter(|m| m.point.starts_with(base) && m.point != base);
    Ok(below.map(|m| (m.point, VIEWS.contains(&m.kind.as_str()))).collect())
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new("a path has a NUL byte"))
}
