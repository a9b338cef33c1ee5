//! Where a container's cgroup is: planned from config.json, stored with the container's state, found again from it.
//!
//! Plain data. Planning touches no cgroup; what does is in the modules named after the act.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Host, Layout};
use crate::{Error, Result};

/// One directory of a container's cgroup, in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// The controllers of a v1 hierarchy, or its name as `name=…`; empty for v2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The container's directory, absolute, below `mount`.
    pub dir: PathBuf,
    /// The number of that directory's inode, once made: a later directory of the same name has another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inode: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A container's cgroup. Without any directory it stands for a container that runs without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// The layout of the host.
    pub layout: Layout,
    /// The v1 directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v1: Vec<Hierarchy>,
    /// The v2 directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<Hierarchy>,
    /// Whether config.json named the place; then a refusal is an error for rootless containers too.
    #[serde(default)]
    pub explicit: bool,
    /// Whether hull runs without the host's root rights.
    #[serde(default)]
    pub rootless: bool,
    /// Whether a directory was given up because this user may not make it.
    #[serde(default)]
    pub denied: bool,
}

/// The number of a directory's inode, which cgroupfs gives to no other while the system runs.
pub(crate) fn inode(dir: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir).ok().map(|m| m.ino())
}

impl Cgroup {
    /// Decides where the cgroup of the container `id` goes; changes nothing on the host.
    ///
    /// An absolute `cgroups_path` is below the root of each mount. A relative one, or `id` where it is empty, is
    /// below hull's own cgroup under v1, and beside hull's own cgroup under v2, where a cgroup that has processes
    /// cannot hand controllers to its children. `..` goes no higher than the root of the path itself.
    ///
    /// # Errors
    /// When the path names no cgroup of its own, or /proc/self/cgroup is needed and cannot be read.
    pub fn plan(host: &Host, cgroups_path: &str, id: &str, rootless: bool) -> Result<Cgroup> {
        let asked = if cgroups_path.is_empty() { id } else { cgroups_path };
        let inner = confine(asked);
        if inner.as_os_str().is_empty() {
            return Err(Error::new(format!("linux.cgroupsPath {asked:?} names no cgroup below the root")));
        }
        let absolute = cgroups_path.starts_with('/');
        let mut host = host.clone();
        let mut v1 = Vec::new();
        for mount in host.v1.clone() {
            let base = if absolute { PathBuf::new() } else { confine_path(&host.own_cgroup(&mount)?) };
            let dir = mount.dir.join(base).join(&inner);
            v1.push(Hierarchy { controllers: mount.controllers, mount: mount.dir, dir, inode: 0 });
        }
        let unified = match host.unified.clone() {
            Some(mount) => {
                let mut base = if absolute { PathBuf::new() } else { confine_path(&host.own_cgroup(&mount)?) };
                base.pop();
                let dir = mount.dir.join(base).join(&inner);
                Some(Hierarchy { controllers: Vec::new(), mount: mount.dir, dir, inode: 0 })
            }
            None => None,
        };
        let explicit = !cgroups_path.is_empty();
        Ok(Cgroup { layout: host.layout(), v1, unified, explicit, rootless, denied: false })
    }

    /// The directory of each controller; that of v2 is under the empty name.
    pub fn paths(&self) -> BTreeMap<String, String> {
        let v1 = self.v1.iter().flat_map(|h| h.controllers.iter().map(move |c| (c.clone(), &h.dir)));
        let v2 = self.unified.iter().map(|h| (String::new(), &h.dir));
        v1.chain(v2).map(|(name, dir)| (name, dir.to_string_lossy().into_owned())).collect()
    }

    /// Where the container's processes are: its own cgroup in each hierarchy, and hull's where it has none of its own.
    ///
    /// # Errors
    /// When /proc/self/cgroup is needed and cannot be read.
    pub fn places(&self, host: &Host) -> Result<Vec<Hierarchy>> {
        let mut host = host.clone();
        let mounts: Vec<_> = host.v1.iter().chain(&host.unified).cloned().collect();
        let place = |mount: crate::host::Mount| match self.all().find(|h| h.mount == mount.dir) {
            Some(h) => Ok(h.clone()),
            None => {
                let dir = mount.dir.join(host.own_cgroup(&mount)?);
                Ok(Hierarchy { controllers: mount.controllers, mount: mount.dir, dir, inode: 0 })
            }
        };
        mounts.into_iter().map(place).collect()
    }

    /// Whether the directories that are there now are those that were made, as far as it is known.
    pub fn is_same(&self) -> bool {
        self.all().all(|h| h.inode == 0 || inode(&h.dir).is_none_or(|now| now == h.inode))
    }

