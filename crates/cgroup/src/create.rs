//! Making a container's cgroup: directories, what v1's cpuset needs before it takes a process, v2's controllers.
//!
//! Undoes what it made when a later step fails. Sets no limit and moves no process.

use std::path::{Path, PathBuf};
use std::{fs, io};

use hull_spec::config::Resources;
use rustix::fs::Mode;

use crate::file::{is_denied, is_missing, read, write};
use crate::group::{Cgroup, Hierarchy, inode};
use crate::host::Layout;
use crate::limits::asked_controllers;
use crate::members::members;
use crate::{Error, Result};

/// What a cgroup holds before limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made just now: every file has the kernel's default, so that a default need not be written.
    Fresh,
    /// It may carry older values: each value asked for is written.
    Used,
}

impl Cgroup {
    /// Makes the directories, in every hierarchy. A rootless container whose place config.json leaves open goes
    /// without those that this user may not make; `self` then no longer has them.
    ///
    /// # Errors
    /// When a directory cannot be made, or is there already and is frozen or has processes.
    pub fn create(&mut self, res: &Resources) -> Result<State> {
        let mut made = Vec::new();
        let mut kept = self.clone();
        let result = kept.make_all(res, &mut made);
        match &result {
            Ok(_) => *self = kept,
            // The error at hand tells more than a directory that stays behind.
            Err(_) => made.iter().rev().for_each(|dir| drop(fs::remove_dir(dir))),
        }
        result
    }

    /// Refuses a place that something else lives in or has frozen, before anything names it as this container's: who
    /// cleans up after a failure then has no cgroup of another to kill.
    ///
    /// # Errors
    /// Where it is in use, or can't be read.
    pub fn check_free(&self) -> Result<()> {
        match self.main_dir() {
            Some(main) if main.exists() => self.all().filter(|h| h.dir.exists()).try_for_each(refuse_used),
            _ => Ok(()),
        }
    }

    fn make_all(&mut self, res: &Resources, made: &mut Vec<PathBuf>) -> Result<State> {
        let optional = self.rootless && !self.explicit;
        let mut state = State::Fresh;
        let mut kept = Vec::new();
        for mut h in std::mem::take(&mut self.v1) {
            match make(&h.dir, &h.mount, made) {
                Ok(true) => {}
                Ok(false) => {
                    state = State::Used;
                    refuse_used(&h)?;
                }
                Err(_) if h.is_named() => continue,
                Err((_, e)) if optional && is_denied(&e) => {
                    self.denied = true;
                    continue;
                }
                Err((dir, e)) => return Err(Error::io(format_args!("cannot create cgroup {dir:?}"), &e)),
            }
            if h.controllers.iter().any(|c| c == "cpuset") {
                let cpu = res.cpu.as_ref();
                fill_cpuset(&h.dir, "cpuset.cpus", cpu.is_some_and(|c| !c.cpus.is_empty()))?;
                fill_cpuset(&h.dir, "cpuset.mems", cpu.is_some_and(|c| !c.mems.is_empty()))?;
            }
            h.inode = inode(&h.dir).unwrap_or_default();
            kept.push(h);
        }
        self.v1 = kept;
        if let Some(mut h) = self.unified.take() {
            match make(&h.dir, &h.mount, made) {
                Ok(new) => {
                    if !new {
                        state = State::Used;
                        refuse_used(&h)?;
                    }
                    self.enable_controllers(&h, res)?;
                    h.inode = inode(&h.dir).unwrap_or_default();
                    self.unified = Some(h);
                }
                Err((_, e)) if optional && is_denied(&e) => self.denied = true,
                Err((dir, e)) => return Err(Error::io(format_args!("cannot create cgroup {dir:?}"), &e)),
            }
        }
        Ok(state)
    }

