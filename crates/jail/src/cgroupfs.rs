//! A mount of type "cgroup": the container's own group, read-only or not, for v1, hybrid and v2 hosts.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use hull_sys::clone::flags;
use hull_sys::mount::{self, Change, Context, attr};

use crate::error::{Context as _, Error, Result};
use crate::mounts::Mounter;
use crate::plan::{Hierarchy, MountPlan};

/// Mounts what the host has: one v2 tree, or a tmpfs with a directory per v1 hierarchy.
pub(crate) fn mount(mounter: &mut Mounter<'_>, m: &MountPlan) -> Result<()> {
    let hierarchies = &mounter.plan.hierarchies;
    let attributes = m.options.attr_set;
    match hierarchies.as_slice() {
        [] => Err(Error::new("this host has no cgroup file system mounted")),
        [only] if only.name.is_empty() => {
            let tree = tree_of(mounter, only, attributes, &m.options.data)?;
            let target = mounter.directory(&m.target, m)?;
            crate::mounts::attach(&tree, &target, &m.target)?;
            mounter.propagate(tree.as_fd(), m)
        }
        many => {
            let target = mounter.directory(&m.target, m)?;
            let context = Context::open(c"tmpfs").what(|| "cannot set up a tmpfs")?;
            context.set(c"mode", c"755").what(|| "cannot set up a tmpfs")?;
            mounter.plan.mount_label.as_ref().map_or(Ok(()), |l| l.set(&context))?;
            let base = context.mount(attributes & !attr::RDONLY).what(|| "cannot set up a tmpfs")?;
            crate::mounts::attach(&base, &target, &m.target)?;
            mounter.propagate(base.as_fd(), m)?;
            for hierarchy in many {
                let path = m.target.join(&hierarchy.name);
                let target = mounter.directory(&path, m)?;
                let tree = tree_of(mounter, hierarchy, attributes, &[])?;
                crate::mounts::attach(&tree, &target, &path)?;
                // A merged hierarchy is reached by each of its names too.
                if hierarchy.name.contains(',') {
                    for alias in hierarchy.name.split(',') {
                        match rustix::fs::symlinkat(hierarchy.name.as_str(), &base, alias) {
                            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                            Err(e) => return Err(e).what(|| format!("cannot make the link \"{alias}\"")),
                        }
                    }
                }
            }
            if attributes & attr::RDONLY != 0 {
                mounter.remember_readonly(base);
            }
            Ok(())
        }
    }
}

/// The hierarchy as the container may see it: mounted anew in a cgroup namespace, else a bind: of the container's group
/// under v1, and of the whole tree under v2, as what is in it has to know the paths that /proc tells. It is not mounted
/// anew there, which would put the options of the host's tree back. `data` is for the kernel, which takes options of
/// cgroup v2 only.
fn tree_of(
    mounter: &Mounter<'_>,
    hierarchy: &Hierarchy,
    attributes: u64,
    data: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let joined = mounter.plan.joins.iter().any(|j| j.flag == flags::NEWCGROUP);
    let own_namespace = mounter.plan.new_cgroup_ns || joined;
    if own_namespace {
        match fresh(hierarchy, attributes, data) {
            Ok(tree) => return Ok(tree),
            Err(e) if !data.is_empty() => {
                let options: Vec<_> = data.iter().map(|(key, _)| key.as_str()).collect();
                return Err(Error::new(format!("options \"{}\": {e}", options.join(","))));
            }
            Err(_) => {}
        }
    }
    let relative = hierarchy.group.strip_prefix("/").unwrap_or(&hierarchy.group);
    let whole = hierarchy.name.is_empty() && !own_namespace;
    let path = if whole { hierarchy.mountpoint.clone() } else { hierarchy.mountpoint.join(relative) };
    let source = CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new("cgroup path has a NUL byte"))?;
    let shown = || format!("cannot bind the cgroup \"{}\"", path.display());
    let tree = mount::open_tree_clone(rustix::fs::CWD, &source, false, true).what(shown)?;
    mount::set_attributes(tree.as_fd(), Change { set: attributes, ..Change::default() }).what(shown)?;
    Ok(tree)
}

fn fresh(hierarchy: &Hierarchy, attributes: u64, data: &[(String, Option<String>)]) -> std::io::Result<OwnedFd> {
    if hierarchy.selector.is_empty() {
        let context = Context::open(c"cgroup2")?;
        for (key, value) in data {
            match value {
                Some(value) => context.set(&CString::new(key.as_str())?, &CString::new(value.as_str())?)?,
                None => context.set_flag(&CString::new(key.as_str())?)?,
            }
        }
        return context.mount(attributes);
    }
    let context = Context::open(c"cgroup")?;
    for part in hierarchy.selector.split(',') {
        match part.split_once('=') {
            Some((key, value)) => context.set(&CString::new(key)?, &CString::new(value)?)?,
            None => context.set_flag(&CString::new(part)?)?,
        }
    }
    context.mount(attributes)
}
