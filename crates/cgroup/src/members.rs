//! Who is in a container's cgroup, and how a process gets in.
//!
//! There are three ways in, quickest first: cloned into v2 ([`Cgroup::enter_fd`]), the process moving itself under
//! v1 ([`Cgroup::task_files`]), and moved by another ([`Cgroup::add`]), for which the kernel stops every fork on the
//! host for a grace period of RCU: milliseconds. Never starts or signals a process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::file::{is_denied, is_missing, read, write};
use crate::group::{Cgroup, Hierarchy};
use crate::{Error, Result};

impl Cgroup {
    /// The v2 directory, to clone a process into (CLONE_INTO_CGROUP); `None` where there is none. In the hybrid
    /// layout the process still has to enter the v1 hierarchies.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn enter_fd(&self) -> Result<Option<OwnedFd>> {
        let Some(dir) = self.v2_dir() else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, dir, flags, Mode::empty())
            .map_err(|e| Error::io(format_args!("cannot open cgroup {dir:?}"), &e.into()))?;
        Ok(Some(fd))
    }

    /// The v2 directory that a process is in now, to clone another beside it; `None` where that can't be told. A
    /// container's first process may have left the container's own cgroup: to make place for controllers, which take
    /// no processes beside their children, or for good.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn enter_fd_beside(&self, pid: i32) -> Result<Option<OwnedFd>> {
        let Some(h) = &self.unified else { return Ok(None) };
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return Ok(None) };
        let Some(path) = text.lines().find_map(|l| l.strip_prefix("0::/")) else { return Ok(None) };
        // It is outside what this cgroup namespace shows.
        if path.split('/').any(|part| part == "..") {
            return Ok(None);
        }
        let beside = Cgroup {
            unified: Some(Hierarchy { dir: h.mount.join(path), ..h.clone() }),
            ..Cgroup::default()
        };
        beside.enter_fd()
    }

    /// The file of each v1 hierarchy through which a process that has one thread moves itself, by writing "0" to it
    /// in one write(2), before it makes a cgroup namespace. That costs microseconds, where [`Cgroup::add`] costs
    /// milliseconds. Empty under pure v2.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn task_files(&self) -> Result<Vec<OwnedFd>> {
        let mut files = Vec::with_capacity(self.v1.len());
        for h in &self.v1 {
            match openat(CWD, h.dir.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => files.push(fd),
                Err(e) if self.may_miss(h, &e.into()) => {}
                Err(e) => return Err(Error::file("open", &h.dir, "tasks", &e.into())),
            }
        }
        Ok(files)
    }

    /// Moves the process `pid` into every hierarchy.
    ///
    /// # Errors
    /// When the kernel refuses; a rootless container's refusal counts only where config.json named the place.
    pub fn add(&self, pid: i32) -> Result<()> {
        for h in self.all() {
            match join(&h.dir, pid) {
                Err(e) if self.may_miss(h, &e) => {}
                Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => {
                    let doing = format_args!(
                        "cannot move process {pid} to cgroup {:?}, whose own cgroups have controllers enabled",
                        h.dir
                    );
                    return Err(Error::io(doing, &e));
                }
                Err(e) => return Err(Error::file(&format!("write \"{pid}\" to"), &h.dir, "cgroup.procs", &e)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The processes in the container's own cgroup; with `all`, those in the cgroups below it too. Processes that
    /// this PID namespace doesn't show are left out.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn pids(&self, all: bool) -> Result<Vec<i32>> {
        self.main_dir().map_or_else(|| Ok(Vec::new()), |dir| members(dir, all))
    }

    /// Calls `act` for each process of the container, with a descriptor that surely means that one: its number was
    /// still in the cgroup after the descriptor was opened. Processes that end meanwhile are left out.
    ///
    /// # Errors
    /// When the directory is there and cannot be read. When a process cannot be opened, after the others' turn.
    pub fn for_each_process(&self, mut act: impl FnMut(i32, BorrowedFd<'_>)) -> Result<()> {
        /// Open at once; a container may have more processes than a process may have files.
        const OPEN: usize = 128;
        let pids = self.pids(true)?;
        let mut result = Ok(());
        for some in pids.chunks(OPEN) {
            let mut opened = Vec::with_capacity(some.len());
            for pid in some {
                match hull_sys::pidfd::open(*pid) {
                    Ok(fd) => opened.push((*pid, fd)),
                    // It ended, or is a thread whose process is to be found by another number.
                    Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::SRCH | Errno::INVAL | Errno::NOENT)) => {}
                    Err(e) => result = Err(Error::io(format_args!("cannot open process {pid}"), &e)),
                }
            }
            let still = self.pids(true)?;
            for (pid, fd) in opened.iter().filter(|p| still.binary_search(&p.0).is_ok()) {
                act(*pid, fd.as_fd());
            }
        }
        result
    }

    /// Whether the container does without `h` after this error.
    fn may_miss(&self, h: &Hierarchy, e: &io::Error) -> bool {
        h.is_named() || (self.rootless && !self.explicit && is_denied(e))
    }
}

fn join(dir: &Path, pid: i32) -> io::Result<()> {
    let pid = pid.to_string();
    for _ in 0..4 {
        match write(dir, "cgroup.procs", &pid) {
            // A process that fork(2) has not finished is refused so.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
    write(dir, "cgroup.procs", &pid)
}

/// The processes in `dir`, and below it with `all`; none where it is gone.
pub(crate) fn members(dir: &Path, all: bool) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    collect(dir, all, &mut pids).map_err(|e| Error::file("read", dir, "cgroup.procs", &e))?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect(dir: &Path, all: bool, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = match read(dir, "cgroup.procs") {
        Err(e) if is_missing(&e) => return Ok(()),
        // The members of a threaded cgroup are threads.
        Err(e) if Errno::from_io_error(&e) == Some(Errno::OPNOTSUPP) => read(dir, "cgroup.threads")?,
        other => other?,
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    if all {
        for child in children(dir)? {
            collect(&child, all, pids)?;
        }
    }
    Ok(())
}

/// The cgroups right below `dir`; none where it is gone.
pub(crate) fn children(dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if is_missing(&e) => return Ok(Vec::new()),
        other => other?,
    };
    let mut dirs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}
