//! Stopping a whole container and letting it go on.
//!
//! v1's freezer has to be asked again while it says FREEZING; v2 tells by an event when all have stopped. Whoever
//! fails to freeze a container leaves it thawed.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::file::{is_missing, read, value_of, write};
use crate::group::Cgroup;
use crate::{Error, Result};

/// How long a process may stay in the kernel before freezing is given up.
const PATIENCE: Duration = Duration::from_secs(10);

enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Cgroup {
    fn freezer(&self) -> Option<Freezer<'_>> {
        self.v1_dir("freezer").map(Freezer::V1).or_else(|| self.v2_dir().map(Freezer::V2))
    }

    /// Stops every process of the container, and returns when all have stopped.
    ///
    /// # Errors
    /// When there is no freezer, the kernel refuses, or a process doesn't stop in ten seconds.
    pub fn freeze(&self) -> Result<()> {
        let frozen = match self.freezer() {
            None => return Err(Error::new("cannot freeze: the container has no cgroup with a freezer")),
            Some(Freezer::V1(dir)) => freeze_v1(dir),
            Some(Freezer::V2(dir)) => freeze_v2(dir),
        };
        if frozen.is_err() {
            // Half a container that goes on is worse than a whole one.
            let _ = self.thaw();
        }
        frozen
    }

    /// Lets the container go on.
    ///
    /// # Errors
    /// When there is no freezer, or the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        let (dir, name, value) = match self.freezer() {
            None => return Err(Error::new("cannot thaw: the container has no cgroup with a freezer")),
            Some(Freezer::V1(dir)) => (dir, "freezer.state", "THAWED"),
            Some(Freezer::V2(dir)) => (dir, "cgroup.freeze", "0"),
        };
        write(dir, name, value).map_err(|e| Error::file(&format!("write {value:?} to"), dir, name, &e))
    }

    /// Moves a process of the container that is in another freezer group of v1 back to the container's, where it thaws
    /// if the container is not frozen. For a process that can't die otherwise; without a group to go to it stays.
    pub fn bring_back(&self, pid: i32) {
        if let Some(Freezer::V1(dir)) = self.freezer() {
            let _ = write(dir, "cgroup.procs", &pid.to_string());
        }
    }

    /// Whether the container itself was frozen; one that is stopped by a frozen parent was not. False without a
    /// freezer or a cgroup.
    ///
    /// # Errors
    /// When the freezer's file is there and cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let (dir, name, yes) = match self.freezer() {
            None => return Ok(false),
            // This file says what was asked of this cgroup, `freezer.state` what it came to.
            Some(Freezer::V1(dir)) => (dir, "freezer.self_freezing", "1"),
            Some(Freezer::V2(dir)) => (dir, "cgroup.freeze", "1"),
        };
        match read(dir, name) {
            Ok(text) => Ok(text.trim() == yes),
            Err(e) if is_missing(&e) => Ok(false),
            Err(e) => Err(Error::file("read", dir, name, &e)),
        }
    }
}

fn freeze_v1(dir: &Path) -> Result<()> {
    const NAME: &str = "freezer.state";
    let set =
        |value: &str| write(dir, NAME, value).map_err(|e| Error::file(&format!("write {value:?} to"), dir, NAME, &e));
    let start = Instant::now();
    for turn in 1.. {
        set("FROZEN")?;
        if read(dir, NAME).map_err(|e| Error::file("read", dir, NAME, &e))?.trim() == "FROZEN" {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            break;
        }
        if turn % 50 == 0 {
            // New processes that keep coming can hold it in FREEZING for ever; a fresh start gets past them.
            set("THAWED")?;
            sleep(Duration::from_millis(10));
        } else {
            sleep(Duration::from_micros(20 * turn.min(50)));
        }
    }
    Err(Error::new(format!("cannot freeze {dir:?}: still FREEZING after {} s", PATIENCE.as_secs())))
}

fn freeze_v2(dir: &Path) -> Result<()> {
    let failed = |verb: &'static str, name: &'static str| move |e: io::Error| Error::file(verb, dir, name, &e);
    write(dir, "cgroup.freeze", "1").map_err(failed("write \"1\" to", "cgroup.freeze"))?;
    let events = openat(CWD, dir.join("cgroup.events"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed("open", "cgroup.events")(e.into()))?;
    let end = Instant::now() + PATIENCE;
    loop {
        // Reading arms the event, so that no change between here and poll is lost.
        let mut text = [0u8; 256];
        let n = rustix::io::pread(&events, &mut text, 0).map_err(|e| failed("read", "cgroup.events")(e.into()))?;
        let text = String::from_utf8_lossy(&text[..n]);
        match value_of(&text, "frozen") {
            Some("1") => return Ok(()),
            Some(_) => {}
            None => return Err(Error::new(format!("cannot freeze {dir:?}: this kernel has no v2 freezer"))),
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(format!("cannot freeze {dir:?}: not frozen after {} s", PATIENCE.as_secs())));
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(failed("wait for", "cgroup.events")(e.into())),
        }
    }
}