    /// Hands v2 controllers down to the container's directory: all there are under pure v2, as engines read their
    /// statistics; beside v1 only those that config.json needs. One that can't be had is the limits' error, if asked.
    fn enable_controllers(&self, h: &Hierarchy, res: &Resources) -> Result<()> {
        let list;
        let wanted: Vec<&str> = if self.layout == Layout::V2 {
            list = read(&h.mount, "cgroup.controllers")
                .map_err(|e| Error::file("read", &h.mount, "cgroup.controllers", &e))?;
            list.split_whitespace().collect()
        } else {
            asked_controllers(res).into_iter().filter(|c| self.v1_dir(v1_name(c)).is_none()).collect()
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let here = read(&h.dir, "cgroup.controllers").unwrap_or_default();
        if wanted.iter().all(|c| here.split_whitespace().any(|have| have == *c)) {
            return Ok(());
        }
        let all = wanted.iter().map(|c| format!("+{c}")).collect::<Vec<_>>().join(" ");
        let below = h.dir.strip_prefix(&h.mount).unwrap_or(Path::new(""));
        let mut dir = h.mount.clone();
        for name in below.components() {
            if write(&dir, "cgroup.subtree_control", &all).is_err() {
                // One controller that can't be enabled makes the kernel refuse the whole line.
                wanted.iter().for_each(|c| drop(write(&dir, "cgroup.subtree_control", &format!("+{c}"))));
            }
            dir.push(name);
        }
        leave_invalid_domain(&h.dir, res)
    }
}

/// A cgroup below a threaded one takes no process until it is threaded itself, which bars some controllers.
fn leave_invalid_domain(dir: &Path, res: &Resources) -> Result<()> {
    let kind = read(dir, "cgroup.type").unwrap_or_default();
    let kind = kind.trim();
    if !matches!(kind, "domain invalid" | "threaded" | "domain threaded") {
        return Ok(());
    }
    let bound_to_domains = ["memory", "io", "hugetlb", "rdma"];
    if let Some(c) = asked_controllers(res).into_iter().find(|c| bound_to_domains.contains(c)) {
        return Err(Error::new(format!(
            "cgroup {dir:?} is {kind:?}, as it is below a threaded cgroup, so that controller {c:?} cannot limit it; \
             choose another linux.cgroupsPath or remove the limit"
        )));
    }
    match kind {
        "domain invalid" => write(dir, "cgroup.type", "threaded")
            .map_err(|e| Error::file("write \"threaded\" to", dir, "cgroup.type", &e)),
        _ => Ok(()),
    }
}

/// v1's name of a v2 controller.
fn v1_name(v2: &str) -> &str {
    if v2 == "io" { "blkio" } else { v2 }
}

/// Makes a directory, with its parents where they are missing; whether it is new. An error names the directory.
fn make(dir: &Path, mount: &Path, made: &mut Vec<PathBuf>) -> std::result::Result<bool, (PathBuf, io::Error)> {
    let mkdir = || rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755)).map_err(io::Error::from);
    let mut result = mkdir();
    if result.as_ref().is_err_and(is_missing)
        && let Some(parent) = dir.parent().filter(|p| p.starts_with(mount) && *p != mount)
    {
        make(parent, mount, made)?;
        result = mkdir();
    }
    match result {
        Ok(()) => {
            made.push(dir.into());
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err((dir.into(), e)),
    }
}

/// Refuses a directory that something else lives in, or that would freeze the container's first process.
fn refuse_used(h: &Hierarchy) -> Result<()> {
    let found = if h.is_named() { 0 } else { members(&h.dir, true)?.len() };
    if found > 0 {
        return Err(Error::new(format!(
            "container's cgroup is not empty: {found} process(es) found in {:?}; choose another linux.cgroupsPath",
            h.dir
        )));
    }
    let v2 = h.controllers.is_empty();
    let frozen = match read(&h.dir, if v2 { "cgroup.freeze" } else { "freezer.state" }) {
        Ok(text) => text.trim() != if v2 { "0" } else { "THAWED" },
        Err(_) => false,
    };
    if frozen {
        return Err(Error::new(format!("container's cgroup unexpectedly frozen: {:?}; thaw or remove it", h.dir)));
    }
    Ok(())
}

/// v1's cpuset takes no process before it has CPUs and memory nodes: copies the parent's, from the nearest ancestor
/// that has them, unless the limits will `set` them.
fn fill_cpuset(dir: &Path, name: &str, set: bool) -> Result<()> {
    let failed = |e| Error::file("read", dir, name, &e);
    if !read(dir, name).map_err(failed)?.trim().is_empty() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    let mut value = read(parent, name).map_err(failed)?;
    if value.trim().is_empty() {
        fill_cpuset(parent, name, false)?;
        value = read(parent, name).map_err(failed)?;
    }
    if set {
        return Ok(());
    }
    write(dir, name, value.trim()).map_err(|e| Error::file(&format!("write {:?} to", value.trim()), dir, name, &e))
}
