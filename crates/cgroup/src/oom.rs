//! Learning that the kernel killed a process of the container for want of memory.
//!
//! v1 signals an eventfd, v2 changes `memory.events`. A watch is one descriptor to poll for reading; nothing here
//! waits by itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{CWD, Mode, OFlags, inotify, openat};
use rustix::io::Errno;

use crate::file::{is_missing, read, value_of, write};
use crate::group::Cgroup;
use crate::{Error, Result};

/// What woke a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// A process was killed, or under v1 with the killer off, stalled.
    Oom,
    /// Something else changed.
    Other,
    /// The container has no process left, or its cgroup is gone: nothing more will come.
    End,
}

/// A watch for processes killed for want of memory. Poll its descriptor for reading, then call
/// [`OomWatch::take`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    dir: PathBuf,
    /// Under v2, the count so far; under v1 every event is one.
    seen: Option<u64>,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Cgroup {
    /// Begins to watch.
    ///
    /// # Errors
    /// Without a memory controller, or when the kernel refuses.
    pub fn oom_watch(&self) -> Result<OomWatch> {
        if let Some(dir) = self.v1_dir("memory") {
            let failed = |e: Errno| Error::io(format_args!("cannot watch cgroup {dir:?} for OOM"), &e.into());
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
            let control = openat(CWD, dir.join("memory.oom_control"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
            write(dir, "cgroup.event_control", &format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()))
                .map_err(|e| Error::file("write to", dir, "cgroup.event_control", &e))?;
            return Ok(OomWatch { fd, dir: dir.into(), seen: None });
        }
        let Some(dir) = self.v2_dir().filter(|dir| dir.join("memory.events").exists()) else {
            return Err(Error::new("cannot watch for OOM: the container's cgroup has no memory controller"));
        };
        let failed = |e: Errno| Error::io(format_args!("cannot watch cgroup {dir:?} for OOM"), &e.into());
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        for name in ["memory.events", "cgroup.events"] {
            inotify::add_watch(&fd, dir.join(name), inotify::WatchFlags::MODIFY).map_err(failed)?;
        }
        let seen = self.oom_kills()?;
        Ok(OomWatch { fd, dir: dir.into(), seen: Some(seen) })
    }

    /// How many processes the kernel has killed for want of memory; 0 without a memory controller.
    ///
    /// # Errors
    /// When the count is there and cannot be read.
    pub fn oom_kills(&self) -> Result<u64> {
        let (dir, name) = match (self.v1_dir("memory"), self.v2_dir()) {
            (Some(dir), _) => (dir, "memory.oom_control"),
            (None, Some(dir)) => (dir, "memory.events"),
            (None, None) => return Ok(0),
        };
        match read(dir, name) {
            Ok(text) => Ok(value_of(&text, "oom_kill").and_then(|v| v.parse().ok()).unwrap_or(0)),
            Err(e) if is_missing(&e) => Ok(0),
            Err(e) => Err(Error::file("read", dir, name, &e)),
        }
    }
}

impl OomWatch {
    /// Takes what woke the descriptor. Doesn't block.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub fn take(&mut self) -> Result<OomEvent> {
        let mut events = [0u8; 4096];
        match rustix::io::read(&self.fd, &mut events) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(OomEvent::Other),
            Err(e) => return Err(Error::io(format_args!("cannot read OOM events of {:?}", self.dir), &e.into())),
        }
        let Some(seen) = &mut self.seen else {
            // The kernel signals once more when the cgroup is removed.
            return Ok(if self.dir.exists() { OomEvent::Oom } else { OomEvent::End });
        };
        let count = |name: &str, key: &str| {
            read(&self.dir, name).ok().and_then(|text| value_of(&text, key)?.parse::<u64>().ok())
        };
        let kills = count("memory.events", "oom_kill");
        if let Some(kills) = kills.filter(|n| n > seen) {
            *seen = kills;
            return Ok(OomEvent::Oom);
        }
        Ok(if count("cgroup.events", "populated") == Some(1) { OomEvent::Other } else { OomEvent::End })
    }
}
