//! The host's own tree as a container's root, with every write kept in memory (`hull do`).
//!
//! Each directory of the host's root becomes an overlay of its own: an overlay's lower layer does not cross into
//! other mounts, and an ordinary user may not look beneath mounts that cover others. A directory that contains
//! mounts is therefore descended into; one that the kernel won't overlay is bound read-only.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hull_sys::mount::{self, Change, Context, attr};

use crate::error::{Context as _, Error, Result};

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
    /// Mount points below the base, which an overlay would not show.
    mounts: BTreeSet<PathBuf>,
    layers: usize,
}

/// Builds the tree and returns its root, attached in the caller's mount namespace.
pub(crate) fn build(spec: &HostOverlay) -> Result<OwnedFd> {
    let scratch = c_path(&spec.scratch)?;
    let context = Context::open(c"tmpfs").what(|| "cannot set up a tmpfs for writes")?;
    context.set(c"mode", c"755").what(|| "cannot set up a tmpfs for writes")?;
    let memory = context.mount(attr::NODEV).what(|| "cannot set up a tmpfs for writes")?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let target = rustix::fs::open(scratch.as_c_str(), flags, rustix::fs::Mode::empty())
        .what(|| format!("cannot open \"{}\"", spec.scratch.display()))?;
    mount::move_mount(memory.as_fd(), target.as_fd()).what(|| "cannot attach the tmpfs for writes")?;
    let mut builder = Builder { spec, mounts: mounts_below(&spec.base)?, layers: 0 };
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
                let crowded = self.mounts.iter().any(|m| m != &from && m.starts_with(&from));
                if crowded {
                    // What can't be read can't be shown either; it stays an empty directory.
                    let _ = self.fill(&from, &to);
                } else if self.layer(&from, &to).is_err() {
                    bind_read_only(&from, &to)?;
                }
            } else if kind.is_file() {
                std::fs::File::create(&to).what(|| format!("cannot make \"{}\"", to.display()))?;
                bind_read_only(&from, &to)?;
            }
        }
        Ok(())
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

fn mounts_below(base: &Path) -> Result<BTreeSet<PathBuf>> {
    let mounts = hull_sys::mountinfo::own().what(|| "cannot read \"/proc/self/mountinfo\"")?;
    Ok(mounts.into_iter().map(|m| m.point).filter(|p| p.starts_with(base) && p != base).collect())
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new("a path has a NUL byte"))
}