    /// Whether the container has a cgroup anywhere.
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.unified.is_none()
    }

    /// Whether any of the directories is there.
    pub fn exists(&self) -> bool {
        self.all().any(|h| h.dir.is_dir())
    }

    /// The cgroup for `exec --cgroup`: each of `specs` is `PATH`, or `CONTROLLER[,CONTROLLER…]:PATH` under v1, with
    /// the path below the container's cgroup. It must exist.
    ///
    /// # Errors
    /// For `..`, for a controller that the container's cgroup has not, for controllers under v2, and for a path that
    /// is not there.
    pub fn subgroup(&self, specs: &[String]) -> Result<Cgroup> {
        let mut sub = self.clone();
        for spec in specs {
            let (controllers, path) = match spec.split_once(':') {
                Some((controllers, path)) => (Some(controllers), path),
                None => (None, spec.as_str()),
            };
            if Path::new(path).components().any(|c| c == Component::ParentDir) {
                return Err(Error::new(format!(
                    "bad sub cgroup path {path:?}: it may not leave the container's cgroup"
                )));
            }
            let inner = confine(path);
            match controllers {
                None => {
                    let dirs = sub.v1.iter_mut().zip(&self.v1).chain(sub.unified.iter_mut().zip(&self.unified));
                    dirs.for_each(|(to, from)| to.dir = from.dir.join(&inner));
                }
                Some(names) => {
                    for name in names.split(',') {
                        let at = self.v1.iter().position(|h| h.controllers.iter().any(|c| c == name));
                        let at = at.ok_or_else(|| {
                            Error::new(format!("bad sub cgroup {spec:?}: unknown controller {name:?} (the container has no such v1 group)"))
                        })?;
                        sub.v1[at].dir = self.v1[at].dir.join(&inner);
                    }
                }
            }
        }
        if let Some(h) = sub.all().find(|h| !h.dir.is_dir()) {
            return Err(Error::new(format!("error adding pid of the new process to cgroup {:?}: no such file or directory", h.dir)));
        }
        Ok(sub)
    }

    /// Every directory, v1 first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Hierarchy> {
        self.v1.iter().chain(&self.unified)
    }

    /// The v1 directory of a controller.
    pub(crate) fn v1_dir(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|h| h.controllers.iter().any(|c| c == controller)).map(|h| h.dir.as_path())
    }

    /// The v2 directory.
    pub(crate) fn v2_dir(&self) -> Option<&Path> {
        self.unified.as_ref().map(|h| h.dir.as_path())
    }

    /// The directory whose members stand for the container's: the hierarchies hold the same processes.
    pub(crate) fn main_dir(&self) -> Option<&Path> {
        let v1 = ["devices", "freezer", "pids", "memory"].iter().find_map(|c| self.v1_dir(c));
        v1.or_else(|| self.v2_dir()).or_else(|| self.v1.first().map(|h| h.dir.as_path()))
    }
}

impl Hierarchy {
    /// Whether nothing depends on it: a named hierarchy limits nothing.
    pub(crate) fn is_named(&self) -> bool {
        self.controllers.iter().any(|c| c.starts_with("name="))
    }
}

/// The path without its root, `.` and `..`, which goes no higher than the root.
fn confine(path: &str) -> PathBuf {
    confine_path(Path::new(path))
}

fn confine_path(path: &Path) -> PathBuf {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir => drop(inner.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(layout: Layout, v1: &[&str], path: &str) -> BTreeMap<String, String> {
        Cgroup::plan(&Host::at(Path::new("/r"), layout, v1), path, "box", false).unwrap().paths()
    }

    #[test]
    fn the_id_is_the_default() {
        assert_eq!(planned(Layout::V2, &[], "")[""], "/r/box");
        let hybrid = planned(Layout::Hybrid, &["cpu", "name=systemd"], "");
        assert_eq!(hybrid["cpu"], "/r/cpu/box");
        assert_eq!(hybrid["name=systemd"], "/r/systemd/box");
        assert_eq!(hybrid[""], "/r/unified/box");
        assert!(planned(Layout::None, &[], "").is_empty());
    }

    #[test]
    fn dots_do_not_escape() {
        for path in ["/../../a/./b", "../../a/b", "a/x/../b", "/a//b/"] {
            assert_eq!(planned(Layout::V2, &[], path)[""], "/r/a/b", "{path}");
        }
    }

    #[test]
    fn the_root_is_refused() {
        for path in ["/", "/..", ".", "a/.."] {
            let host = Host::at(Path::new("/r"), Layout::V2, &[]);
            let error = Cgroup::plan(&host, path, "box", false).unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath"), "{path}: {error}");
        }
    }

    #[test]
    fn state_survives_json() {
        let host = Host::at(Path::new("/r"), Layout::Hybrid, &["cpu", "memory"]);
        let cgroup = Cgroup::plan(&host, "/pod/box", "box", true).unwrap();
        let text = serde_json::to_string(&cgroup).unwrap();
        assert_eq!(serde_json::from_str::<Cgroup>(&text).unwrap(), cgroup);
    }

    #[test]
    fn a_subgroup_stays_inside_and_must_exist() {
        let root = std::env::temp_dir().join(format!("hull-subgroup-{}", std::process::id()));
        std::fs::create_dir_all(root.join("cpu/box/in")).unwrap();
        std::fs::create_dir_all(root.join("pids/box")).unwrap();
        let cgroup = Cgroup::plan(&Host::at(&root, Layout::V1, &["cpu", "pids"]), "/box", "box", false).unwrap();
        let sub = |spec: &str| cgroup.subgroup(&[spec.to_string()]).map(|c| c.paths());
        let paths = sub("cpu:/in").unwrap();
        assert!(paths["cpu"].ends_with("/cpu/box/in") && paths["pids"].ends_with("/pids/box"));
        for (spec, why) in
            [("../x", "may not leave"), ("cpu:in/../..", "may not leave"), ("io:in", "unknown controller"), ("in", "no such file")]
        {
            let error = sub(spec).unwrap_err().to_string();
            assert!(error.contains(why), "{spec}: {error}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
