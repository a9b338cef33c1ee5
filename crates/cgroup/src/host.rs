//! What the host has of control groups: the layout, the mounts, the controllers, and hull's own cgroup.
//!
//! Read once per command. Under pure v2 one statfs(2) answers; only other layouts cost a look at mountinfo. Never
//! mounts anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hull_sys::mountinfo;
use serde::{Deserialize, Serialize};

use crate::file::{read, read_path};
use crate::{Error, Result};

const DEFAULT_ROOT: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;
/// Mount options of cgroup v1 that are controllers; any other option is none.
const V1_CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

/// Which generations of control groups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// No cgroup file system at all.
    #[default]
    None,
    /// Version 1 alone.
    V1,
    /// Version 1, and version 2 beside it.
    Hybrid,
    /// Version 2 alone.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The controllers of a v1 hierarchy, or its name as `name=…`; empty for v2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub dir: PathBuf,
    /// Which cgroup of the hierarchy shows at `dir`, as /proc/self/cgroup would name it.
    pub root: PathBuf,
}

/// The control groups of this host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) v1: Vec<Mount>,
    pub(crate) unified: Option<Mount>,
    /// What /proc/self/cgroup says; `None` leaves it to be read when a path needs it.
    own: Option<String>,
}

impl Host {
    /// Looks at the running system.
    ///
    /// # Errors
    /// When /proc/self/mountinfo cannot be read.
    pub fn detect() -> Result<Host> {
        let root = Path::new(DEFAULT_ROOT);
        if rustix::fs::statfs(root).is_ok_and(|s| s.f_type == CGROUP2_SUPER_MAGIC) {
            return Ok(Host { v1: Vec::new(), unified: Some(Mount::v2(root)), own: None });
        }
        let mounts = mountinfo::own().map_err(|e| Error::io(format_args!("cannot read \"/proc/self/mountinfo\""), &e))?;
        Ok(Host::from_mounts(mounts))
    }

    /// A host whose cgroup file systems are plain directories: v1 controllers at `root/NAME`, v2 at `root` itself,
    /// or at `root/unified` in the hybrid layout. For tests, and for looking at another root.
    pub fn at(root: &Path, layout: Layout, v1_controllers: &[&str]) -> Host {
        let v1 = v1_controllers.iter().map(|name| Mount {
            controllers: vec![(*name).into()],
            dir: root.join(name.trim_start_matches("name=")),
            root: "/".into(),
        });
        let unified = match layout {
            Layout::V2 => Some(Mount::v2(root)),
            Layout::Hybrid => Some(Mount::v2(&root.join("unified"))),
            Layout::V1 | Layout::None => None,
        };
        Host { v1: v1.collect(), unified, own: Some(String::new()) }
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        match (self.v1.is_empty(), self.unified.is_some()) {
            (true, true) => Layout::V2,
            (false, true) => Layout::Hybrid,
            (false, false) => Layout::V1,
            (true, false) => Layout::None,
        }
    }

    /// Every controller that a container could be limited by, by its name in the version that has it; `devices` and
    /// `freezer` are part of v2 itself.
    ///
    /// # Errors
    /// When v2's list of controllers cannot be read.
    pub fn controllers(&self) -> Result<BTreeSet<String>> {
        let mut all: BTreeSet<String> = self.v1.iter().flat_map(|m| m.controllers.iter().cloned()).collect();
        if let Some(unified) = &self.unified {
            let list = read(&unified.dir, "cgroup.controllers")
                .map_err(|e| Error::file("read", &unified.dir, "cgroup.controllers", &e))?;
            all.extend(list.split_whitespace().map(String::from));
            all.extend(["devices".into(), "freezer".into()]);
        }
        all.retain(|name| !name.starts_with("name="));
        Ok(all)
    }

    /// Hull's own cgroup in the hierarchy of `mount`, relative to the mount's root.
    pub(crate) fn own_cgroup(&mut self, mount: &Mount) -> Result<PathBuf> {
        let text = match &mut self.own {
            Some(text) => text,
            none => {
                let path = Path::new("/proc/self/cgroup");
                none.insert(read_path(path).map_err(|e| Error::io(format_args!("cannot read {path:?}"), &e))?)
            }
        };
        let own = text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let here = match mount.controllers.first() {
                Some(first) => controllers.split(',').any(|c| c == first),
                None => controllers.is_empty(),
            };
            here.then(|| Path::new(path))
        });
        // Without a cgroup namespace a container sees the host's names, of which the mount shows the part below root.
        let own = own.unwrap_or(Path::new("/"));
        Ok(own.strip_prefix(&mount.root).or_else(|_| own.strip_prefix("/")).unwrap_or(Path::new("")).to_owned())
    }

    fn from_mounts(mounts: Vec<mountinfo::Mount>) -> Host {
        let mut host = Host { v1: Vec::new(), unified: None, own: None };
        // The mounts at the usual place come first, so that a second mount of a hierarchy elsewhere doesn't win.
        let mut mounts: Vec<_> = mounts.into_iter().filter_map(of_cgroups).collect();
        mounts.sort_by_key(|(_, mount)| !mount.dir.starts_with(DEFAULT_ROOT));
        for (v2, mount) in mounts {
            if v2 {
                host.unified.get_or_insert(mount);
            } else if !mount.controllers.is_empty() && !host.v1.iter().any(|m| m.controllers == mount.controllers) {
                host.v1.push(mount);
            }
        }
        host
    }
}

impl Mount {
    fn v2(dir: &Path) -> Mount {
        Mount { controllers: Vec::new(), dir: dir.into(), root: "/".into() }
    }
}

/// A mount of cgroups, of version 2 or not.
fn of_cgroups(mount: mountinfo::Mount) -> Option<(bool, Mount)> {
    let v2 = mount.kind == "cgroup2";
    if !v2 && mount.kind != "cgroup" {
        return None;
    }
    let is_controller = |o: &&str| !v2 && (V1_CONTROLLERS.contains(o) || *o == "name=systemd");
    let controllers = mount.data.split(',').filter(is_controller).map(String::from).collect();
    Some((v2, Mount { controllers, dir: mount.point, root: mount.root }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
90 23 0:30 /deep /mnt/my\\040cpu rw - cgroup cgroup rw,cpu,cpuacct
32 31 0:30 /box /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
34 31 0:37 / /sys/fs/cgroup/elogind rw - cgroup cgroup rw,name=elogind
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn mountinfo_gives_one_mount_per_hierarchy() {
        let host = Host::from_mounts(mountinfo::parse(HYBRID.as_bytes()));
        assert_eq!(host.layout(), Layout::Hybrid);
        let seen: Vec<_> = host.v1.iter().map(|m| (m.controllers.join(","), m.dir.to_str().unwrap())).collect();
        assert_eq!(
            seen,
            [
                ("cpu,cpuacct".to_string(), "/sys/fs/cgroup/cpu,cpuacct"),
                ("name=systemd".to_string(), "/sys/fs/cgroup/systemd")
            ]
        );
        assert_eq!(host.unified.unwrap().dir, Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn no_cgroup_mount_is_no_layout() {
        assert_eq!(Host::from_mounts(mountinfo::parse(b"31 23 0:28 / /tmp rw - tmpfs tmpfs rw")).layout(), Layout::None);
    }

    #[test]
    fn blanks_in_mount_points_are_undone() {
        let second = mountinfo::parse(HYBRID.as_bytes()).swap_remove(1);
        assert_eq!(of_cgroups(second).unwrap().1.dir, Path::new("/mnt/my cpu"));
    }

    #[test]
    fn own_cgroup_is_relative_to_what_the_mount_shows() {
        let mut host = Host::from_mounts(mountinfo::parse(HYBRID.as_bytes()));
        host.own = Some("5:cpu,cpuacct:/box/me\n1:name=systemd:/user\n0::/slice/me\n".into());
        let (cpu, systemd) = (host.v1[0].clone(), host.v1[1].clone());
        let unified = host.unified.clone().unwrap();
        assert_eq!(host.own_cgroup(&cpu).unwrap(), Path::new("me"));
        assert_eq!(host.own_cgroup(&systemd).unwrap(), Path::new("user"));
        assert_eq!(host.own_cgroup(&unified).unwrap(), Path::new("slice/me"));
    }
}
